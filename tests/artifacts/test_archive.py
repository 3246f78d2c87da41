"""The deterministic tar: same files, same bytes, and other programs unpack it."""

from __future__ import annotations

import io
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.artifacts.archive import Member, tar_batches, tar_bytes
from registry.errors import FormatError


def member(path: str, data: bytes, size: int | None = None) -> Member:
    return Member(path, len(data) if size is None else size, lambda: [data])


def packed(*members: Member) -> bytes:
    return b"".join(tar_batches(members))


@pytest.mark.parametrize(
    "path", ["", "/abs", "../up", "a/../b", "a//b", "back\\slash", "new\nline"]
)
def test_unsafe_path_is_refused(path: str) -> None:
    with pytest.raises(FormatError):
        packed(member(path, b""))


def test_repeated_path_is_refused() -> None:
    with pytest.raises(FormatError, match="twice"):
        packed(member("a", b"1"), member("a", b"2"))


@pytest.mark.parametrize("size", [2, 4])
def test_content_of_another_length_is_refused(size: int) -> None:
    with pytest.raises(FormatError, match=f"expected {size}"):
        packed(member("a", b"abc", size))


def test_order_given_does_not_count_and_components_sort() -> None:
    names = ["a.txt", "a-b/z", "a/z"]
    forward = packed(*(member(name, name.encode()) for name in names))
    assert forward == packed(*(member(name, name.encode()) for name in reversed(names)))
    with tarfile.open(fileobj=io.BytesIO(forward)) as tar:
        assert tar.getnames() == ["a/z", "a-b/z", "a.txt"]


def test_nothing_of_this_machine_is_in_it() -> None:
    with tarfile.open(fileobj=io.BytesIO(packed(member("a", b"x")))) as tar:
        info = tar.getmember("a")
    assert (info.mtime, info.uid, info.gid, info.uname, info.gname) == (0, 0, 0, "", "")
    assert info.mode == 0o644


def test_content_is_read_only_when_its_turn_comes() -> None:
    read: list[str] = []

    def content(name: str) -> Callable[[], list[bytes]]:
        def give() -> list[bytes]:
            read.append(name)
            return [name.encode()]

        return give

    batches = tar_batches(Member(name, 1, content(name)) for name in "ba")
    next(batches)
    assert read == []
    list(batches)
    assert read == ["a", "b"]


def test_tar_program_unpacks_it(tmp_path: Path, oracle: Callable[[str], str]) -> None:
    long = "deep/" + "n" * 200 + "/ü.json"
    data = packed(member("adapter_model.safetensors", bytes(1000)), member(long, b"{}"))
    subprocess.run([oracle("tar"), "-x", "-C", str(tmp_path)], input=data, check=True)
    assert (tmp_path / "adapter_model.safetensors").read_bytes() == bytes(1000)
    assert (tmp_path / long).read_bytes() == b"{}"


names = st.text("abcü-_.", min_size=1, max_size=120).filter(lambda name: name.strip("."))


@settings(max_examples=50)
@given(files=st.dictionaries(names, st.binary(max_size=2000), min_size=1, max_size=6))
def test_python_reads_back_what_was_packed(files: dict[str, bytes]) -> None:
    data = packed(*(member(name, content) for name, content in files.items()))
    assert len(data) == tar_bytes((name, len(content)) for name, content in files.items())
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        found = {info.name: tar.extractfile(info) for info in tar}
        assert {name: opened.read() for name, opened in found.items() if opened} == files
