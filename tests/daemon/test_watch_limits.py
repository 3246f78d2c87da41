"""When the system gives no events, or not all: the folder is polled, nothing is lost, and it is said why.

Limits are real: a process in a user namespace of its own has its own ones (`unshare -Ur`).
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest
from watchdog.observers.inotify_c import InotifyFD

from daemon.inotify import (
    INSTANCES,
    QUEUE,
    WATCHES,
    budgets_for,
    count_folders,
    explain,
    explain_overflow,
    read_limit,
    unheard,
)
from daemon.observing import LOOKS_UNTIL_RETRY, Ears
from tests.weights_files import lora_bytes, write_lora

CHECKOUT = Path(__file__).resolve().parents[2]
FLOOD_FILES = 20_000
ROOT_ONLY = ["unshare", "-Ur"]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux")


def watching(*arguments: object, prefix: list[str] | None = None) -> subprocess.Popen[str]:
    module = [sys.executable, "-m", "tests.daemon.watching_process"]
    return subprocess.Popen(
        [*(prefix or []), *module, *map(str, arguments)],
        cwd=CHECKOUT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def told(process: subprocess.Popen[str]) -> dict[str, object]:
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    answer = json.loads(out.splitlines()[-1])
    assert isinstance(answer, dict)
    return answer


def needs_namespaces() -> None:
    check = "test -w /proc/sys/user/max_inotify_watches"
    command = [*ROOT_ONLY, "sh", "-c", check]
    if shutil.which("unshare") is None or subprocess.run(command, check=False).returncode:
        pytest.skip("no user namespaces with limits of their own here")


@pytest.mark.parametrize(
    ("sysctl", "value", "says"),
    [
        ("user/max_inotify_instances", 0, "user.max_inotify_instances is 0"),
        ("user/max_inotify_watches", 0, "user.max_inotify_watches is 0"),
        # The folder itself and some below it are watched; watchdog is silent about the others.
        ("user/max_inotify_watches", 4, "user.max_inotify_watches is 4"),
    ],
)
def test_without_inotify_left_all_is_found_by_polling_and_the_sysctl_is_named(
    tmp_path: Path, sysctl: str, value: int, says: str
) -> None:
    needs_namespaces()
    names = [f"run{number}/deep/a.safetensors" for number in range(6)]
    for name in names:
        write_lora(tmp_path / name)
    answer = told(
        watching(f"{sysctl}={value}", "run", tmp_path, len(names), "polled", prefix=ROOT_ONLY)
    )
    assert answer["found"] == len(names)
    assert says in str(answer["polled"])
    assert "sudo sysctl user.max_inotify_" in str(answer["polled"])
    assert any(says in words for words in answer["log"])  # type: ignore[attr-defined]
    assert str(tmp_path) not in str(answer["log"])


def test_flood_while_the_reader_stands_still_loses_nothing(tmp_path: Path) -> None:
    limit = read_limit(QUEUE)
    if limit is None or limit.value > 2 * FLOOD_FILES:
        pytest.skip("the queue of this system is too long to overflow")
    # Watched before it stands still: what happens in a folder that nobody watches yet fills no queue.
    for folder in range(20):
        (tmp_path / f"run{folder}").mkdir()
    process = watching("run", tmp_path, FLOOD_FILES, "lost")
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    os.kill(process.pid, signal.SIGSTOP)
    try:
        data = lora_bytes(1)
        for number in range(FLOOD_FILES):
            path = tmp_path / f"run{number % 20}" / f"a{number}.safetensors"
            path.write_bytes(data)
    finally:
        os.kill(process.pid, signal.SIGCONT)
    answer = told(process)
    assert answer["found"] == FLOOD_FILES
    lost = f"events were lost, so everything is looked at: more than {limit.value} events"
    assert any(words.startswith(lost) for words in answer["log"])  # type: ignore[attr-defined]
    assert str(tmp_path) not in str(answer["log"])


class Heard:
    """Ears at a folder, and how often they called."""

    def __init__(self, root: Path) -> None:
        self.calls = 0
        self.ears = Ears(root, self._call)

    def _call(self) -> None:
        self.calls += 1


def test_thread_that_ended_is_noticed_and_hearing_is_tried_anew(tmp_path: Path) -> None:
    ears = Heard(tmp_path).ears
    ears.open()
    ears.after_look(found_new=False)
    assert ears.polled == ""
    reader = ears._observer.reader  # type: ignore[union-attr]
    reader.stop()
    reader.join()
    ears.after_look(found_new=False)
    assert "has ended" in ears.polled
    assert ears.is_spent
    ears.close()


def test_polling_ends_after_many_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_on_overflow: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr("daemon.observing._observer", refuse)
    ears = Heard(tmp_path).ears
    ears.open()
    assert ears.polled == "function not implemented"
    for _ in range(LOOKS_UNTIL_RETRY - 1):
        ears.after_look(found_new=True)
    assert not ears.is_spent
    ears.after_look(found_new=False)
    assert ears.is_spent
    ears.close()


def own_instances() -> int:
    """Count this process' own: those of the whole user change while other tests run."""
    count = 0
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - names, and one of them is gone by then
        with contextlib.suppress(FileNotFoundError):
            count += os.readlink(f"/proc/self/fd/{name}") == "anon_inode:inotify"  # noqa: PTH115
    return count


def test_start_that_fails_keeps_no_instance(tmp_path: Path) -> None:
    before = own_instances()
    for _ in range(3):
        ears = Heard(tmp_path / "none").ears
        ears.open()
        assert ears.polled == "no such file or directory"
        ears.close()
    # Its reader closes an instance, in a thread of its own and as the last thing that it does.
    for thread in threading.enumerate():
        if isinstance(thread, InotifyFD):
            thread.join(60)
    assert own_instances() == before


def test_overflow_is_a_hint_and_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    heard = Heard(tmp_path)
    heard.ears.open()
    with caplog.at_level(logging.WARNING):
        heard.ears._on_overflow()
        heard.ears.after_look(found_new=True)
    heard.ears.close()
    assert heard.calls == 1
    assert heard.ears.polled == ""
    assert "events were lost" in caplog.text


def test_what_a_look_finds_just_before_its_event_makes_nobody_poll(tmp_path: Path) -> None:
    ears = Heard(tmp_path).ears
    ears.open()
    ears.after_look(found_new=True)
    assert ears.is_uncertain
    ears._on_overflow()
    ears.after_look(found_new=False)
    assert (ears.polled, ears.is_uncertain) == ("", False)
    ears.close()


def test_folder_that_is_not_watched_is_told_from_the_watched_ones(tmp_path: Path) -> None:
    for name in ("a/b", "c", "logs/deep"):
        (tmp_path / name).mkdir(parents=True)
    ears = Heard(tmp_path).ears
    everything = {tmp_path, *(tmp_path / name for name in ("a", "a/b", "c"))}
    assert unheard(tmp_path, lambda name: name != "logs") == everything
    ears.open()
    assert unheard(tmp_path, lambda name: True) == frozenset()
    ears.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as somebody else")
def test_folders_that_may_not_be_entered_are_no_gap_and_nobody_warns() -> None:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        root.chmod(0o755)
        for each in ("one", "two", "open"):
            (root / each).mkdir(mode=0o755 if each == "open" else 0o700)
        os.seteuid(65534)
        try:
            ears = Heard(root).ears
            ears.open()
            for _ in range(3):
                ears.after_look(found_new=False)
            assert ears.polled == ""
            ears.close()
        finally:
            os.seteuid(0)


def test_limits_are_read_and_the_smaller_binds(tmp_path: Path) -> None:
    outer, inner = tmp_path / "sys" / "fs" / "inotify", tmp_path / "sys" / "user"
    assert read_limit(WATCHES, proc=tmp_path) is None
    for folder in (outer, inner):
        folder.mkdir(parents=True)
    (outer / "max_user_watches").write_text("8192\n")
    (inner / "max_inotify_watches").write_text("100\n")
    (outer / "max_user_instances").write_text("many\n")
    limit = read_limit(WATCHES, proc=tmp_path)
    assert limit is not None
    assert (limit.sysctl, limit.value) == ("user.max_inotify_watches", 100)
    assert limit.command(3) == "sudo sysctl user.max_inotify_watches=524288"
    assert limit.command(400_000) == "sudo sysctl user.max_inotify_watches=800000"
    assert read_limit(INSTANCES, proc=tmp_path) is None
    assert explain_overflow(proc=tmp_path) == "more events came at once than the system keeps"
    assert budgets_for([tmp_path], running=False, proc=tmp_path)[0].is_short is False


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (errno.EMFILE, "fs.inotify.max_user_instances is 128"),
        (errno.ENOSPC, "fs.inotify.max_user_watches is 8192"),
        (errno.EACCES, ""),
    ],
)
def test_error_of_the_system_names_its_limit(tmp_path: Path, number: int, says: str) -> None:
    folder = tmp_path / "sys" / "fs" / "inotify"
    folder.mkdir(parents=True)
    (folder / "max_user_watches").write_text("8192\n")
    (folder / "max_user_instances").write_text("128\n")
    words = explain(OSError(number, "no"), tmp_path, proc=tmp_path)
    assert words.count(says) >= 1
    assert bool(words) == bool(says)
    assert count_folders(tmp_path) == 4


def test_error_that_means_open_files_is_told_from_the_limit_of_inotify(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(os, "open", refuse)
    assert "LimitNOFILE" in explain(OSError(errno.EMFILE, "no"), tmp_path)
