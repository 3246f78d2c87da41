"""Singular values without the update, against a dense float64 decomposition of the update."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from registry.updates.factors import Full, Kronecker, LowRank  # noqa: E402 - needs torch
from registry.updates.gram import COARSE, FINE, GramStack  # noqa: E402
from registry.updates.values import kronecker_values, singular_values  # noqa: E402

TOLERANCE = 1e-6  # of the largest singular value


SOURCE = torch.Generator().manual_seed(11)


def _randn(*shape, dtype=torch.float32):
    return torch.randn(*shape, generator=SOURCE, dtype=dtype)


def _factors(rows, rank, columns, *, condition=1.0, seed=0, dtype=torch.float32):
    """Factors whose product has singular values that fall evenly on a log scale by `condition`."""
    source = torch.Generator().manual_seed(seed)
    left = torch.linalg.qr(torch.randn(rows, rank, generator=source, dtype=torch.float64)).Q
    right = torch.linalg.qr(torch.randn(columns, rank, generator=source, dtype=torch.float64)).Q
    decay = torch.logspace(
        0, -float(torch.log10(torch.tensor(condition))), rank, dtype=torch.float64
    )
    mix = torch.linalg.qr(torch.randn(rank, rank, generator=source, dtype=torch.float64)).Q
    up = left * decay.sqrt() @ mix
    down = mix.T * decay.sqrt() @ right.T
    return LowRank(up.to(dtype), down.to(dtype))


def _dense(update):
    return torch.linalg.svdvals(update.up.double() @ update.down.double())


def _stacked(*updates, arithmetic=COARSE):
    """Values of each by the stack, and by what follows where the stack does not trust its own."""
    stack = GramStack(updates[0].down.shape[0], "cpu", arithmetic)
    for number, update in enumerate(updates):
        stack.add(number, update)
    found = []
    for solved in stack.solve():
        update = updates[solved.number]
        if solved.values is not None:
            found.append((solved.values, arithmetic))
        elif arithmetic is COARSE:
            found += _stacked(update, arithmetic=FINE)
        else:
            found.append((singular_values(update), "qr"))
    return found


def _worst(values, update):
    exact = _dense(update)[: len(values)]
    return float((values - exact).abs().max() / exact[0])


@pytest.mark.parametrize("condition", [1, 10, 157, 190, 210, 1e3, 1e5, 7.5e6])
@pytest.mark.parametrize("seed", range(2))
def test_values_equal_the_dense_ones(condition, seed):
    update = _factors(320, 16, 768, condition=condition, seed=seed)
    [(values, _)] = _stacked(update)
    assert _worst(values, update) < TOLERANCE


def test_the_cheap_way_is_taken_where_it_can_be_trusted():
    ways = [_stacked(_factors(320, 16, 768, condition=c))[0][1] for c in (50, 3e3, 1e9)]
    assert ways == [COARSE, FINE, "qr"]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_every_stored_type_is_exact_for_what_is_stored(dtype):
    update = _factors(64, 8, 96, condition=20, dtype=dtype)
    [(values, _)] = _stacked(update)
    assert _worst(values, update) < TOLERANCE


def test_a_hostile_change_of_basis_does_not_hide_the_spectrum():
    plain = _factors(96, 8, 64, dtype=torch.float64)
    basis = torch.linalg.qr(_randn(8, 8, dtype=torch.float64)).Q
    stretch = torch.logspace(-5, 5, 8, dtype=torch.float64)
    hostile = LowRank(plain.up @ (basis * stretch), (basis / stretch).T @ plain.down)
    [(values, way)] = _stacked(hostile)
    assert way == "qr"
    assert _worst(values, plain) < TOLERANCE


def test_dead_directions_are_found():
    update = _factors(64, 8, 96)
    update.up[:, 3:] = 0
    [(values, way)] = _stacked(update)
    assert way == "qr"
    assert int((values > 1e-9 * values[0]).sum()) == 3


def test_a_dead_module_has_a_spectrum_of_zeroes():
    update = LowRank(torch.zeros(32, 4), _randn(4, 32))
    [(values, _)] = _stacked(update)
    assert float(values.max()) == 0


@pytest.mark.parametrize("size", [1e-25, 1e-12, 1e12, 1e25])
def test_gram_matrices_out_of_range_are_done_again(size):
    update = LowRank(_randn(32, 4) * size, _randn(4, 40) / size)
    [(values, _)] = _stacked(update)
    assert _worst(values, update) < TOLERANCE


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_a_poisoned_module_is_nan_and_spares_its_neighbours(poison):
    bad, good = _factors(32, 4, 32), _factors(32, 4, 32, seed=5)
    bad.up[3, 2] = poison
    (first, _), (second, _) = _stacked(bad, good)
    assert bool(first.isnan().all())
    assert _worst(second, good) < TOLERANCE


def test_rank_beyond_the_layer_gives_as_many_values_as_there_are():
    update = LowRank(_randn(6, 12), _randn(12, 40))
    values = singular_values(update)
    assert len(values) == 6
    assert _worst(values, update) < TOLERANCE


def test_a_kronecker_product_has_all_products():
    left, right = Full(_randn(4, 6)), LowRank(_randn(10, 3), _randn(3, 8))
    values = kronecker_values(Kronecker(left, right))
    dense = torch.linalg.svdvals(
        torch.kron(left.matrix.double(), right.up.double() @ right.down.double())
    )
    assert float((values - dense[: len(values)]).abs().max() / dense[0]) < TOLERANCE


def test_a_stack_that_is_full_starts_anew():
    stack = GramStack(1024, "cpu", FINE)
    update = LowRank(_randn(1024, 1024), _randn(1024, 1024))
    added = 0
    while not stack.is_full:
        stack.add(added, update)
        added += 1
    assert [solved.number for solved in stack.solve()] == list(range(added))
    assert not stack.is_full
    assert list(stack.solve()) == []
