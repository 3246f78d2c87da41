"""The names that others give to a file's digests (facts/formats.md section 3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from registry.artifacts.claims import EMPTY_SHA256

if TYPE_CHECKING:
    from collections.abc import Iterator

    from registry.artifacts.digesting import FileDigests

# Second names of values that stand under a first one: sha256 and autov3.
ALIASES = ("hf_lfs_oid", "sshs_model_hash")


def civitai_crc32(value: int) -> str:
    """Return a zlib CRC-32 as Civitai prints it: from its bytes in little-endian order, lower-case."""
    return value.to_bytes(4, "little").hex()


def known_hashes(digests: FileDigests) -> Iterator[tuple[str, str]]:
    """Yield (algorithm, value) for every name under which others may ask for this file.

    Full length where there is one: AutoV2 and the short AutoV3 are the first digits of sha256 and autov3.
    """
    yield "sha256", digests.sha256
    yield "hf_lfs_oid", digests.sha256
    if digests.git_blob is not None:
        yield "hf_git_blob", digests.git_blob
    yield "blake3", digests.blake3
    yield "crc32", civitai_crc32(digests.crc32)
    if not EMPTY_SHA256.startswith(digests.autov1):
        yield "autov1", digests.autov1
    if digests.weights is not None:
        yield "autov3", digests.weights.body_sha256
        yield "sshs_model_hash", digests.weights.body_sha256
        legacy = digests.weights.sshs_legacy
        if legacy is not None and not EMPTY_SHA256.startswith(legacy):
            yield "sshs_legacy", legacy
