"""Files that are no safetensors: told by their first bytes, never loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from registry.artifacts.claims import Claim, ClaimStatus
from registry.artifacts.classify import Classification, Refusal
from registry.artifacts.kinds import (
    ADAPTER,
    GGUF_ADAPTER,
    GGUF_MODEL,
    TEXTUAL_INVERSION_PICKLE,
)
from registry.errors import FormatError
from registry.formats.containers import MAGIC_BYTES, find_container
from registry.formats.gguf import PREFIX_BYTES, summarise_gguf
from registry.formats.safetensors import LENGTH_BYTES

if TYPE_CHECKING:
    from registry.artifacts.scalars import ReadAt

# A1111 embeddings are pickles that name these; found without unpickling, near the start.
_EMBEDDING_MARKS = (b"string_to_param", b"string_to_token")
_PICKLES = ("pickle", "zip")


def _refuse(kind: str | None, code: str, error: FormatError) -> Classification:
    hint = f" ({error.hint})" if error.hint else ""
    refusal = Refusal(code, "", f"{error}{hint}")
    return Classification(kind, 0, refusals=(refusal,))


def classify_other_container(
    prefix: bytes, file_size: int, read_at: ReadAt, error: FormatError
) -> Classification:
    """Return what a file is that is no safetensors or a broken one; `error` is what the parser said.

    GGUF is a kind of its own; pickles and everything else are refused, with what they are.
    """
    container = find_container(prefix[:MAGIC_BYTES])
    if container is None or prefix[LENGTH_BYTES : LENGTH_BYTES + 1] == b"{":
        return _refuse(None, "broken", error)
    start = _read_start(prefix, file_size, read_at)
    if container.name == "gguf":
        return _inspect_gguf(start)
    is_embedding = container.name in _PICKLES and any(mark in start for mark in _EMBEDDING_MARKS)
    return _refuse(TEXTUAL_INVERSION_PICKLE if is_embedding else None, container.name, error)


def _read_start(prefix: bytes, file_size: int, read_at: ReadAt) -> bytes:
    wanted = min(file_size, PREFIX_BYTES)
    if len(prefix) >= wanted:
        return prefix[:wanted]
    try:
        return prefix + read_at(len(prefix), wanted - len(prefix))
    except FormatError:
        return prefix


def _inspect_gguf(start: bytes) -> Classification:
    try:
        summary = summarise_gguf(start)
    except FormatError as error:
        return _refuse(None, "broken", error)
    kind = GGUF_ADAPTER if summary.general_type == ADAPTER else GGUF_MODEL
    note = "GGUF is kept as it is; its tensors were not looked at"
    claim = Claim("kind", ClaimStatus.UNVERIFIED, "general.type", note)
    return Classification(kind, summary.tensors, claims=(claim,))
