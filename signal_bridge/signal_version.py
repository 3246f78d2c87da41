"""Which releases of signal-cli a channel works with, and why."""

from __future__ import annotations

import re

from registry.errors import FormatError

_VERSION = re.compile(r"(\d{1,4})\.(\d{1,4})\.(\d{1,4})(?:[-+].{0,64})?")

# Before 0.13.16 two messages could share one timestamp, and confirmed ones got lost (AsamK 1783).
OLDEST = (0, 13, 16)
# Before 0.14.4 a client could read any file of the daemon's user, and send its key store.
GUARDED = (0, 14, 4)
# Reported to hang for ever on a contact without a session.
HANGS = (0, 14, 3)


def parse_version(text: object) -> tuple[int, int, int]:
    """Return the three numbers of a release.

    Raises:
        FormatError: it is no release that this understands.
    """
    match = _VERSION.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise FormatError("signal-cli reports a version that is not of the form 0.0.0")
    return int(match[1]), int(match[2]), int(match[3])


def is_supported(version: tuple[int, int, int]) -> bool:
    """Say whether deliveries may be trusted to this release."""
    return version >= OLDEST


def warning_of(version: tuple[int, int, int]) -> str | None:
    """Return why a supported release should be replaced, None if it need not be."""
    if version == HANGS:
        return "this release can hang on a contact it never wrote to"
    if version < GUARDED:
        return "this release lets anyone on its socket read its key store"
    return None
