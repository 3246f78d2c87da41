"""Spectra on a GPU from sealed memory: adapters per second, and how far from the limit of the transfer.

    python -m bench.gpu_audit [--rounds 9] [--family sd15 sdxl]

Per family, interleaved: the copy of the whole file from pinned memory (the limit: nothing can be faster than
that), the measurement (staging, copy, Gram matrices, cores, values back on the CPU), the deterministic one,
the same on the CPU; and audits in fresh children of one worker, each of which makes a CUDA context. Without a
GPU it says so and measures nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.spectra import FAMILIES, adapter
from registry.artifacts.notes import PayloadForm
from registry.audits.runner import AuditWorker, WorkerOptions
from registry.audits.sealed_memory import map_memory, seal_memory
from registry.audits.task import AuditTask
from registry.updates.payload import read_payload
from registry.updates.spectra import measure

if TYPE_CHECKING:
    from collections.abc import Callable


def timed(work: Callable[[], object]) -> float:
    """Seconds that `work` takes, the device's part included."""
    torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def worst_difference(descriptor: int) -> float:
    """Largest difference between GPU and CPU, in parts of each module's largest value."""
    payload = read_payload(map_memory(descriptor), PayloadForm.RAW, "bench")
    pairs = zip(measure(payload, "cuda"), measure(payload), strict=True)
    return max(
        float((ours.values - theirs.values).abs().max() / theirs.values[0])
        for ours, theirs in pairs
        if ours.values is not None and theirs.values is not None
    )


def measure_family(family: str, rounds: int) -> dict[str, float | int | str]:
    """One interleaved run; medians of seconds."""
    descriptor = seal_memory([adapter(family, 100)])
    size = os.fstat(descriptor).st_size
    pinned = torch.empty(size, dtype=torch.uint8, pin_memory=True)

    def spectra(device: str, *, deterministic: bool = False) -> None:
        payload = read_payload(map_memory(descriptor), PayloadForm.RAW, family)
        measure(payload, device, deterministic=deterministic)

    with AuditWorker(WorkerOptions(device="cuda")) as worker:
        works: dict[str, Callable[[], object]] = {
            "transfer": lambda: pinned.to("cuda"),
            "gpu": lambda: spectra("cuda"),
            "deterministic": lambda: spectra("cuda", deterministic=True),
            "cpu": lambda: spectra("cpu"),
            "child": lambda: worker.audit(AuditTask(descriptor, rules=("spectrum",))),
        }
        times: dict[str, list[float]] = defaultdict(list)
        for number in range(rounds + 1):
            for name, work in works.items():
                seconds = timed(work)
                if number:  # the first round warms everything up
                    times[name].append(seconds)
    medians = {name: statistics.median(values) for name, values in times.items()}
    worst = worst_difference(descriptor)
    os.close(descriptor)
    return {"family": family, "bytes": size, "worst_difference": worst, **medians}


def main() -> None:
    """Print a table and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--family", nargs="+", choices=sorted(FAMILIES), default=sorted(FAMILIES))
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("no GPU on this machine: nothing was measured")
        return
    rows = [measure_family(family, options.rounds) for family in options.family]
    print("| adapter | MiB | a second | x transfer | deterministic | CPU | fresh child | worst |")
    print("|---|---|---|---|---|---|---|---|")
    for row in rows:
        seconds = {
            name: float(row[name]) for name in ("gpu", "transfer", "deterministic", "cpu", "child")
        }
        print(
            f"| {row['family']} | {int(row['bytes']) // 2**20} | {1 / seconds['gpu']:.0f} "
            f"| {seconds['gpu'] / seconds['transfer']:.1f} | {seconds['deterministic']:.3f} s "
            f"| {seconds['cpu']:.3f} s | {seconds['child']:.2f} s | {row['worst_difference']:.1e} |"
        )
    print(json.dumps({"bench": "gpu_audit", "gpu": torch.cuda.get_device_name(), "rows": rows}))


if __name__ == "__main__":
    main()
