"""Durable writes: all or nothing, and a disk that refuses says so."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from registry.durable import (
    atomic_write,
    ensure_directory,
    pending_file,
    remove_durably,
    temporary_beside,
    write_all,
)
from registry.errors import LorasealError

CHECKOUT = Path(__file__).resolve().parents[1]


@pytest.fixture
def small_files() -> object:
    """Let the system refuse files of more than 64 KiB."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (65536, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.usefixtures("small_files")
def test_refused_write_keeps_the_old_content_and_leaves_nothing(tmp_path: Path) -> None:
    target = tmp_path / "file"
    atomic_write(target, b"old")
    with pytest.raises(LorasealError, match="file too large") as caught:
        atomic_write(target, (bytes(40_000) for _ in range(3)))
    assert caught.value.hint is not None
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_full_disk_says_what_to_do_and_leaves_nothing(tmp_path: Path) -> None:
    # A real full disk: a tiny tmpfs in a mount namespace of its own.
    script = (
        "import sys; from pathlib import Path\n"
        "from registry.durable import atomic_write\n"
        "from registry.errors import LorasealError\n"
        "where = Path(sys.argv[1])\n"
        "try: atomic_write(where / 'x', bytes(2 << 20))\n"
        "except LorasealError as error: print(error, '|', error.hint, '|', list(where.iterdir()))\n"
    )
    mount = 'mount -t tmpfs -o size=1m none "$1" && shift 0 && exec "$2" -c "$3" "$1"'
    command = ["unshare", "-rm", "sh", "-c", mount, "sh", str(tmp_path), sys.executable, script]
    try:
        done = subprocess.run(command, capture_output=True, text=True, cwd=CHECKOUT, check=False)
    except FileNotFoundError:
        pytest.skip("needs unshare to make a full disk")
    if "mount" in done.stderr or "unshare" in done.stderr:
        pytest.skip("needs a mount namespace to make a full disk")
    message, hint, left = done.stdout.split(" | ")
    assert "no space left" in message
    assert "free space" in hint
    assert left.strip() == "[]"


def test_error_while_content_is_made_leaves_nothing(tmp_path: Path) -> None:
    def content() -> object:
        yield b"begin"
        raise KeyError("stop")

    with pytest.raises(KeyError):
        atomic_write(tmp_path / "file", content())  # type: ignore[arg-type] # object is an iterator
    assert list(tmp_path.iterdir()) == []


def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(LorasealError, match="no such file") as caught:
        atomic_write(tmp_path / "none" / "file", b"")
    assert "create that folder" in str(caught.value.hint)


def test_existing_name_is_never_opened_as_new(tmp_path: Path) -> None:
    (tmp_path / "taken").write_bytes(b"theirs")
    with pytest.raises(LorasealError, match="exists"), pending_file(tmp_path / "taken"):
        pass
    assert (tmp_path / "taken").read_bytes() == b"theirs"


def test_uncommitted_file_is_removed(tmp_path: Path) -> None:
    with pending_file(tmp_path / "new") as pending:
        write_all(pending.stream, b"abc")
        assert (tmp_path / "new").exists()
    assert list(tmp_path.iterdir()) == []


def test_committed_file_has_its_mode_and_content(tmp_path: Path) -> None:
    target = tmp_path / "file"
    atomic_write(target, [b"a", b"bc"], mode=0o640)
    assert target.read_bytes() == b"abc"
    assert target.stat().st_mode & 0o777 == 0o640 & ~_umask()


def test_temporary_name_is_hidden_beside_and_new_each_time(tmp_path: Path) -> None:
    first, second = (temporary_beside(tmp_path / "x.age") for _ in range(2))
    assert first.parent == tmp_path
    assert first.name.startswith(".x.age.")
    assert first != second


def test_directories_are_made_private(tmp_path: Path) -> None:
    ensure_directory(tmp_path / "a" / "b")
    ensure_directory(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700


def test_removal_says_whether_there_was_something(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    assert remove_durably(tmp_path / "file")
    assert not remove_durably(tmp_path / "file")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
