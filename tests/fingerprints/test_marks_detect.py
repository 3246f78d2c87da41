"""The right recipient is found after what thieves do; z of everyone else is like N(0, 1)."""

from __future__ import annotations

import functools
import math
import statistics

import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings  # noqa: E402 - needs torch
from hypothesis import strategies as st  # noqa: E402

from registry.artifacts.notes import PayloadForm  # noqa: E402
from registry.fingerprints.marks.accuse import threshold  # noqa: E402
from registry.fingerprints.marks.basis import study  # noqa: E402
from registry.fingerprints.marks.detect import compare, detect, weigh  # noqa: E402
from registry.fingerprints.marks.embed import mark_payload  # noqa: E402
from registry.fingerprints.marks.options import MarkOptions  # noqa: E402
from registry.fingerprints.parts import CanonicalPart  # noqa: E402
from registry.updates.factors import update_of  # noqa: E402
from registry.updates.files import tensor_bytes  # noqa: E402
from tests.audits.conftest import _one_thread  # noqa: E402, F401 - a fixture
from tests.fingerprints.marked import (  # noqa: E402
    adapter,
    attacked,
    module,
    name_of,
    packed,
    pair,
    payload,
    pruned,
    refactored,
    resized,
    row,
    scalar,
    seed,
)

GAUGE, SPREAD = MarkOptions(spread=False), MarkOptions(gauge=False)
LEAST = threshold(1e-6, 10_000, 2)
INNOCENTS = [seed(f"innocent {number}") for number in range(800)]


@functools.cache
def _original():
    return payload(packed(adapter()))


@functools.cache
def _copy(options=None, recipient="thief"):
    data = memoryview(packed(adapter()))
    return payload(
        mark_payload(data, PayloadForm.RAW, "a", seed(recipient), options or MarkOptions())[0]
    )


def _of_thief(suspect, **arguments):
    return detect(_original(), suspect, seed("thief"), **arguments)


def test_suspect_without_a_common_module_gives_nothing():
    tensors = {name.replace("down_blocks", "up_blocks"): v for name, v in adapter().items()}
    found = _of_thief(payload(packed(tensors)))
    assert (found.spread_z, found.gauge_z, found.modules, found.chips) == (0, 0, 0, 0)


@pytest.mark.parametrize("value", [0.0, math.nan])
def test_suspect_of_zeros_or_nan_gives_nothing(value):
    suspect = attacked(_copy(), lambda up, down: (up * value, down))
    found = _of_thief(suspect)
    assert (found.spread_z, found.gauge_z) == (0, 0)


def test_suspect_of_other_shapes_gives_nothing():
    tensors = {}
    for number in range(24):
        tensors |= module(number, pair(number, outputs=20, inputs=20))
    assert _of_thief(payload(packed(tensors))).modules == 0


def test_unmarked_original_accuses_nobody():
    found = _of_thief(_original())
    assert abs(found.spread_z) < 4.5
    assert abs(found.gauge_z) < 4.5


def test_mark_of_one_kind_is_not_seen_as_the_other():
    assert abs(_of_thief(_copy(GAUGE)).spread_z) < 4.5
    assert abs(_of_thief(_copy(SPREAD)).gauge_z) < 4.5


def test_untouched_copy_scores_what_can_be_scored():
    found = _of_thief(_copy())
    assert found.spread_z == pytest.approx(math.sqrt(found.chips), rel=0.05)
    assert found.gauge_z == pytest.approx(math.sqrt(found.turns), rel=0.01)
    assert found.gauge_correlation > 0.99
    assert (found.modules, found.chips) == (24, 24 * 56)
    assert found.z == max(found.spread_z, found.gauge_z)


ATTACKS = {
    "stored as float32": lambda up, down: (up, down),
    "stored as float16": lambda up, down: (up.half(), down.half()),
    "stored as bfloat16": lambda up, down: (up.bfloat16(), down.bfloat16()),
    "other scale": lambda up, down: (up * 0.3, down),
    "refactored": refactored,
    "half the rank": resized,
    "pruned": pruned,
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_thief_is_found_by_the_spread_mark_alone(attack):
    suspect = attacked(_copy(SPREAD), ATTACKS[attack])
    assert _of_thief(suspect).spread_z > LEAST


@pytest.mark.parametrize("attack", sorted(ATTACKS.keys() - {"refactored", "half the rank"}))
def test_thief_is_found_by_the_gauge_mark_alone(attack):
    suspect = attacked(_copy(GAUGE), ATTACKS[attack])
    found = _of_thief(suspect)
    assert found.gauge_z > LEAST
    assert found.gauge_correlation > 0.8


def test_refactoring_removes_the_gauge_mark():
    suspect = attacked(_copy(GAUGE), refactored)
    assert _of_thief(suspect).gauge_correlation < 0.5


def test_negative_alpha_hides_nothing():
    suspect = attacked(_copy(SPREAD), lambda up, down: (-up, -down))
    assert _of_thief(suspect).spread_z > LEAST
    assert _of_thief(attacked(_copy(SPREAD), lambda up, down: (-up, down))).spread_z < -LEAST


def test_negated_scale_is_undone():
    tensors = {}
    for number, located in enumerate(_copy(SPREAD).modules):
        update = update_of(located)
        tensors |= module(number, (-update.up, update.down), "F32", alpha=-4.0)
    assert _of_thief(payload(packed(tensors))).spread_z > LEAST


@pytest.mark.parametrize("first", [True, False])
def test_thief_is_found_in_a_merge_by_concatenation(first):
    def merged(up, down):
        source = torch.Generator().manual_seed(up.shape[0] + down.shape[1])
        other = [torch.randn(f.shape, generator=source).double() * f.std() for f in (up, down)]
        ups, downs = ([up * 0.5, other[0] * 0.5], [down, other[1]])
        if not first:
            ups, downs = ups[::-1], downs[::-1]
        return torch.cat(ups, 1), torch.cat(downs, 0)

    found = _of_thief(attacked(_copy(), merged))
    assert found.tests == 3
    assert found.gauge_correlation > 0.9
    assert found.gauge_z > LEAST


def test_half_of_the_modules_still_tells():
    tensors = {
        info.name: (info.dtype, info.shape, bytes(tensor_bytes(located.file, info)))
        for located in _copy().modules[::2]
        for _, info in located.module.tensors
    }
    found = _of_thief(payload(packed(tensors)))
    assert found.modules == 12
    assert found.spread_z == pytest.approx(math.sqrt(12 * 56), rel=0.06)


def test_both_of_two_who_mix_their_copies_are_found():
    other = {located.module.name: located for located in _copy(None, "partner").modules}
    tensors = {}
    for number, located in enumerate(_copy().modules):
        mine, theirs = update_of(located), update_of(other[located.module.name])
        up = torch.cat([mine.up, theirs.up], 1).float() / 2
        tensors |= module(number, (up, torch.cat([mine.down, theirs.down]).float()), "F32", 8.0)
    evidence = compare(study(_original()), payload(packed(tensors)))
    for recipient in ("thief", "partner"):
        assert weigh(evidence, seed(recipient)).spread_z > LEAST
    assert weigh(evidence, seed("nobody")).z < LEAST


def _z_of_innocents(suspect):
    evidence = compare(study(_original()), suspect)
    found = [weigh(evidence, one) for one in INNOCENTS]
    return [one.spread_z for one in found], [one.gauge_z for one in found]


@pytest.mark.parametrize("attack", ["stored as float32", "half the rank", "pruned"])
def test_z_of_innocents_is_standard_normal_whatever_was_done_to_the_copy(attack):
    spread, gauge = _z_of_innocents(attacked(_copy(), ATTACKS[attack]))
    for values in (spread, gauge) if attack != "half the rank" else (spread,):
        assert _kolmogorov_distance(values) < 1.95 / math.sqrt(len(values))  # p = 0.001
        assert statistics.fmean(values) == pytest.approx(0, abs=3.3 / math.sqrt(len(values)))
        assert statistics.pvariance(values) == pytest.approx(
            1, abs=3.3 * math.sqrt(2 / len(values))
        )
        assert max(values) < LEAST


def test_z_of_innocents_is_standard_normal_for_weights_that_are_far_from_it():
    # One entry of each core is a million times the others: clipping or not, chips are what is random.
    def spiked(up, down):
        up = up.clone()
        up[0, 0] *= 1e6
        return up, down

    spread, _ = _z_of_innocents(attacked(_original(), spiked))
    assert _kolmogorov_distance(spread) < 1.95 / math.sqrt(len(spread))


def _kolmogorov_distance(values):
    normal, count = statistics.NormalDist(), len(values)
    return max(
        max(abs(normal.cdf(z) - number / count), abs(normal.cdf(z) - (number + 1) / count))
        for number, z in enumerate(sorted(values))
    )


def test_gauge_mark_of_dora_is_found():
    tensors = adapter()
    for number in range(24):
        tensors[f"{name_of(number)}.dora_scale"] = row(torch.ones(24 if number % 4 == 3 else 40, 1))
    data = memoryview(packed(tensors))
    copy, _ = mark_payload(data, PayloadForm.RAW, "a", seed("thief"), GAUGE)
    found = detect(payload(bytes(data)), payload(copy), seed("thief"))
    assert (found.spread_z, found.chips) == (0, 0)
    assert found.gauge_z > LEAST


def _fused():
    """Three layers of one width in one module, as q, k and v are trained together."""
    return {
        name: one
        for number in range(24)
        for name, one in module(number, pair(number, 8, 48, 40), "F32").items()
    }


def _split(up, down, number):
    """The same three as modules of their own."""
    tensors = {}
    for start, part in zip((0, 16, 32), "qkv", strict=True):
        name = f"{name_of(number)}_{part}"
        tensors[f"{name}.lora_up.weight"] = row(up[start : start + 16], "F32")
        tensors[f"{name}.lora_down.weight"] = row(down, "F32")
        tensors[f"{name}.alpha"] = scalar(4.0)
    return tensors


def _parts(located):
    name = located.module.name
    if name[-2:] in {"_q", "_k", "_v"}:
        return (CanonicalPart(name, "attn"),)
    return tuple(
        CanonicalPart(f"{name}_{part}", "attn", range(start, start + 16))
        for start, part in zip((0, 16, 32), "qkv", strict=True)
    )


def test_fused_original_is_found_in_a_split_copy():
    data = memoryview(packed(_fused()))
    copy = payload(mark_payload(data, PayloadForm.RAW, "a", seed("thief"))[0])
    tensors = {}
    for number, located in enumerate(copy.modules):
        update = update_of(located)
        tensors |= _split(update.up, update.down, number)
    found = detect(payload(bytes(data)), payload(packed(tensors)), seed("thief"), _parts)
    assert (found.modules, found.chips) == (24, 24 * 56)
    assert found.spread_z == pytest.approx(math.sqrt(found.chips), rel=0.1)
    assert found.gauge_correlation > 0.99


def test_split_original_is_found_in_a_fused_copy():
    tensors = {}
    for number in range(8):
        tensors |= _split(*pair(number, 8, 48, 40), number)
    data = memoryview(packed(tensors))
    copy = payload(mark_payload(data, PayloadForm.RAW, "a", seed("thief"))[0])
    updates = {one.module.name: update_of(one) for one in copy.modules}
    fused = {}
    for number in range(8):
        three = [updates[f"{name_of(number)}_{part}"] for part in "qkv"]
        up = torch.block_diag(*(one.up for one in three))
        down = torch.cat([one.down for one in three])
        fused |= module(number, (up, down), "F32", alpha=12.0)
    found = detect(payload(bytes(data)), payload(packed(fused)), seed("thief"), _parts)
    assert found.modules == 24
    assert found.spread_z == pytest.approx(math.sqrt(found.chips), rel=0.1)


def test_evidence_holds_no_seed_and_serves_for_all():
    evidence = compare(study(_original()), _copy())
    assert weigh(evidence, seed("thief")) == _of_thief(_copy())
    assert (evidence.modules, evidence.of, evidence.tests) == (24, 24, 2)


@settings(max_examples=20, deadline=None)
@given(
    scale=st.floats(1e-6, 1e6),
    rank=st.integers(1, 30),
    spoilt=st.sampled_from([0.0, 1.0, math.inf, math.nan]),
    number=st.integers(0, 23),
)
def test_any_suspect_of_the_same_names_gives_finite_and_innocent_z(scale, rank, spoilt, number):
    source = torch.Generator().manual_seed(rank)

    def strange(up, down):
        new_up = torch.randn(up.shape[0], rank, generator=source).double() * scale
        new_up[number % len(new_up)] = spoilt
        return new_up, torch.randn(rank, down.shape[1], generator=source).double()

    found = _of_thief(attacked(_original(), strange))
    assert abs(found.spread_z) < LEAST
    assert abs(found.gauge_z) < LEAST
