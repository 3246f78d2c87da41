"""Sealed memory: content arrives whole, and nobody changes it afterwards."""

from __future__ import annotations

import mmap
import os

import pytest

from registry.audits.sealed_memory import map_memory, seal_memory


def test_sealed_memory_can_be_neither_written_nor_resized():
    descriptor = seal_memory([b"abc", memoryview(b"def")])
    with pytest.raises(PermissionError):
        os.pwrite(descriptor, b"x", 0)
    with pytest.raises(PermissionError):
        os.ftruncate(descriptor, 1)
    with pytest.raises(PermissionError):
        mmap.mmap(descriptor, 6, access=mmap.ACCESS_WRITE)
    os.close(descriptor)


def test_content_arrives_whole_whatever_the_batches():
    descriptor = seal_memory([bytes([n]) * 70_000 for n in range(9)])
    assert bytes(map_memory(descriptor)) == b"".join(bytes([n]) * 70_000 for n in range(9))
    os.close(descriptor)


@pytest.mark.parametrize("size", [0, 1, 4096, 100_001])
def test_an_ordinary_file_is_copied_and_stays_as_it_was_read(tmp_path, size):
    path = tmp_path / "file"
    path.write_bytes(b"a" * size)
    with path.open("rb") as file:
        view = map_memory(file.fileno())
    path.write_bytes(b"")
    assert bytes(view) == b"a" * size


def test_nothing_sealed_is_nothing():
    descriptor = seal_memory([])
    assert len(map_memory(descriptor)) == 0
    os.close(descriptor)


def test_a_failure_while_reading_leaves_no_descriptor_behind():
    def batches():
        yield b"abc"
        raise OSError("vanished")

    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names are numbers, no paths
    with pytest.raises(OSError, match="vanished"):
        seal_memory(batches())
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
