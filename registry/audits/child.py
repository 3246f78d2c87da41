"""The audit processes: a worker that imports torch once, and a fresh fork of it per payload.

The worker never reads a payload; it forks and waits. A child sees one artifact, no network, no key but those for sketches and one mark,
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
from registry.audits import catalog, mark_work
from registry.audits.audit import AuditSubject
from registry.audits.confinement import Reach, confine_child, confine_worker
from registry.audits.context import AuditContext
from registry.audits.context_wire import lent_from_bytes
from registry.audits.control import Message, WorkerGoneError, receive_message, send_message
from registry.audits.details import Wanted
from registry.audits.details_wire import details_to_json
from registry.audits.measuring import measure_details
from registry.audits.priority import give_way
from registry.audits.report_wire import report_to_json
from registry.audits.reporting import clean_text, failed_report
from registry.audits.sealed_memory import map_memory, map_own_file
from registry.errors import FormatError
from registry.formats.canonical import Json, dump_canonical
from registry.formats.findings import Finding, Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from registry.formats.findings import AuditReport

# Imported once, before the fork. Later ones still find their files, only more slowly.
_PRELOADED = (
    "registry.updates.payload",
    "registry.audits.weights.structure",
    "registry.fingerprints.names",
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
    "registry.audits.detailing",
    "registry.audits.cohorts.features",
    "registry.fingerprints.index",
    "registry.fingerprints.sketching",
)
_FAILED_STATUS = 1


@dataclass(frozen=True, slots=True)
class _Given:
    """The descriptors of one task: payload, the pipe for words, what is lent, and one more.

    `other` is the cache of a base model for an audit, the original for a search for marks.
    """

    payload: int
    words: int
    lent: int
    other: int | None = None

    @classmethod
    def of(cls, descriptors: list[int]) -> _Given:
        """Return them in the order in which the parent sends them."""
        payload, words, lent, *rest = descriptors
        return cls(payload, words, lent, rest[0] if rest else None)


@dataclass(frozen=True, slots=True)
class _Job:
    """One task as it came over the control socket."""

    work: str
    form: PayloadForm
    other_form: PayloadForm
    name: str
    entries: tuple[tuple[str, str], ...]
    cpu_seconds: int
    threads: int
    device: str
    wanted: frozenset[Wanted]
    device_bytes: int
    deterministic: bool


def main(control: int, *, code: Sequence[str], accelerator: bool, gives_way: bool) -> None:
    """Be the worker until the other end of the socket `control` closes.

    `code` are folders and files of importable code, which stay readable; `accelerator` leaves the
    devices open; `gives_way` lowers its priority.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business
    channel = socket.socket(fileno=control)
    reach = Reach(tuple(code), accelerator)
    torch = _preload()
    has_accelerator = accelerator and bool(torch) and _has_accelerator()
    priority = give_way() if gives_way else "normal"
    confinement = {**confine_worker(reach), "priority": priority}
    send_message(
        channel, {"ready": torch, "confinement": confinement, "accelerator": has_accelerator}
    )
    with contextlib.suppress(WorkerGoneError):
        while True:
            message, descriptors = receive_message(channel)
            _serve(channel, reach, message, descriptors)


def _has_accelerator() -> bool:
    """Return whether torch sees a GPU; asked in a way (NVML) that leaves a fork able to use it."""
    return bool(importlib.import_module("torch").cuda.is_available())


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
    worker = os.getpid()
    pid = os.fork()
    if pid == 0:
        channel.close()
        _be_child(reach, worker, _job(message), _Given.of(descriptors))
    for descriptor in descriptors:
        os.close(descriptor)
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
    rules, entries, wanted = (message.get(key, []) for key in ("rules", "entries", "wanted"))
    if not isinstance(rules, list) or not isinstance(entries, list) or not isinstance(wanted, list):
        raise TypeError("rules, entries and what is wanted are lists")
    return _Job(
        work=str(message["work"]),
        form=PayloadForm(str(message["form"])),
        other_form=PayloadForm(str(message.get("other_form", message["form"]))),
        name=str(message["name"]),
        entries=tuple(zip(rules, entries, strict=True)),
        cpu_seconds=int(str(message["cpu_seconds"])),
        threads=int(str(message["threads"])),
        device=str(message["device"]),
        wanted=frozenset(Wanted(word) for word in wanted),
        device_bytes=int(str(message["device_bytes"])),
        deterministic=bool(message.get("deterministic", False)),
    )


def _be_child(reach: Reach, worker: int, job: _Job, given: _Given) -> None:
    """Run the job on the payload and end this process; never returns."""
    words = given.words
    status = _FAILED_STATUS
    try:
        confinement = confine_child(reach, worker=worker, cpu_seconds=job.cpu_seconds)
        _say(words, {"confinement": {**confinement}})
        _work(job, given)
        _say(words, {"done": True})
        status = 0
    finally:
        # Not sys.exit: the worker's clean-up handlers are not the child's.
        os._exit(status)


def _work(job: _Job, given: _Given) -> None:
    """Do what the job asks for; a payload that is not what its form says is told, and no death."""
    _set_threads(job)
    try:
        if job.work == "audit":
            _audit(job, given)
        elif job.work == "mark":
            line = mark_work.mark_copy(given.payload, job.form, job.name, given.lent)
            _say(given.words, line)
        elif job.work == "find_marks" and given.other is not None:
            payloads = given.payload, given.other
            forms = job.form, job.other_form
            line = mark_work.find_marks(*payloads, forms, job.name, given.lent)
            _say(given.words, line)
        else:
            raise ValueError(f"no work is called {job.work!r}")
    except FormatError as error:
        hint = clean_text(error.hint or "")
        _say(given.words, {"broken": clean_text(str(error)), "hint": hint})


def _audit(job: _Job, given: _Given) -> None:
    words, subject = given.words, _subject(job, given)
    for rule, entry in job.entries:
        _say(words, {"report": report_to_json(run_one(rule, entry, subject))})
    if job.wanted:
        for line in _details(subject, job.wanted):
            _say(words, line)


def _set_threads(job: _Job) -> None:
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(job.threads)


def _subject(job: _Job, given: _Given) -> AuditSubject:
    from registry.updates.payload import read_payload

    try:
        peers, key = lent_from_bytes(bytes(map_memory(given.lent)))
    except FormatError:
        # A ledger that was changed by hand is no fault of the payload: its audits go on without.
        peers, key = None, None
    base = None if given.other is None else map_own_file(given.other)
    payload = read_payload(map_memory(given.payload), job.form, job.name)
    return AuditSubject(
        payload,
        job.device,
        job.threads,
        AuditContext(peers, base, key),
        deterministic=job.deterministic,
        device_bytes=job.device_bytes,
    )


def _details(subject: AuditSubject, wanted: frozenset[Wanted]) -> list[dict[str, Json]]:
    """Return the lines of what was wanted, or the one that says why there are none."""
    try:
        return details_to_json(measure_details(subject, wanted))
    except Exception as error:
        # Reports stand without their numbers; what reads them is told.
        return [{"no_details": clean_text(f"stopped with {type(error).__name__}")}]


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
