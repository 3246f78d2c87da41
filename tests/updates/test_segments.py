"""The accelerator's form on the CPU: against the form per module, and with a device that refuses."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings  # noqa: E402 - needs torch
from hypothesis import strategies as st  # noqa: E402

from registry.updates import segments  # noqa: E402
from registry.updates.devices import memory_cap  # noqa: E402
from registry.updates.factors import LowRank  # noqa: E402
from registry.updates.gram import FINE, STEADY, GramStack  # noqa: E402
from registry.updates.memory import CHUNK_BYTES, FLOOR_BYTES, MemoryCap  # noqa: E402
from registry.updates.segments import DeviceFullError, SegmentedGrams  # noqa: E402

MIB = 2**20
DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.float8_e4m3fn]


def _updates(shapes, seed=0):
    source = torch.Generator().manual_seed(seed)
    found = []
    for number, (rows, rank, columns) in enumerate(shapes):
        dtype = DTYPES[(number + seed) % len(DTYPES)]
        up = torch.randn(rows, rank, generator=source).to(dtype)
        down = torch.randn(rank, columns, generator=source).to(DTYPES[seed % len(DTYPES)])
        found.append(LowRank(up, down))
    return found


def _segmented(updates, arithmetic=FINE, cap=None):
    grams = SegmentedGrams("cpu", arithmetic, cap or memory_cap("cpu"))
    for number, update in enumerate(updates):
        grams.add(number, update)
    found = {solved.number: solved for solved in grams.solve()}
    assert not list(grams.solve())
    return found


def _one_by_one(updates, arithmetic=FINE):
    found = {}
    for number, update in enumerate(updates):
        stack = GramStack(update.down.shape[0], "cpu", arithmetic)
        stack.add(number, update)
        found.update({solved.number: solved for solved in stack.solve()})
    return found


def _assert_same(updates, arithmetic=FINE, cap=None):
    mine, theirs = _segmented(updates, arithmetic, cap), _one_by_one(updates, arithmetic)
    assert mine.keys() == theirs.keys()
    for number, solved in theirs.items():
        other = mine[number]
        assert (solved.values is None) == (other.values is None)
        assert solved.is_exact == other.is_exact
        if solved.values is not None:
            difference = (solved.values - other.values).abs().max()
            assert float(difference) <= 1e-12 * float(solved.values[0])


SIZES = st.integers(1, 300)


@settings(max_examples=25, deadline=None)
@given(
    shapes=st.lists(st.tuples(SIZES, st.sampled_from([1, 2, 3, 8]), SIZES), min_size=1, max_size=6),
    seed=st.integers(0, 4),
    arithmetic=st.sampled_from([FINE, STEADY]),
)
def test_segmented_equals_one_by_one(shapes, seed, arithmetic):
    _assert_same(_updates(shapes, seed), arithmetic)


@pytest.mark.parametrize("rows", [1, 127, 128, 129, 256, 1000])
def test_block_borders(rows):
    _assert_same(_updates([(rows, 4, 300), (300, 4, rows)]))


def test_ranks_beyond_a_block():
    _assert_same(_updates([(400, 150, 320), (200, 150, 333), (90, 8, 90)]))


def test_transposed_and_widened_factors_are_taken_as_they_are():
    up, down = torch.randn(4, 70).T, torch.randn(50, 4).double().T
    _assert_same([LowRank(up, down)])


def test_a_poisoned_module_spares_its_neighbours():
    updates = _updates([(200, 4, 100)] * 3, seed=2)
    updates[1].down[2, 7] = torch.nan
    found = _segmented(updates)
    assert found[1].values is None
    _assert_same([updates[0], updates[2]])
    assert torch.allclose(found[2].values, _one_by_one(updates)[2].values, rtol=1e-12)


def test_exact_sums_are_the_same_bits_in_both_forms():
    source = torch.Generator().manual_seed(1)
    updates = [
        LowRank(
            (torch.randn(500, 8, generator=source) * 0.1).half(),
            (torch.randn(8, 700, generator=source) * 0.1).half(),
        )
        for _ in range(4)
    ]
    mine, theirs = _segmented(updates, STEADY), _one_by_one(updates, STEADY)
    assert all(solved.is_exact for solved in mine.values())
    assert all(torch.equal(mine[n].values, theirs[n].values) for n in theirs)


class Device:
    """Stands for a device: what is free, and allocations that it refuses above a size."""

    def __init__(self, free, largest):
        self.free = free
        self.largest = largest
        self.uploads = []

    def upload(self, factors, original):
        size = sum(factor.numel() * factor.element_size() for factor in factors)
        self.uploads.append(size)
        if size > self.largest:
            raise torch.OutOfMemoryError("refused")
        return original(factors)


def _on(device, monkeypatch):
    original = SegmentedGrams._upload
    monkeypatch.setattr(
        SegmentedGrams,
        "_upload",
        lambda grams, factors: device.upload(factors, lambda rest: original(grams, rest)),
    )
    return MemoryCap(lambda: device.free, hard_bytes=512 * MIB)


def test_a_device_that_refuses_gets_half_until_it_takes_it(monkeypatch):
    updates = _updates([(256, 8, 256)] * 12, seed=2)
    stored = sum(one.up.nbytes + one.down.nbytes for one in updates)
    device = Device(free=10**10, largest=stored // 4)
    _assert_same(updates, cap=_on(device, monkeypatch))
    assert device.uploads[0] == stored
    assert sum(size for size in device.uploads if size <= device.largest) == stored


def test_a_device_that_refuses_everything_is_given_up(monkeypatch):
    device = Device(free=10**10, largest=0)
    with pytest.raises(DeviceFullError):
        _segmented(_updates([(64, 8, 64)] * 5), cap=_on(device, monkeypatch))


def test_a_device_without_free_memory_is_not_tried():
    with pytest.raises(DeviceFullError):
        SegmentedGrams("cpu", FINE, MemoryCap(lambda: 4 * FLOOR_BYTES - 4))


def test_chunks_are_closed_before_they_pass_the_budget():
    budget = 8 * MIB
    grams = SegmentedGrams("cpu", FINE, MemoryCap(lambda: 4 * budget))
    added = 0
    while not grams.is_full:
        grams.add(added, LowRank(torch.randn(512, 8), torch.randn(8, 512)))
        added += 1
    assert MIB < added * 512 * 8 * 2 * 4 < budget
    assert len(list(grams.solve())) == added
    assert not grams.is_full


def test_slices_within_a_chunk_follow_the_budget(monkeypatch):
    seen = []
    original = torch.bmm
    monkeypatch.setattr(
        segments.torch, "bmm", lambda a, b: seen.append(a.numel()) or original(a, b)
    )
    updates = [LowRank(torch.randn(20_000, 8), torch.randn(8, 20_000)) for _ in range(2)]
    _segmented(updates, cap=MemoryCap(lambda: 4 * FLOOR_BYTES))
    assert len(seen) > 4
    assert max(seen) * 8 < FLOOR_BYTES


@given(
    free=st.integers(0, 2**40),
    hard=st.integers(0, 2**36),
    refusals=st.integers(0, 12),
)
def test_the_cap_is_never_passed(free, hard, refusals):
    cap = MemoryCap(lambda: free, hard_bytes=hard)
    size = cap.chunk_bytes()
    for _ in range(refusals):
        assert size <= min(hard, CHUNK_BYTES, free // 4)
        assert size == 0 or size >= FLOOR_BYTES
        smaller = cap.back_off(size)
        assert smaller == 0 or smaller <= size // 2
        size = smaller
    assert cap.refusals == refusals
