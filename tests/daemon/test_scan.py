"""Scanning: a file is handed on when its own times and its own bytes say that it is done."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.mounts import file_system_of, is_silent
from daemon.scan import (
    NS_PER_SECOND,
    Intermediates,
    Readiness,
    Sighting,
    WatchRules,
    scan,
)
from tests.weights_files import lora_bytes, write_lora

RULES = WatchRules(settle_seconds=2, settle_set_seconds=10, broken_after_seconds=60)


def later(path: Path, seconds: float) -> int:
    """Return the moment `seconds` after the last change of `path`."""
    status = path.stat()
    return max(status.st_mtime_ns, status.st_ctime_ns) + int(seconds * NS_PER_SECOND)


def only(root: Path, now_ns: int, rules: WatchRules = RULES) -> Sighting:
    (sighting,) = scan(root, now_ns, rules)
    return sighting


def peft(root: Path) -> Path:
    write_lora(root / "adapter_model.safetensors")
    (root / "adapter_config.json").write_text("{}")
    return root / "adapter_config.json"


def test_fresh_file_settles_first(tmp_path: Path) -> None:
    path = write_lora(tmp_path / "a.safetensors")
    seen = only(tmp_path, later(path, 1.9))
    assert seen.readiness is Readiness.SETTLING
    assert seen.due_ns == later(path, 2)


def test_quiet_and_whole_file_is_ready(tmp_path: Path) -> None:
    path = write_lora(tmp_path / "a.safetensors")
    seen = only(tmp_path, later(path, 2))
    assert (seen.readiness, seen.reason) == (Readiness.READY, "")
    assert seen.candidate.path == path
    assert seen.candidate.files == (("a.safetensors", path),)


def test_time_set_to_the_past_does_not_hide_a_change(tmp_path: Path) -> None:
    path = write_lora(tmp_path / "a.safetensors")
    os.utime(path, (1, 1))
    assert only(tmp_path, later(path, 1)).readiness is Readiness.SETTLING


def test_time_set_to_the_future_does_not_starve_a_file(tmp_path: Path) -> None:
    path = write_lora(tmp_path / "a.safetensors")
    now_ns = later(path, 3)
    os.utime(path, ns=(now_ns, now_ns + 10**15))
    # Setting the time changed ctime, which is the system's own.
    assert only(tmp_path, path.stat().st_ctime_ns + 3 * NS_PER_SECOND).readiness is Readiness.READY


def test_clock_behind_the_files_says_so(tmp_path: Path) -> None:
    path = write_lora(tmp_path / "a.safetensors")
    seen = only(tmp_path, later(path, -5))
    assert seen.readiness is Readiness.SETTLING
    assert "future" in seen.reason


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (lora_bytes()[:-1], "cut off"),
        (bytes(len(lora_bytes())), "header length is 0"),
        (
            lora_bytes(8, width=512)[:20_000].ljust(len(lora_bytes(8, width=512)), b"\0"),
            "all zeroes",
        ),
        (b"", "empty"),
    ],
)
def test_unfinished_file_waits_and_is_handed_on_at_last(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    seen = only(tmp_path, later(path, 59))
    assert seen.readiness is Readiness.UNFINISHED
    assert reason in seen.reason
    assert seen.due_ns == later(path, 60)
    seen = only(tmp_path, later(path, 60))
    assert seen.readiness is Readiness.READY
    assert reason in seen.reason


def test_file_still_open_for_writing_is_unfinished(tmp_path: Path) -> None:
    path = write_lora(tmp_path / "a.safetensors")
    with path.open("r+b"):
        seen = only(tmp_path, later(path, 5))
    assert seen.readiness in (Readiness.UNFINISHED, Readiness.READY)
    if seen.readiness is Readiness.READY:
        pytest.skip("no read leases on this file system")
    assert "open for writing" in seen.reason


def test_peft_directory_waits_for_its_config(tmp_path: Path) -> None:
    path = write_lora(tmp_path / "adapter_model.safetensors")
    seen = only(tmp_path, later(path, 20))
    assert seen.readiness is Readiness.UNFINISHED
    assert "adapter_config.json" in seen.reason


def test_peft_directory_settles_as_a_whole(tmp_path: Path) -> None:
    config = peft(tmp_path)
    assert only(tmp_path, later(config, 9)).readiness is Readiness.SETTLING
    seen = only(tmp_path, later(config, 10))
    assert seen.readiness is Readiness.READY
    assert [name for name, _ in seen.candidate.files] == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    assert seen.candidate.path == tmp_path
    assert seen.candidate.layout == "peft"


def test_intermediate_is_passed_over_unless_asked_for(tmp_path: Path) -> None:
    path = write_lora(tmp_path / "a-000004.safetensors")
    assert only(tmp_path, later(path, 5)).readiness is Readiness.PASSED_OVER
    every = WatchRules(intermediates=Intermediates.EVERY)
    assert only(tmp_path, later(path, 5), every).readiness is Readiness.READY


def test_links_to_folders_and_ignored_folders_are_not_looked_at(tmp_path: Path) -> None:
    root = tmp_path / "root"
    write_lora(root / "last-state" / "model.safetensors")
    write_lora(root / ".tmpAbCdEf")
    outside = write_lora(tmp_path / "outside" / "a.safetensors")
    (root / "folder").symlink_to(outside.parent)
    os.mkfifo(root / "pipe.safetensors")
    assert scan(root, later(outside, 100), RULES) == ()


def test_link_named_as_weights_is_handed_on_to_be_refused_aloud(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    link = root / "link.safetensors"
    link.symlink_to(write_lora(tmp_path / "a.safetensors"))
    settled_ns = link.lstat().st_ctime_ns + 2 * NS_PER_SECOND
    assert only(root, settled_ns - 1).readiness is Readiness.SETTLING
    seen = only(root, settled_ns)
    assert (seen.readiness, seen.candidate.path) == (Readiness.READY, link)


def test_folders_deeper_than_the_limit_are_not_entered(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*"123456789")
    path = write_lora(deep / "a.safetensors")
    assert scan(tmp_path, later(path, 100), RULES) == ()
    near = write_lora(deep.parent / "a.safetensors")
    assert only(tmp_path, later(near, 100)).candidate.path == near


def test_signature_follows_content_and_not_place(tmp_path: Path) -> None:
    path = write_lora(tmp_path / "one" / "a.safetensors")
    first = only(tmp_path, later(path, 5)).candidate.signature
    (tmp_path / "one").rename(tmp_path / "two")
    assert only(tmp_path, later(tmp_path / "two", 5)).candidate.signature == first
    path = write_lora(tmp_path / "two" / "a.safetensors", 4)
    assert only(tmp_path, later(path, 5)).candidate.signature != first


def test_known_state_is_left_out(tmp_path: Path) -> None:
    path = write_lora(tmp_path / "a.safetensors")
    seen = only(tmp_path, later(path, 5)).candidate
    assert scan(tmp_path, later(path, 5), RULES, known={(seen.path, seen.signature)}) == ()


def test_name_that_is_not_unicode_is_seen(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"bad\xff.safetensors")
    path.write_bytes(lora_bytes())
    assert only(tmp_path, later(path, 5)).candidate.path == path


def test_missing_root_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        scan(tmp_path / "none", 0, RULES)


@pytest.fixture
def unreadable() -> Iterator[Path]:
    """A file that this process may not read; where we are root, act as somebody else."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        path = write_lora(folder / "a.safetensors")
        path.chmod(0o600 if os.geteuid() == 0 else 0o000)
        if os.geteuid() == 0:
            os.seteuid(65534)
            yield path
            os.seteuid(0)
        else:
            yield path


def test_unreadable_file_is_handed_on_to_be_refused_aloud(unreadable: Path) -> None:
    assert only(unreadable.parent, later(unreadable, 5)).readiness is Readiness.READY


TABLE = """\
21 1 252:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw
30 21 0:26 / /mnt/share rw - cifs //server/out rw
31 21 0:27 / /mnt/with\\040blank rw shared:2 master:1 - fuse.sshfs host:/out rw
32 30 0:28 / /mnt/share rw - nfs4 host:/out rw
broken line
"""


@pytest.mark.parametrize(
    ("path", "kind", "silent"),
    [
        ("/home/out", "ext4", False),
        ("/mnt/shared", "ext4", False),
        ("/mnt/share/out", "nfs4", True),
        ("/mnt/with blank/out", "fuse.sshfs", True),
    ],
)
def test_file_system_is_that_of_the_nearest_mount(path: str, kind: str, silent: bool) -> None:
    found = file_system_of(Path(path), TABLE)
    assert (found, is_silent(found)) == (kind, silent)


def test_unknown_file_system_is_taken_for_silent() -> None:
    assert is_silent(file_system_of(Path("/x"), ""))
