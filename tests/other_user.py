"""A file that this process may not read, looked at by one that may not: a child, without root's rights."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
# As root another user is at hand; else it is the owner himself who may not read the file.
MODE = 0o600 if os.geteuid() == 0 else 0
_AS_NOBODY = """
import os, sys
from pathlib import Path
from registry.artifacts.inspection import inspect_path
from registry.artifacts.intake import IntakeSource, take_in
from registry.artifacts.reading import SourceUnreadableError
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
path = Path(sys.argv[1])
for look in (inspect_path, lambda path: take_in(IntakeSource.of_file(path), None, [], "ab" * 16)):
    try:
        look(path)
    except SourceUnreadableError as error:
        print(error, "|", error.hint)
"""


def looks_at(content: bytes) -> list[str]:
    """Return what inspection and intake say of an unreadable file: one line each, error and hint."""
    # Not below pytest's own folder: that is closed to other users.
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        path = Path(place) / "a.safetensors"
        path.write_bytes(content)
        path.chmod(MODE)
        done = subprocess.run(
            [sys.executable, "-c", _AS_NOBODY, str(path)],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        )
    return done.stdout.splitlines()
