"""What each audit costs, next to the SHA-256 of the file, interleaved in one run.

    python -m bench.audits [--rounds 7] [--threads 1] [--family sd15 sdxl]

Every audit runs alone on an adapter whose modules and spectra are known already, as in the child, where
the first audit that needs them pays for both; these two are timed apart. `claims` is also timed with
a claimed hash, which makes it hash the weights.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import time
from typing import TYPE_CHECKING

import torch

from bench.spectra import FAMILIES, adapter
from registry.artifacts.notes import PayloadForm
from registry.audits.audit import AuditSubject
from registry.audits.catalog import BUILT_IN, load
from registry.formats.safetensors import dump_header, parse_header
from registry.updates.payload import read_payload

if TYPE_CHECKING:
    from collections.abc import Callable

CONDITION = 100.0


def measure(family: str, rounds: int) -> dict[str, float]:
    """Return the median seconds of every audit, and of what they stand on, for one family."""
    data = memoryview(bytearray(adapter(family, CONDITION)))
    subject = _ready(data)
    claiming = _ready(memoryview(bytearray(with_claimed_hash(bytes(data)))))
    audits = {spec.rule: load(spec.entry) for spec in BUILT_IN}
    work: dict[str, Callable[[], object]] = {
        "sha256 of the file": lambda: hashlib.sha256(data).digest(),
        "header and modules": lambda: _subject(data).modules,
        "spectra": lambda: _subject(data).spectra,
        **{rule: lambda audit=audit: audit.run(subject) for rule, audit in audits.items()},  # type: ignore[misc] # bound at once
        "claims, with a hash": lambda: audits["claims"].run(claiming),
    }
    times: dict[str, list[float]] = {name: [] for name in work}
    for number in range(rounds + 1):
        for name, call in work.items():
            start = time.perf_counter()
            call()
            if number:  # the first round warms caches and allocators
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def with_claimed_hash(data: bytes) -> bytes:
    """Return the file with a true `sshs_model_hash` in its header."""
    length = 8 + int.from_bytes(data[:8], "little")
    header, body = parse_header(data[:length], file_size=len(data)), data[length:]
    claim = {"sshs_model_hash": hashlib.sha256(body).hexdigest()}
    return dump_header(header.tensors, claim.items()) + body


def _subject(data: memoryview) -> AuditSubject:
    return AuditSubject(read_payload(data, PayloadForm.RAW, "a.safetensors"))


def _ready(data: memoryview) -> AuditSubject:
    subject = _subject(data)
    if not subject.spectra:
        raise RuntimeError("the adapter has no modules")
    return subject


def main() -> None:
    """Print a table and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--family", nargs="+", choices=sorted(FAMILIES), default=sorted(FAMILIES))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    found = {family: measure(family, options.rounds) for family in options.family}
    print(f"| | {' | '.join(f'{family} | of sha256' for family in found)} |")
    print("|---|" + "---|---|" * len(found))
    for name in next(iter(found.values())):
        cells = [
            f"{1000 * row[name]:.1f} ms | {row[name] / row['sha256 of the file']:.2f}"
            for row in found.values()
        ]
        print(f"| {name} | {' | '.join(cells)} |")
    print(json.dumps({"threads": options.threads, "torch": torch.__version__, "seconds": found}))


if __name__ == "__main__":
    main()
