"""Step 5: every statement is in the registry's log, and the log only grew since it was last seen."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING

from registry.errors import FormatError, VerificationError
from registry.formats.checkpoint import Checkpoint, parse_note
from registry.formats.keyset import KeyEntry, KeyRole, Keyset
from registry.formats.moments import parse_moment
from registry.formats.proofs import InclusionProof, parse_proof
from registry.sealing.notes import verify_checkpoint
from registry.transparency.commitment import leaf_for
from registry.transparency.merkle import leaf_hash, verify_consistency, verify_inclusion

if TYPE_CHECKING:
    from datetime import datetime

    from registry.formats.bundle import Bundle, ConsistencyLink, LoggedStatement
    from registry.formats.status_list import StatusList

_TWO_HISTORIES = (
    "keep both files and tell the registry's operator: its log shows different histories to "
    "different people, or was restored from an old backup"
)

_ASK_AGAIN = "ask the sender for the bundle again"


@dataclass(frozen=True, slots=True)
class LogPosition:
    """Where the bundle's statements stand in the log.

    `note` is the checkpoint verbatim, `delivery_index` the leaf of the delivery statement.
    `continues_stored` is None where nothing links this checkpoint to the stored one.
    """

    checkpoint: Checkpoint
    note: str
    delivery_index: int
    continues_stored: bool | None


def verify_log(bundle: Bundle, keyset: Keyset, *, created: str, stored: str | None) -> LogPosition:
    """Return where the statements stand, once all are shown to be in one and the same log.

    `created` is the delivery's moment, at which the log key must be valid; `stored` the checkpoint
    that the recipient remembers (a note), None if it has none.

    Raises:
        SignatureError: no log key signed the checkpoint.
        VerificationError: a statement is not in the log, a proof or note is malformed, or two
            histories are shown.
    """
    try:
        return _verify_log(bundle, keyset, created, stored)
    except FormatError as error:
        # The bundle is well-formed: what does not parse is a proof, and so it proves nothing.
        raise VerificationError(str(error), hint=_ASK_AGAIN) from error


def check_status_root(status: StatusList, checkpoint: Checkpoint) -> None:
    """Refuse a status list that saw another log than the checkpoint's.

    Only lists of the same size can be compared; others are compared by the next bundle's proofs.

    Raises:
        VerificationError: two roots for one size.
    """
    if status.log_size == checkpoint.size and not hmac.compare_digest(
        status.log_root, checkpoint.root.hex()
    ):
        raise VerificationError(
            f"status list and checkpoint show two roots for one log size {checkpoint.size}",
            hint=_TWO_HISTORIES,
        )


def _verify_log(bundle: Bundle, keyset: Keyset, created: str, stored: str | None) -> LogPosition:
    proofs = [_proof(item) for item in bundle.statements]
    note = proofs[0].checkpoint_note
    if any(proof.checkpoint_note != note for proof in proofs):
        raise VerificationError("the statements' proofs lead to different checkpoints")
    at = parse_moment(created)
    checkpoint = verify_checkpoint(note, keyset.keys, origin=keyset.log_origin, at=at)
    for item, proof in zip(bundle.statements, proofs, strict=True):
        leaf = leaf_hash(leaf_for(item.salt, item.envelope))
        verify_inclusion(leaf, proof.index, checkpoint.size, proof.hashes, root=checkpoint.root)
    linked = [_verify_link(link, checkpoint, keyset, at) for link in bundle.consistency]
    return LogPosition(
        checkpoint, note.decode("utf-8"), proofs[-1].index, _continues(checkpoint, linked, stored)
    )


def _proof(item: LoggedStatement) -> InclusionProof:
    proof = parse_proof(item.proof.encode("utf-8"))
    # Covered by nothing: it could carry what looks verified and is not.
    if proof.extra is not None:
        raise VerificationError("inclusion proof in a bundle must not hold extra data")
    return proof


def _verify_link(
    link: ConsistencyLink, checkpoint: Checkpoint, keyset: Keyset, at: datetime
) -> Checkpoint:
    """Return the older checkpoint, once it is shown to lead to `checkpoint`."""
    # An older checkpoint may be by a log key that has been replaced since.
    keys = [
        KeyEntry.of(entry.role, entry.public, valid_from=at)
        for entry in keyset.with_role(KeyRole.LOG)
    ]
    note = link.old_checkpoint.encode("utf-8")
    old = verify_checkpoint(note, keys, origin=keyset.log_origin, at=at)
    verify_consistency(
        old.size, checkpoint.size, link.hashes, old_root=old.root, new_root=checkpoint.root
    )
    return old


def _continues(checkpoint: Checkpoint, linked: list[Checkpoint], stored: str | None) -> bool | None:
    if stored is None:
        return None
    known = Checkpoint.from_text(parse_note(stored.encode("utf-8")).text)
    for seen in (checkpoint, *linked):
        if (seen.origin, seen.size) == (known.origin, known.size):
            if seen.root != known.root:
                raise VerificationError(
                    f"log {known.origin!r} shows two roots for size {known.size}: one in this "
                    "bundle, one remembered from before",
                    hint=_TWO_HISTORIES,
                )
            return True
    return None
