"""What a copy's signed intake says of its mark, and that nobody gets another's copy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from daemon.tags import is_own_copy, mark_tag, release_status_id, source_tag
from registry.errors import DeniedError, RevokedError
from registry.fingerprints.marks.seeds import MARK_VERSION, commitment
from registry.formats.predicates.intake import Mark
from registry.provenance.marks import content_sources, mark_of, marked_twins

if TYPE_CHECKING:
    from collections.abc import Collection

    from daemon.keyring import Keyring
    from registry.formats.predicates.intake import Intake, Rendition
    from registry.provenance.ledger import Reader
    from registry.provenance.marks import MarkOrder


def mark_statement(
    keyring: Keyring, seed: bytes, order: MarkOrder, copy_id: str, source: Rendition
) -> Mark:
    """Return what the intake of the copy `copy_id`, made of a `source`, says of its mark."""
    return Mark(
        version=MARK_VERSION,
        commitment=commitment(seed).hex(),
        recipient=mark_tag(keyring, copy_id, order.recipient_id),
        source=source,
    )


def require_own_copy(keyring: Keyring, intake: Intake, recipient_id: str) -> None:
    """Return unless the artifact is a copy that bears another recipient's mark.

    Raises:
        DeniedError: it is; sent to this one, it would accuse the other of what this one does with it.
    """
    if not is_own_copy(keyring, intake, recipient_id):
        raise DeniedError(
            "this copy bears the mark of another recipient",
            hint="deliver the artifact that it was made of; a route with mark = true makes their own copy",
        )


def require_good_source(
    keyring: Keyring, reader: Reader, intake: Intake, revoked: Collection[str]
) -> None:
    """Return if what an artifact was made of stands, and it bears no mark but the one it says.

    What a marked copy was made of comes from a row, and has to be what the signed intake is bound to.

    Raises:
        DeniedError: it has the content of a marked copy, or was made of one, and does not say so; or
            the ledger does not say what a marked copy was made of, or says another artifact.
        RevokedError: its source was revoked.
    """
    sources = content_sources(reader, intake.artifact_id)
    is_made_of_copy = any(mark_of(reader, source_id) is not None for source_id in sources)
    if is_made_of_copy or marked_twins(reader, intake.artifact_id):
        raise DeniedError(
            "this bears the mark of another recipient's copy and does not say so",
            hint="deliver what that copy was made of",
        )
    if intake.mark is not None:
        _require_bound(keyring, intake, mark_of(reader, intake.artifact_id))
    for source_id in sources:
        # By its own revocation in the log too: the list that names its release may not be out yet.
        if source_id in revoked or release_status_id(keyring, source_id) in revoked:
            raise RevokedError("the artifact that this was made of was revoked: it is not sent")


def _require_bound(keyring: Keyring, intake: Intake, mark: MarkOrder | None) -> None:
    if mark is None or intake.derived_from != source_tag(
        keyring, intake.artifact_id, mark.source_id
    ):
        raise DeniedError(
            "the ledger does not say which artifact this marked copy was made of",
            hint="the database was changed by hand: run loraseal fsck, restore a backup",
        )
