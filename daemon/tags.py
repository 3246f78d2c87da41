"""Keyed tags that bind a signed statement to what it must not say in the clear: a folder, a name.

Who writes the database can change what a row says of a path or a name, or seal new words into it with the
public recipient. The tag is under a signature and needs the index key, which is not in the database.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from daemon.keyring import Keyring
    from registry.formats.predicates.intake import Intake

_STATUS_ID_DIGITS = 32


def origin_tag(keyring: Keyring, artifact_id: str, root: Path) -> str:
    """Return the tag of the watched folder that an artifact came from: 64 hex digits.

    Bound to the artifact, so that two bundles do not show that they come from one folder.
    """
    return _tag(keyring, "origin", artifact_id, str(root))


def source_tag(keyring: Keyring, artifact_id: str, source_id: str) -> str:
    """Return the tag of the artifact that a rendition was made from: 64 hex digits.

    Its id is made of what was left out, such as a header: it must not stand where others read it.
    """
    return _tag(keyring, "source", artifact_id, source_id)


def mark_tag(keyring: Keyring, copy_id: str, recipient_id: str) -> str:
    """Return the tag of the recipient whose mark a copy bears: 64 hex digits."""
    return _tag(keyring, "mark", copy_id, recipient_id)


def is_own_copy(keyring: Keyring, intake: Intake, recipient_id: str) -> bool:
    """Return whether an artifact bears this recipient's mark, or nobody's."""
    if intake.mark is None:
        return True
    return intake.mark.recipient == mark_tag(keyring, intake.artifact_id, recipient_id)


def name_tag(keyring: Keyring, recipient_id: str, name: str) -> str:
    """Return the tag of a recipient's name, case folded: 64 hex digits."""
    return _tag(keyring, "name", recipient_id, name.casefold())


def release_status_id(keyring: Keyring, artifact_id: str) -> str:
    """Return the one status id of every release of an artifact.

    A release made anew, after the rows of a revocation were deleted, is on the list that was signed.
    """
    return _tag(keyring, "release-status", artifact_id, "")[:_STATUS_ID_DIGITS]


def _tag(keyring: Keyring, label: str, subject: str, value: str) -> str:
    message = b"\0".join(part.encode("utf-8") for part in (f"loraseal/{label}/v1", subject, value))
    return hmac.digest(keyring.index, message, "sha256").hex()
