"""What audits beside a training job cost it: step times with and without, interleaved in one run.

    python -m bench.beside_training [--rounds 8] [--steps 12] [--threads 2]

A small network is trained for real, on the GPU where there is one, else on the CPU with `--threads`. In every
round come a stretch alone, one beside audits of normal priority, and one beside audits that give way, in
changing order; a stretch beside audits begins when the first audit has. Audits of one adapter (SD1.5, rank
32) follow each other without pause, which is the worst a daemon can do. Printed: the median over rounds of
the ratio of median step times, its range, and how many audits were done meanwhile.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import threading
import time
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.spectra import adapter
from registry.audits.runner import AuditWorker, WorkerOptions
from registry.audits.sealed_memory import seal_memory
from registry.audits.task import AuditLimits, AuditTask

if TYPE_CHECKING:
    from collections.abc import Callable

WAYS = ("alone", "normal priority", "gives way")
WIDTH, BATCH = 1024, 64


class Audits:
    """Audits one adapter again and again in a thread, while told to."""

    def __init__(self, device: str, payload: int, *, gives_way: bool) -> None:
        self._worker = AuditWorker(WorkerOptions(device=device, gives_way=gives_way))
        self._worker.start()
        self._task = AuditTask(payload, name="bench.safetensors")
        self._go, self._stop, self._began = threading.Event(), False, threading.Event()
        self.done = 0
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def __enter__(self) -> None:
        self._began.clear()
        self._go.set()
        self._began.wait()

    def __exit__(self, *_: object) -> None:
        self._go.clear()

    def close(self) -> None:
        """End the thread and the worker."""
        self._stop = True
        self._go.set()
        self._thread.join()
        self._worker.close()

    def _run(self) -> None:
        while True:
            self._go.wait()
            if self._stop:
                return
            self._began.set()
            run = self._worker.audit(self._task, AuditLimits(threads=1))
            if run.death is not None:
                raise RuntimeError(f"an audit died: {run.death.detail}")
            self.done += 1


def trainer(device: str) -> Callable[[], float]:
    """Return a function that does one real training step and returns its seconds."""
    torch.manual_seed(3)
    model = torch.nn.Sequential(
        *(layer for _ in range(4) for layer in (torch.nn.Linear(WIDTH, WIDTH), torch.nn.GELU()))
    ).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    inputs = torch.randn(BATCH, WIDTH, device=device)

    def step() -> float:
        start = time.perf_counter()
        loss = torch.nn.functional.mse_loss(model(inputs), inputs)
        loss.backward()  # type: ignore[no-untyped-call] # torch's own
        optimizer.step()
        optimizer.zero_grad()
        loss.item()  # waits for the device
        return time.perf_counter() - start

    return step


def measure(rounds: int, steps: int, device: str) -> dict[str, object]:
    """One interleaved run; every ratio is to the stretch alone of the same round."""
    payload = seal_memory([adapter("sd15", 100)])
    audits = {
        "normal priority": Audits(device, payload, gives_way=False),
        "gives way": Audits(device, payload, gives_way=True),
    }
    step = trainer(device)
    for _ in range(5):
        step()
    ratios: dict[str, list[float]] = defaultdict(list)
    alone: list[float] = []
    for number in range(rounds):
        medians = {}
        for way in (*WAYS[number % 3 :], *WAYS[: number % 3]):
            if way == "alone":
                medians[way] = statistics.median(step() for _ in range(steps))
                continue
            with audits[way]:
                medians[way] = statistics.median(step() for _ in range(steps))
        alone.append(medians["alone"])
        for way in audits:
            ratios[way].append(medians[way] / medians["alone"])
    for audit in audits.values():
        audit.close()
    os.close(payload)
    return {
        "device": device,
        "threads": torch.get_num_threads(),
        "alone_s": statistics.median(alone),
        "load": os.getloadavg()[0],
        **{
            way: Summary(statistics.median(found), min(found), max(found), audits[way].done)
            for way, found in ratios.items()
        },
    }


@dataclass(frozen=True, slots=True)
class Summary:
    """Ratios of step times to those alone, and how many audits were done meanwhile."""

    median: float
    least: float
    most: float
    audits: int


def main() -> None:
    """Print a table and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    found = measure(options.rounds, options.steps, device)
    print(f"training step alone on {device}: {float(str(found['alone_s'])) * 1000:.1f} ms")
    print("| beside | step time x | range | audits done |\n|---|---|---|---|")
    for way in WAYS[1:]:
        row = found[way]
        if isinstance(row, Summary):
            print(
                f"| {way} | {row.median:.2f} | {row.least:.2f} to {row.most:.2f} | {row.audits} |"
            )
            found[way] = asdict(row)
    print(json.dumps({"bench": "beside_training", **found}))


if __name__ == "__main__":
    main()
