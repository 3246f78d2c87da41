"""The spectral audit against dense SVD and against svd(lora_down), interleaved in one run.

    python bench/spectra.py [--rounds 5] [--threads 1] [--condition 100]
        [--family sd15 sdxl]

Dense SVD of every module takes minutes, so in each round one module of each distinct shape is done
densely and its time multiplied by how many modules have that shape: extrapolated, and printed as such.
`svd(lora_down)` is a common shortcut and the wrong quantity; it is here for its cost only. Ours
starts from the bytes of the file: views, scales, Gram matrices, decomposition, rescue by QR.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import statistics
import struct
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from registry.artifacts.notes import PayloadForm
from registry.updates.files import Payload
from registry.updates.payload import read_payload
from registry.updates.spectra import measure

if TYPE_CHECKING:
    from collections.abc import Callable

RANK = 32
# (width, blocks, transformer layers in each, width of the text) per resolution of the UNet
FAMILIES = {
    "sd15": ((320, 5, 1, 768), (640, 5, 1, 768), (1280, 6, 1, 768)),
    "sdxl": ((640, 5, 2, 2048), (1280, 6, 10, 2048)),
}
Shape = tuple[int, int]


def shapes(family: str) -> list[Shape]:
    """Output and input width of every attention and feed-forward module of a UNet."""
    found: list[Shape] = []
    for width, blocks, layers, text in FAMILIES[family]:
        square, layer = (width, width), [(width * 8, width), (width, width * 4)]
        layer += [square] * 6 + [(width, text)] * 2
        found += blocks * ([square] * 2 + layers * layer)
    return found


def adapter(family: str, condition: float) -> bytes:
    """A kohya adapter in half precision with singular values that fall by a factor of `condition`."""
    source = torch.Generator().manual_seed(1)
    decay = torch.logspace(0, -math.log10(condition), RANK)
    header: dict[str, object] = {}
    parts: list[bytes] = []
    end = 0
    for number, (outputs, inputs) in enumerate(shapes(family)):
        factors = {
            "lora_down": torch.randn(RANK, inputs, generator=source) * inputs**-0.5,
            "lora_up": torch.randn(outputs, RANK, generator=source) * decay * outputs**-0.5,
        }
        for role, factor in factors.items():
            content = factor.half().numpy().tobytes()
            header[f"lora_unet_m_{number}.{role}.weight"] = {
                "dtype": "F16",
                "shape": list(factor.shape),
                "data_offsets": [end, end + len(content)],
            }
            parts.append(content)
            end += len(content)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return b"".join([struct.pack("<Q", len(text)), text, *parts])


def ours(subject: Payload) -> None:
    """Every singular value of every module."""
    fresh = Payload(subject.files, subject.config)
    if len(measure(fresh)) != len(subject.modules):
        raise RuntimeError("a module was left out")


def steady(subject: Payload) -> None:
    """The same in the deterministic mode."""
    measure(Payload(subject.files, subject.config), deterministic=True)


def shortcut(downs: list[torch.Tensor]) -> None:
    """svd(lora_down) of every module: the wrong quantity."""
    for down in downs:
        torch.linalg.svd(down.float(), full_matrices=False)


def dense_seconds(
    factors: dict[Shape, tuple[torch.Tensor, torch.Tensor]], counts: Counter[Shape]
) -> float:
    """Dense decomposition of all modules, from one module of each shape."""
    total = 0.0
    for shape, (up, down) in factors.items():
        total += counts[shape] * timed(lambda: torch.linalg.svdvals(up.float() @ down.float()))  # noqa: B023 - called at once
    return total


def timed(work: Callable[[], object]) -> float:
    """Seconds that `work` takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def worst_error(subject: Payload, factors: dict[Shape, tuple[torch.Tensor, torch.Tensor]]) -> float:
    """Largest difference to dense float64, in parts of the largest value, for the sampled modules."""
    spectra = measure(subject)
    worst = 0.0
    for located, spectrum in zip(subject.modules, spectra, strict=True):
        geometry = located.module.geometry
        key = (geometry.outputs or 0, geometry.inputs or 0)
        if key in factors and spectrum.values is not None and max(key) <= 2560:
            up, down = factors.pop(key)
            exact = torch.linalg.svdvals(up.double() @ down.double())[: len(spectrum.values)]
            worst = max(worst, float((spectrum.values - exact).abs().max() / exact[0]))
    return worst


def measure_family(family: str, rounds: int, condition: float) -> dict[str, float | int | str]:
    """One interleaved run; medians of seconds, and ratios of medians."""
    data = adapter(family, condition)
    view = memoryview(bytearray(data))
    parse = timed(lambda: read_payload(view, PayloadForm.RAW, family))
    subject = read_payload(view, PayloadForm.RAW, family)
    counts = Counter(shapes(family))
    factors, downs = _factors(subject)
    ours(subject)  # warm caches and allocator for all of them
    shortcut(downs)
    times: dict[str, list[float]] = {
        "ours": [],
        "steady": [],
        "shortcut": [],
        "dense": [],
        "sha256": [],
    }
    for _ in range(rounds):
        times["ours"].append(timed(lambda: ours(subject)))
        times["steady"].append(timed(lambda: steady(subject)))
        times["shortcut"].append(timed(lambda: shortcut(downs)))
        times["sha256"].append(timed(lambda: hashlib.sha256(data).digest()))
        times["dense"].append(dense_seconds(factors, counts))
        times["ours"].append(timed(lambda: ours(subject)))
    medians = {name: statistics.median(values) for name, values in times.items()}
    return {
        "family": family,
        "modules": sum(counts.values()),
        "mebibytes": len(data) // 2**20,
        "parse_s": parse,
        **{f"{name}_s": value for name, value in medians.items()},
        "dense_ratio": medians["dense"] / medians["ours"],
        "shortcut_ratio": medians["shortcut"] / medians["ours"],
        "worst_error": worst_error(subject, factors),
    }


def _factors(
    subject: Payload,
) -> tuple[dict[Shape, tuple[torch.Tensor, torch.Tensor]], list[torch.Tensor]]:
    from registry.updates.factors import LowRank, update_of

    samples: dict[Shape, tuple[torch.Tensor, torch.Tensor]] = {}
    downs: list[torch.Tensor] = []
    for located in subject.modules:
        update = update_of(located)
        if isinstance(update, LowRank):
            downs.append(update.down)
            samples.setdefault((update.up.shape[0], update.down.shape[1]), (update.up, update.down))
    return samples, downs


def main() -> None:
    """Print a table and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--condition", type=float, default=100, help="beyond 200 all goes by QR")
    parser.add_argument("--family", nargs="+", choices=sorted(FAMILIES), default=sorted(FAMILIES))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = [measure_family(family, options.rounds, options.condition) for family in options.family]
    print(
        "| adapter | modules | MiB | ours | deterministic | dense (extrapolated) | x "
        "| svd(lora_down) | x | sha256 |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row['family']} | {row['modules']} | {row['mebibytes']} | {row['ours_s']:.4f} s "
            f"| {row['steady_s']:.4f} s "
            f"| {row['dense_s']:.1f} s | {row['dense_ratio']:.0f} | {row['shortcut_s']:.3f} s "
            f"| {row['shortcut_ratio']:.1f} | {row['sha256_s']:.4f} s |"
        )
    print(json.dumps({"threads": options.threads, "torch": torch.__version__, "rows": rows}))


if __name__ == "__main__":
    main()
