"""What a copy's signed intake says of its mark, and that nobody gets another's copy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from daemon.tags import is_own_copy, mark_tag
from registry.errors import DeniedError
from registry.fingerprints.marks.seeds import MARK_VERSION, commitment
from registry.formats.predicates.intake import Mark

if TYPE_CHECKING:
    from daemon.keyring import Keyring
    from registry.formats.predicates.intake import Intake, Rendition
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
