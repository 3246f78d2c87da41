"""Running audits on a payload in an isolated child, and judging what the child says.

The caller gets exactly one report per rule whatever happens: a child that hangs, crashes, eats memory
or talks nonsense yields `ERROR` for every rule that it did not report, with the reason.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from registry.audits import catalog
from registry.audits.context_wire import lent_to_bytes
from registry.audits.control import WorkerGoneError, receive_message, send_message
from registry.audits.listening import Heard, listen
from registry.audits.sealed_memory import seal_memory
from registry.audits.task import AuditLimits, AuditRun, AuditTask, ChildDeath, DeathCause
from registry.audits.verdicts import judge
from registry.errors import LorasealError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from registry.audits.catalog import AuditSpec
    from registry.audits.control import Message

START_SECONDS = 120.0
_ROOT = Path(__file__).resolve().parents[2]
_PACKAGE_FOLDERS = ("site-packages", "dist-packages")
# -I keeps the environment and the working directory out; the paths come from this process.
_BOOT = (
    "import json, sys; boot = json.loads(sys.argv[1]); sys.path[:0] = boot['paths']\n"
    "from registry.audits.child import main\n"
    "main(boot.pop('control'), **boot['main'])\n"
)
# One thread each until a child says otherwise: a process with threads cannot make a user namespace,
# and must not fork.
_ENVIRONMENT = {
    "LANG": "C.UTF-8",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    # Threads that wait must not spin: beside a busy trainer that made two threads 5 times slower than one.
    "OMP_WAIT_POLICY": "PASSIVE",
    "NVIDIA_TF32_OVERRIDE": "0",  # 10-bit mantissas lose the tail of a spectrum
}
# Whether there is a GPU is asked before the fork: the driver must not be started by that.
_ACCELERATOR_FIXED = {"PYTORCH_NVML_BASED_CUDA_CHECK": "1"}
_ACCELERATOR_ENVIRONMENT = ("CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH")


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """What one worker serves: a torch device, and the plug-in audits that the settings name.

    `gives_way`: it and its children take only the processor time that others leave.
    """

    device: str = "cpu"
    plugins: tuple[str, ...] = ()
    gives_way: bool = False


def uses_cpu(device: str) -> bool:
    """Return whether a torch device (`cpu`, `cpu:1`, `cuda:0`) is no accelerator."""
    return device.partition(":")[0] == "cpu"


class AuditWorker:
    """A process that has imported torch and forks one fresh child per payload.

    Safe to call from several threads; runs one payload at a time. It starts on first use and again
    whenever it has died.
    """

    def __init__(self, options: WorkerOptions | None = None) -> None:
        self._options = options or WorkerOptions()
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None
        self._confinement: dict[str, str] = {}
        self._is_closed = False

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """Process id of the worker, None while it does not run."""
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        """Start the worker unless it runs, and wait until it has imported what it needs.

        Raises:
            LorasealError: it did not start.
        """
        with self._lock:
            self._is_closed = False
            self._connected()

    def audit(self, task: AuditTask, limits: AuditLimits | None = None) -> AuditRun:
        """Run the audits of `task` on its payload in a fresh child.

        Raises:
            UsageError: an unknown rule.
            LorasealError: the worker cannot be started, or was closed.
        """
        specs = catalog.find_specs(task.rules, plugins=self._options.plugins)
        lent = seal_memory([lent_to_bytes(task.lent)])
        base = () if task.lent.base is None else (task.lent.base,)
        try:
            heard = self.hear(_request(task, specs), (task.payload, lent, *base), limits)
        finally:
            os.close(lent)
        return judge(specs, heard, self._confinement)

    def hear(
        self, request: Message, descriptors: Sequence[int], limits: AuditLimits | None = None
    ) -> Heard:
        """Return the words of a fresh child that did what `request` says with these descriptors.

        Raises:
            LorasealError: the worker cannot be started, or was closed.
        """
        bounds = limits or AuditLimits()
        message = {**request, **_bounds(bounds), "device": self._options.device}
        with self._lock:
            return self._hear(message, descriptors, bounds)

    def close(self) -> None:
        """End the worker and any child; a second call does nothing.

        An audit that runs in another thread comes back at once with the death of its worker.
        """
        self._is_closed = True
        process = self._process
        if process is not None:
            process.kill()
        with self._lock:
            self._drop()

    def _hear(self, message: Message, descriptors: Sequence[int], limits: AuditLimits) -> Heard:
        channel = self._connected()
        payload, *others = descriptors
        reading, writing = os.pipe2(os.O_CLOEXEC)
        try:
            try:
                send_message(channel, message, (payload, writing, *others))
            finally:
                os.close(writing)
            mapped = sum(os.fstat(each).st_size for each in descriptors)
            heard = listen(channel, reading, limits, mapped_bytes=mapped)
        except WorkerGoneError:
            heard = Heard(b"", ChildDeath(DeathCause.WORKER, "the audit worker died"))
        finally:
            os.close(reading)
        if heard.death is not None and heard.death.cause is DeathCause.WORKER:
            self._drop()
        return heard

    def _connected(self) -> socket.socket:
        """Return the control socket of a worker that runs, started if need be."""
        if self._is_closed:
            raise LorasealError("the audit worker was closed", hint="the daemon is stopping")
        if self._process is not None and self._process.poll() is not None:
            self._drop()
        if self._channel is None:
            self._start_process()
        if self._channel is None:
            raise LorasealError("the audit worker did not start")
        return self._channel

    def _start_process(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.settimeout(START_SECONDS)
        with theirs:
            self._process = _spawn(theirs, self._options)
        self._channel = ours
        try:
            message, _ = receive_message(ours)
        except (WorkerGoneError, TimeoutError) as error:
            self._drop()
            raise LorasealError(
                "the audit worker did not start",
                hint="run `loraseal doctor`, or `python -c 'import torch'` in the same environment",
            ) from error
        ours.settimeout(None)
        if not uses_cpu(self._options.device) and not message["accelerator"]:
            self._drop()
            raise UsageError(
                f"torch sees no GPU on this machine, and audits were to run on {self._options.device!r}",
                hint="use the device cpu (--device, or [audit] device in the settings), or see nvidia-smi",
            )
        confinement = message["confinement"]
        self._confinement = confinement if isinstance(confinement, dict) else {}

    def _drop(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            self._process.wait()
            self._process = None


def run_audits(
    task: AuditTask,
    limits: AuditLimits | None = None,
    options: WorkerOptions | None = None,
) -> AuditRun:
    """Run the audits of `task` once, in a worker made for it and ended after it.

    Raises:
        UsageError: an unknown rule.
        LorasealError: the worker cannot be started.
    """
    with AuditWorker(options) as worker:
        return worker.audit(task, limits)


def _request(task: AuditTask, specs: tuple[AuditSpec, ...]) -> Message:
    return {
        "work": "audit",
        "form": task.form.value,
        "name": task.name,
        "rules": [spec.rule for spec in specs],
        "entries": [spec.entry for spec in specs],
        "wanted": sorted(word.value for word in task.wanted),
        "deterministic": task.deterministic,
    }


def _bounds(limits: AuditLimits) -> Message:
    return {
        "cpu_seconds": limits.cpu_seconds,
        "threads": limits.threads,
        "device_bytes": limits.device_bytes,
    }


def _spawn(theirs: socket.socket, options: WorkerOptions) -> subprocess.Popen[bytes]:
    """Start the worker with no terminal, almost no environment, and one end of the socket pair."""
    paths = [str(_ROOT), *(path for path in sys.path if Path(path).is_absolute())]
    plugins = catalog.find_specs(options.plugins, plugins=options.plugins)
    boot = {
        "paths": paths,
        "control": theirs.fileno(),
        "main": {
            "code": [
                *(path for path in paths if Path(path).name in _PACKAGE_FOLDERS),
                *(spec.code for spec in plugins),
            ],
            "accelerator": not uses_cpu(options.device),
            "gives_way": options.gives_way,
        },
    }
    return subprocess.Popen(  # noqa: S603 - our own interpreter, no shell, no outside argument
        [sys.executable, "-I", "-B", "-c", _BOOT, json.dumps(boot)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=_environment(options),
        cwd="/",
        pass_fds=(theirs.fileno(),),
        start_new_session=True,  # see `priority.py`
    )


def _environment(options: WorkerOptions) -> dict[str, str]:
    if uses_cpu(options.device):
        return _ENVIRONMENT
    kept = {name: os.environ[name] for name in _ACCELERATOR_ENVIRONMENT if name in os.environ}
    return {**_ENVIRONMENT, **_ACCELERATOR_FIXED, **kept}
