"""Reading beside a trainer that still writes: every way a file can move under us has its own words."""

from __future__ import annotations

import mmap
import os
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from registry.artifacts.reading import (
    Source,
    SourceBusyError,
    SourceChangedError,
    SourceRefusedError,
    SourceUnreadableError,
    SourceVanishedError,
    open_source,
)
from registry.errors import BusyError, FormatError, NotFoundError

NOBODY = 65534
linux = pytest.mark.skipif(sys.platform != "linux", reason="read leases are a Linux feature")


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(os.urandom(300_000))
    return path


@pytest.fixture
def other_user(tmp_path: Path) -> Iterator[Path]:
    """A folder that everybody may enter; where we are root, act as somebody else."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        secret = folder / "secret.safetensors"
        secret.write_bytes(b"x")
        secret.chmod(0o600 if os.geteuid() == 0 else 0o000)
        if os.geteuid() == 0:
            os.seteuid(NOBODY)
            yield secret
            os.seteuid(0)
        else:
            yield secret


def test_vanished_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceVanishedError, match="is not there"), open_source(tmp_path / "none"):
        pass
    assert issubclass(SourceVanishedError, NotFoundError)


def test_unreadable_file_names_mode_and_owner(other_user: Path) -> None:
    with pytest.raises(SourceUnreadableError, match="owner uid") as caught, open_source(other_user):
        pass
    assert f"uid {os.geteuid()}" in str(caught.value)
    assert "setfacl" in str(caught.value.hint)


def test_symlink_is_not_followed(tmp_path: Path, weights: Path) -> None:
    (tmp_path / "link").symlink_to(weights)
    with pytest.raises(SourceRefusedError, match="symbolic link"), open_source(tmp_path / "link"):
        pass


def test_symlinked_folder_below_the_root_is_not_entered(tmp_path: Path, weights: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "out").symlink_to(weights.parent)
    path = root / "out" / weights.name
    with pytest.raises(SourceRefusedError, match="symbolic link"), open_source(path, root=root):
        pass


def test_root_itself_may_be_a_link(tmp_path: Path, weights: Path) -> None:
    (tmp_path / "via").symlink_to(weights.parent)
    root = tmp_path / "via"
    with open_source(root / weights.name, root=root) as source:
        assert source.size == 300_000


@pytest.mark.parametrize("path", ["elsewhere/x", "root/../x"])
def test_path_outside_of_the_root_is_refused(tmp_path: Path, path: str) -> None:
    (tmp_path / "root").mkdir()
    with (
        pytest.raises(SourceRefusedError, match="outside"),
        open_source(tmp_path / path, root=tmp_path / "root"),
    ):
        pass


def test_pipe_socket_and_directory_are_refused_unopened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "directory").mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        for name in ("pipe", "socket", "directory"):
            with pytest.raises(SourceRefusedError, match=name), open_source(tmp_path / name):
                pass
    assert issubclass(SourceRefusedError, FormatError)


@pytest.mark.skipif(os.geteuid() != 0, reason="giving files away takes root")
def test_hard_link_to_a_file_of_another_user_is_refused(tmp_path: Path, weights: Path) -> None:
    os.chown(weights, NOBODY, -1)
    (tmp_path / "watched").mkdir()
    (tmp_path / "watched" / "theirs").hardlink_to(weights)
    with (
        pytest.raises(SourceRefusedError, match="hard link"),
        open_source(tmp_path / "watched" / "theirs"),
    ):
        pass


def test_own_hard_link_is_read(tmp_path: Path, weights: Path) -> None:
    (tmp_path / "copy").hardlink_to(weights)
    with open_source(tmp_path / "copy") as source:
        assert source.links == 2


def test_all_bytes_come_in_batches(weights: Path) -> None:
    with open_source(weights) as source:
        batches = list(source.batches(batch_bytes=65_536))
    assert b"".join(batches) == weights.read_bytes()
    assert max(map(len, batches)) == 65_536


def test_empty_file_has_no_batches(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    with open_source(tmp_path / "empty") as source:
        assert list(source.batches()) == []


# Without a lease a writer is not stopped; these tests write through a descriptor opened before.


@pytest.fixture
def unleased(monkeypatch: pytest.MonkeyPatch) -> None:
    """Behave as on a file system without leases."""
    monkeypatch.setattr("registry.artifacts.leases.take_read_lease", lambda _descriptor: False)


@pytest.mark.usefixtures("unleased")
def test_growing_file_is_busy(weights: Path) -> None:
    with open_source(weights) as source, weights.open("ab") as writer:
        batches = source.batches(batch_bytes=65_536)
        next(batches)
        writer.write(b"more")
        writer.flush()
        with pytest.raises(SourceChangedError, match="grew while it was read: 300000"):
            list(batches)
    assert issubclass(SourceChangedError, BusyError)


@pytest.mark.usefixtures("unleased")
def test_shrinking_file_is_busy(weights: Path) -> None:
    with open_source(weights) as source:
        batches = source.batches(batch_bytes=65_536)
        next(batches)
        os.truncate(weights, 70_000)
        with pytest.raises(SourceChangedError, match="shrank while it was read: 70000 of 300000"):
            list(batches)


@pytest.mark.usefixtures("unleased")
def test_rewrite_of_the_same_size_is_seen(weights: Path) -> None:
    with open_source(weights) as source:
        content = weights.read_bytes()
        with weights.open("r+b") as writer:
            writer.write(content[::-1])
        os.utime(weights, ns=(source.stamp.mtime_ns, source.stamp.mtime_ns))
        with pytest.raises(SourceChangedError, match="was changed while"):
            list(source.batches())


def test_file_swapped_by_rename_is_seen(tmp_path: Path, weights: Path) -> None:
    (tmp_path / "new").write_bytes(weights.read_bytes())
    with open_source(weights) as source:
        (tmp_path / "new").rename(weights)
        with pytest.raises(SourceChangedError, match="replaced or removed"):
            list(source.batches())


def test_file_removed_during_the_read_is_seen(weights: Path) -> None:
    with open_source(weights) as source:
        weights.unlink()
        with pytest.raises(SourceChangedError, match="replaced or removed"):
            list(source.batches())


@linux
def test_file_open_for_writing_is_busy(weights: Path) -> None:
    with (
        weights.open("r+b"),
        pytest.raises(SourceBusyError, match="still open for writing"),
        open_source(weights),
    ):
        pass


@linux
def test_mapping_that_can_write_is_busy(weights: Path) -> None:
    with weights.open("r+b") as writer:
        mapping = mmap.mmap(writer.fileno(), 4096)
    with (
        mapping,
        pytest.raises(SourceBusyError, match="still open for writing"),
        open_source(weights),
    ):
        pass


def read_without_end(source: Source) -> None:
    # A writer waits in open(2) until the lease is given up, so this ends when one comes.
    while True:
        source.read_at(0, 1)


@linux
def test_writer_that_comes_during_the_read_goes_on_at_once(weights: Path) -> None:
    with open_source(weights) as source:
        assert source.leased
        writer = threading.Thread(target=lambda: weights.open("r+b").close())
        writer.start()
        with pytest.raises(SourceBusyError, match="being opened for writing"):
            read_without_end(source)
        writer.join(timeout=30)
        assert not writer.is_alive()
        assert not source.leased
