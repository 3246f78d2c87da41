"""Files that are no safetensors: told by their first bytes, never loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from registry.artifacts.classifying.classify import Classification, Refusal
from registry.artifacts.classifying.kinds import TEXTUAL_INVERSION_PICKLE
from registry.artifacts.gguf_adapters import classify_gguf
from registry.errors import FormatError
from registry.formats.containers import MAGIC_BYTES, find_container
from registry.formats.gguf import PREFIX_BYTES, parse_gguf
from registry.formats.safetensors import LENGTH_BYTES
from registry.limits import GGUF_HEADER_BYTES

if TYPE_CHECKING:
    from registry.artifacts.classifying.scalars import ReadAt

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
    start = _read_start(prefix, file_size, read_at, PREFIX_BYTES)
    if container.name == "gguf":
        return _inspect_gguf(start, file_size, read_at)
    is_embedding = container.name in _PICKLES and any(mark in start for mark in _EMBEDDING_MARKS)
    return _refuse(TEXTUAL_INVERSION_PICKLE if is_embedding else None, container.name, error)


def _read_start(prefix: bytes, file_size: int, read_at: ReadAt, most: int) -> bytes:
    wanted = min(file_size, most)
    if len(prefix) >= wanted:
        return prefix[:wanted]
    try:
        return prefix + read_at(len(prefix), wanted - len(prefix))
    except FormatError:
        return prefix


def _inspect_gguf(start: bytes, file_size: int, read_at: ReadAt) -> Classification:
    try:
        header = parse_gguf(start, file_size=file_size)
        if header.is_adapter and header.tensors is None:
            # Only now: a model's header is megabytes of words that nobody needs.
            start = _read_start(start, file_size, read_at, GGUF_HEADER_BYTES)
            header = parse_gguf(start, file_size=file_size)
    except FormatError as error:
        return _refuse(None, "broken", error)
    return classify_gguf(header)
