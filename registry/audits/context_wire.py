"""What is lent to an audit, as canonical JSON in sealed memory between parent and child.

The parent is trusted, and still the child reads it strictly: a peer group of a ledger that was changed
by hand must end in an error, not in a number.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from registry.audits.context import PeerGroup
from registry.errors import FormatError
from registry.formats.canonical import dump_canonical, parse_canonical
from registry.formats.fields import Fields
from registry.limits import (
    AUDIT_CONTEXT_BYTES,
    AUDIT_DETAIL_FEATURES,
    AUDIT_PEERS,
    AUDIT_TEXT_CHARS,
)

if TYPE_CHECKING:
    from registry.audits.task import Lent
    from registry.formats.canonical import Json

_KEY_DIGITS = 64


def lent_to_bytes(lent: Lent) -> bytes:
    """Return what the child needs to know of `lent`; the base's descriptor travels beside it."""
    group = lent.peers
    peers: Json = None
    if group is not None:
        rows: list[Json] = [[repr(number) for number in row] for row in group.rows]
        peers = {"label": group.label, "names": list(group.names), "rows": rows}
    key = None if lent.sketch_key is None else lent.sketch_key.hex()
    return dump_canonical({"peers": peers, "sketch_key": key})


def lent_from_bytes(data: bytes) -> tuple[PeerGroup | None, bytes | None]:
    """Return peers and sketch key.

    Raises:
        FormatError: not what `lent_to_bytes` writes.
    """
    value = parse_canonical(data, what="audit context", max_bytes=AUDIT_CONTEXT_BYTES)
    fields = Fields.of(value, "audit context")
    fields.exactly("peers", "sketch_key")
    peers = fields.member("peers")
    key = fields.optional_hexadecimal("sketch_key", _KEY_DIGITS)
    return None if peers is None else _peers(peers), None if key is None else bytes.fromhex(key)


def _peers(value: Json) -> PeerGroup:
    fields = Fields.of(value, "peer group")
    fields.exactly("label", "names", "rows")
    names = tuple(str(name) for name in fields.items("names", most=AUDIT_DETAIL_FEATURES))
    rows = tuple(_row(row, len(names)) for row in fields.items("rows", most=AUDIT_PEERS))
    return PeerGroup(fields.text("label", max_chars=AUDIT_TEXT_CHARS), names, rows)


def _row(value: Json, count: int) -> tuple[float, ...]:
    if not isinstance(value, list) or len(value) != count:
        raise FormatError(f"a row of a peer group has not {count} numbers")
    try:
        numbers = tuple(float(str(text)) for text in value)
    except ValueError as error:
        raise FormatError("a row of a peer group holds what is not a number") from error
    if not all(math.isfinite(number) for number in numbers):
        raise FormatError("a row of a peer group holds a number that is not finite")
    return numbers
