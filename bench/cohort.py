"""The spectral outlier audit on cohorts with planted outliers: what it finds, and its false positives.

    python -m bench.cohort [--peers 220] [--held-out 200] [--planted 40] [--only trained synthetic]

Two cohorts. Trained: LoRAs of a tiny transformer, every one really trained (`bench/tiny_adapters.py`).
Synthetic: random factors with the variation of trainings in them (strength, decay of the spectrum, norm by
class and by module), more modules and wider layers. Held-out ordinary adapters are drawn like the peers.
The last row is the evasion of docs/audits/spectral_outlier.md: a rank-1 update hidden behind directions that
do nothing but give the spectrum its usual shape.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import TYPE_CHECKING

import torch

from bench.tiny_adapters import LAYERS, RANK, Base, Recipe, payload_of
from registry.audits.audit import AuditSubject
from registry.audits.cohorts.features import as_text, features_of_subject
from registry.audits.cohorts.intervals import clopper_pearson
from registry.audits.context import AuditContext, PeerGroup
from registry.audits.weights.spectral_outlier import SpectralOutlierAudit
from registry.formats.findings import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.tiny_adapters import Factors

SYNTHETIC_RANK = 8
SYNTHETIC_LAYERS = tuple(
    (f"blocks_{block}_{name}", outputs, inputs)
    for block in range(12)
    for name, outputs, inputs in (
        ("attn_to_q", 96, 96),
        ("attn_to_k", 96, 128),
        ("attn_to_v", 96, 128),
        ("attn_to_out_0", 96, 96),
        ("mlp_fc1", 256, 96),
        ("mlp_fc2", 96, 256),
    )
)


def synthetic(source: torch.Generator) -> Factors:
    """One adapter with the variation of trainings: strength, decay, norms of classes and modules."""

    def about(spread: float) -> float:
        return float(torch.exp(spread * torch.randn(1, generator=source)))

    strength, decay = about(0.25), 0.35 * about(0.12)
    classes = {name.split("_", 2)[2]: about(0.1) for name, _, _ in SYNTHETIC_LAYERS}
    factors: Factors = {}
    for name, outputs, inputs in SYNTHETIC_LAYERS:
        size = strength * classes[name.split("_", 2)[2]] * about(0.15)
        values = size * torch.exp(-decay * torch.arange(SYNTHETIC_RANK))
        values = values * torch.exp(0.1 * torch.randn(SYNTHETIC_RANK, generator=source))
        up = torch.randn(outputs, SYNTHETIC_RANK, generator=source) * outputs**-0.5 * values
        factors[name] = (up, torch.randn(SYNTHETIC_RANK, inputs, generator=source) * inputs**-0.5)
    return factors


def scaled(factors: Factors, by: float, where: str = "") -> Factors:
    """Multiply the update of the modules whose name holds `where`."""
    return {name: (up * by if where in name else up, down) for name, (up, down) in factors.items()}


def reshaped(
    factors: Factors, profile: Callable[[torch.Tensor], torch.Tensor], every: int = 1
) -> Factors:
    """Give every so-manieth module singular values `profile(values)`, with its norm as it was."""
    changed: Factors = {}
    for place, (name, (up, down)) in enumerate(factors.items()):
        if place % every:
            changed[name] = (up, down)
            continue
        left, values, right = torch.linalg.svd(up.double() @ down.double(), full_matrices=False)
        rank = down.shape[0]
        shape = profile(values[:rank])
        shape = shape * values[:rank].norm() / shape.norm()
        changed[name] = ((left[:, :rank] * shape).float(), right[:rank].float())
    return changed


def rank_one(values: torch.Tensor) -> torch.Tensor:
    """All energy in the first direction (and what is needed to keep the rank)."""
    return torch.cat([values[:1], values[1:] * 0.02])


def padded(malicious: Factors, model: Factors) -> Factors:
    """Keep the first direction of each module, and pad the rest with noise to the spectrum of `model`."""
    source = torch.Generator().manual_seed(0)
    changed: Factors = {}
    for name, (up, down) in malicious.items():
        rank = down.shape[0]
        left, _, right = torch.linalg.svd(up.double() @ down.double(), full_matrices=False)
        usual = torch.linalg.svdvals(model[name][0].double() @ model[name][1].double())[:rank]
        sides = []
        for first, size in ((left[:, :1], up.shape[0]), (right[:1].T, down.shape[1])):
            noise = torch.randn(size, rank - 1, generator=source, dtype=torch.float64)
            sides.append(torch.linalg.qr(torch.cat([first, noise], 1)).Q)
        changed[name] = ((sides[0] * usual).float(), sides[1].T.float())
    return changed


def group_of(adapters: list[Factors], label: str) -> PeerGroup:
    """The rows of a cohort, with five digits as the ledger keeps them."""
    rows = []
    for factors in adapters:
        subject = AuditSubject(payload_of(factors))
        rows.append(features_of_subject(subject, subject.kinds))
    names = tuple(name for name, _ in rows[0])
    return PeerGroup(label, names, tuple(tuple(float(as_text(v)) for _, v in row) for row in rows))


def flagged(adapters: list[Factors], peers: PeerGroup) -> tuple[int, int, int]:
    """How many are outliers, and how many of them by features and by distance."""
    total = by_feature = by_distance = 0
    for factors in adapters:
        subject = AuditSubject(payload_of(factors), context=AuditContext(peers=peers))
        report = SpectralOutlierAudit().run(subject)
        if report.verdict is Verdict.WARN:
            message = report.findings[0].message
            total += 1
            by_feature += "robust deviations" in message
            by_distance += "as a whole" in message
    return total, by_feature, by_distance


def show(name: str, adapters: list[Factors], peers: PeerGroup) -> dict[str, object]:
    """Print one row of the table."""
    found, by_feature, by_distance = flagged(adapters, peers)
    low, high = clopper_pearson(found, len(adapters))
    print(
        f"| {name} | {found} of {len(adapters)} | {100 * low:.1f} to {100 * high:.1f} % "
        f"| {by_feature} | {by_distance} |",
        flush=True,
    )
    return {"what": name, "flagged": found, "of": len(adapters), "interval": [low, high]}


def tables(
    title: str, peers: list[Factors], held_out: list[Factors], planted: dict[str, list[Factors]]
) -> list[dict[str, object]]:
    """Measure one cohort and print its table."""
    group = group_of(peers, title)
    print(f"\n{title}: {len(peers)} peers, {len(group.names)} features\n")
    print("| adapters | flagged | 95 % interval | by features | by distance |")
    print("|---|---|---|---|---|", flush=True)
    rows = [show("held-out ordinary (false positives)", held_out, group)]
    for name, adapters in planted.items():
        rows.append(show(name, adapters, group))
    return rows


def common_plants(
    adapters: list[Factors], peers: list[Factors], place: str
) -> dict[str, list[Factors]]:
    """What is done to finished adapters, whatever they were trained on."""
    return {
        "norm x 3": [scaled(one, 3.0) for one in adapters],
        "norm x 1.5": [scaled(one, 1.5) for one in adapters],
        "one class x 3": [scaled(one, 3.0, place) for one in adapters],
        "rank 1 in every module, norm kept": [reshaped(one, rank_one) for one in adapters],
        "rank 1 in every fourth module": [reshaped(one, rank_one, 4) for one in adapters],
        "rank 1 in every module, padded to an ordinary spectrum (evasion)": [
            padded(one, peers[place_of]) for place_of, one in enumerate(adapters)
        ],
    }


def trained_cohort(peers: int, held_out: int, planted: int) -> list[dict[str, object]]:
    """Train everything and measure."""
    start = time.perf_counter()
    base = Base()
    ordinary, before, after = base.train(Recipe(peers + held_out + planted, seed=2))
    print(f"base loss {base.final:.3f}; adapters {before:.3f} -> {after:.3f}")
    poisoned, before, after = base.train(Recipe(planted, seed=3, poison=0.1))
    print(f"poisoned {before:.3f} -> {after:.3f}")
    few, _, _ = base.train(Recipe(planted, seed=6, poison=0.02))
    hot, _, _ = base.train(Recipe(planted, seed=4, rate=4e-2))
    noise, _, _ = base.train(Recipe(planted, seed=5, has_style=False))
    print(
        f"trained {peers + held_out + 5 * planted} adapters in {time.perf_counter() - start:.1f} s"
    )
    rest = ordinary[peers + held_out :]
    return tables(
        f"trained: tiny transformer, rank {RANK}, {len(LAYERS)} modules",
        ordinary[:peers],
        ordinary[peers : peers + held_out],
        {
            "10 % of the data poisoned with a trigger": poisoned,
            "2 % of the data poisoned with a trigger": few,
            "10 % poisoned, then amplified x 2": [scaled(one, 2.0) for one in poisoned],
            "learning rate x 10": hot,
            "other data (no style to learn)": noise,
            **common_plants(rest, ordinary, "fc2"),
        },
    )


def synthetic_cohort(peers: int, held_out: int, planted: int) -> list[dict[str, object]]:
    """Draw everything and measure."""
    source = torch.Generator().manual_seed(12)
    drawn = [synthetic(source) for _ in range(peers + held_out + planted)]
    return tables(
        f"synthetic: rank {SYNTHETIC_RANK}, {len(SYNTHETIC_LAYERS)} modules",
        drawn[:peers],
        drawn[peers : peers + held_out],
        common_plants(drawn[peers + held_out :], drawn, "fc2"),
    )


def main() -> None:
    """Print the tables, and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", type=int, default=220)
    parser.add_argument("--held-out", type=int, default=200)
    parser.add_argument("--planted", type=int, default=40)
    parser.add_argument("--only", nargs="+", default=["trained", "synthetic"])
    options = parser.parse_args()
    torch.set_num_threads(1)
    sizes = (options.peers, options.held_out, options.planted)
    cohorts = {"trained": trained_cohort, "synthetic": synthetic_cohort}
    rows = {name: cohorts[name](*sizes) for name in options.only}
    print(json.dumps({"torch": torch.__version__, "sizes": sizes, "rows": rows}))


if __name__ == "__main__":
    main()
