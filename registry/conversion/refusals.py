"""Why a pickle is not converted: one error with a reason that a program can read."""

from __future__ import annotations

from enum import StrEnum

from registry.errors import FormatError
from registry.limits import CONVERSION_TEXT_CHARS

SAVE_AGAIN = "save the weights again with safetensors (save_file of a flat dict of tensors)"
NEVER_RUN = "nothing in it was run; get the weights as safetensors from whoever made them"
_SHOWN_CHARS = 80


class Reason(StrEnum):
    """What kind of thing stands in the way of a conversion."""

    CONTAINER = "container"  # not a torch file, or one with tricks in its archive
    OPCODE = "opcode"  # the pickle uses, or misuses, what weights do not need
    SYMBOL = "symbol"  # the pickle names a function or class that weights do not need
    SCAN = "scan"  # picklescan does not find it clean
    TENSOR = "tensor"  # a tensor does not lie within its storage
    NOT_WEIGHTS = "not-weights"  # sound, and not a flat mapping of names to tensors
    LIMIT = "limit"
    DIED = "died"  # the caged process did not finish
    MISMATCH = "mismatch"  # what came out is not, bit for bit, what went in


class PickleRefusedError(FormatError):
    """This pickle is not converted; `reason` says which rule it met. Nothing in it was run."""

    def __init__(self, reason: Reason, message: str, *, hint: str | None = None) -> None:
        super().__init__(message[:CONVERSION_TEXT_CHARS], hint=hint or NEVER_RUN)
        self.reason = reason


def shown(text: str) -> str:
    """Return a name out of the file for a message: ASCII, quoted, short."""
    return ascii(text[:_SHOWN_CHARS])
