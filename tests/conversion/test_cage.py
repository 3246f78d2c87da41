"""The cage against real children that hang, crash, swell, rave and try to get out."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from registry.artifacts.reading import SourceChangedError, open_source
from registry.audits.sealed_memory import is_fixed, seal_memory
from registry.conversion import cage, scanning
from registry.conversion.converting import convert
from registry.conversion.memory_source import MemorySource
from registry.conversion.refusals import PickleRefusedError, Reason
from registry.conversion.symbols import ORDERED_DICT
from registry.conversion.task import ConversionLimits
from registry.errors import LorasealError
from tests.conversion.building import torch_zip
from tests.conversion.evasions import EVASIONS
from tests.conversion.evasions_symbols import CANARY
from tests.conversion.layers import converted

pytest.importorskip("picklescan")

ROOT = Path(__file__).resolve().parents[2]
MIB = 1024 * 1024


@pytest.fixture
def evil(monkeypatch):
    """Put a child of `evil_children` in the place of the caged one."""

    def use(name: str) -> None:
        boot = cage._BOOT.replace("main(Job", f"{name}(Job").replace(
            "import Job, main", f"import Job\nfrom tests.conversion.evil_children import {name}"
        )
        assert name in boot
        monkeypatch.setattr(cage, "_BOOT", boot)

    return use


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "lora.pt"
    path.write_bytes(torch_zip())
    with open_source(path) as opened:
        yield opened


def _refused(source, limits: ConversionLimits | None = None) -> PickleRefusedError:
    with pytest.raises(PickleRefusedError) as caught, convert(source, limits):
        pass
    return caught.value


DEATHS = [
    ("sleeps_with_pipe_closed", {"wall_seconds": 2.0}, "too long"),
    ("crashes", {}, "signal 11"),
    ("spins", {"cpu_seconds": 1}, "CPU time"),
    ("spins", {"wall_seconds": 1.5}, "too long"),
    ("swells", {"work_bytes": 256 * MIB}, "status 1"),
    ("floods", {"spare_bytes": 4 * MIB}, "status 1"),
    ("babbles", {}, "said more than"),
    ("raves", {}, "nonsense"),
    ("fails_after_done", {}, "status 1"),
]


@pytest.mark.parametrize(("child", "limits", "words"), DEATHS)
def test_a_child_that_does_not_finish_is_a_refusal_with_its_reason(
    evil, source, child, limits, words
):
    evil(child)
    error = _refused(source, ConversionLimits(**limits))
    assert error.reason is Reason.DIED
    assert words in str(error)
    assert error.exit_code == 4


@pytest.mark.parametrize("child", ["boasts", "swaps"])
def test_a_child_that_says_one_thing_and_writes_another_is_not_believed(evil, source, child):
    evil(child)
    assert _refused(source).reason is Reason.MISMATCH


@pytest.mark.parametrize("child", ["sleeps", "exits"])
def test_what_dies_before_it_saw_the_file_is_no_refusal_of_the_file(evil, source, child):
    evil(child)
    with (
        pytest.raises(LorasealError) as caught,
        convert(source, ConversionLimits(wall_seconds=1.5)),
    ):
        pass
    if child == "exits":
        assert not isinstance(caught.value, PickleRefusedError)
        assert "did not start" in str(caught.value)


def test_no_way_out_is_open(evil, source):
    evil("tries")
    error = _refused(source)
    if "landlock" not in str(error.hint) or "seccomp" not in str(error.hint):
        pytest.skip(f"this kernel does not confine: {error.hint}")
    assert str(error) == "open: "


def test_a_conversion_in_the_cage_is_what_it_is_outside(source):
    with convert(source) as done:
        held = b"".join(map(bytes, done.content.batches()))
        assert held == converted(torch_zip())
        assert done.content.path.name == "lora.safetensors"
        assert done.facts.converted_bytes == len(held) == done.content.size
        assert done.facts.original_bytes == len(torch_zip())
        assert {name for name, _ in done.facts.confinement} >= {"network", "files"}
    with pytest.raises(OSError, match="Bad file descriptor"):
        done.content.read_at(0, 1)


def test_the_result_can_no_longer_be_changed(source):
    with convert(source) as done:
        assert is_fixed(done.content._descriptor)
        with pytest.raises(PermissionError):
            os.pwrite(done.content._descriptor, b"x", 0)


def test_an_attack_is_refused_in_the_cage_and_leaves_no_mark(tmp_path, monkeypatch):
    monkeypatch.setenv(CANARY, str(tmp_path / "canary"))
    for name in ("call-os.system", "op-inst", "zip-crc-wrong-evil", "legacy-call"):
        path = tmp_path / "evil.pt"
        path.write_bytes(EVASIONS[name])
        with open_source(path) as opened:
            assert _refused(opened).reason in (Reason.SCAN, Reason.CONTAINER)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["evil.pt"]


def test_a_pickle_beyond_the_limit_is_refused_unread(source):
    error = _refused(source, ConversionLimits(input_bytes=100))
    assert error.reason is Reason.LIMIT


def test_a_pickle_made_to_eat_memory_is_refused_for_it(tmp_path):
    path = tmp_path / "large.pt"
    path.write_bytes(torch_zip(b"\x80\x02(" + b"}" * 990_000 + b"t."))
    with open_source(path) as opened:
        error = _refused(opened, ConversionLimits(work_bytes=128 * MIB))
    assert error.reason is Reason.LIMIT
    assert "memory" in str(error)


def test_a_file_that_changes_meanwhile_is_no_refusal_of_its_content(source):
    source.path.unlink()
    with pytest.raises(SourceChangedError), convert(source):
        pass


def test_without_picklescan_there_is_no_conversion(source, monkeypatch):
    monkeypatch.setattr(scanning, "_PACKAGE", "picklescan_that_is_not_here")
    with pytest.raises(LorasealError, match="picklescan") as caught, convert(source):
        pass
    assert "loraseal[host]" in str(caught.value.hint)


def test_an_old_picklescan_is_not_asked(source, monkeypatch):
    monkeypatch.setattr(scanning.metadata, "version", lambda _name: "0.0.31")
    with pytest.raises(LorasealError, match=r"0\.0\.31"), convert(source):
        pass


def test_what_picklescan_did_not_see_is_not_taken_for_clean():
    # It calls clean what it cannot take apart, for lack of memory for one.
    with pytest.raises(PickleRefusedError) as caught:
        scanning.check_agreement(frozenset(), frozenset([ORDERED_DICT]))
    assert caught.value.reason is Reason.SCAN


def test_memory_that_can_still_be_changed_is_no_source():
    descriptor = os.memfd_create("open")
    with pytest.raises(ValueError, match="not sealed"):
        MemorySource("a.safetensors", descriptor)
    os.close(descriptor)


def test_no_descriptor_is_left_open(source):
    before = sorted(Path("/proc/self/fd").iterdir())
    with convert(source):
        pass
    with (
        pytest.raises(PickleRefusedError),
        convert(source, ConversionLimits(growth=0, spare_bytes=9)),
    ):
        pass
    assert sorted(Path("/proc/self/fd").iterdir()) == before


def test_a_parent_that_dies_takes_the_child_with_it(tmp_path):
    code = (
        "import os, sys\n"
        "from registry.audits.sealed_memory import open_memory, seal_memory\n"
        "from registry.conversion import cage\n"
        "from registry.conversion.task import ConversionLimits\n"
        "cage._BOOT = cage._BOOT.replace('main(Job', 'spins(Job').replace('import Job, main',"
        " 'import Job\\nfrom tests.conversion.evil_children import spins')\n"
        "real = cage._listen\n"
        "def listen(process, reading, deadline):\n"
        "    os.read(reading, 1)\n"
        "    print(process.pid, flush=True)\n"
        "    os.kill(os.getpid(), 9)\n"
        "cage._listen = listen\n"
        "cage.run_in_cage(seal_memory([b'x']), open_memory(), ConversionLimits())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == -9, done.stderr
    child = int(done.stdout)
    # It has no parent any more: the kernel buries it at once, or it is gone already.
    for _ in range(10_000):
        try:
            state = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return
        if state == "Z":
            return
        os.sched_yield()
    pytest.fail("the child lives on")


def test_sealed_memory_is_read_as_an_open_file():
    descriptor = seal_memory([b"abc" * 300_000])
    opened = MemorySource("a.bin", descriptor)
    assert b"".join(map(bytes, opened.batches())) == b"abc" * 300_000
    assert opened.read_at(899_998, 10) == b"bc"
    opened.check_unchanged()
    os.close(descriptor)
