"""Sketches: what they tell of known changes, how often they err, and what they cost.

python -m bench.sketches matches      # cosine of sketches and exact one, synthetic and trained adapters
python -m bench.sketches null         # 10^6 pairs of unrelated adapters; trainings of one base
python -m bench.sketches merges       # weights of merges of 27 known adapters
python -m bench.sketches index        # 10^5 codes in SQLite: latency, and what is found
python -m bench.sketches cost         # time and size for the shapes of SD1.5, SDXL and Flux
python -m bench.sketches              # all of them
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import math
import sqlite3
import statistics
import tempfile
import time
from collections import Counter
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from bench import sketch_rig as rig
from registry.fingerprints.code_pages import CODE_BYTES, PAGE_BYTES, PAGE_CODES
from registry.fingerprints.index import code_of, search
from registry.fingerprints.match import Kinship, compare, similarity
from registry.fingerprints.merges import decompose, decompose_among
from registry.fingerprints.sketch import K, Sketch, build_sketch, parse_sketch

if TYPE_CHECKING:
    from collections.abc import Callable

UNRELATED = 1415  # adapters: 1,000,405 pairs
NULL_LAYERS, NULL_WIDTH = 24, 96
CODES = 100_000
QUERIES = 200
TRIALS = 60
LIMIT = 256
KNOWN, KNOWN_TRAINED = 27, 5
UNKNOWN, UNKNOWN_TRAINED = 20, 2


def sd15(seed: int) -> rig.Adapter:
    return rig.random_adapter(seed, rig.widths("sd15"), 32)


@functools.cache
def trained(beginning: int, subject: int) -> rig.Adapter:
    from bench.trained import trained_adapter  # diffusers: seconds, and only for trained ones

    return trained_adapter(beginning, subject)


def changes(one: rig.Adapter, others: list[rig.Adapter]) -> dict[str, tuple[rig.Adapter, str]]:
    """What is done to an adapter, and the type it is stored in."""
    rank = next(iter(one.values()))[1].shape[0]
    half = dict(list(one.items())[::2])
    return {
        "fp16": (one, "F16"),
        "bf16": (one, "BF16"),
        "B R, inv(R) A": (rig.refactored(one), "F32"),
        "B R, inv(R) A in bf16": (rig.refactored(one), "BF16"),
        "alpha x 0.5": ({name: (up / 2, down) for name, (up, down) in one.items()}, "F32"),
        "int8 by row": (rig.changed(one, rig.int8_rows), "F32"),
        "fp8 e4m3": (rig.changed(one, rig.fp8), "F32"),
        **{f"rank {rank} to {rank // n}": (rig.resized(one, rank // n), "F32") for n in (2, 4, 8)},
        **{f"pruned {p} %": (rig.pruned(one, p / 100), "F32") for p in (30, 50, 70)},
        "merge .5/.5": (rig.merged([(0.5, one), (0.5, others[0])]), "F32"),
        "merge .3/.7": (rig.merged([(0.3, one), (0.7, others[0])]), "F32"),
        "merge of 4": (rig.merged([(0.25, part) for part in (one, *others[:3])]), "F32"),
        "+30 % random update": (rig.trained_on(one, 0.3), "F32"),
        "half of the modules": (half, "F32"),
        "negated": ({name: (-up, down) for name, (up, down) in one.items()}, "F32"),
        "unrelated": (others[0], "F32"),
    }


def matches() -> None:
    """The table of known changes."""
    for title, adapters in (
        ("synthetic SD1.5, rank 32, 192 modules", [sd15(seed) for seed in range(4)]),
        ("trained tiny UNet, rank 8, 32 modules", [trained(seed, seed) for seed in range(4)]),
    ):
        one, *others = adapters
        sketch = rig.sketch_adapter(one)
        null = similarity(sketch, sketch).null_deviation
        print(f"{title}; deviation of the null {null:.4f}\n")
        print("| change | sketch | exact | class | false matches in 10^5 |\n|---|---|---|---|---|")
        for name, (adapter, dtype) in changes(one, others).items():
            found = compare(sketch, rig.sketch_adapter(adapter, dtype), comparisons=CODES)
            stored = rig.changed(adapter, lambda t, d=dtype: t.to(rig.DTYPES[d]).float())
            print(
                f"| {name} | {found.overall.cosine:.5f} | {rig.exact_cosine(one, stored):.5f} "
                f"| {found.kinship} | {found.false_match_rate:.1e} |"
            )
        print()


def null() -> None:
    """Chance: many pairs with nothing in common; and pairs of trainings that have something."""
    sizes = [(NULL_WIDTH, NULL_WIDTH)] * NULL_LAYERS
    sketches = [
        rig.sketch_adapter(rig.random_adapter(seed, sizes, 4), "F16") for seed in range(UNRELATED)
    ]
    flat = np.stack([sketch.values.ravel() for sketch in sketches])
    flat /= np.linalg.norm(flat, axis=1, keepdims=True)
    places = np.triu_indices(UNRELATED, 1)
    cosines = np.abs(flat @ flat.T)[places]
    deviation = similarity(sketches[0], sketches[1]).null_deviation
    closest = np.argsort(cosines)[-2000:]
    classes = Counter(
        compare(sketches[places[0][n]], sketches[places[1][n]], comparisons=len(cosines)).kinship
        for n in closest
    )
    print(f"{len(cosines)} unrelated pairs, {NULL_LAYERS} modules of {NULL_WIDTH} x {NULL_WIDTH}:")
    print(f"deviation {np.sqrt((cosines**2).mean()):.4f}, ", end="")
    print(f"as estimated {deviation:.4f}; largest |cosine| {cosines.max():.4f}; ", end="")
    for times in (3, 4, 5):
        beyond = int((cosines > times * deviation).sum())
        expected = math.erfc(times / math.sqrt(2)) * len(cosines)
        print(f"beyond {times} deviations {beyond} (Gaussian {expected:.1f})", end="; ")
    matched = sum(count for kinship, count in classes.items() if kinship is not Kinship.UNRELATED)
    print(f"false matches {matched}\n")
    _trainings()


def _trainings() -> None:
    print("| trainings of one base | pairs | exact cosine | sketch | 4 deviations |")
    print("|---|---|---|---|---|")
    for title, choice in (
        ("other beginning, other pictures", [(n, n) for n in range(KNOWN_TRAINED)]),
        ("other beginning, same pictures", [(n, 0) for n in range(4)]),
        ("same beginning, other pictures", [(0, n) for n in range(4)]),
    ):
        adapters = [trained(*seeds) for seeds in choice]
        pairs = list(combinations(adapters, 2))
        exact = [rig.exact_cosine(*pair) for pair in pairs]
        found = [similarity(*map(rig.sketch_adapter, pair)) for pair in pairs]
        print(
            f"| {title} | {len(pairs)} | {min(exact):.3f} to {max(exact):.3f} "
            f"| {min(f.cosine for f in found):.3f} to {max(f.cosine for f in found):.3f} "
            f"| {4 * max(f.null_deviation for f in found):.3f} |"
        )
    print()


def merges() -> None:
    """Weights of merges among known adapters, from their sketches."""
    for title, make, count, others in (
        ("synthetic SD1.5", sd15, KNOWN, UNKNOWN),
        ("trained tiny UNet", lambda n: trained(n, n), KNOWN_TRAINED, UNKNOWN_TRAINED),
    ):
        adapters = [make(seed) for seed in range(count)]
        known = [(f"a{n}", rig.sketch_adapter(one, "F16")) for n, one in enumerate(adapters)]
        cases = {
            ".5, .5": [(0.5, 0), (0.5, 1)],
            ".3, .7": [(0.3, 0), (0.7, 1)],
            ".25 x 4": [(0.25, n) for n in range(4)],
            "1, -.5": [(1.0, 0), (-0.5, 1)],
        }
        print(f"{title}, {count} known adapters\n")
        print("| merge | stored | found | error | rest |\n|---|---|---|---|---|")
        for name, weights in cases.items():
            whole = rig.merged([(weight, adapters[n]) for weight, n in weights])
            rank = _rank(adapters[0])
            for stored, form, dtype in (
                ("concatenated, fp16", whole, "F16"),
                (f"resized to {rank}", rig.resized(whole, rank), "F16"),
                ("+30 % random update", rig.trained_on(whole, 0.3), "F16"),
            ):
                found = decompose_among(rig.sketch_adapter(form, dtype), known)
                parts = ", ".join(f"{p.artifact_id} {p.weight:.4f}" for p in found.components)
                error = max((p.error for p in found.components), default=0)
                print(f"| {name} | {stored} | {parts} | {error:.4f} | {found.residual:.4f} |")
        unknown = [make(count + n) for n in range(others)]
        spurious = sum(
            len(decompose_among(rig.sketch_adapter(one, "F16"), known).components)
            for one in unknown
        )
        print(f"\n{len(unknown)} unknown adapters: {spurious} components found\n")


def _rank(adapter: rig.Adapter) -> int:
    return next(iter(adapter.values()))[1].shape[0]


def index() -> None:
    """Latency of a search that reads every page from SQLite, and how often a part is found."""
    noise = hashlib.shake_256(b"codes of the bench").digest(CODES * CODE_BYTES)
    query = code_of(_random_sketch(np.random.Generator(np.random.PCG64(1))))
    with tempfile.TemporaryDirectory() as folder:
        database = sqlite3.connect(Path(folder) / "index.db")
        database.execute("CREATE TABLE pages (id INTEGER PRIMARY KEY, codes BLOB NOT NULL)")
        rows = [(n, noise[n * PAGE_BYTES :][:PAGE_BYTES]) for n in range(-(-CODES // PAGE_CODES))]
        database.executemany("INSERT INTO pages VALUES (?, ?)", rows)
        database.commit()

        def stored() -> None:
            pages = database.execute("SELECT codes FROM pages ORDER BY id")
            search((row[0] for row in pages), query, LIMIT)

        _latency("SQLite", stored)
        _latency("memory", lambda: search([noise], query, LIMIT))
        database.close()
    _recall(noise)


def _latency(title: str, work: Callable[[], object]) -> None:
    work()
    times = sorted(_timed(work) for _ in range(QUERIES))
    p95 = times[int(0.95 * QUERIES)]
    print(
        f"{CODES} codes, {title}: p50 {1e3 * times[QUERIES // 2]:.1f} ms, p95 {1e3 * p95:.1f} ms, ",
        end="",
    )
    print(f"worst {1e3 * times[-1]:.1f} ms of {QUERIES} searches for the best {LIMIT}\n")


def _recall(noise: bytes) -> None:
    source = np.random.Generator(np.random.PCG64(2))
    print(f"| cosine | found among {CODES}, best 32 | best {LIMIT} |\n|---|---|---|")
    for cosine in (0.5, 0.426, 0.394, 0.3, 0.25, 0.2, 0.15, 0.1, 0.036):
        ranks = []
        for _ in range(TRIALS):
            wanted, other = _random_values(source), _random_values(source)
            mixed = cosine * wanted + math.sqrt(1 - cosine**2) * other
            hits = search([noise, code_of(_sketch_of(wanted))], code_of(_sketch_of(mixed)), LIMIT)
            slots = [hit.slot for hit in hits]
            ranks.append(slots.index(CODES) if CODES in slots else CODES)
        shares = [sum(rank < best for rank in ranks) / TRIALS for best in (32, LIMIT)]
        print(f"| {cosine} | {shares[0]:.0%} | {shares[1]:.0%} |")
    _pursuit(noise, source)


def _pursuit(noise: bytes, source: np.random.Generator) -> None:
    """Merges whose parts are looked up in the index, again with every rest."""
    print(f"\n| merge, by the index of {CODES} | all parts found |\n|---|---|")
    for weights in ((0.5, 0.5), (0.3, 0.7), (0.25,) * 4, (0.7, 0.2, 0.1), (1.0, 0.05)):
        complete = 0
        for _ in range(20):
            values = [_random_values(source) for _ in weights]
            parts = [_sketch_of(one) for one in values]
            pages = [noise, b"".join(code_of(one) for one in parts)]

            def nearest(rest: Sketch, pages=pages, parts=parts) -> list[tuple[str, Sketch]]:
                slots = [hit.slot - CODES for hit in search(pages, code_of(rest), LIMIT)]
                # Of the others there are codes only: as sketches they would be refused.
                return [(str(slot), parts[slot]) for slot in slots if slot >= 0]

            target = sum(w * one for w, one in zip(weights, values, strict=True))
            found = decompose(_sketch_of(target), nearest, compared=CODES)
            complete += len(found.components) == len(weights)
        print(f"| {', '.join(map(str, weights))} | {complete} of 20 |")
    print()


def _random_values(source: np.random.Generator) -> np.ndarray:
    """Values as an SD1.5 adapter of rank 1 has them, all layers equally strong."""
    left, right = source.standard_normal((2, 192, K))
    values = np.einsum("li,lj->lij", left, right)
    return values / np.linalg.norm(values)


def _sketch_of(values: np.ndarray) -> Sketch:
    return build_sketch(bytes(8), np.arange(1, len(values) + 1, dtype=np.uint64), values)


def _random_sketch(source: np.random.Generator) -> Sketch:
    return _sketch_of(_random_values(source))


def cost() -> None:
    """Milliseconds and bytes of a sketch from a payload in memory, one thread; median of 7."""
    print("| adapter | modules | rank | payload | sketch | code | comparison | bytes |")
    print("|---|---|---|---|---|---|---|---|")
    for family, rank in (("sd15", 32), ("sdxl", 32), ("flux", 16)):
        adapter = rig.random_adapter(1, rig.widths(family), rank)
        payload = rig.read(adapter, "F16")
        sketch = rig.sketch(payload)
        data = sketch.to_bytes()
        work: tuple[Callable[[], object], ...] = (
            lambda payload=payload: rig.sketch(payload),
            lambda sketch=sketch: code_of(sketch),
            lambda data=data: compare(parse_sketch(data), parse_sketch(data)),
        )
        times = [1e3 * statistics.median(_timed(one) for _ in range(7)) for one in work]
        mebibytes = sum(len(file.data) for file in payload.files) / 2**20
        print(
            f"| {family} | {len(sketch)} | {rank} | {mebibytes:.0f} MiB | {times[0]:.0f} ms "
            f"| {times[1]:.1f} ms | {times[2]:.1f} ms | {len(data)} |"
        )
    print()


def _timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


PARTS = {"matches": matches, "null": null, "merges": merges, "index": index, "cost": cost}


def main() -> None:
    """Print the tables that were asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    chosen = parser.parse_args().parts or list(PARTS)
    torch.set_num_threads(1)
    print(f"numpy {np.__version__}, torch {torch.__version__}, one thread\n")
    for name in chosen:
        PARTS[name]()


if __name__ == "__main__":
    main()
