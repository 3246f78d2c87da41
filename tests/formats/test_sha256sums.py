from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Callable
from pathlib import Path

from registry.formats.manifest import Manifest, ManifestEntry
from registry.formats.sha256sums import sha256sums


def test_lines_are_those_that_sha256sum_checks(
    tmp_path: Path, oracle: Callable[[str], str]
) -> None:
    files = {"adapter_model.safetensors": b"\x00" * 9, "a b/öl #1.json": b"{}", "a-b/x": b""}
    entries = []
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        entries.append(ManifestEntry(name, len(content), hashlib.sha256(content).hexdigest()))
    (tmp_path / "SHA256SUMS").write_bytes(sha256sums(Manifest.of(entries)))
    command = [oracle("sha256sum"), "--check", "--strict", "SHA256SUMS"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(b": OK") == len(files)
