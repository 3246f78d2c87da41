"""How a recipient's verifier decides: PROTOCOL section 4, steps 1 to 6 and 9, without any I/O.

Steps 7 and 8 look at files (`registry.verify.content`), step 10 keeps what was learned.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from registry.errors import FormatError, SignatureError, VerificationError
from registry.formats.bundle import Bundle, parse_bundle
from registry.formats.envelope import Envelope, parse_envelope
from registry.formats.keyset import KeyRole, Keyset
from registry.formats.predicates.delivery import Delivery
from registry.verify.agreement import check_agreement, check_sealed_part
from registry.verify.attachments import verify_attachments
from registry.verify.audience import open_audience
from registry.verify.checklist import Checklist
from registry.verify.inclusion import LogPosition, check_status_root, verify_log
from registry.verify.memory import Memory
from registry.verify.pin import KeyPin
from registry.verify.releases import ReleaseChain, verify_release_signatures
from registry.verify.signed import Signed, verify_keyset, verify_statement, verify_status_list
from registry.verify.status import StatusAnswer, StatusQuestion, judge_status

if TYPE_CHECKING:
    from datetime import datetime

    from registry.formats.sealed_part import SealedPart
    from registry.formats.status_list import StatusList
    from registry.sealing.identities import Identity


@dataclass(frozen=True, slots=True)
class Given:
    """All that a verification starts from. `now` is aware; `status` is a newer list, if one was got."""

    bundle: bytes
    pin: KeyPin
    now: datetime
    identities: tuple[Identity, ...] = ()
    memory: Memory | None = None
    status: bytes | None = None


@dataclass(frozen=True, slots=True)
class VerifiedDelivery:
    """A delivery whose steps 1 to 6 hold. Content and status are still to be judged.

    `keyset` is the newest known, `lists` every status list at hand with its envelope; `sealed_part` is
    None when no identity was given.
    """

    bundle: Bundle
    keyset_envelope: Envelope
    keyset: Keyset
    chain: ReleaseChain
    delivery: Signed[Delivery]
    position: LogPosition
    lists: tuple[tuple[StatusList, Envelope], ...]
    sealed_part: SealedPart | None

    @property
    def statement(self) -> Delivery:
        """The delivery statement."""
        return self.delivery.predicate


def verify_bundle(given: Given, checklist: Checklist | None = None) -> VerifiedDelivery:
    """Return the delivery in the bundle once steps 1 to 6 hold.

    Raises:
        FormatError: the bundle is malformed (exit 4).
        SignatureError: a signature is missing or wrong, or a key may not make it (5).
        VerificationError: parts do not agree, or the log does not show them (5).
        ContentMismatchError: a part is not the one that the signed delivery names (4).
        CannotDecryptError: made for someone else (12).
    """
    steps = checklist or Checklist()
    # 1. Parse with bounds; the bytes equal their RFC 8785 form.
    with steps.step(1) as note:
        bundle = parse_bundle(given.bundle)
        note.passed(f"{len(given.bundle)} bytes, {len(bundle.statements)} statements")
    # 2. Keyset under the pinned root, not older than the one stored.
    with steps.step(2) as note:
        envelope, keyset = _newest_keyset(bundle.keyset, given)
        note.passed(f"version {keyset.version} of {keyset.registry}, under the pinned root key")
    # 3. Every signature: role, key, type, validity in time.
    with steps.step(3) as note:
        chain, delivery = _signed_statements(bundle, keyset)
        lists = _status_lists(bundle, keyset, given)
        attached = verify_attachments(bundle, delivery, keyset)
        note.passed(f"{len(bundle.statements)} statements, status list{attached}")
    # 4. Ids and digests agree; the release's outcome is `released` and covers this rendition.
    with steps.step(4) as note:
        check_agreement(chain, delivery, keyset, [status for status, _ in lists])
        note.passed(chain.words)
    # 5. Leaves, inclusion, origin; the log only grew.
    with steps.step(5) as note:
        position = _log_position(bundle, keyset, delivery.predicate, given, lists)
        note.passed(_log_words(position, given))
    # 6. The audience is me.
    with steps.step(6) as note:
        check_sealed_part(bundle.sealed_part, delivery.predicate)
        part = None
        if given.identities:
            part = open_audience(bundle.sealed_part, delivery.predicate, given.identities)
            note.passed(f"made for you ({part.recipient_name})")
        else:
            note.not_checked("no identity given")
    return VerifiedDelivery(bundle, envelope, keyset, chain, delivery, position, lists, part)


def verify_status(
    verified: VerifiedDelivery, now: datetime, checklist: Checklist | None = None
) -> StatusAnswer:
    """Return whether the delivery still stands (step 9).

    Raises:
        RevokedError, StaleStatusError, VerificationError: as `judge_status`.
    """
    steps = checklist or Checklist()
    with steps.step(9) as note:
        answer = judge_status(
            StatusQuestion(
                verified.statement,
                verified.chain.release.predicate,
                verified.position.delivery_index,
                now,
            ),
            [status for status, _ in verified.lists],
        )
        overtaken = "; a newer delivery exists" if answer.superseded else ""
        note.passed(f"stands as of {answer.source.issued}{overtaken}")
    return answer


def remember(verified: VerifiedDelivery, memory: Memory | None) -> Memory:
    """Return what to keep for next time: the newest keyset, status list and checkpoint.

    A checkpoint that nothing links to the stored one does not replace it: the next receipt then
    reports the stored one, and the registry can prove the way from there.
    """
    _, status = max(verified.lists, key=lambda pair: pair[0].counter)
    note = verified.position.note
    if memory is not None and not _moves_on(verified, memory):
        note = memory.checkpoint
    return Memory(verified.keyset_envelope, status, note)


def _newest_keyset(envelope: Envelope, given: Given) -> tuple[Envelope, Keyset]:
    if given.memory is None:
        return envelope, verify_keyset(envelope, given.pin)
    stored = verify_keyset(given.memory.keyset, KeyPin(given.pin.roots))
    # An older keyset must not bring back a withdrawn key, but a delivery that was made before the
    # keys changed is still good: so it is judged by the newer one.
    keyset = verify_keyset(envelope, KeyPin(given.pin.roots))
    if stored.version > keyset.version and stored.version >= given.pin.version:
        return given.memory.keyset, stored
    if stored.version == keyset.version and given.memory.keyset.payload != envelope.payload:
        raise SignatureError(
            f"two different keysets have the version {keyset.version}",
            hint="keep this bundle and tell the registry's operator: its root key may be misused",
        )
    return envelope, verify_keyset(envelope, given.pin)


def _signed_statements(bundle: Bundle, keyset: Keyset) -> tuple[ReleaseChain, Signed[Delivery]]:
    delivery = verify_statement(bundle.delivery.envelope, Delivery, keyset, (KeyRole.STATEMENT,))
    chain = verify_release_signatures(
        bundle.intake.envelope,
        [item.envelope for item in bundle.verdicts],
        bundle.release.envelope,
        keyset,
    )
    return chain, delivery


def _status_lists(
    bundle: Bundle, keyset: Keyset, given: Given
) -> tuple[tuple[StatusList, Envelope], ...]:
    envelopes = [bundle.status]
    if given.memory is not None:
        envelopes.append(given.memory.status)
    if given.status is not None:
        envelopes.append(_fresh_status(given.status))
    return tuple((verify_status_list(item, keyset), item) for item in envelopes)


def _fresh_status(data: bytes) -> Envelope:
    try:
        return parse_envelope(data, what="status list file")
    except FormatError as error:
        raise FormatError(
            str(error), hint="--status takes the file of a signed status list"
        ) from error


def _log_position(
    bundle: Bundle,
    keyset: Keyset,
    delivery: Delivery,
    given: Given,
    lists: tuple[tuple[StatusList, Envelope], ...],
) -> LogPosition:
    if delivery.log_origin != keyset.log_origin:
        raise VerificationError("delivery names another log than the keyset")
    stored = given.memory.checkpoint if given.memory else None
    position = verify_log(bundle, keyset, created=delivery.created, stored=stored)
    for status, _ in lists:
        check_status_root(status, position.checkpoint)
    return position


def _log_words(position: LogPosition, given: Given) -> str:
    size = position.checkpoint.size
    if given.memory is None:
        return f"log of {size} entries; not compared with an earlier one (nothing remembered)"
    if position.continues_stored:
        return f"log of {size} entries, continues the one remembered"
    return f"log of {size} entries; continuity with the one remembered not checked (no proof)"


def _moves_on(verified: VerifiedDelivery, memory: Memory) -> bool:
    if not verified.position.continues_stored:
        return False
    return verified.position.note != memory.checkpoint
