"""Sketches of adapters: what leaves them unchanged, what they leave out, and what they estimate."""

from __future__ import annotations

import hashlib
import hmac

import pytest

torch = pytest.importorskip("torch")

import numpy as np  # noqa: E402

from registry.errors import FormatError  # noqa: E402
from registry.fingerprints import sketching  # noqa: E402
from registry.fingerprints.match import similarity  # noqa: E402
from registry.fingerprints.parts import CanonicalPart  # noqa: E402
from registry.fingerprints.signs import hashed_name  # noqa: E402
from registry.fingerprints.sketching import make_sketch  # noqa: E402
from registry.updates.factors import Full, LowRank, NoSpectrum  # noqa: E402

KEY, OTHER_KEY = b"a" * 32, b"b" * 32
NAME = "lora_unet_mid_block_attentions_0_proj_in"
SOURCE = torch.Generator().manual_seed(3)


def _randn(*shape):
    return torch.randn(*shape, generator=SOURCE) * 0.1


def _content(tensor, dtype="F32"):
    types = {
        "F32": torch.float32,
        "F16": torch.float16,
        "BF16": torch.bfloat16,
        "F64": torch.float64,
    }
    stored = tensor.to(types[dtype]).contiguous()
    return (dtype, tuple(tensor.shape), stored.reshape(-1).view(torch.uint8).numpy().tobytes())


def _tensors(modules, dtype="F32"):
    return {
        f"{name}.{role.replace('__', '.')}": _content(tensor, dtype)
        for name, factors in modules.items()
        for role, tensor in factors.items()
    }


@pytest.fixture
def sketch_of(subject_of):
    def build(modules, *, key=KEY, parts=None, dtype="F32"):
        payload = subject_of(_tensors(modules, dtype)).payload
        own = parts or {}
        named = [
            own.get(located.module.name, (CanonicalPart(located.module.name, ""),))
            for located in payload.modules
        ]
        return make_sketch(payload, named, key)

    return build


def _lora(up, down, alpha=None):
    factors = {"lora_up__weight": up, "lora_down__weight": down}
    return factors if alpha is None else {**factors, "alpha": torch.tensor(float(alpha))}


def _adapter(layers=6, outputs=24, inputs=20, rank=4):
    return {
        f"lora_unet_down_blocks_{n}_attentions_0_proj_in": _lora(
            _randn(outputs, rank), _randn(rank, inputs), 4
        )
        for n in range(layers)
    }


def _changed(modules, change):
    return {
        name: _lora(*change(factors["lora_up__weight"], factors["lora_down__weight"]), 4)
        for name, factors in modules.items()
    }


# Refusals


def test_a_short_key_is_refused(sketch_of) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        sketch_of(_adapter(1), key=b"short")


def test_more_parts_than_allowed_are_refused(subject_of) -> None:
    payload = subject_of(_tensors(_adapter(1))).payload
    part = CanonicalPart("x", "")
    with pytest.raises(FormatError, match="8193 parts"):
        make_sketch(payload, [(part,) * 8193], KEY)


def test_parts_of_other_modules_are_refused(subject_of) -> None:
    payload = subject_of(_tensors(_adapter(2))).payload
    with pytest.raises(ValueError, match="shorter"):
        make_sketch(payload, [(CanonicalPart("x", ""),)], KEY)


# Left out, and counted


def test_what_cannot_be_sketched_is_counted_and_spoils_nothing(sketch_of) -> None:
    good = _adapter(1)
    bad = _randn(24, 4)
    bad[3, 2] = torch.nan
    modules = {
        **good,
        "lora_unet_a": _lora(bad, _randn(4, 20), 4),
        "lora_unet_b": _lora(torch.zeros(24, 4), _randn(4, 20), 4),
        "lora_unet_c": _lora(_randn(24, 4), _randn(5, 20), 4),
        "lora_unet_d": {"oft_blocks": _randn(4, 6, 6)},
        "lora_unet_e": _lora(_randn(24, 4), _randn(4, 20), 4),
        "lora_unet_f": _lora(torch.full((24, 4), 1e30), torch.full((4, 20), 1e30), 4),
    }
    sketch = sketch_of(modules, parts={"lora_unet_e": ()})
    assert sketch.numbers.tolist() == sketch_of(good).numbers.tolist()
    assert sketch.packed == sketch_of(good).packed
    found = sketch.omissions
    assert (found.not_finite, found.zero, found.faulty) == (2, 1, 1)
    assert (found.no_factors, found.unnamed, found.too_large) == (1, 1, 0)


@pytest.mark.parametrize("rows", [range(25), range(4, 4), range(0, 24, 2), range(-1, 4)])
def test_rows_that_the_update_lacks_are_counted_as_faulty(sketch_of, rows) -> None:
    modules = _adapter(1)
    [name] = modules
    sketch = sketch_of(modules, parts={name: (CanonicalPart("x", "", rows),)})
    assert (len(sketch), sketch.omissions.faulty) == (0, 1)


def test_small_factors_of_a_huge_product_are_left_out(sketch_of) -> None:
    modules = {
        NAME: {"lokr_w1": _randn(1100, 2), "lokr_w2": _randn(1000, 2)},
        "lora_unet_b": {"lokr_w1": _randn(1000, 1), "lokr_w2": _randn(1, 60_000)},
        "lora_unet_c": {
            "lokr_w1": _randn(1000, 1),
            "lokr_w2_a": _randn(1, 60_000),
            "lokr_w2_b": _randn(60_000, 1),
        },
    }
    sketch = sketch_of(modules)
    assert (len(sketch), sketch.omissions.too_large) == (0, 3)


def test_dora_is_sketched_by_direction_and_said_so(sketch_of) -> None:
    plain = _adapter(1)
    [name] = plain
    dora = {name: {**plain[name], "dora_scale": _randn(24, 1)}}
    assert sketch_of(dora).packed == sketch_of(plain).packed
    assert sketch_of(dora).omissions.direction_only == 1


# The numbers themselves


def _signs(purpose, count):
    seed = hmac.new(KEY, f"loraseal/sketch/v1/{purpose}".encode(), hashlib.sha256).digest()
    stream = int.from_bytes(hashlib.shake_256(seed).digest(count // 8 + 1), "little")
    return np.array([1.0 - 2.0 * (stream >> place & 1) for place in range(count)])


def _by_hand(name, update):
    outputs, inputs = update.shape
    flips = _signs(f"flips/{outputs}x{inputs}/{name}", outputs + inputs)
    left = _signs(f"left/{outputs}", 8 * outputs).reshape(8, outputs) * flips[:outputs]
    right = _signs(f"right/{inputs}", 8 * inputs).reshape(8, inputs) * flips[outputs:]
    return left @ update.double().numpy() @ right.T / 8


@pytest.mark.parametrize(
    ("factors", "dense"),
    [
        (lambda a, b, c, d: _lora(a, b, 6), lambda a, b, c, d: 1.5 * a @ b),
        (
            lambda a, b, c, d: {"hada_w1_a": a, "hada_w1_b": b, "hada_w2_a": c, "hada_w2_b": d},
            lambda a, b, c, d: (a @ b) * (c @ d),
        ),
        (
            lambda a, b, c, d: {"lokr_w1": a[:4], "lokr_w2_a": c, "lokr_w2_b": d},
            lambda a, b, c, d: torch.kron(a[:4], c @ d),
        ),
        (
            lambda a, b, c, d: {"lokr_w1_a": a, "lokr_w1_b": b, "lokr_w2": c},
            lambda a, b, c, d: torch.kron(a @ b, c),
        ),
        (
            lambda a, b, c, d: {"lokr_w1": a, "lokr_w2": c},
            lambda a, b, c, d: torch.kron(a, c),
        ),
    ],
    ids=["lora", "loha", "lokr-low-right", "lokr-low-left", "lokr-full"],
)
def test_values_are_those_of_the_update_in_full(sketch_of, factors, dense) -> None:
    a, b, c, d = _randn(12, 4), _randn(4, 20), _randn(12, 4), _randn(4, 20)
    sketch = sketch_of({NAME: factors(a, b, c, d)})
    expected = _by_hand(NAME, dense(a, b, c, d))
    assert sketch.numbers.tolist() == [hashed_name(KEY, NAME)]
    assert np.abs(sketch.values[0] - expected).max() <= np.abs(expected).max() / 2000


@pytest.mark.parametrize("shape", [(24, 20), (4, 20)])
def test_full_matrices_are_projected_too(sketch_of, monkeypatch, shape) -> None:
    up, down = _randn(shape[0], 4), _randn(4, shape[1])
    expected = sketch_of({NAME: _lora(up, down, 4)})
    monkeypatch.setattr(sketching, "update_of", lambda _module: Full(up @ down))
    found = sketch_of({NAME: _lora(up, down, 4)})
    assert similarity(found, expected).cosine > 0.999999


def test_a_method_that_gives_no_form_is_counted(sketch_of, monkeypatch) -> None:
    monkeypatch.setattr(sketching, "update_of", lambda _module: NoSpectrum("none"))
    assert sketch_of(_adapter(3)).omissions.no_factors == 3


def test_rank_zero_is_an_update_of_zero(sketch_of, monkeypatch) -> None:
    empty = LowRank(torch.zeros(24, 0), torch.zeros(0, 20))
    monkeypatch.setattr(sketching, "update_of", lambda _module: empty)
    assert sketch_of(_adapter(1)).omissions.zero == 1


# What leaves it as it is


def _cosine(sketch_of, first, second, **arguments):
    return similarity(sketch_of(first), sketch_of(second, **arguments)).cosine


def test_refactoring_changes_nothing(sketch_of) -> None:
    modules = _adapter()
    turn = _randn(4, 4) + torch.eye(4)
    turned = _changed(modules, lambda up, down: (up @ turn, torch.linalg.inv(turn) @ down))
    assert _cosine(sketch_of, modules, turned) > 0.999999


@pytest.mark.parametrize("dtype", ["F16", "BF16", "F64"])
def test_casts_change_next_to_nothing(sketch_of, dtype) -> None:
    modules = _adapter()
    assert _cosine(sketch_of, modules, modules, dtype=dtype) > 0.9999


def test_alpha_changes_the_length_and_no_angle(sketch_of) -> None:
    modules = _adapter()
    halved = {name: {**factors, "alpha": torch.tensor(2.0)} for name, factors in modules.items()}
    assert _cosine(sketch_of, modules, halved) == pytest.approx(1.0)
    assert sketch_of(halved).values == pytest.approx(sketch_of(modules).values / 2)


def test_a_negated_adapter_is_opposite(sketch_of) -> None:
    modules = _adapter()
    assert _cosine(sketch_of, modules, _changed(modules, lambda up, down: (-up, down))) == -1.0


def test_a_fused_weight_is_its_split_layers(sketch_of) -> None:
    """Rows of unequal height, as linear1 of Flux has them: q, k, v and the MLP."""
    heights = {"q": 6, "k": 6, "v": 6, "mlp": 14}
    down = _randn(4, 20)
    ups = {name: _randn(height, 4) for name, height in heights.items()}
    split = {f"lora_unet_{name}": _lora(up, down, 4) for name, up in ups.items()}
    fused = {NAME: _lora(torch.cat(list(ups.values())), down, 4)}
    end, parts = 0, []
    for name, height in heights.items():
        parts.append(CanonicalPart(f"lora_unet_{name}", "", range(end, end + height)))
        end += height
    assert sketch_of(fused, parts={NAME: tuple(parts)}) == sketch_of(split)


def test_a_fused_kronecker_product_is_its_split_layers(sketch_of) -> None:
    w1, w2 = _randn(4, 5), _randn(6, 4)
    whole = torch.kron(w1, w2)
    up, _, down = torch.linalg.svd(whole[6:18], full_matrices=False)
    core = torch.linalg.svdvals(whole[6:18])
    split = {"lora_unet_k": _lora(up * core, down, len(core))}
    parts = {NAME: (CanonicalPart("lora_unet_k", "", range(6, 18)),)}
    fused = sketch_of({NAME: {"lokr_w1": w1, "lokr_w2": w2}}, parts=parts)
    assert similarity(fused, sketch_of(split)).cosine > 0.999999


def test_a_merge_has_the_sum_of_the_sketches(sketch_of) -> None:
    first, second = _adapter(), _adapter()
    merged = {
        name: _lora(
            torch.cat(
                [0.3 * first[name]["lora_up__weight"], 0.7 * second[name]["lora_up__weight"]], 1
            ),
            torch.cat([first[name]["lora_down__weight"], second[name]["lora_down__weight"]]),
            8,
        )
        for name in first
    }
    expected = 0.3 * sketch_of(first).values + 0.7 * sketch_of(second).values
    assert sketch_of(merged).values == pytest.approx(expected, abs=float(expected.max()) / 500)


# What it depends on


def _exact_cosine(first, second):
    """The cosine of the updates in full, of modules with one scale."""
    flat = [
        torch.cat(
            [(f["lora_up__weight"] @ f["lora_down__weight"]).ravel() for f in modules.values()]
        )
        for modules in (first, second)
    ]
    return float(torch.nn.functional.cosine_similarity(flat[0], flat[1], dim=0))


def test_the_cosine_is_that_of_the_updates(sketch_of) -> None:
    first = _adapter(60, rank=2)
    noise = _adapter(60, rank=2)
    second = {
        name: _lora(
            torch.cat([factors["lora_up__weight"], 0.7 * noise[name]["lora_up__weight"]], 1),
            torch.cat([factors["lora_down__weight"], noise[name]["lora_down__weight"]]),
            4,
        )
        for name, factors in first.items()
    }
    exact = _exact_cosine(first, second)
    found = similarity(sketch_of(first), sketch_of(second))
    assert abs(found.cosine - exact) < 4 * found.null_deviation


def test_another_key_makes_an_unrelated_sketch(sketch_of) -> None:
    modules = _adapter()
    first, second = sketch_of(modules), sketch_of(modules, key=OTHER_KEY)
    assert not first.is_comparable(second)
    assert not set(first.numbers.tolist()) & set(second.numbers.tolist())
    flat = [sketch.values.ravel() / np.linalg.norm(sketch.values) for sketch in (first, second)]
    assert abs(float(flat[0] @ flat[1])) < 0.2


def test_neither_key_nor_names_are_in_the_bytes(sketch_of) -> None:
    key = b"CANARY-" * 6
    data = sketch_of(_adapter(), key=key).to_bytes()
    assert b"CANARY" not in data
    assert b"lora_unet" not in data


def test_layers_that_share_directions_do_not_widen_the_null(sketch_of) -> None:
    """All layers of one adapter write and read along one direction, as residual streams invite."""

    def stream():
        out, into = _randn(40, 1), _randn(1, 40)
        return {
            f"lora_unet_down_blocks_{n}_attentions_0_proj_in": _lora(
                torch.cat([3 * out, _randn(40, 1)], 1), torch.cat([3 * into, _randn(1, 40)]), 4
            )
            for n in range(60)
        }

    first = stream()
    sketched = sketch_of(first)
    errors, nulls = [], []
    for _ in range(12):
        other = stream()
        found = similarity(sketched, sketch_of(other))
        errors.append(found.cosine - _exact_cosine(first, other))
        nulls.append(found.null_deviation)
    assert float(np.sqrt(np.mean(np.square(errors)))) < 1.5 * max(nulls)
