"""Sealing a path: nothing half-written, nothing followed, nothing replaced by mistake."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import tarfile
from pathlib import Path

import pytest
from blake3 import blake3

from registry.artifacts import seal_path as module
from registry.artifacts.seal_path import seal_path
from registry.errors import BusyError, FormatError, LorasealError, NotFoundError, UsageError
from registry.sealing.identities import X25519Identity
from registry.sealing.seal import open_bytes, read_header

ME = X25519Identity.generate()
TO_ME = (ME.recipient(),)
DATA = bytes(range(256)) * 3000


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    path = tmp_path / "adapter.safetensors"
    path.write_bytes(DATA)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "adapter"
    (root / "sub").mkdir(parents=True)
    (root / "adapter_model.safetensors").write_bytes(DATA)
    (root / "adapter_config.json").write_bytes(b"{}")
    (root / "sub" / "ünï.txt").write_bytes(b"x")
    return root


def test_full_disk_leaves_nothing_and_keeps_the_old_file(
    plain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = plain.with_suffix(".age")
    output.write_bytes(b"old")

    def full(*_arguments: object, **_named: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "seal", full)
    with pytest.raises(LorasealError, match="no space left") as caught:
        seal_path(plain, output, TO_ME)
    assert caught.value.hint
    assert output.read_bytes() == b"old"
    assert sorted(path.name for path in plain.parent.iterdir()) == [output.name, plain.name]


def test_file_that_is_still_written_is_refused(plain: Path) -> None:
    output = plain.with_suffix(".age")
    with plain.open("ab"), pytest.raises(BusyError):
        seal_path(plain, output, TO_ME)
    assert not output.exists()


def test_missing_source_and_missing_folder_of_the_output_are_refused(
    plain: Path, tmp_path: Path
) -> None:
    with pytest.raises(NotFoundError):
        seal_path(tmp_path / "nothing", tmp_path / "o.age", TO_ME)
    with pytest.raises(LorasealError, match="cannot write"):
        seal_path(plain, tmp_path / "no" / "o.age", TO_ME)


def test_output_that_would_replace_the_source_is_refused(plain: Path, folder: Path) -> None:
    for source, output in (
        (plain, plain),
        (plain, folder),
        (folder, folder / "sub" / "o.age"),
        (plain, plain.parent / "adapter" / ".." / plain.name),
    ):
        with pytest.raises(UsageError):
            seal_path(source, output, TO_ME)
    assert plain.read_bytes() == DATA


def test_link_and_pipe_in_a_folder_are_refused(folder: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    link = folder / "z"
    for make in (lambda: link.symlink_to(secret), lambda: link.symlink_to(tmp_path)):
        make()
        with pytest.raises(FormatError, match="link"):
            seal_path(folder, tmp_path / "o.age", TO_ME)
        link.unlink()
    os.mkfifo(link)
    with pytest.raises(FormatError, match="pipe"):
        seal_path(folder, tmp_path / "o.age", TO_ME)
    assert not (tmp_path / "o.age").exists()


def test_empty_and_overfull_folder_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "adapter"
    root.mkdir()
    with pytest.raises(NotFoundError):
        seal_path(root, tmp_path / "o.age", TO_ME)
    monkeypatch.setattr(module, "MANIFEST_ENTRIES", 1)
    (root / "a").touch()
    (root / "b").touch()
    with pytest.raises(FormatError, match="more than 1"):
        seal_path(root, tmp_path / "o.age", TO_ME)


@pytest.mark.parametrize("armor", [False, True])
def test_digests_are_of_what_went_in_and_came_out(plain: Path, armor: bool) -> None:
    output = plain.with_suffix(".age")
    sealed = seal_path(plain, output, TO_ME, armor=armor)
    written = output.read_bytes()
    (file,) = sealed.files
    assert (file.path, file.size) == (plain.name, len(DATA))
    assert file.sha256 == hashlib.sha256(DATA).hexdigest()
    assert sealed.sealed_bytes == len(written)
    assert open_bytes(written, [ME], max_bytes=10**7) == DATA
    if not armor:
        payload = written[len(read_header(io.BytesIO(written))[1]) :]
        assert sealed.payload == f"blake3:{blake3(payload).hexdigest()}"


def test_folder_becomes_a_tar_of_its_files(folder: Path, tmp_path: Path) -> None:
    sealed = seal_path(folder, tmp_path / "o.age", TO_ME)
    tar = open_bytes((tmp_path / "o.age").read_bytes(), [ME], max_bytes=10**7)
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        names = archive.getnames()
        archive.extractall(tmp_path / "out", filter="data")
    assert names == ["adapter_config.json", "adapter_model.safetensors", "sub/ünï.txt"]
    assert [file.path for file in sealed.files] == names
    assert sealed.form == "tar"
    for file in sealed.files:
        content = (tmp_path / "out" / file.path).read_bytes()
        assert hashlib.sha256(content).hexdigest() == file.sha256


def test_old_output_is_replaced_only_by_a_whole_one(plain: Path) -> None:
    output = plain.with_suffix(".age")
    output.write_bytes(b"old")
    seal_path(plain, output, TO_ME)
    assert open_bytes(output.read_bytes(), [ME], max_bytes=10**7) == DATA


def test_ciphertext_is_no_secret_but_no_one_else_may_write_it(plain: Path) -> None:
    old = os.umask(0o022)
    try:
        seal_path(plain, plain.with_suffix(".age"), TO_ME)
    finally:
        os.umask(old)
    assert plain.with_suffix(".age").stat().st_mode & 0o777 == 0o644
