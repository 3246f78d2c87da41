"""A few bytes from all over a file's body: enough to see that nothing was written yet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from registry.errors import FormatError

if TYPE_CHECKING:
    from registry.artifacts.classifying.scalars import ReadAt
    from registry.formats.safetensors import SafetensorsHeader

_SAMPLES, _SAMPLE_BYTES = 8, 4096


def looks_unwritten(header: SafetensorsHeader, read_at: ReadAt) -> bool:
    """Return whether samples all over the body are zeroes, as in a file that was only reserved.

    False where there is no body, or where its bytes cannot be had.
    """
    step = max(header.body_bytes // _SAMPLES, 1)
    try:
        for start in range(0, header.body_bytes, step):
            size = min(_SAMPLE_BYTES, header.body_bytes - start)
            if read_at(header.header_bytes + start, size).strip(b"\0"):
                return False
    except FormatError:
        return False
    return header.body_bytes > 0
