"""The audit processes: a worker that imports torch once, and a fresh fork of it per payload.

The worker never reads a payload; it forks and waits. A child sees one artifact, no key, no network,
writes its reports to one pipe, one canonical JSON object a line, and ends. `runner.py` is the other
side and starts the worker.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import select
import signal
import socket
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from registry.artifacts.notes import PayloadForm
from registry.audits import catalog
from registry.audits.audit import AuditSubject
from registry.audits.confinement import Reach, confine_child, confine_worker
from registry.audits.control import Message, WorkerGoneError, receive_message, send_message
from registry.audits.report_wire import report_to_json
from registry.audits.reporting import clean_text, failed_report
from registry.audits.sealed_memory import map_memory
from registry.errors import FormatError
from registry.formats.canonical import Json, dump_canonical
from registry.formats.findings import Finding, Verdict

if TYPE_CHECKING:
    from registry.formats.findings import AuditReport

# Imported once, before the fork. Later ones still find their files, only more slowly.
_PRELOADED = (
    "registry.updates.payload",
    "registry.audits.weights.structure",
    "registry.audits.weights.scale",
    "registry.audits.weights.claims",
)
_PRELOADED_TORCH = (
    "torch",
    "registry.audits.weights.nonfinite",
    "registry.audits.weights.dead_modules",
    "registry.audits.weights.dtype_loss",
    "registry.audits.weights.hidden_payload",
    "registry.audits.weights.spectrum",
)
_FAILED_STATUS = 1


@dataclass(frozen=True, slots=True)
class _Job:
    """One task as it came over the control socket."""

    form: PayloadForm
    name: str
    entries: tuple[tuple[str, str], ...]
    cpu_seconds: int
    threads: int
    device: str


def main(control: int, *, code: tuple[str, ...], accelerator: bool) -> None:
    """Be the worker until the other end of the socket `control` closes.

    `code` are folders and files of importable code, which stay readable; `accelerator` leaves the
    devices open.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business
    channel = socket.socket(fileno=control)
    reach = Reach(code, accelerator)
    torch = _preload()
    confinement = confine_worker(reach)
    send_message(channel, {"ready": torch, "confinement": confinement})
    with contextlib.suppress(WorkerGoneError):
        while True:
            message, descriptors = receive_message(channel)
            _serve(channel, reach, message, descriptors)


def _preload() -> str:
    """Import what audits need, once; return torch's version, or "" where it is not installed."""
    for name in _PRELOADED:
        importlib.import_module(name)
    try:
        for name in _PRELOADED_TORCH:
            importlib.import_module(name)
    except ModuleNotFoundError:  # each audit that needs it will say so
        return ""
    return str(importlib.import_module("torch").__version__)


def _serve(channel: socket.socket, reach: Reach, message: Message, descriptors: list[int]) -> None:
    """Fork a child for one task, tell the parent of it, and wait until it has ended."""
    payload, words = descriptors
    worker = os.getpid()
    pid = os.fork()
    if pid == 0:
        channel.close()
        _be_child(reach, worker, _job(message), (payload, words))
    os.close(payload)
    os.close(words)
    # Not reaped yet, so the descriptor is certain to mean this child.
    watch = os.pidfd_open(pid)
    try:
        send_message(channel, {"started": pid}, (watch,))
        _await_end(channel, watch)
    finally:
        signal.pidfd_send_signal(watch, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        os.close(watch)
    send_message(channel, {"ended": os.waitstatus_to_exitcode(status)})


def _await_end(channel: socket.socket, watch: int) -> None:
    """Return when the child has ended; raise when the parent is gone first."""
    poll = select.poll()
    poll.register(watch, select.POLLIN)
    poll.register(channel, 0)  # only its hang-up is of interest
    while True:
        ready = {descriptor for descriptor, _ in poll.poll()}
        if channel.fileno() in ready:
            raise WorkerGoneError("the parent is gone")
        if watch in ready:
            return


def _job(message: Message) -> _Job:
    rules, entries = message["rules"], message["entries"]
    if not isinstance(rules, list) or not isinstance(entries, list):
        raise TypeError("rules and entries are lists")
    return _Job(
        form=PayloadForm(str(message["form"])),
        name=str(message["name"]),
        entries=tuple(zip(rules, entries, strict=True)),
        cpu_seconds=int(str(message["cpu_seconds"])),
        threads=int(str(message["threads"])),
        device=str(message["device"]),
    )


def _be_child(reach: Reach, worker: int, job: _Job, descriptors: tuple[int, int]) -> None:
    """Run the job on the payload and end this process; never returns."""
    payload, words = descriptors
    status = _FAILED_STATUS
    try:
        confinement = confine_child(reach, worker=worker, cpu_seconds=job.cpu_seconds)
        _say(words, {"confinement": {**confinement}})
        _audit(job, payload, words)
        _say(words, {"done": True})
        status = 0
    finally:
        # Not sys.exit: the worker's clean-up handlers are not the child's.
        os._exit(status)


def _audit(job: _Job, payload: int, words: int) -> None:
    try:
        data = map_memory(payload)
        subject = _subject(job, data)
    except FormatError as error:
        _say(words, {"broken": clean_text(str(error)), "hint": clean_text(error.hint or "")})
        return
    for rule, entry in job.entries:
        _say(words, {"report": report_to_json(run_one(rule, entry, subject))})


def _subject(job: _Job, data: memoryview) -> AuditSubject:
    from registry.updates.payload import read_payload

    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(job.threads)
    return AuditSubject(read_payload(data, job.form, job.name), job.device, job.threads)


def run_one(rule: str, entry: str, subject: AuditSubject) -> AuditReport:
    """Return the report of the audit at `entry`; whatever it raises becomes verdict `ERROR`."""
    try:
        return catalog.load(entry).run(subject)
    except ModuleNotFoundError as error:
        return _error_report(
            rule,
            f"needs the Python package {error.name!r}, which is not installed",
            "install the audit extra: pip install 'loraseal[audit]'",
        )
    except Exception as error:
        # One audit must not silence the others; the parent turns this into "held".
        return _error_report(
            rule,
            f"stopped with {type(error).__name__}",
            "this is a fault of the audit: report it with the kind of adapter",
        )


def _error_report(rule: str, message: str, advice: str) -> AuditReport:
    finding = Finding(rule, Verdict.ERROR, clean_text(message), advice)
    return failed_report(rule, "unknown", Verdict.ERROR, finding)


def _say(words: int, line: dict[str, Json]) -> None:
    rest = dump_canonical(line) + b"\n"
    while rest:
        rest = rest[os.write(words, rest) :]
