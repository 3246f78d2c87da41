"""Signed statements: from an envelope to a predicate whose signature holds."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Generic, TypeVar

from registry.errors import FormatError, SignatureError
from registry.formats.envelope import IN_TOTO_PAYLOAD_TYPE
from registry.formats.keyset import (
    KEYSET_PAYLOAD_TYPE,
    KeyEntry,
    KeyRole,
    Keyset,
    key_id_of,
    parse_keyset,
)
from registry.formats.moments import parse_moment
from registry.formats.predicates.predicate import Predicate, parse_predicate
from registry.formats.status_list import PAYLOAD_TYPE as STATUS_PAYLOAD_TYPE
from registry.formats.status_list import StatusList
from registry.sealing.signing import verify_envelope

if TYPE_CHECKING:
    from collections.abc import Sequence

    from registry.formats.envelope import Envelope
    from registry.verify.pin import KeyPin

P = TypeVar("P", bound=Predicate)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Signed(Generic[P]):
    """A predicate whose signature holds: `digest` is the sha256 of its payload, `key` who signed."""

    predicate: P
    digest: str
    key: KeyEntry


def verify_statement(
    envelope: Envelope, kind: type[P], keyset: Keyset, roles: Sequence[KeyRole]
) -> Signed[P]:
    """Return the predicate in `envelope`, signed by exactly one key of one of `roles`.

    The key must have been valid at the moment that the statement gives as its own.

    Raises:
        SignatureError: unknown key, wrong role, out of its time, or the signature does not fit.
        FormatError: rightly signed, and not a statement of this kind.
    """
    check_single(envelope)
    predicate, fault = _peek(envelope.payload, kind)
    moment = _EPOCH if predicate is None else parse_moment(predicate.moment)
    verified = verify_envelope(
        envelope,
        _timeless(keyset, moment) if predicate is None else keyset.keys,
        payload_type=IN_TOTO_PAYLOAD_TYPE,
        roles=roles,
        at=moment,
    )
    if predicate is None:
        raise fault or FormatError("statement cannot be read")
    return Signed(predicate, envelope.statement_digest.value, verified.key)


def verify_status_list(envelope: Envelope, keyset: Keyset) -> StatusList:
    """Return the status list in `envelope`; whether it is fresh is judged elsewhere.

    Raises:
        SignatureError: not signed by a statement key that was valid when it was issued.
        FormatError: rightly signed, and not a status list.
    """
    check_single(envelope)
    try:
        status = StatusList.parse(envelope.payload)
    except FormatError:
        _verify_status(envelope, _timeless(keyset, _EPOCH), _EPOCH)
        raise
    _verify_status(envelope, keyset.keys, parse_moment(status.issued))
    return status


def verify_keyset(envelope: Envelope, pin: KeyPin) -> Keyset:
    """Return the keyset in `envelope`, signed by a pinned root key.

    Raises:
        SignatureError: not signed by a pinned root, or older than the pin.
        FormatError: rightly signed, and not a keyset.
    """
    check_single(envelope)
    roots = tuple(KeyEntry.of(KeyRole.ROOT, root, valid_from=_EPOCH) for root in pin.roots)
    if envelope.signatures[0].key_id not in {key_id_of(root) for root in pin.roots}:
        raise SignatureError(
            "keyset is not signed by the root key that you pinned",
            hint="this comes from another registry, or is forged: compare the key's six words "
            f"({pin.words}) with the sender over another way",
        )
    verify_envelope(
        envelope, roots, payload_type=KEYSET_PAYLOAD_TYPE, roles=(KeyRole.ROOT,), at=_EPOCH
    )
    keyset = parse_keyset(envelope.payload)
    if keyset.version < pin.version:
        raise SignatureError(
            f"keyset has version {keyset.version}, older than the pinned version {pin.version}",
            hint="ask the sender for a bundle made with its current keyset",
        )
    return keyset


def check_single(envelope: Envelope) -> None:
    """Refuse an envelope with more than one signature: ours have one, and each must count.

    Raises:
        SignatureError: several signatures.
    """
    if len(envelope.signatures) != 1:
        raise SignatureError(f"envelope has {len(envelope.signatures)} signatures, expected 1")


def _peek(payload: bytes, kind: type[P]) -> tuple[P | None, FormatError | None]:
    # The time at which the key must be valid stands in the payload, so it is read before the
    # signature is judged; a payload that cannot be read is first of all one that nobody signed.
    try:
        return parse_predicate(payload, kind), None
    except FormatError as error:
        return None, error


def _timeless(keyset: Keyset, moment: datetime) -> tuple[KeyEntry, ...]:
    return tuple(KeyEntry.of(entry.role, entry.public, valid_from=moment) for entry in keyset.keys)


def _verify_status(envelope: Envelope, keys: tuple[KeyEntry, ...], at: datetime) -> None:
    verify_envelope(
        envelope, keys, payload_type=STATUS_PAYLOAD_TYPE, roles=(KeyRole.STATEMENT,), at=at
    )
