"""Every factored form against its update in full, made as LyCORIS makes it."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from registry.updates.spectra import measure  # noqa: E402 - needs torch

NAME = "lora_unet_mid_block_attentions_0_proj_in"


def _content(tensor):
    return ("F32", tuple(tensor.shape), tensor.contiguous().numpy().tobytes())


def _spectrum(subject_of, **factors):
    tensors = {
        f"{NAME}.{role.replace('__', '.')}": _content(value) for role, value in factors.items()
    }
    [spectrum] = measure(subject_of(tensors).payload)
    return spectrum


def _assert_equal(spectrum, update):
    dense = torch.linalg.svdvals(update.double().contiguous().flatten(1))
    values = spectrum.values
    count = min(len(values), len(dense))
    assert float((values[:count] - dense[:count]).abs().max() / dense[0]) < 1e-6
    assert float(dense[count:].sum()) < 1e-5 * float(dense[0])


SOURCE = torch.Generator().manual_seed(7)


def _randn(*shape):
    return torch.randn(*shape, generator=SOURCE) * 0.1


def test_lora_is_scaled_by_alpha_over_rank(subject_of):
    up, down = _randn(24, 4), _randn(4, 20)
    alpha = torch.tensor(6.0)
    found = _spectrum(subject_of, lora_up__weight=up, lora_down__weight=down, alpha=alpha)
    _assert_equal(found, 1.5 * up @ down)
    assert (found.scale, found.scale_stated) == (1.5, True)


def test_without_alpha_the_scale_is_one_and_said_to_be_assumed(subject_of):
    up, down = _randn(24, 4), _randn(4, 20)
    found = _spectrum(subject_of, lora_up__weight=up, lora_down__weight=down)
    _assert_equal(found, up @ down)
    assert not found.scale_stated


def test_convolutions_are_flattened(subject_of):
    up, down = _randn(24, 4, 1, 1), _randn(4, 5, 3, 3)
    found = _spectrum(subject_of, lora_up__weight=up, lora_down__weight=down)
    _assert_equal(found, up.flatten(1) @ down.flatten(1))


def test_tucker_cores_are_contracted(subject_of):
    up, mid, down = _randn(24, 4, 1, 1), _randn(4, 4, 3, 3), _randn(4, 7, 1, 1)
    found = _spectrum(subject_of, lora_up__weight=up, lora_mid__weight=mid, lora_down__weight=down)
    _assert_equal(found, torch.einsum("om,mnhw,ni->oihw", up[..., 0, 0], mid, down[..., 0, 0]))


def test_loha_is_the_product_entry_by_entry(subject_of):
    a, b, c, d = _randn(24, 3), _randn(3, 20), _randn(24, 3), _randn(3, 20)
    found = _spectrum(subject_of, hada_w1_a=a, hada_w1_b=b, hada_w2_a=c, hada_w2_b=d)
    _assert_equal(found, (a @ b) * (c @ d))


def test_loha_of_high_rank_is_no_exception(subject_of):
    a, b, c, d = _randn(24, 8), _randn(8, 20), _randn(24, 8), _randn(8, 20)
    found = _spectrum(subject_of, hada_w1_a=a, hada_w1_b=b, hada_w2_a=c, hada_w2_b=d)
    assert found.way == "qr"
    _assert_equal(found, (a @ b) * (c @ d))


def test_loha_with_cores(subject_of):
    a, b, c, d = _randn(3, 24), _randn(3, 5), _randn(3, 24), _randn(3, 5)
    t1, t2 = _randn(3, 3, 3, 3), _randn(3, 3, 3, 3)
    found = _spectrum(
        subject_of, hada_w1_a=a, hada_w1_b=b, hada_w2_a=c, hada_w2_b=d, hada_t1=t1, hada_t2=t2
    )
    first = torch.einsum("ijkl,jr,ip->prkl", t1, b, a)
    _assert_equal(found, first * torch.einsum("ijkl,jr,ip->prkl", t2, d, c))


def test_lokr_is_the_kronecker_product(subject_of):
    w1, a, b = _randn(4, 4), _randn(6, 2), _randn(2, 5)
    alpha = torch.tensor(1.0)
    found = _spectrum(subject_of, lokr_w1=w1, lokr_w2_a=a, lokr_w2_b=b, alpha=alpha)
    assert found.scale == 0.5
    _assert_equal(found, 0.5 * torch.kron(w1, a @ b))


def test_lokr_in_full_ignores_alpha(subject_of):
    w1, w2 = _randn(4, 4), _randn(6, 5)
    found = _spectrum(subject_of, lokr_w1=w1, lokr_w2=w2, alpha=torch.tensor(7.0))
    assert found.scale == 1.0
    _assert_equal(found, torch.kron(w1, w2))


def test_lokr_convolution_with_core(subject_of):
    w1, a, b, core = _randn(2, 2), _randn(3, 6), _randn(3, 5), _randn(3, 3, 3, 3)
    found = _spectrum(
        subject_of, lokr_w1=w1, lokr_w2_a=a, lokr_w2_b=b, lokr_t2=core, alpha=torch.tensor(3.0)
    )
    second = torch.einsum("ijkl,ip,jr->prkl", core, a, b)
    _assert_equal(found, torch.kron(w1[..., None, None], second.contiguous()))


def test_dora_is_marked_as_direction_only(subject_of):
    found = _spectrum(
        subject_of,
        lora_up__weight=_randn(24, 4),
        lora_down__weight=_randn(4, 20),
        dora_scale=_randn(24, 1),
    )
    assert found.direction_only


def test_factors_that_do_not_fit_are_a_fault_and_no_crash(subject_of):
    found = _spectrum(subject_of, lora_up__weight=_randn(24, 4), lora_down__weight=_randn(5, 20))
    assert found.values is None
    assert found.is_fault


def test_a_method_without_low_rank_is_no_fault(subject_of):
    found = _spectrum(subject_of, oft_blocks=_randn(4, 6, 6))
    assert found.values is None
    assert not found.is_fault
    assert "oft" in found.reason
