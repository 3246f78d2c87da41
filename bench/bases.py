"""The cache of a base model and the relation of an adapter to it: time, size, and what float16 costs.

    python -m bench.bases [--rounds 3] [--threads 1]

Modules of the shapes of SD1.5's UNet, one of each: the whole UNet is extrapolated from how often it has
them, and printed as such. Weights have spectra like trained ones (a few large values over a slow bulk).
Intruders are counted in the cache's coordinates and by two full SVDs in float32, as PEFT does.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from registry.audits.bases.building import BaseFile, build_base_cache, decompose
from registry.audits.bases.cache import BaseCache, BaseWeight
from registry.audits.bases.relating import COSINE, TOP, relate_full, relate_low_rank
from registry.formats.safetensors import dump_header, lay_out

if TYPE_CHECKING:
    from collections.abc import Callable

RANK = 16
STRENGTH = 0.15
# Outputs, inputs (kernel flattened), and how many such layers adapters change in SD1.5's UNet.
SHAPES: tuple[tuple[str, int, int, int], ...] = (
    ("attention 320", 320, 320, 40),
    ("text key 640", 640, 768, 10),
    ("attention 640", 640, 640, 40),
    ("ff.out 640", 640, 2560, 5),
    ("attention 1280", 1280, 1280, 48),
    ("ff.in 1280", 10240, 1280, 6),
    ("ff.out 1280", 1280, 5120, 6),
    ("conv 320", 320, 2880, 7),
)


def weight_of(outputs: int, inputs: int, source: torch.Generator) -> torch.Tensor:
    """A weight in half precision: random directions, ten large values, a bulk that falls slowly."""
    bulk = torch.randn(outputs, inputs, generator=source) * inputs**-0.5
    left = torch.linalg.qr(torch.randn(outputs, TOP, generator=source)).Q
    right = torch.linalg.qr(torch.randn(inputs, TOP, generator=source)).Q
    return (bulk + (left * torch.linspace(8, 3, TOP)) @ right.T).half()


def timed(work: Callable[[], object], rounds: int) -> float:
    """Median seconds of `work`."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def by_full_svd(weight: torch.Tensor, update: torch.Tensor) -> torch.Tensor:
    """Largest |cosine| of each top left vector, from two full SVDs in float32."""
    before = torch.linalg.svd(weight.float(), full_matrices=False).U
    after = torch.linalg.svd(weight.float() + update, full_matrices=False).U[:, :TOP]
    return (before.T @ after).abs().amax(0)


def left_errors(weight: torch.Tensor, update: torch.Tensor) -> dict[str, float]:
    """Largest change of a cosine when the left vectors are stored in a narrower type."""
    left, _ = decompose(weight)
    after = torch.linalg.svd(weight.double() + update.double(), full_matrices=False).U[:, :TOP]
    exact = (left.T @ after).abs().amax(0)
    kept = {"f16": left.half(), "bf16": left.bfloat16(), "f32": left.float()}
    return {
        name: float(((narrow.double().T @ after).abs().amax(0) - exact).abs().max())
        for name, narrow in kept.items()
    }


def row_of(name: str, outputs: int, inputs: int, rounds: int) -> dict[str, float | str | int]:
    """Measure one shape."""
    source = torch.Generator().manual_seed(outputs + inputs)
    weight = weight_of(outputs, inputs, source)
    up = torch.randn(outputs, RANK, generator=source) * torch.exp(-torch.arange(RANK) / 2)
    down = torch.randn(RANK, inputs, generator=source)
    up *= STRENGTH * float(weight.float().norm() / (up @ down).norm())
    update = up @ down
    left, values = decompose(weight)
    base = BaseWeight(weight, left.half(), values.float())
    found, full = relate_low_rank(up, down, base), relate_full(update, base)
    exact = by_full_svd(weight, update)
    return {
        "layer": name,
        "shape": f"{outputs} x {inputs}",
        "build_s": timed(lambda: decompose(weight), rounds),
        "relate_s": timed(lambda: relate_low_rank(up, down, base), rounds),
        "relate_full_s": timed(lambda: relate_full(update, base), rounds),
        "two_svds_s": timed(lambda: by_full_svd(weight, update), 1),
        "intruders": -1 if found.intruders is None else found.intruders,
        "intruders_full": -1 if full.intruders is None else full.intruders,
        "intruders_svd": int((exact < COSINE).sum()),
        **{f"cos_error_{kind}": error for kind, error in left_errors(weight, update).items()},
    }


def cache_ratio() -> tuple[float, float]:
    """Bytes of the cache over those of the base, for one layer of each shape, and seconds to make it."""
    with tempfile.TemporaryDirectory() as folder:
        path, out = Path(folder) / "base.safetensors", Path(folder) / "cache.safetensors"
        source = torch.Generator().manual_seed(1)
        rows = {f"a.{n}.weight": weight_of(m, k, source) for n, (_, m, k, _) in enumerate(SHAPES)}
        laid = lay_out([(name, "F16", tuple(value.shape)) for name, value in rows.items()])
        body = b"".join(rows[row.name].numpy().tobytes() for row in laid)
        path.write_bytes(dump_header(laid, []) + body)
        start = time.perf_counter()
        built = build_base_cache([BaseFile(path)], out)
        seconds = time.perf_counter() - start
        BaseCache(memoryview(bytearray(out.read_bytes())), naming="flat.1")
        return built.size / built.base_size, seconds


def main() -> None:
    """Print a table, the extrapolation, and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = [row_of(name, m, n, options.rounds) for name, m, n, _ in SHAPES]
    print("| layer | shape | build | relate | relate in full | two full SVDs | intruders (SVD) |")
    print("|---|---|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row['layer']} | {row['shape']} | {row['build_s']:.3f} s | {row['relate_s']:.4f} s "
            f"| {row['relate_full_s']:.3f} s | {row['two_svds_s']:.2f} s "
            f"| {row['intruders']} and {row['intruders_full']} ({row['intruders_svd']}) |"
        )
    counts = [count for *_, count in SHAPES]
    whole = {
        key: sum(count * float(row[key]) for count, row in zip(counts, rows, strict=True))
        for key in ("build_s", "relate_s", "relate_full_s", "two_svds_s")
    }
    ratio, seconds = cache_ratio()
    worst = {k: max(float(row[k]) for row in rows) for k in rows[0] if k.startswith("cos_error")}
    print(f"\nextrapolated to {sum(counts)} layers: {json.dumps(whole)}")
    print(f"cache: {ratio:.3f} times the base, {seconds:.1f} s for one layer of each shape")
    print(f"largest change of a cosine by the type of the vectors: {json.dumps(worst)}")
    print(json.dumps({"threads": options.threads, "torch": torch.__version__, "rows": rows}))


if __name__ == "__main__":
    main()
