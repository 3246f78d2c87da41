"""What a copy's signed intake says of its mark, and that nobody gets another's copy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from daemon.tags import is_own_copy, mark_tag, release_status_id, source_tag
from registry.errors import DeniedError, RevokedError
from registry.fingerprints.marks.seeds import MARK_VERSION, commitment
from registry.formats.predicates.intake import Mark
from registry.provenance.marks import content_sources, mark_of

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
    """Return unless what a marked copy was made of was revoked, or something else was made of a copy.

    Which artifact that is comes from a row, and has to be the one that the signed intake is bound to.

    Raises:
        DeniedError: the ledger does not say what it was made of, or says another artifact.
        RevokedError: its source was revoked.
    """
    sources = content_sources(reader, intake.artifact_id)
    if intake.mark is None:
        if any(mark_of(reader, source_id) is not None for source_id in sources):
            raise DeniedError(
                "this was made of a marked copy: it bears the mark and does not say so",
                hint="deliver what the copy was made of",
            )
        return
    mark = mark_of(reader, intake.artifact_id)
    if mark is None or intake.derived_from != source_tag(
        keyring, intake.artifact_id, mark.source_id
    ):
        raise DeniedError(
            "the ledger does not say which artifact this marked copy was made of",
            hint="the database was changed by hand: run loraseal fsck, restore a backup",
        )
    for source_id in sources:
        if release_status_id(keyring, source_id) in revoked:
            raise RevokedError(
                "the artifact that this copy was made of was revoked: it is not sent"
            )
