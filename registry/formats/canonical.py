"""Canonical JSON after RFC 8785, for statements that carry no floats.

Strings, integers within 2**53-1, booleans, null, lists and objects only: under that rule sorted
`json` output is RFC 8785 once names are ordered by their UTF-16 code units (section 3.2.3).
"""

from __future__ import annotations

import json
from typing import TypeAlias

from registry.errors import FormatError
from registry.limits import CANONICAL_JSON_BYTES, CANONICAL_JSON_DEPTH, MAX_SAFE_INTEGER

Json: TypeAlias = "str | int | bool | list[Json] | dict[str, Json] | None"


def dump_canonical(value: Json) -> bytes:
    """Return the RFC 8785 form of `value`.

    Raises:
        ValueError: `value` holds a float, an integer beyond 2**53-1, a lone surrogate, another type.
    """
    ordered = _ordered(value, 0)
    text = json.dumps(ordered, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.encode("utf-8")


def parse_canonical(data: bytes, *, what: str, max_bytes: int = CANONICAL_JSON_BYTES) -> Json:
    """Return the value whose RFC 8785 form `data` is, byte for byte.

    One text has one meaning: repeated names, floats, other spacing or another order are refused, so
    two readers cannot see two values in what was signed once.

    Raises:
        FormatError: too long, not JSON, or not in canonical form. `what` names it in the message.
    """
    if len(data) > max_bytes:
        raise FormatError(f"{what} has {len(data)} bytes, more than {max_bytes}")
    try:
        value: Json = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_no_repeats,
            parse_float=_refuse_number,
            parse_constant=_refuse_number,
        )
        same = dump_canonical(value) == data
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{what} is not canonical JSON: {_reason(error)}") from error
    if not same:
        raise FormatError(f"{what} is JSON, but not in its one canonical form (RFC 8785)")
    return value


def _ordered(value: Json, depth: int) -> Json:
    if depth > CANONICAL_JSON_DEPTH:
        raise ValueError(f"nested deeper than {CANONICAL_JSON_DEPTH}")
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        if abs(value) > MAX_SAFE_INTEGER:
            raise ValueError("integer beyond 2**53-1")
        return value
    if isinstance(value, list):
        return [_ordered(item, depth + 1) for item in value]
    if isinstance(value, dict):
        names = sorted(value, key=lambda name: name.encode("utf-16-be"))
        return {name: _ordered(value[name], depth + 1) for name in names}
    raise ValueError(f"{type(value).__name__} has no canonical form")


def _no_repeats(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    names = [name for name, _ in pairs]
    if len(set(names)) != len(names):
        raise ValueError("a name stands twice in one object")
    return dict(pairs)


def _refuse_number(_text: str) -> Json:
    raise ValueError("numbers other than integers are not allowed")


def _reason(error: Exception) -> str:
    # UnicodeError and JSONDecodeError quote the input, which may be private: name the kind only.
    if isinstance(error, UnicodeError):
        return "not UTF-8"
    if isinstance(error, json.JSONDecodeError):
        return f"syntax error at byte {error.pos}"
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)
