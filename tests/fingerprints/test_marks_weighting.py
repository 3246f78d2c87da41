"""Weights of a core: fitted to its noise, bounded against spikes, the same length whatever comes in."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings  # noqa: E402 - needs torch
from hypothesis import strategies as st  # noqa: E402

from registry.fingerprints.marks.basis import study  # noqa: E402
from registry.fingerprints.marks.weighting import _fitted, weighted  # noqa: E402
from tests.audits.conftest import _one_thread  # noqa: E402, F401 - a fixture
from tests.fingerprints.marked import adapter, packed, payload  # noqa: E402

BASIS = next(iter(study(payload(packed(adapter(8, rank=16))))))
COUNT = BASIS.directions


def _normal(*shape, number=1):
    source = torch.Generator().manual_seed(number)
    return torch.randn(*shape, generator=source, dtype=torch.float64)


def test_core_of_zeros_says_nothing():
    assert not bool(weighted(torch.zeros(COUNT, COUNT).double(), BASIS).any())


def test_diagonal_never_counts():
    core = _normal(COUNT, COUNT)
    spiked = core + 1e6 * torch.eye(COUNT)
    assert torch.equal(weighted(core, BASIS), weighted(spiked, BASIS))


@pytest.mark.parametrize(("constant", "slope"), [(1.0, 0.0), (0.0, 1.0), (2.0, 0.5)])
def test_variance_is_recovered(constant, slope):
    inverse = torch.logspace(0, 3, 20_000, dtype=torch.float64)
    true = constant + slope * inverse
    found = _fitted(_normal(20_000).square() * true, inverse)
    assert float((found / true - 1).abs().max()) < 0.15


def test_spikes_move_the_variance_little():
    squares = _normal(1000).square()
    squares[::50] *= 1e12
    assert float(_fitted(squares, torch.ones(1000).double()).max()) < 2


def test_entries_drowned_in_noise_count_less():
    strong = BASIS.values[:COUNT]
    envelope = (strong[:, None] * strong).sqrt() / strong[0]
    noise = weighted(_normal(COUNT, COUNT), BASIS).abs() / _normal(COUNT, COUNT).abs()
    off = ~torch.eye(COUNT, dtype=torch.bool)
    order = envelope[off].argsort()
    half = len(order) // 2
    assert float(noise[off][order[:half]].mean()) < float(noise[off][order[half:]].mean()) / 2


@settings(max_examples=60, deadline=None)
@given(
    scale=st.floats(1e-100, 1e100),
    spike=st.floats(-1e100, 1e100),
    empty=st.integers(0, COUNT),
    number=st.integers(0, 99),
)
def test_any_core_has_one_length_or_none(scale, spike, empty, number):
    core = _normal(COUNT, COUNT, number=number) * scale
    core[0, 1] = spike
    core[:empty] = 0
    found = weighted(core, BASIS)
    norm = float(found.square().sum())
    assert norm == pytest.approx(COUNT * (COUNT - 1)) if norm else empty == COUNT
    assert not bool(found.diagonal().any())
