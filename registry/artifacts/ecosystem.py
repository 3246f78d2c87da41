"""The names that others give to a file's digests (facts/formats.md section 3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from registry.artifacts.digesting import FileDigests

# The sha256 of nothing: a trainer once wrote it into every file, and short windows yield it too.
EMPTY_SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def civitai_crc32(value: int) -> str:
    """Return a zlib CRC-32 as Civitai prints it: from its bytes in little-endian order, lower-case."""
    return value.to_bytes(4, "little").hex()


def known_hashes(digests: FileDigests) -> Iterator[tuple[str, str]]:
    """Yield (algorithm, value) for every name under which others may ask for this file.

    Full length where there is one: AutoV2 and the short AutoV3 are the first digits of sha256 and autov3.
    """
    yield "sha256", digests.sha256
    yield "blake3", digests.blake3
    yield "crc32", civitai_crc32(digests.crc32)
    if not EMPTY_SHA256.startswith(digests.autov1):
        yield "autov1", digests.autov1
    if digests.weights is not None:
        yield "autov3", digests.weights.body_sha256
        legacy = digests.weights.sshs_legacy
        if legacy is not None and not EMPTY_SHA256.startswith(legacy):
            yield "sshs_legacy", legacy
