"""Pages of codes as the ledger stores them: 256 to a page, one after another. Needs no numpy."""

from __future__ import annotations

CODE_BITS = 2048
CODE_BYTES = CODE_BITS // 8
PAGE_CODES = 256
PAGE_BYTES = PAGE_CODES * CODE_BYTES
VACANT = bytes(CODE_BYTES)


def place_code(page: bytes, row: int, code: bytes) -> bytes:
    """Return `page` with `code` in `row`; rows between its end and `row` are vacant.

    Raises:
        ValueError: no such row, or something that is no code.
    """
    if not 0 <= row < PAGE_CODES or len(code) != CODE_BYTES:
        raise ValueError(f"row {row} and a code of {len(code)} bytes do not fit a page")
    start = row * CODE_BYTES
    padded = page.ljust(start, b"\0")
    return padded[:start] + code + padded[start + CODE_BYTES :]
