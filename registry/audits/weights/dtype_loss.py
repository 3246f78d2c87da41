"""What did the number type of the file take from what was trained?

Half precision ends at 6e-8 and loses digits below 6.1e-5; 8-bit floats without a scale round most of a
factor to zero; BF16 keeps 8 bits, and a file that once was BF16 keeps them whatever its type says.
Values near the upper end are the `nonfinite` audit's. Thresholds: `docs/audits/dtype_loss.md`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from registry.audits.reporting import build_report
from registry.audits.weights.eight_bit import eight_bit_factors, has_scale, tensor_names
from registry.audits.weights.windows import Region, regions_of, spread_samples
from registry.formats.findings import Coverage, Finding, Verdict
from registry.updates.bits import LAYOUTS
from registry.updates.tensors import FLOAT_DTYPES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from registry.audits.audit import AuditSubject
    from registry.formats.findings import AuditReport
    from registry.updates.files import WeightFile

RULE = "dtype_loss"
# Measured storage error of the update: 1.7 % at std 1e-6, 17 % at 1e-7.
SUBNORMAL_BELOW = 6.1e-5
SUBNORMAL_MEDIAN = 2e-6
ZERO_SHARE = 0.5
SAMPLES = 1024
_HALF = 0.5
# So many values that are no zero must show a pattern before it is said of a tensor.
_ENOUGH = 64
_BOOKKEEPING = frozenset(("alpha", "on_input", "rescale", "scale", "scalar"))
# Low bits of the mantissa that are zero if the value once had fewer of them.
_BF16_IN_F16, _BF16_IN_F32, _F16_IN_F32 = 0x7, 0xFFFF, 0x1FFF
_F16_SMALLEST_NORMAL, _F16_LARGEST = 2.0**-14, 65504.0
_F16_STEPS = 2.0**24  # below the normal numbers it counts in steps of 2**-24


class DtypeLossAudit:
    """A sample of every factor: how small, how many zeros, how many bits in use."""

    rule = RULE
    version = "1"
    privacy = False

    def run(self, subject: AuditSubject) -> AuditReport:
        """Return the report; coverage counts factors."""
        factors = {
            (id(located.file), tensor.name): role
            for located in subject.modules
            for role, tensor in located.module.tensors
            if role not in _BOOKKEEPING
        }
        seen = [sample for file in subject.files for sample in _samples(file, factors)]
        kinds = Counter(sample.dtype for sample in seen)
        small = [sample for sample in seen if sample.median is not None]
        return build_report(
            self,
            Coverage(len(seen), len(factors), "factors"),
            [*_eight_bit(subject), *_underflow(small), *_zeros(seen), *_histories(seen)],
            summary=f"{len(small)} of {len(seen)} factors are too small for their type",
            metrics=[
                ("types", ", ".join(f"{dtype} {n}" for dtype, n in sorted(kinds.items()))),
                ("largest share of zeros in a living factor", f"{_most_zeros(seen):.3g}"),
            ],
        )


@dataclass(frozen=True, slots=True)
class _Sample:
    """What a sample of one factor shows; `zeros` and `subnormal` are shares, the latter of the living.

    `median` is that of magnitudes without zeros, None unless it is too small for half precision.
    `kept` names the type with fewer bits that every sampled value fits, "" if none.
    """

    name: str
    role: str
    dtype: str
    zeros: float
    subnormal: float
    median: float | None
    kept: str


def _samples(file: WeightFile, factors: dict[tuple[int, str], str]) -> Iterator[_Sample]:
    for region in regions_of(file):
        wanted = region.only(lambda tensor: (id(file), tensor.name) in factors)
        if wanted.tensors:
            roles = [factors[id(file), tensor.name] for tensor in wanted.tensors]
            yield from _measure(wanted, roles)


def _measure(region: Region, roles: Sequence[str]) -> Iterator[_Sample]:
    """Yield the sample of each tensor of `region`, worked out for all of them at once."""
    bits = spread_samples(region, SAMPLES)
    values = bits.view(FLOAT_DTYPES[region.dtype]).float().abs_()
    living = (values > 0).sum(1)
    zeros = SAMPLES - living
    subnormal = (values < SUBNORMAL_BELOW).sum(1) - zeros
    # The median of the living values is small if more than half of them are: no sorting needed.
    tiny = (values < SUBNORMAL_MEDIAN).sum(1) - zeros
    kept = _kept_bits(bits, values, region.dtype)
    # A small tensor's values are sampled several times over.
    shown = region.counts.clamp(max=SAMPLES) * living // SAMPLES
    counted = (living.tolist(), subnormal.tolist(), tiny.tolist())
    for number, (alive, small, smaller) in enumerate(zip(*counted, strict=True)):
        is_half = region.dtype == "F16" and min(small, smaller) > _HALF * alive
        yield _Sample(
            name=region.tensors[number].name,
            role=roles[number],
            dtype=region.dtype,
            zeros=1 - alive / SAMPLES,
            subnormal=small / alive if alive else 0.0,
            median=_median(values[number]) if is_half else None,
            kept=kept[number] if int(shown[number]) >= _ENOUGH else "",
        )


def _median(values: torch.Tensor) -> float:
    """Return the median of those `values` that are no zeros."""
    return float(values[values > 0].median())


def _kept_bits(bits: torch.Tensor, values: torch.Tensor, dtype: str) -> list[str]:
    """Return for each row the narrower type that all its values fit, "" for none."""
    if dtype == "F16":
        # Below the normal numbers the lowest bits of F16 mean something else.
        rounded = ((bits & _BF16_IN_F16) == 0) | (values < _F16_SMALLEST_NORMAL)
        usable = (values >= _F16_SMALLEST_NORMAL).sum(1) >= _ENOUGH
        return ["BF16" if yes else "" for yes in (rounded.all(1) & usable).tolist()]
    if dtype != "F32":
        return [""] * len(bits)
    short = ((bits & _BF16_IN_F32) == 0).all(1).tolist()
    is_normal = values >= _F16_SMALLEST_NORMAL
    steps = values * _F16_STEPS
    fits = torch.where(is_normal, (bits & _F16_IN_F32) == 0, steps == steps.round())
    half = (fits & (values <= _F16_LARGEST)).all(1).tolist()
    return [
        "BF16" if is_short else "F16" if is_half else ""
        for is_short, is_half in zip(short, half, strict=True)
    ]


def _eight_bit(subject: AuditSubject) -> Iterator[Finding]:
    names = {id(file): tensor_names(file) for file in subject.files}
    found: dict[tuple[bool, str], list[str]] = defaultdict(list)
    for located in subject.modules:
        for _, tensor in eight_bit_factors(located):
            is_scaled = has_scale(tensor, names[id(located.file)])
            found[is_scaled, tensor.dtype].append(located.module.name)
    for (is_scaled, dtype), places in sorted(found.items()):
        yield _eight_bit_finding(len(places), dtype, is_scaled, places[0])


def _eight_bit_finding(count: int, dtype: str, is_scaled: bool, place: str) -> Finding:
    if is_scaled:
        return Finding(
            RULE,
            Verdict.INCONCLUSIVE,
            f"{count} factors are stored as {dtype} with scales of their own, which no audit applies",
            "export it as BF16 or F16, with the scale multiplied in",
            place,
        )
    return Finding(
        RULE,
        Verdict.FAIL,
        f"{count} factors are stored as {dtype} without a scale, so small values are rounded away",
        "export it as BF16 or F16",
        place,
    )


def _underflow(small: Sequence[_Sample]) -> Iterator[Finding]:
    for sample in small:
        yield Finding(
            RULE,
            Verdict.WARN,
            f"{100 * sample.subnormal:.0f} % of {sample.role} is too small for half precision "
            f"(median {sample.median or 0.0:.1e})",
            "export it as BF16 or F32: rounding has taken part of what was trained",
            sample.name,
        )


def _zeros(seen: Sequence[_Sample]) -> Iterator[Finding]:
    """Yield factors most of which is exactly zero: rounded away, or pruned."""
    for sample in seen:
        if ZERO_SHARE < sample.zeros < 1 and sample.dtype in LAYOUTS:
            yield Finding(
                RULE,
                Verdict.WARN,
                f"{100 * sample.zeros:.0f} % of {sample.role} is exactly zero",
                "if it was not pruned on purpose, rounding took it: export it as BF16 or F32",
                sample.name,
            )


def _histories(seen: Sequence[_Sample]) -> Iterator[Finding]:
    """Yield, for each type, that its factors were rounded to another one before; that is no fault."""
    found: dict[tuple[str, str], int] = defaultdict(int)
    for sample in seen:
        if sample.kept:
            found[sample.dtype, sample.kept] += 1
    for (dtype, kept), count in sorted(found.items()):
        total = sum(sample.dtype == dtype for sample in seen)
        advice = "nothing to do: they are no better than their trainer saved them"
        if dtype == "F32":
            advice = f"exported as {kept} the file would be half as large and hold the same"
        yield Finding(
            RULE,
            Verdict.PASS,
            f"{count} of {total} {dtype} factors were rounded through {kept}",
            advice,
        )


def _most_zeros(seen: Sequence[_Sample]) -> float:
    return max((sample.zeros for sample in seen if sample.zeros < 1), default=0.0)
