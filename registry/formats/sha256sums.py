"""SHA256SUMS of a manifest: what `sha256sum --check` reads, and what the SSH signature covers."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from registry.formats.manifest import Manifest


def sha256sums(manifest: Manifest) -> bytes:
    """Return one line `HEX, two spaces, path` for each file, in the manifest's order.

    Paths of a manifest hold no newline and no backslash, so none needs the escapes of coreutils.
    """
    return "".join(f"{entry.sha256}  {entry.path}\n" for entry in manifest.entries).encode("utf-8")
