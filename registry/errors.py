"""The one error tree. Each class carries the exit code of its kind (docs/cli.md, DESIGN section 5).

Outside bytes raise only `FormatError` or `VerificationError`. Messages are lower-case, without a
full stop, and name what was expected and what was found; they never hold a key, plaintext, a phone
number or message text. `hint` says what to do.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class LorasealError(Exception):
    """Anything that LoRASeal refuses or fails at, with an exit code and a hint."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(LorasealError):
    """The command or the settings ask for something that makes no sense."""

    exit_code = 2


class NotFoundError(LorasealError):
    """Nothing, or more than one thing, answers to that name."""

    exit_code = 3


class FormatError(LorasealError):
    """Bytes from outside are not what their format says."""

    exit_code = 4


class VerificationError(LorasealError):
    """Something does not prove what it claims; the base class stands for a bad proof or chain."""

    exit_code = 5


class SignatureError(VerificationError):
    """A signature is missing, invalid, or made by a key that may not make it."""

    exit_code = 5


class ContentMismatchError(VerificationError):
    """Content is not what was signed: changed, damaged or truncated."""

    exit_code = 4


class RevokedError(VerificationError):
    """Genuine, and withdrawn by its owner."""

    exit_code = 6


class StaleStatusError(VerificationError):
    """Genuine and intact, but whether it was withdrawn is not known."""

    exit_code = 13


class CannotDecryptError(VerificationError):
    """No identity at hand opens this; it may be made for someone else."""

    exit_code = 12


class DeniedError(LorasealError):
    """Policy says no."""

    exit_code = 7


class ReviewNeededError(LorasealError):
    """A person has to decide first."""

    exit_code = 8


class InconclusiveError(LorasealError):
    """Too little was seen to say anything."""

    exit_code = 9


class DaemonUnreachableError(LorasealError):
    """The daemon is needed and does not answer."""

    exit_code = 10


class BusyError(LorasealError):
    """Another process holds it."""

    exit_code = 11


class LostRaceError(BusyError):
    """It is no longer in the state that this step expected: another run was first."""

    exit_code = 11


class PartlyDoneError(LorasealError):
    """Some of it was done; the JSON output says what."""

    exit_code = 14


class HumanNeededError(LorasealError):
    """A channel waits for a person."""

    exit_code = 15


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Put the name of the file in front of what is wrong with its bytes, where nothing names it yet.

    Parsers see bytes, so only who opened the file knows which of several it was.
    """
    try:
        yield
    except (FormatError, VerificationError) as error:
        if path.name not in str(error):
            error.args = (f"{str(path)!r}: {error}",)
        raise
