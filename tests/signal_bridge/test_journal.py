"""The journal: what was appended is there after a kill, torn lines are not, damage is refused."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.errors import FormatError
from signal_bridge.channel import Address
from signal_bridge.journal import Journal


@pytest.mark.parametrize(
    "damage",
    [b"not json\n", b"[]\n", b"{}\n", b'{"kind":1}\n', b'{"kind":"x","a":[1]}\n', b"\xff\n", b"\n"],
)
def test_damaged_line_is_refused(tmp_path: Path, damage: bytes) -> None:
    Journal(tmp_path).append("one", a=1)
    with (tmp_path / "journal.jsonl").open("ab") as file:
        file.write(damage)
    with pytest.raises(FormatError, match="line 2"):
        Journal(tmp_path).entries()


def test_journal_that_shrank_is_refused(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append("one")
    os.truncate(tmp_path / "journal.jsonl", 0)
    with pytest.raises(FormatError, match="fewer"):
        journal.entries()


def test_journal_without_its_tag_key_is_refused(tmp_path: Path) -> None:
    Journal(tmp_path).append("one")
    (tmp_path / "tag.key").unlink()
    with pytest.raises(FormatError, match="tag key"):
        Journal(tmp_path)


def test_line_that_is_too_long_is_a_bug_and_not_written(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    with pytest.raises(ValueError, match="bytes"):
        journal.append("big", data="x" * 200_000)
    assert journal.entries() == ()


def test_full_disk_leaves_the_journal_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path)
    journal.append("one")

    def full(_descriptor: int) -> None:
        raise OSError(28, os.strerror(28))

    with monkeypatch.context() as patched:
        patched.setattr("signal_bridge.journal.os.fsync", full)
        with pytest.raises(OSError, match="space"):
            journal.append("two")
    journal.append("three")
    assert [e.kind for e in Journal(tmp_path).entries()] == ["one", "three"]


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 60))
def test_torn_last_line_never_counted(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    folder = tmp_path_factory.mktemp("journal")
    journal = Journal(folder)
    journal.append("one", a=1)
    journal.append("two", text="x" * 60)
    path = folder / "journal.jsonl"
    os.truncate(path, path.stat().st_size - cut)
    again = Journal(folder)
    assert [e.kind for e in again.entries()] == ["one"]
    again.append("three")
    assert [(e.seq, e.kind) for e in Journal(folder).entries()] == [(1, "one"), (2, "three")]


def test_two_openers_see_each_other(tmp_path: Path) -> None:
    one, two = Journal(tmp_path), Journal(tmp_path)
    one.append("a")
    two.append("b")
    one.append("c")
    assert [e.kind for e in one.entries()] == [e.kind for e in two.entries()] == ["a", "b", "c"]
    assert [e.kind for e in one.entries(after=2)] == ["c"]


def test_threads_lose_no_line(tmp_path: Path) -> None:
    journals = [Journal(tmp_path), Journal(tmp_path)]

    def write(number: int) -> None:
        for _ in range(10):
            journals[number % 2].append("n", by=number)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [e.seq for e in Journal(tmp_path).entries()] == list(range(1, 41))


def test_tags_tell_addresses_apart_and_nothing_else(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "a")
    one, two = Address("signal", "x"), Address("signal", "y")
    assert journal.tag(one) == Journal(tmp_path / "a").tag(one)
    assert journal.tag(one) != journal.tag(two)
    assert journal.tag(one) != Journal(tmp_path / "b").tag(one)


def test_state_is_private(tmp_path: Path) -> None:
    Journal(tmp_path / "state").append("x")
    assert (tmp_path / "state").stat().st_mode & 0o077 == 0
    for path in (tmp_path / "state").iterdir():
        assert path.stat().st_mode & 0o077 == 0
