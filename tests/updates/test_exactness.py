"""Sums that are the same bits in any order, and digests that no thread count changes."""

from __future__ import annotations

from fractions import Fraction

import pytest

torch = pytest.importorskip("torch")

from registry.updates.exactness import (  # noqa: E402 - needs torch
    exact_bound,
    one_thread,
    quantised,
    spectrum_digest,
    sums_exactly,
)
from registry.updates.factors import LowRank  # noqa: E402
from registry.updates.gram import COARSE, STEADY, GramStack  # noqa: E402
from registry.updates.spectra import ModuleSpectrum, measure  # noqa: E402

EXACT = [torch.float16, torch.float8_e4m3fn, torch.float8_e5m2]
STORED = {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32}


def _randn(*shape, seed=3):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _grams_in_many_orders(factor):
    """The Gram matrix of the columns of `factor`, summed up in different orders."""
    wide = factor.double()
    yield wide.T @ wide
    for seed in range(3):
        order = torch.randperm(len(wide), generator=torch.Generator().manual_seed(seed))
        yield wide[order].T @ wide[order]
    for size in (1, 7, 128):
        total = torch.zeros(wide.shape[1], wide.shape[1], dtype=torch.float64)
        for part in wide.split(size):
            total += part.T @ part
        yield total


@pytest.mark.parametrize("dtype", EXACT)
def test_sums_below_the_bound_are_the_same_bits_in_any_order(dtype):
    factor = (_randn(1000, 8) * 0.1).to(dtype)
    assert sums_exactly(factor.T)
    first, *others = _grams_in_many_orders(factor)
    assert float(first.diagonal().max()) > 8
    assert all(torch.equal(first, other) for other in others)


@pytest.mark.parametrize(("large", "is_exact"), [(4.0, True), (8.0, False)])
def test_the_bound_is_where_sums_begin_to_round(large, is_exact):
    # A large value and a few of the smallest: beyond the bound the last bits no longer fit.
    row = torch.tensor([[large, 3 * 2.0**-24]]).half()
    assert sums_exactly(row) is is_exact
    gram = float((row.double() @ row.double().T)[0, 0])
    assert (Fraction(gram) == Fraction(large) ** 2 + Fraction(9, 2**48)) is is_exact


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_wider_types_are_never_called_exact(dtype):
    assert exact_bound(dtype) == 0
    assert not sums_exactly(torch.zeros(3, 4, dtype=dtype))


def _flags(update, arithmetic):
    stack = GramStack(update.down.shape[0], "cpu", arithmetic)
    stack.add(0, update)
    return [solved.is_exact for solved in stack.solve() if solved.values is not None]


def test_a_stack_says_which_modules_were_exact():
    small = LowRank((_randn(64, 4) * 0.1).half(), (_randn(4, 48) * 0.1).half())
    large = LowRank(small.up * 20, small.down)
    assert _flags(small, STEADY) == [True]
    assert _flags(small, COARSE) == [False]
    assert _flags(large, STEADY) == [False]
    assert _flags(LowRank(small.up.float(), small.down), STEADY) == [False]


def _payload(subject_of, dtype, modules=6):
    tensors = {}
    for number in range(modules):
        for role, shape in (("lora_down", (4, 40)), ("lora_up", (56, 4))):
            value = (_randn(*shape, seed=number + len(role)) * 0.1).to(STORED[dtype])
            content = bytes(value.reshape(-1).view(torch.uint8).tolist())
            tensors[f"lora_unet_m{number}.{role}.weight"] = (dtype, shape, content)
    diff = (_randn(90, 120) * 0.1).to(STORED[dtype])
    tensors["lora_unet_full.diff"] = (
        dtype,
        (90, 120),
        bytes(diff.reshape(-1).view(torch.uint8).tolist()),
    )
    return subject_of(tensors).payload


@pytest.mark.parametrize("dtype", STORED)
def test_threads_do_not_change_the_digest(subject_of, dtype):
    payload = _payload(subject_of, dtype)
    digests = set()
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        spectra = measure(payload, deterministic=True)
        assert torch.get_num_threads() == threads
        digests.add(spectrum_digest(spectra))
        assert sum(spectrum.is_exact for spectrum in spectra) == (7 if dtype == "F16" else 0)
    torch.set_num_threads(1)
    assert len(digests) == 1


def test_the_digest_does_not_depend_on_the_order_of_modules(subject_of):
    spectra = measure(_payload(subject_of, "F16"), deterministic=True)
    assert spectrum_digest(spectra) == spectrum_digest(tuple(reversed(spectra)))


def test_the_digest_sees_the_fifth_digit_and_no_further():
    def digest(value):
        values = torch.tensor([value, 0.5, 1e-9], dtype=torch.float64)
        return spectrum_digest([ModuleSpectrum("m", values)])

    assert digest(1.0) == digest(1.00001) == digest(1.0 - 1e-12)
    assert digest(1.0) != digest(1.0001)


def test_small_and_odd_values_are_written_plainly():
    values = torch.tensor([2.0, 0.12345678, 1e-5, 0.0], dtype=torch.float64)
    assert quantised(values) == "2.0000e+00 1.2346e-01 0 0"
    assert quantised(torch.full((2,), torch.nan)) == "nan nan"
    assert quantised(torch.empty(0)) == ""


def test_the_thread_count_comes_back_after_a_failure():
    threads = torch.get_num_threads()
    with pytest.raises(ValueError, match="inside"), one_thread():
        raise ValueError("inside")
    assert torch.get_num_threads() == threads
