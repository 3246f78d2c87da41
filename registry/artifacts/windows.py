"""Digests over a window of a file: two short forms that web UIs once used (facts/formats.md section 3).

Both take 64 KiB from 1 MiB on: AutoV1 of the file as it is; `sshs_legacy_hash` of the file as kohya would
have serialised it with only its `ss_` metadata, which has the same body behind another header.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from registry.formats.safetensors import METADATA_NAME, lay_out

if TYPE_CHECKING:
    from registry.formats.safetensors import SafetensorsHeader

WINDOW_START = 0x100000
WINDOW_BYTES = 0x10000
_SHORT_DIGITS = 8
_LENGTH_BYTES = 8
_PAD_BYTES = 8


class Window:
    """Keeps the digest of one range of a stream that passes by in order.

    The stream may end before or inside the range: what there is of it is digested, as web UIs do.
    """

    def __init__(self, start: int, size: int = WINDOW_BYTES) -> None:
        self._skip = start
        self._left = size
        self._hasher = hashlib.sha256()

    def update(self, batch: memoryview) -> None:
        """Take the next bytes of the stream."""
        if not self._left:
            return
        part = batch[self._skip : self._skip + self._left]
        self._skip = max(0, self._skip - len(batch))
        self._left -= len(part)
        self._hasher.update(part)

    def short(self) -> str:
        """Return the first 8 hex digits of the sha256 of the range, lower-case."""
        return self._hasher.hexdigest()[:_SHORT_DIGITS]


def legacy_window_start(header: SafetensorsHeader) -> int | None:
    """Return where in the body the window of `sshs_legacy_hash` begins.

    None where it cannot be known from this file: its tensors do not stand in the order of kohya's own
    serialisation, or that header alone is longer than 1 MiB.
    """
    if header.tensors != lay_out((item.name, item.dtype, item.shape) for item in header.tensors):
        return None
    start = WINDOW_START - _kohya_header_bytes(header)
    return start if start >= 0 else None


def stands_by_name(header: SafetensorsHeader) -> bool:
    """Return whether the tensors stand in the body in the order of their names.

    Then the sha256 of the body is OneTrainer's `modelspec.hash_sha256` too.
    """
    names = [item.name for item in header.tensors if item.end > item.start]
    return names == sorted(names)


def _kohya_header_bytes(header: SafetensorsHeader) -> int:
    # Compact JSON in UTF-8, padded with spaces to a multiple of 8; written also when nothing is left.
    kept = {key: text for key, text in header.metadata if key.startswith("ss_")}
    content: dict[str, object] = {METADATA_NAME: kept}
    for item in header.tensors:
        offsets = [item.start, item.end]
        shape = list(item.shape)
        content[item.name] = {"dtype": item.dtype, "shape": shape, "data_offsets": offsets}
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return _LENGTH_BYTES + -(-len(text.encode()) // _PAD_BYTES) * _PAD_BYTES
