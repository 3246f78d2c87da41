"""A watched file is never touched: not written, locked, linked or changed in any property but its atime.

ai-toolkit decides by ctime which checkpoints to delete (facts/formats.md section 0), and a trainer must be
able to write whenever it likes.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.artifacts.taking import peft_folder
from tests.weights_files import lora_bytes, write_lora

CHECKOUT = Path(__file__).resolve().parents[2]
OWN_MOUNTS = ["unshare", "-Urm"]
TAKEN = ["a.safetensors", "hard.safetensors", "old.safetensors", "run"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "out"
    write_lora(root / "a.safetensors").chmod(0o600)
    os.link(write_lora(tmp_path / "elsewhere", 4), root / "hard.safetensors")
    os.utime(write_lora(root / "old.safetensors", 5), (1, 1))
    peft_folder(root / "run")
    (root / "link.safetensors").symlink_to("a.safetensors")
    (root / "broken.safetensors").write_bytes(lora_bytes()[:-1])
    (root / "note.txt").write_text("of the trainer")
    with contextlib.suppress(OSError, AttributeError):
        os.setxattr(root / "a.safetensors", "user.trainer", b"1")
    return root


def everything(root: Path) -> dict[str, tuple[object, ...]]:
    """Return all that can be known of each file and folder without reading it."""
    found = {}
    for path in sorted([root, *root.rglob("*")]):
        status = path.lstat()
        names = os.listxattr(path, follow_symlinks=False) if hasattr(os, "listxattr") else []
        attributes = [(name, os.getxattr(path, name, follow_symlinks=False)) for name in names]
        found[str(path)] = (
            *(status.st_mode, status.st_uid, status.st_gid, status.st_size, status.st_nlink),
            *(status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_blocks),
            *attributes,
        )
    return found


def watched_and_taken(root: Path, vault: Path, *extra: str) -> dict[str, list[object]]:
    prefix = OWN_MOUNTS if extra else []
    module = [sys.executable, "-m", "tests.daemon.untouched_process"]
    command = [*prefix, *module, str(root), str(vault), *extra]
    done = subprocess.run(
        command, cwd=CHECKOUT, check=True, capture_output=True, text=True, timeout=120
    )
    answer = json.loads(done.stdout)
    assert isinstance(answer, dict)
    return answer


@pytest.fixture
def closed_to_writing(root: Path) -> Iterator[Path]:
    folders = [root, *(path for path in root.rglob("*") if path.is_dir())]
    modes = {path: path.stat().st_mode for path in folders}
    for path in folders:
        path.chmod(0o500)
    yield root
    for path, mode in modes.items():
        path.chmod(mode)


def test_watch_and_intake_change_no_property_of_any_file(root: Path, tmp_path: Path) -> None:
    before = everything(root)
    answer = watched_and_taken(root, tmp_path / "vault")
    assert everything(root) == before
    assert answer["taken"] == TAKEN
    assert sorted(name for name, _ in answer["refused"]) == [  # type: ignore[misc]
        "broken.safetensors",
        "link.safetensors",
    ]


def test_files_are_opened_for_reading_only(root: Path, tmp_path: Path) -> None:
    assert watched_and_taken(root, tmp_path / "vault")["changes"] == []


def test_no_lock_or_lease_is_left_and_a_writer_need_not_wait(root: Path, tmp_path: Path) -> None:
    watched_and_taken(root, tmp_path / "vault")
    inodes = {str(path.stat().st_ino) for path in root.rglob("*") if path.is_file()}
    if (locks := Path("/proc/locks")).exists():
        held = (line.split() for line in locks.read_text().splitlines())
        assert not {part.rpartition(":")[2] for line in held for part in line} & inodes
    for path in root.glob("*.safetensors"):
        # Where a lease is held, this fails at once with EWOULDBLOCK.
        os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC))


def test_folders_that_cannot_be_written_are_taken_in_all_the_same(
    closed_to_writing: Path, tmp_path: Path
) -> None:
    assert watched_and_taken(closed_to_writing, tmp_path / "vault")["taken"] == TAKEN


def test_tree_that_is_mounted_read_only_is_taken_in_all_the_same(
    root: Path, tmp_path: Path
) -> None:
    check = [*OWN_MOUNTS, "sh", "-c", f"mount --bind {tmp_path} {tmp_path}"]
    if shutil.which("unshare") is None or subprocess.run(check, check=False).returncode:
        pytest.skip("no mounts of one's own here")
    assert watched_and_taken(root, tmp_path / "vault", "readonly")["taken"] == TAKEN
