"""The runner against real children that crash, hang, swell, rave and try to get out."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from registry.artifacts.notes import PayloadForm
from registry.audits.catalog import BUILT_IN, DEFAULT_RULES, find_specs, load
from registry.audits.runner import AuditWorker, WorkerOptions, run_audits
from registry.audits.sealed_memory import seal_memory
from registry.audits.task import AuditLimits, AuditTask, DeathCause
from registry.errors import LorasealError, UsageError
from registry.formats.findings import Verdict

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
EVIL = (
    "crash", "exits", "spins", "sleeps", "swells", "raves", "babbles", "poses", "softens", "boasts",
    "raises", "escapes", "fine", "lacks",
)  # fmt: skip


@pytest.fixture(scope="module")
def plugins(tmp_path_factory):
    """A folder with an installed distribution of audits that misbehave, on the path of this process."""
    folder = tmp_path_factory.mktemp("plugins")
    shutil.copy(HERE / "evil_audits.py", folder / "evil_audits.py")
    (folder / "secret.txt").write_text("a key")
    information = folder / "evil-2.5.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: evil\nVersion: 2.5\n")
    lines = [f"{rule} = evil_audits:{rule.title()}" for rule in EVIL]
    (information / "entry_points.txt").write_text("[loraseal.audits]\n" + "\n".join(lines) + "\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield folder


@pytest.fixture(scope="module")
def worker(plugins):
    with AuditWorker(WorkerOptions(plugins=EVIL)) as worker:
        yield worker


@pytest.fixture
def payload(pack, lora):
    descriptor = seal_memory([pack(lora(4))])
    yield descriptor
    os.close(descriptor)


def _run(worker, payload, *rules, **limits):
    return worker.audit(AuditTask(payload, rules=rules), AuditLimits(**limits))


def _verdicts(run):
    return {report.rule: report.verdict for report in run.reports}


DEATHS = [
    ("crash", {}, DeathCause.CRASH),
    ("exits", {}, DeathCause.CRASH),
    ("spins", {"wall_seconds": 0.4}, DeathCause.TIMEOUT),
    ("spins", {"cpu_seconds": 1}, DeathCause.TIMEOUT),
    ("sleeps", {"wall_seconds": 0.4}, DeathCause.TIMEOUT),
    ("swells", {"rss_bytes": 600 * 1024**2}, DeathCause.MEMORY),
    ("babbles", {}, DeathCause.TALKATIVE),
]


@pytest.mark.parametrize(("rule", "limits", "cause"), DEATHS)
def test_a_child_that_dies_yields_errors_and_the_reason(worker, payload, rule, limits, cause):
    run = _run(worker, payload, "structure", rule, "fine", **limits)
    assert run.death is not None
    assert run.death.cause is cause
    expected = {rule: Verdict.ERROR, "fine": Verdict.ERROR}
    kept = Verdict.ERROR if cause is DeathCause.TALKATIVE else Verdict.PASS
    assert _verdicts(run) == {"structure": kept, **expected}
    assert "died" in run.reports[1].summary


@pytest.mark.parametrize("rule", ["raves", "poses", "softens"])
def test_a_child_that_breaks_the_protocol_is_not_believed_at_all(worker, payload, rule):
    run = _run(worker, payload, "structure", rule, "fine")
    assert run.death is not None
    assert run.death.cause is DeathCause.GARBAGE
    assert set(_verdicts(run).values()) == {Verdict.ERROR}


def test_the_next_child_is_none_the_worse(worker, payload):
    assert _run(worker, payload, "crash").death is not None
    after = _run(worker, payload, "structure", "fine")
    assert after.death is None
    assert set(_verdicts(after).values()) == {Verdict.PASS}


def test_an_audit_that_raises_does_not_silence_the_others(worker, payload):
    run = _run(worker, payload, "raises", "structure")
    assert _verdicts(run) == {"raises": Verdict.ERROR, "structure": Verdict.PASS}
    assert "ValueError" in run.reports[0].summary
    assert "secret" not in str(run.reports[0])


def test_a_missing_package_is_named_with_what_to_do(worker, payload):
    [report] = _run(worker, payload, "lacks").reports
    assert report.verdict is Verdict.ERROR
    assert "torch" in report.summary
    assert "loraseal[audit]" in report.findings[0].advice


def test_version_supplier_and_privacy_are_the_catalogs(worker, payload):
    [report] = _run(worker, payload, "boasts").reports
    assert (report.version, report.supplier, report.privacy) == ("2.5", "evil 2.5", False)


def test_no_way_out_is_open(worker, payload):
    run = _run(worker, payload, "escapes")
    said = dict(run.confinement)
    for ring in ("files", "child files"):
        if not said[ring].startswith("landlock"):
            pytest.skip(f"this kernel confines no files: {said[ring]}")
    if not said["system calls"].startswith("seccomp"):
        pytest.skip(f"this kernel filters no calls: {said['system calls']}")
    assert dict(run.reports[0].metrics)["open"] == ""


def test_a_payload_that_is_no_adapter_is_broken_and_fails_structure(worker):
    descriptor = seal_memory([b"\x80\x02}q\x00." * 40])
    run = _run(worker, descriptor, "structure", "nonfinite")
    os.close(descriptor)
    assert run.broken is not None
    assert "pickle" in run.broken
    assert run.death is None
    assert _verdicts(run) == {"structure": Verdict.FAIL, "nonfinite": Verdict.ERROR}


def test_a_tar_that_is_none_is_broken(worker, payload):
    run = worker.audit(AuditTask(payload, PayloadForm.TAR, rules=("structure",)))
    assert run.broken is not None


def test_a_plain_file_is_read_and_not_mapped(worker, pack, lora, tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(pack(lora(4)))
    with path.open("rb") as file:
        run = _run(worker, file.fileno(), "structure")
    assert _verdicts(run) == {"structure": Verdict.PASS}


def test_an_unknown_rule_is_a_usage_error_and_names_the_known(worker, payload):
    with pytest.raises(UsageError) as caught:
        _run(worker, payload, "no_such_audit")
    assert "spectrum" in str(caught.value.hint)


def test_a_plug_in_that_settings_do_not_name_is_not_loaded(plugins, payload):
    with pytest.raises(UsageError):
        find_specs(["fine"])


def test_a_plug_in_may_not_take_the_place_of_a_built_in():
    with pytest.raises(UsageError):
        find_specs(["structure"], plugins=["structure"])


def test_a_rule_named_twice_or_a_plug_in_that_nobody_supplies_is_refused():
    with pytest.raises(UsageError, match="twice"):
        find_specs(["structure", "structure"])
    with pytest.raises(UsageError, match="0 installed distributions"):
        find_specs(["structure"], plugins=["no_such_plug_in"])


def test_the_catalog_knows_what_the_audits_say_of_themselves():
    pytest.importorskip("torch")
    for spec in BUILT_IN:
        audit = load(spec.entry)
        assert (audit.rule, audit.version, audit.privacy) == (spec.rule, spec.version, spec.privacy)


def test_a_worker_that_is_killed_is_replaced(plugins, payload):
    with AuditWorker(WorkerOptions(plugins=EVIL)) as worker:
        first = worker.pid
        assert first is not None
        runs = []
        thread = threading.Thread(target=lambda: runs.append(_run(worker, payload, "sleeps")))
        thread.start()
        child = _await_child(first)
        os.kill(first, signal.SIGKILL)
        thread.join(timeout=60)
        ended, _, _ = select.select([child], [], [], 30)
        os.close(child)
        assert ended
        assert runs[0].reports[0].verdict is Verdict.ERROR
        assert runs[0].death.cause is DeathCause.WORKER
        assert _verdicts(_run(worker, payload, "fine")) == {"fine": Verdict.PASS}
        assert worker.pid != first


def test_closing_does_not_wait_for_an_audit_that_runs(plugins, payload):
    worker = AuditWorker(WorkerOptions(plugins=EVIL))
    worker.start()
    runs = []
    thread = threading.Thread(target=lambda: runs.append(_run(worker, payload, "sleeps")))
    thread.start()
    os.close(_await_child(worker.pid))
    worker.close()
    thread.join(timeout=60)
    assert runs[0].death.cause is DeathCause.WORKER
    with pytest.raises(LorasealError, match="closed"):
        _run(worker, payload, "fine")


def _await_child(parent):
    """Return a process descriptor of the first child that `parent` has."""
    for _ in range(3000):
        for entry in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                if entry.read_text().rpartition(") ")[2].split()[1] == str(parent):
                    return os.pidfd_open(int(entry.parent.name))
        select.select([], [], [], 0.01)
    raise AssertionError("the worker has no child")


def test_a_worker_does_not_outlive_its_parent():
    code = (
        "from registry.audits.runner import AuditWorker\n"
        "worker = AuditWorker(); worker.start(); print(worker.pid, flush=True); input()\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
    )
    assert parent.stdout is not None
    assert parent.stdin is not None
    worker = os.pidfd_open(int(parent.stdout.readline()))
    parent.kill()
    parent.wait()
    ended, _, _ = select.select([worker], [], [], 30)
    os.close(worker)
    parent.stdout.close()
    parent.stdin.close()
    assert ended


def test_one_run_without_a_worker_at_hand(payload):
    pytest.importorskip("torch")
    run = run_audits(AuditTask(payload))
    assert [report.verdict for report in run.reports] == [Verdict.PASS] * len(DEFAULT_RULES)
    assert run.death is None
    assert run.peak_bytes > 0
    assert {"network", "files", "privileges", "system calls"} <= dict(run.confinement).keys()
