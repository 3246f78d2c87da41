"""The caged process: one pickle in, safetensors and one line of report out, then it ends.

It was started for this one file (`cage.py`), has no environment, no network, no path that it can open,
and three descriptors: the pickle in sealed memory, the memory for the result, a pipe for its words.
"""

from __future__ import annotations

import importlib
import logging
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from registry.audits.confinement import Bounds, confine_alone
from registry.audits.sealed_memory import map_memory
from registry.conversion.checking import digest_tensors
from registry.conversion.gathering import check_gathering
from registry.conversion.refusals import PickleRefusedError, Reason
from registry.conversion.scanning import check_agreement, check_file, check_pickle
from registry.conversion.task import ChildReport, dump_refusal
from registry.conversion.torch_file import pickle_of, read_torch_file
from registry.conversion.writing import write_safetensors
from registry.formats.canonical import dump_canonical

if TYPE_CHECKING:
    from registry.conversion.torch_file import TorchWeights

# What is first used when no file can be opened any more.
_PRELOADED = (
    "picklescan.scanner",
    "encodings.ascii",
    "encodings.cp437",
    "encodings.latin_1",
    "encodings.utf_16_be",
)


@dataclass(frozen=True, slots=True)
class Job:
    """What the cage is told: its descriptors, its parent's process id, its bounds."""

    payload: int
    result: int
    words: int
    parent: int
    cpu_seconds: int
    memory_bytes: int
    output_bytes: int


def main(job: Job) -> None:
    """Give up everything, convert, and say what came of it."""
    for name in _PRELOADED:
        importlib.import_module(name)
    logging.disable()  # a scanner's words about a hostile file go nowhere
    bounds = Bounds(job.cpu_seconds, job.memory_bytes, job.output_bytes)
    _say(job, dump_canonical({**confine_alone(bounds, parent=job.parent)}))
    _say(job, _outcome(job))


def _outcome(job: Job) -> bytes:
    """Return the line that says what came of the conversion."""
    try:
        return convert(job.payload, job.result, most=job.output_bytes).to_bytes()
    except PickleRefusedError as error:
        return dump_refusal(error)
    except MemoryError:
        pass
    # Outside of the handler, where what was in memory is free again.
    return dump_refusal(PickleRefusedError(Reason.LIMIT, "it needs too much memory"))


def convert(payload: int, result: int, *, most: int) -> ChildReport:
    """Write the weights in the file `payload` to the empty file `result` as safetensors.

    `most` bounds the result in bytes.

    Raises:
        PickleRefusedError: picklescan objects, or our own reader does.
    """
    with open(payload, "rb", closefd=False) as stream:
        found = check_file(stream)
    data = map_memory(payload)
    pickle = pickle_of(data)
    if pickle is not None:
        found = check_pickle(pickle)
    weights = read_torch_file(data)
    check_agreement(found, weights.symbols)
    gathered = check_gathering(weights.tensors)
    size = write_safetensors(weights.tensors, result, most=most)
    return _report(weights, size, gathered)


def _report(weights: TorchWeights, size: int, gathered: int) -> ChildReport:
    storages = {tensor.ref.storage.key for tensor in weights.tensors}
    return ChildReport(
        form=weights.form,
        tensors=len(weights.tensors),
        digest=digest_tensors(weights.tensors),
        size=size,
        shared=len(weights.tensors) - len(storages),
        gathered=gathered,
        unwrapped=weights.unwrapped,
        dropped=weights.dropped,
    )


def _say(job: Job, line: bytes) -> None:
    rest = line + b"\n"
    while rest:
        rest = rest[os.write(job.words, rest) :]
