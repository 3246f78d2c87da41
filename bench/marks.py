"""Recipient marks: what they survive, what they cost, and how z falls for those who are innocent.

    python -m bench.marks [--modules 192] [--condition 20] [--innocents 4000] [--steps 60] [--no-trained]

Two kinds of adapters: a synthetic one of SD1.5's shapes, and tiny ones that are trained here on drawn
pictures (bench/train_lora.py; needs diffusers and peft). z grows with the root of the number of chips,
so every table says how many there are; z / root is what an attack leaves of the mark.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.mark_attacks import ATTACKS, COLLUSIONS, Collusion, Factors, collude
from bench.spectra import adapter
from registry.artifacts.notes import PayloadForm
from registry.fingerprints.marks.accuse import threshold
from registry.fingerprints.marks.basis import study
from registry.fingerprints.marks.detect import compare, weigh
from registry.fingerprints.marks.embed import mark_copy, mark_payload
from registry.fingerprints.marks.options import MarkOptions
from registry.fingerprints.marks.seeds import seed_of
from registry.formats.safetensors import dump_header, lay_out
from registry.updates.factors import LowRank, update_of
from registry.updates.payload import read_payload

if TYPE_CHECKING:
    from collections.abc import Iterable

    from registry.fingerprints.marks.basis import Studied
    from registry.fingerprints.marks.detect import Detection, Evidence
    from registry.updates.files import Payload

EPSILONS = (0.003, 0.01, 0.03)
COLLUDERS = (2, 5, 10, 20)
THIEF = 0


@dataclass(frozen=True)
class Case:
    """One adapter: its bytes, the original as studied, and another adapter for merges."""

    label: str
    data: bytes
    original: Payload
    bases: tuple[Studied, ...]
    other: list[Factors]

    def copy(self, recipient: int, options: MarkOptions | None = None) -> Payload:
        """Return the marked copy of one recipient."""
        copied = opened(bytearray(self.data))
        mark_copy(copied, self.bases, seed(recipient), options or MarkOptions())
        return copied

    def see(self, factors: Iterable[Factors]) -> Evidence:
        """Return what a suspect of these factors shows, in the order of the original's modules."""
        names = [located.module.name for located in self.original.modules]
        return compare(self.bases, written(dict(zip(names, factors, strict=False))))


def seed(recipient: int) -> bytes:
    """Return the seed of one recipient of the bench."""
    return seed_of(bytes(32), "bench", str(recipient))


def opened(data: bytes | bytearray) -> Payload:
    """Return the payload in `data`."""
    return read_payload(memoryview(data), PayloadForm.RAW, "bench")


def written(modules: dict[str, Factors]) -> Payload:
    """Return a payload of these factors, stored as float32."""
    tensors = {}
    for name, (up, down) in modules.items():
        tensors[f"{name}.lora_up.weight"] = up.float().contiguous()
        tensors[f"{name}.lora_down.weight"] = down.float().contiguous()
    rows = lay_out((name, "F32", tuple(tensor.shape)) for name, tensor in tensors.items())
    parts = [dump_header(rows, ()), *(tensors[row.name].numpy().tobytes() for row in rows)]
    return opened(bytearray(b"".join(parts)))


def factors_of(payload: Payload) -> list[Factors]:
    """Return the factors of every module, float64."""
    found = []
    for located in payload.modules:
        update = update_of(located)
        if not isinstance(update, LowRank):
            raise TypeError("the bench marks LoRA only")
        found.append((update.up.double(), update.down.double()))
    return found


def synthetic(modules: int, condition: float) -> Case:
    """Return the case of SD1.5's shapes with values that fall by a factor of `condition`."""
    whole = opened(bytearray(adapter("sd15", condition)))
    step = max(1, len(whole.modules) // modules)
    names = [located.module.name for located in whole.modules][::step]
    chosen = dict(zip(names, factors_of(whole)[::step], strict=True))
    source = torch.Generator().manual_seed(2)
    other = {
        name: (_like(up, source) * up.norm(dim=0), _like(down, source))
        for name, (up, down) in chosen.items()
    }
    payload = written(chosen)
    return _case(f"synthetic, {len(names)} modules of SD1.5, rank 32", payload, other)


def _like(factor: torch.Tensor, source: torch.Generator) -> torch.Tensor:
    return (
        torch.randn(factor.shape, generator=source, dtype=torch.float64) * factor.shape[0] ** -0.5
    )


def trained(rank: int, steps: int) -> Case:
    """Return the case of a tiny adapter that is trained now; the other one has half the rank."""
    from peft.utils import get_peft_model_state_dict

    from bench.train_lora import train

    modules = []
    for size in (rank, rank // 2):
        unet, before, after = train(steps, rank=size)
        if after >= before:
            raise RuntimeError("nothing was learnt")
        state = get_peft_model_state_dict(unet)
        names = sorted({name.split(".lora_")[0] for name in state})
        modules.append({name: _factors(state, name) for name in names})
    mine, other = modules
    return _case(f"trained, {len(mine)} modules, rank {rank}", written(mine), other)


def _factors(state: dict[str, torch.Tensor], name: str) -> Factors:
    up, down = (state[f"{name}.lora_{side}.weight"].detach().double() for side in "BA")
    return up, down


def _case(label: str, payload: Payload, other: dict[str, Factors]) -> Case:
    data = bytes(payload.files[0].data)
    # A writer may order modules in its own way.
    ordered = [other[located.module.name] for located in payload.modules]
    return Case(label, data, payload, tuple(study(payload)), ordered)


def survive(case: Case) -> list[tuple[str, list[Detection]]]:
    """Return for every attack what is found of the thief's marks, for every strength."""
    copies = [factors_of(case.copy(THIEF, MarkOptions(epsilon=one))) for one in EPSILONS]
    rows = [("as delivered", [weigh(case.see(copy), seed(THIEF)) for copy in copies])]
    for name, attack in ATTACKS.items():
        found = []
        for copy in copies:
            source = torch.Generator().manual_seed(3)
            pairs = zip(copy, case.other, strict=True)
            attacked = (attack(mine, other, source) for mine, other in pairs)
            found.append(weigh(case.see(attacked), seed(THIEF)))
        rows.append((name, found))
    halves = [copy[: len(copy) // 2] for copy in copies]
    rows.append(("half of the modules", [weigh(case.see(half), seed(THIEF)) for half in halves]))
    rows.append(("control: another adapter", [weigh(case.see(case.other), seed(THIEF))] * 3))
    control = weigh(case.see(factors_of(case.original)), seed(THIEF))
    rows.append(("control: unmarked", [control] * 3))
    rows.append(("control: another's copy", [weigh(case.see(c), seed(1)) for c in copies]))
    return rows


def mixed(case: Case) -> list[tuple[str, list[tuple[float, float]]]]:
    """Return for every way to mix copies the least and the largest spread z among the colluders."""
    copies = [factors_of(case.copy(recipient)) for recipient in range(max(COLLUDERS))]
    return [
        (name, [_mixed(case, copies[:n], rule) for n in COLLUDERS])
        for name, rule in COLLUSIONS.items()
    ]


def _mixed(case: Case, copies: list[list[Factors]], rule: Collusion) -> tuple[float, float]:
    source = torch.Generator().manual_seed(4)
    evidence = case.see(collude(row, rule, source) for row in zip(*copies, strict=True))
    found = [weigh(evidence, seed(one)).spread_z for one in range(len(copies))]
    return min(found), max(found)


def costs(case: Case) -> dict[str, float]:
    """Return medians of milliseconds: study once, mark with kept bases, mark from bytes, compare, weigh."""
    copied = opened(bytearray(case.data))
    evidence = compare(case.bases, copied)
    work = {
        "study": lambda: list(study(case.original)),
        "mark, bases kept": lambda: case.copy(THIEF),
        "mark from the bytes": lambda: mark_payload(
            memoryview(case.data), PayloadForm.RAW, "bench", seed(THIEF)
        ),
        "compare": lambda: compare(case.bases, copied),
        "weigh one recipient": lambda: weigh(evidence, seed(THIEF)),
    }
    return {name: statistics.median(_timed(one) for _ in range(5)) for name, one in work.items()}


def _timed(work: object) -> float:
    start = time.perf_counter()
    work()  # type: ignore[operator] # a function without arguments
    return (time.perf_counter() - start) * 1000


def innocent(case: Case, count: int) -> dict[str, float]:
    """Return how z is spread over recipients whose copies were not used; the suspect is a marked copy."""
    evidence = case.see(factors_of(case.copy(THIEF)))
    found = [weigh(evidence, seed(number)) for number in range(1000, 1000 + count)]
    result: dict[str, float] = {"innocents": count}
    for name, values in (
        ("spread", [one.spread_z for one in found]),
        ("gauge", [one.gauge_z for one in found]),
    ):
        spread = statistics.stdev(values)
        over = sum(z > 2.3263 for z in values)
        low, high = _wilson(over, count)
        result |= {
            f"{name} mean": statistics.fmean(values),
            f"{name} mean ±": 1.96 * spread / math.sqrt(count),
            f"{name} deviation": spread,
            f"{name} deviation ±": 1.96 * spread / math.sqrt(2 * count),
            f"{name} largest": max(values),
            f"{name} over 1 %": over / count,
            f"{name} over 1 % low": low,
            f"{name} over 1 % high": high,
            f"{name} Kolmogorov x root n": _kolmogorov(values) * math.sqrt(count),
        }
    return result


def _wilson(hits: int, count: int) -> tuple[float, float]:
    part, z2 = hits / count, 1.96**2
    middle = part + z2 / 2 / count
    half = 1.96 * math.sqrt(part * (1 - part) / count + z2 / 4 / count**2)
    return (middle - half) / (1 + z2 / count), (middle + half) / (1 + z2 / count)


def _kolmogorov(values: list[float]) -> float:
    normal, count = statistics.NormalDist(), len(values)
    rows = [(normal.cdf(z), number) for number, z in enumerate(sorted(values))]
    return max(max(p - n / count, (n + 1) / count - p) for p, n in rows)


def show(case: Case, innocents: int) -> dict[str, object]:
    """Print the tables of one adapter and return their numbers."""
    report = mark_payload(memoryview(case.data), PayloadForm.RAW, "bench", seed(THIEF))[1]
    print(f"### {case.label}: {report.chips} chips, root {math.sqrt(report.chips):.0f}\n")
    print(
        f"cosine to the original {report.cosine:.7f}, largest change {report.largest_change:.5f}, left {report.left}\n"
    )
    heads = " | ".join(f"z, e={one}" for one in EPSILONS)
    print(f"| attack | {heads} | gauge z, e=.01 | gauge correlation |")
    print("|---|---|---|---|---|---|")
    survived = survive(case)
    for name, found in survived:
        cells = " | ".join(f"{one.spread_z:.1f}" for one in found)
        print(f"| {name} | {cells} | {found[1].gauge_z:.1f} | {found[1].gauge_correlation:.3f} |")
    print(
        "\n| copies mixed by, e=.01: least to largest z | " + " | ".join(map(str, COLLUDERS)) + " |"
    )
    print("|---|---|---|---|---|")
    mixtures = mixed(case)
    for name, spans in mixtures:
        print(f"| {name} | " + " | ".join(f"{low:.1f} to {high:.1f}" for low, high in spans) + " |")
    times, null = costs(case), innocent(case, innocents)
    print("\n" + ", ".join(f"{name} {value:.1f} ms" for name, value in times.items()))
    print(", ".join(f"{name} {value:.4g}" for name, value in null.items()) + "\n", flush=True)
    return {
        "label": case.label,
        "chips": report.chips,
        "cosine": report.cosine,
        "survived": {name: [one.spread_z for one in found] for name, found in survived},
        "gauge": {name: found[1].gauge_correlation for name, found in survived},
        "mixed": dict(mixtures),
        "milliseconds": times,
        "null": null,
    }


def main() -> None:
    """Print the tables and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--modules", type=int, default=192)
    parser.add_argument("--condition", type=float, default=20)
    parser.add_argument("--innocents", type=int, default=4000)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--no-trained", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    limits = ", ".join(f"N={n}: {threshold(1e-6, n):.2f}" for n in (100, 1000, 10_000))
    print(f"threshold of z at alpha 1e-6: {limits}\n")
    cases = [synthetic(options.modules, options.condition)]
    if not options.no_trained:
        cases += [trained(rank, options.steps) for rank in (8, 16)]
        torch.set_num_threads(options.threads)
    rows = [show(case, options.innocents) for case in cases]
    print(json.dumps({"threads": options.threads, "torch": torch.__version__, "rows": rows}))


if __name__ == "__main__":
    main()
