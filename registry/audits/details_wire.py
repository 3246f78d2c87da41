"""Numbers behind the reports as canonical JSON between the audit child and its parent.

One line for each module, so that no line is huge, and a last one for the rest. The parent reads them as
it reads reports: bounded, every field and type checked, unknown fields refused, numbers only in the
one spelling that they have.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from registry.audits.detailing import decimal_text
from registry.audits.details import AuditDetails, CohortPosition, FeaturePosition, ModuleDetail
from registry.audits.reporting import is_printable
from registry.errors import FormatError
from registry.formats.base64_text import decode_base64, encode_base64
from registry.formats.fields import Fields
from registry.limits import (
    AUDIT_CODE_BYTES,
    AUDIT_DETAIL_FEATURES,
    AUDIT_DETAIL_MODULES,
    AUDIT_DETAIL_NAME_CHARS,
    AUDIT_DETAIL_VALUES,
    AUDIT_SKETCH_BYTES,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from registry.formats.canonical import Json

_MODULE = frozenset(("place", "kind", "values", "frobenius", "caveat", "reason"))
_REST = frozenset(("features", "position", "sketch", "code"))
_POSITION = frozenset(("label", "peers", "distance", "features"))
_FEATURE = frozenset(("name", "value", "median", "z"))
_NUMBER = re.compile(r"-?[0-9]{1,8}(\.[0-9]{1,12})?(e[+-][0-9]{2,3})?")
_NUMBER_CHARS = 24
_BASE64_CHARS = 4 * (AUDIT_SKETCH_BYTES // 3 + 1)


def details_to_json(details: AuditDetails) -> list[dict[str, Json]]:
    """Return one line `{"module": ...}` for each module, in order, and then `{"details": ...}`."""
    modules: list[dict[str, Json]] = [
        {"module": module_to_json(module)} for module in details.modules
    ]
    return [*modules, {"details": rest_to_json(details)}]


def details_from_json(lines: Iterable[Json]) -> AuditDetails:
    """Return the details in `lines`: any number of modules, then exactly one line with the rest.

    Raises:
        FormatError: a line of another kind, out of order, one too many, or one that is not sound.
    """
    modules: list[ModuleDetail] = []
    found: AuditDetails | None = None
    for line in lines:
        match line:
            case {"module": value, **rest} if not rest and found is None:
                modules.append(module_from_json(value))
                if len(modules) > AUDIT_DETAIL_MODULES:
                    raise FormatError(f"details hold more than {AUDIT_DETAIL_MODULES} modules")
            case {"details": value, **rest} if not rest and found is None:
                found = rest_from_json(value, tuple(modules))
            case _:
                raise FormatError("details hold a line of another kind, or out of order")
    if found is None:
        raise FormatError("details are not finished")
    return found


def module_to_json(module: ModuleDetail) -> Json:
    """Return the numbers of one module as canonical-JSON data."""
    values: list[Json] = list(module.values)
    return {
        "place": module.place,
        "kind": module.kind,
        "values": values,
        "frobenius": module.frobenius,
        "caveat": module.caveat,
        "reason": module.reason,
    }


def module_from_json(value: Json) -> ModuleDetail:
    """Return the numbers of one module.

    Singular values are not negative and do not ascend; a module has a norm exactly when it has
    values, or a reason.

    Raises:
        FormatError: a field is missing, unknown, of another type, too long, or contradicts another.
    """
    fields = _exact(value, _MODULE, "module detail")
    values = tuple(_size(item) for item in fields.items("values", most=AUDIT_DETAIL_VALUES))
    frobenius, reason = fields.text("frobenius"), _name(fields, "reason")
    numbers = [float(item) for item in values]
    if any(below > above for above, below in zip(numbers, numbers[1:], strict=False)):
        raise FormatError("module detail: its singular values ascend")
    if bool(values) != bool(frobenius) or bool(values) == bool(reason):
        raise FormatError("module detail needs values with a norm, or else a reason")
    return ModuleDetail(
        place=_name(fields, "place"),
        kind=_name(fields, "kind"),
        values=values,
        frobenius=_size(frobenius) if frobenius else "",
        caveat=_name(fields, "caveat"),
        reason=reason,
    )


def rest_to_json(details: AuditDetails) -> Json:
    """Return everything in `details` but its modules as canonical-JSON data."""
    features: list[Json] = [[name, value] for name, value in details.features]
    position = details.position
    return {
        "features": features,
        "position": None if position is None else _position_to_json(position),
        "sketch": encode_base64(details.sketch),
        "code": encode_base64(details.code),
    }


def rest_from_json(value: Json, modules: tuple[ModuleDetail, ...]) -> AuditDetails:
    """Return details with `modules` and with everything else that is in `value`.

    Raises:
        FormatError: as `module_from_json`.
    """
    fields = _exact(value, _REST, "audit details")
    position = fields.member("position")
    sketch, code = _bytes(fields, "sketch"), _bytes(fields, "code")
    if bool(sketch) != bool(code) or len(code) not in {0, AUDIT_CODE_BYTES}:
        raise FormatError(f"audit details hold a code of {len(code)} bytes")
    return AuditDetails(
        modules=modules,
        features=tuple(_pair(row) for row in fields.items("features", most=AUDIT_DETAIL_FEATURES)),
        position=None if position is None else _position_from_json(position),
        sketch=sketch,
        code=code,
    )


def _bytes(fields: Fields, name: str) -> bytes:
    text = fields.text(name, max_chars=_BASE64_CHARS)
    found = decode_base64(text, what=f"the {name} of the audit details")
    if len(found) > AUDIT_SKETCH_BYTES:
        raise FormatError(f"{name} has {len(found)} bytes, more than {AUDIT_SKETCH_BYTES}")
    return found


def _position_to_json(position: CohortPosition) -> Json:
    features: list[Json] = [
        {"name": each.name, "value": each.value, "median": each.median, "z": each.z}
        for each in position.features
    ]
    return {
        "label": position.label,
        "peers": position.peers,
        "distance": position.distance,
        "features": features,
    }


def _position_from_json(value: Json) -> CohortPosition:
    fields = _exact(value, _POSITION, "cohort position")
    rows = fields.items("features", most=AUDIT_DETAIL_FEATURES)
    return CohortPosition(
        label=_name(fields, "label"),
        peers=fields.integer("peers"),
        distance=_number(fields.text("distance"), may_lack=True),
        features=tuple(_feature(row) for row in rows),
    )


def _feature(value: Json) -> FeaturePosition:
    fields = _exact(value, _FEATURE, "feature position")
    value_text, median, z = (
        _number(fields.text(name), may_lack=True) for name in ("value", "median", "z")
    )
    return FeaturePosition(_name(fields, "name"), value_text, median, z)


def _pair(value: Json) -> tuple[str, str]:
    match value:
        case [str() as name, str() as number] if 0 < len(name) <= AUDIT_DETAIL_NAME_CHARS:
            return _printable(name, "a feature's name"), _number(number, may_lack=False)
        case _:
            raise FormatError("a feature is not a name and a number")


def _exact(value: Json, names: frozenset[str], what: str) -> Fields:
    fields = Fields.of(value, what)
    if not isinstance(value, dict) or set(value) != names:
        raise FormatError(f"{what} needs exactly the members {', '.join(sorted(names))}")
    return fields


def _name(fields: Fields, name: str) -> str:
    text = fields.text(name, max_chars=AUDIT_DETAIL_NAME_CHARS)
    return _printable(text, f"{fields.what}: {name!r}")


def _printable(text: str, what: str) -> str:
    if not all(is_printable(char) for char in text):
        raise FormatError(f"{what} holds a character that is not printable")
    return text


def _size(value: Json) -> str:
    """Return a number that is not negative, in the one spelling that `decimal_text` gives it."""
    if not isinstance(value, str):
        raise FormatError("a singular value is not text")
    text = _number(value, may_lack=False)
    if float(text) < 0 or decimal_text(float(text)) != text:
        raise FormatError("a singular value is negative or not written with five digits")
    return text


def _number(text: str, *, may_lack: bool) -> str:
    if may_lack and not text:
        return text
    if len(text) > _NUMBER_CHARS or not _NUMBER.fullmatch(text) or not math.isfinite(float(text)):
        raise FormatError("a number in the audit details is not finite decimal text")
    return text
