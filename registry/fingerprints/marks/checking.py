"""Whether a marked copy differs from its original in factors only. Without torch, for the parent process.

The copy comes from a process that read a hostile file, so what it may have changed is checked here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from registry.errors import ContentMismatchError, FormatError
from registry.updates.files import tensor_bytes
from registry.updates.payload import read_payload

if TYPE_CHECKING:
    from registry.artifacts.notes import PayloadForm

_FACTORS = ("down", "up")


def verify_only_factors(
    original: memoryview, copy: memoryview, form: PayloadForm, name: str
) -> None:
    """Return if `copy` is `original` but for bytes of the factors of LoRA and DoRA modules.

    Raises:
        ContentMismatchError: any other byte differs, or the size does.
        FormatError: `original` is malformed.
    """
    if len(copy) != len(original):
        raise ContentMismatchError(
            f"marked copy has {len(copy)} bytes, its original {len(original)}"
        )
    ours = read_payload(original, form, name)
    # Put the original's factors back: what still differs then should not.
    restored = bytearray(copy)
    try:
        theirs = read_payload(memoryview(restored), form, name)
    except FormatError as error:
        raise ContentMismatchError("marked copy is malformed, its original is not") from error
    if [one.header for one in ours.files] != [one.header for one in theirs.files]:
        raise ContentMismatchError("marked copy has another header than its original")
    for one, other in zip(ours.modules, theirs.modules, strict=True):
        if one.module.method not in {"lora", "dora"}:
            continue
        for role, info in one.module.tensors:
            if role in _FACTORS:
                tensor_bytes(other.file, info)[:] = tensor_bytes(one.file, info)
    if restored != original:
        raise ContentMismatchError("marked copy differs from its original beyond its factors")
