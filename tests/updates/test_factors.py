"""Every factored form against its update in full, made as LyCORIS makes it."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from registry.updates import spectra  # noqa: E402 - needs torch
from registry.updates.spectra import measure  # noqa: E402

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
    assert found.way == "full"
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
    assert found.caveat == "dora: direction only"


def test_adalora_has_its_singular_values_between_the_factors(subject_of):
    b, e, a = _randn(24, 4), _randn(4, 1), _randn(4, 20)
    found = _spectrum(subject_of, lora_A=a, lora_B=b, lora_E=e)
    _assert_equal(found, b @ torch.diag(e[:, 0]) @ a)


def test_loralib_is_lora_by_another_name(subject_of):
    b, a = _randn(24, 4), _randn(4, 20)
    found = _spectrum(subject_of, lora_A=a, lora_B=b)
    _assert_equal(found, b @ a)
    assert not found.scale_stated


@pytest.mark.parametrize("shape", [(24, 20), (200, 150), (150, 30, 3, 3)])
def test_full_differences_are_decomposed_as_they_are(subject_of, shape):
    diff = _randn(*shape)
    found = _spectrum(subject_of, diff=diff, diff_b=_randn(shape[0]))
    assert found.way == "full"
    _assert_equal(found, diff)


@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_full_differences_out_of_range_are_rescaled(subject_of, size):
    diff = _randn(100, 80) * size
    _assert_equal(_spectrum(subject_of, diff=diff), diff)


def test_a_full_difference_with_a_bad_value_is_nan(subject_of):
    diff = _randn(100, 80)
    diff[3, 4] = torch.inf
    assert bool(_spectrum(subject_of, diff=diff).values.isnan().all())


@pytest.mark.parametrize("kernel", [(), (1, 1), (3, 3)])
def test_glora_counts_its_additive_part_and_says_so(subject_of, kernel):
    a1, a2, b1, b2 = _randn(20, 4), _randn(4, 20), _randn(24, 4), _randn(4, 20, *kernel)
    found = _spectrum(
        subject_of, a1__weight=a1, a2__weight=a2, b1__weight=b1, b2__weight=b2,
        alpha=torch.tensor(2.0),
    )  # fmt: skip
    _assert_equal(found, 0.5 * (b1 @ b2.flatten(1)))
    assert found.caveat == "glora: additive part only"


def test_glora_of_the_first_releases_has_its_factors_the_other_way(subject_of):
    a1, a2, b1, b2 = _randn(4, 20), _randn(20, 4), _randn(4, 20), _randn(24, 4)
    found = _spectrum(subject_of, a1__weight=a1, a2__weight=a2, b1__weight=b1, b2__weight=b2)
    _assert_equal(found, b2 @ b1)


def test_glora_with_a_core(subject_of):
    a1, a2, b1, b2 = _randn(20, 4), _randn(4, 20), _randn(24, 4, 1, 1), _randn(4, 20, 1, 1)
    core = _randn(4, 4, 3, 3)
    found = _spectrum(
        subject_of, a1__weight=a1, a2__weight=a2, b1__weight=b1, b2__weight=b2, bm__weight=core
    )
    dense = torch.einsum("mn...,im,nj->ij...", core, b1[..., 0, 0], b2[..., 0, 0])
    _assert_equal(found, dense)


@pytest.mark.parametrize(
    ("factors", "word"),
    [
        ({"oft_blocks": (4, 6, 6)}, "oft"),
        ({"oft_blocks": (2, 4, 6, 6)}, "boft"),
        ({"ia3_l": (20,)}, "ia3"),
        ({"vera_lambda_b": (20,), "vera_lambda_d": (4,)}, "vera"),
        ({"w_norm": (20,), "b_norm": (20,)}, "vector"),
        ({"diff_b": (20,)}, "bias"),
        ({"diff": (20,)}, "vector"),
    ],
)
def test_what_has_no_update_in_the_file_says_why(subject_of, factors, word):
    found = _spectrum(subject_of, **{role: _randn(*shape) for role, shape in factors.items()})
    assert found.values is None
    assert not found.is_fault
    assert not found.is_limit
    assert word in found.reason


def test_a_matrix_beyond_the_bound_is_left_out_and_said_to_be(subject_of, monkeypatch):
    monkeypatch.setattr(spectra, "FULL_WORK", 20 * 20 * 24)
    found = _spectrum(subject_of, diff=_randn(24, 20))
    assert found.values is None
    assert found.is_limit


def test_factors_that_do_not_fit_are_a_fault_and_no_crash(subject_of):
    found = _spectrum(subject_of, lora_up__weight=_randn(24, 4), lora_down__weight=_randn(5, 20))
    assert found.values is None
    assert found.is_fault
