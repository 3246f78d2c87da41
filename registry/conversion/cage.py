"""The parent's side of the cage: it starts one process for one pickle and believes little of it.

The parent never looks into the pickle. It hands it over in sealed memory, waits for a bounded time,
and takes back one line and one memfd, both of them outside input.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from registry.audits.sealed_memory import close_memory
from registry.conversion.refusals import PickleRefusedError, Reason
from registry.conversion.task import parse_confinement, parse_outcome
from registry.errors import FormatError, LorasealError
from registry.limits import CONVERSION_REPORT_BYTES

if TYPE_CHECKING:
    from registry.conversion.task import ChildReport, ConversionLimits

_ROOT = Path(__file__).resolve().parents[2]
# -I keeps the environment and the working directory out; the paths come from this process.
_BOOT = (
    "import json, sys; boot = json.loads(sys.argv[1]); sys.path[:0] = boot.pop('paths')\n"
    "from registry.conversion.child import Job, main\n"
    "main(Job(**boot))\n"
)
_READ_BYTES = 64 * 1024
_LINES = 2
_HINT_START = "run it again; if it stays so: pip install 'loraseal[host]' in the same environment"
_HINT_DIED = "it is refused as it is; get the weights as safetensors from whoever made them"


@dataclass(frozen=True, slots=True)
class CageOutcome:
    """What a caged process brought: its report, and what it says that it had given up."""

    report: ChildReport
    confinement: tuple[tuple[str, str], ...]


def run_in_cage(payload: int, result: int, limits: ConversionLimits) -> CageOutcome:
    """Convert the pickle in `payload` (sealed memory) into `result` (empty memory), which is sealed.

    Raises:
        PickleRefusedError: refused, or the process hung, crashed, ran out of memory, talked nonsense.
        LorasealError: the process cannot be started.
    """
    reading, writing = os.pipe2(os.O_CLOEXEC)
    try:
        try:
            process = _spawn((payload, result, writing), limits)
        finally:
            os.close(writing)
        try:
            words = _listen(process, reading, time.monotonic() + limits.wall_seconds)
        finally:
            # Whatever happened, it is dead before anybody looks at what it wrote.
            process.kill()
            process.wait()
    finally:
        os.close(reading)
    return _judge(words, process.returncode, result)


def _judge(words: bytes, status: int, result: int) -> CageOutcome:
    *lines, rest = words.split(b"\n")
    if not lines:
        # It has not seen the file yet, so this is nothing that the file did.
        raise LorasealError(
            f"the conversion process did not start: {_how(status)}", hint=_HINT_START
        )
    if status or rest or len(lines) != _LINES:
        raise _died(_how(status))
    close_memory(result)
    try:
        return CageOutcome(parse_outcome(lines[1]), parse_confinement(lines[0]))
    except PickleRefusedError:
        raise
    except FormatError as error:
        raise _died("it talked nonsense") from error


def _listen(process: subprocess.Popen[bytes], reading: int, deadline: float) -> bytes:
    """Return all that the process says until it closes its pipe; it gets until `deadline` to end."""
    words = bytearray()
    poll = select.poll()
    poll.register(reading, select.POLLIN)
    while (left := deadline - time.monotonic()) > 0:
        if not poll.poll(left * 1000):
            continue
        batch = os.read(reading, _READ_BYTES)
        if not batch:
            break
        words += batch
        if len(words) > CONVERSION_REPORT_BYTES:
            raise _died(f"it said more than {CONVERSION_REPORT_BYTES} bytes")
    try:
        process.wait(timeout=max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired as error:
        raise _died("it took too long") from error
    return bytes(words)


def _how(status: int) -> str:
    if status == -signal.SIGXCPU:
        return "it took too much CPU time"
    if status < 0:
        return f"it was ended by signal {-status}"
    return f"it ended with status {status}"


def _died(detail: str) -> PickleRefusedError:
    return PickleRefusedError(
        Reason.DIED, f"the conversion process did not finish: {detail}", hint=_HINT_DIED
    )


def _spawn(descriptors: tuple[int, int, int], limits: ConversionLimits) -> subprocess.Popen[bytes]:
    """Start the process with no terminal, no environment, no home, and three descriptors."""
    payload, result, words = descriptors
    size = os.fstat(payload).st_size
    boot = {
        "paths": [str(_ROOT), *(path for path in sys.path if Path(path).is_absolute())],
        "payload": payload,
        "result": result,
        "words": words,
        "parent": os.getpid(),
        "cpu_seconds": limits.cpu_seconds,
        "memory_bytes": size + limits.work_bytes,
        "output_bytes": limits.output_bytes(size),
    }
    try:
        return subprocess.Popen(  # noqa: S603 - our own interpreter, no shell, no outside argument
            [sys.executable, "-I", "-B", "-c", _BOOT, json.dumps(boot)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={"LANG": "C.UTF-8"},
            cwd="/",
            pass_fds=descriptors,
        )
    except OSError as error:
        raise LorasealError(
            f"the conversion process cannot be started: {(error.strerror or 'error').lower()}",
            hint="free memory or processes of this user, then run it again",
        ) from error
