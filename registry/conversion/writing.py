"""Tensors out as canonical safetensors: the same bytes for the same tensors, on every run."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from registry.conversion.gathering import row_major
from registry.conversion.refusals import SAVE_AGAIN, PickleRefusedError, Reason
from registry.errors import FormatError
from registry.formats.safetensors import dump_header, header_length, lay_out

if TYPE_CHECKING:
    from collections.abc import Sequence

    from registry.conversion.torch_file import NamedTensor

# What the official torch writer says of its files; nothing else of the source is worth a claim.
METADATA = (("format", "pt"),)


def write_safetensors(tensors: Sequence[NamedTensor], descriptor: int, *, most: int) -> int:
    """Write `tensors` to the open, empty file `descriptor` and return its size in bytes.

    Raises:
        PickleRefusedError: the file would be longer than `most` bytes, or no reader would take it.
    """
    by_name = {tensor.name: tensor for tensor in tensors}
    layout = lay_out((name, each.ref.dtype, each.ref.shape) for name, each in by_name.items())
    size = layout[-1].end
    if size > most:
        # Views can stretch one element over any shape.
        raise PickleRefusedError(
            Reason.LIMIT, f"its tensors take {size} bytes, more than {most}", hint=SAVE_AGAIN
        )
    header = _header(layout)
    if len(header) + size > most:
        raise PickleRefusedError(Reason.LIMIT, f"its header takes {len(header)} bytes")
    _write_all(descriptor, memoryview(header))
    for info in layout:
        _write_all(descriptor, row_major(by_name[info.name]))
    return len(header) + size


def _header(layout: Sequence[object]) -> bytes:
    try:
        header = dump_header(layout, METADATA)  # type: ignore[arg-type]
        header_length(header[:8], file_size=len(header))
    except (ValueError, FormatError) as error:
        raise PickleRefusedError(Reason.LIMIT, f"no safetensors header: {error}") from error
    return header


def _write_all(descriptor: int, content: memoryview) -> None:
    while content:
        content = content[os.write(descriptor, content) :]
