from __future__ import annotations

import json
import math
from typing import Any

import pytest

from registry.artifacts.claims import ClaimStatus
from registry.artifacts.classifying.alpha import configs_of
from registry.artifacts.classifying.classify import Classification, classify
from registry.artifacts.classifying.modules import pair_modules
from registry.artifacts.classifying.scales import ModuleScale, ScaleCount, list_scales
from registry.artifacts.classifying.shapes import group_shapes
from registry.formats.adapter_config import parse_adapter_config
from tests.sheet import make_header

Shapes = dict[str, tuple[int, ...]]


def kohya(module: str, *, rank: int = 4, width: int = 64, alpha: bool = True) -> Shapes:
    return {
        f"{module}.lora_down.weight": (rank, width),
        f"{module}.lora_up.weight": (width, rank),
        **({f"{module}.alpha": ()} if alpha else {}),
    }


def peft(module: str, *, rank: int = 4) -> Shapes:
    return {f"{module}.lora_A.weight": (rank, 64), f"{module}.lora_B.weight": (64, rank)}


def said(
    tensors: Shapes, values: dict[str, float] | None = None, config: Any = None, **metadata: str
) -> tuple[list[ModuleScale], Classification]:
    header = make_header(tensors, **metadata)
    parsed = parse_adapter_config(json.dumps(config).encode()) if config else None
    configs = configs_of(dict(header.metadata), parsed)
    listed = list_scales(group_shapes(pair_modules(header)), values, configs)
    return list(listed), classify(header, config=parsed, alphas=values)


def scale_of(*arguments: Any, **metadata: str) -> tuple[float | None, str]:
    rows, found = said(*arguments, **metadata)
    assert found.scale == (rows[0].scale if len({row.scale for row in rows}) == 1 else None)
    return rows[0].scale, rows[0].source


def note(found: Classification) -> str:
    return " ".join(claim.note for claim in found.claims if claim.field == "scale")


CONFIG = {"peft_type": "LORA", "r": 4, "lora_alpha": 8}
FULL_LOKR = {"m.lokr_w1": (4, 4), "m.lokr_w2": (8, 8), "m.alpha": ()}
LOKR = {"m.lokr_w1": (4, 4), "m.lokr_w2_a": (8, 2), "m.lokr_w2_b": (2, 8), "m.alpha": ()}
LOKR_LEFT = {"m.lokr_w1_a": (8, 2), "m.lokr_w1_b": (2, 8), "m.lokr_w2": (8, 8), "m.alpha": ()}
LOHA = {f"m.hada_w{n}_{s}": (8, 2) if s == "a" else (2, 8) for n in (1, 2) for s in "ab"}
GLORA = {"m.a1.weight": (8, 2), "m.a2.weight": (2, 8), "m.b1.weight": (6, 2), "m.b2.weight": (2, 8)}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_an_alpha_that_is_no_number_gives_no_scale(value: float) -> None:
    rows, found = said(kohya("m"), {"m.alpha": value})
    assert (rows[0].alpha, rows[0].scale, found.scale) == (None, None, None)
    assert "not to be told for 1 modules" in note(found)


def test_an_alpha_that_was_not_read_gives_no_scale() -> None:
    assert scale_of(kohya("m")) == (None, "tensors")


def test_a_faulty_module_has_no_scale() -> None:
    assert scale_of({"m.lora_down.weight": (4, 64), "m.alpha": ()}, {"m.alpha": 4.0})[0] is None
    assert scale_of({"m.lora_A.weight": (4, 64)}, None, CONFIG)[0] is None


def test_a_pattern_that_is_not_evaluated_gives_no_scale_and_says_so() -> None:
    hostile = {**CONFIG, "alpha_pattern": {"(?=a)(a+)+$": 3}}
    rows, found = said(peft("base_model.model.a"), None, hostile)
    assert (rows[0].scale, rows[0].source) == (None, "adapter_config.json")
    assert "pattern was not read" in note(found)


@pytest.mark.parametrize(
    ("tensors", "values", "scale"),
    [
        (kohya("m"), {"m.alpha": 2.0}, 0.5),
        (kohya("m", rank=32), {"m.alpha": 1.0}, 1 / 32),
        ({**kohya("m"), "m.dora_scale": (64, 1)}, {"m.alpha": 2.0}, 0.5),
        ({**kohya("m"), "m.lora_mid.weight": (4, 4, 3, 3)}, {"m.alpha": 8.0}, 2.0),
        ({**LOHA, "m.alpha": ()}, {"m.alpha": 1.0}, 0.5),
        (LOKR, {"m.alpha": 1.0}, 0.5),
        (LOKR_LEFT, {"m.alpha": 1.0}, 0.5),
        (FULL_LOKR, {"m.alpha": 9e9}, 1.0),
        (FULL_LOKR, None, 1.0),
        ({**GLORA, "m.alpha": ()}, {"m.alpha": 3.0}, 1.5),
        # LyCORIS' use_scalar, where a release saved it as a tensor of its own.
        ({**kohya("m"), "m.scalar": ()}, {"m.alpha": 2.0, "m.scalar": 0.5}, 0.25),
    ],
)
def test_the_scale_of_tensors_is_alpha_through_rank(
    tensors: Shapes, values: dict[str, float] | None, scale: float
) -> None:
    assert scale_of(tensors, values) == (pytest.approx(scale), "tensors")


def test_a_scalar_that_was_not_read_gives_no_scale() -> None:
    assert scale_of({**kohya("m"), "m.scalar": ()}, {"m.alpha": 2.0})[0] is None


@pytest.mark.parametrize(
    "tensors",
    [
        {"m.oft_blocks": (4, 8, 8), "m.alpha": ()},
        {"m.oft_blocks": (3, 4, 8, 8), "m.alpha": ()},
        {"m.diff": (8, 8)},
        {"m.weight": (8,), "m.on_input": ()},
        {"m.w_norm": (8,)},
    ],
    ids=["oft", "boft", "full", "ia3", "norm"],
)
def test_methods_that_are_not_multiplied_have_no_scale(tensors: Shapes) -> None:
    rows, found = said(tensors, {"m.alpha": 0.001})
    assert (rows[0].scale, rows[0].source) == (None, "method")
    assert found.scales == ()
    assert note(found) == "the method has no scale"


def test_without_any_alpha_the_scale_is_a_guess_and_says_so() -> None:
    rows, found = said(kohya("m", alpha=False))
    assert (rows[0].alpha, rows[0].scale, rows[0].source) == (None, 1.0, "default")
    assert [claim.status for claim in found.claims if claim.field == "scale"] == [
        ClaimStatus.UNVERIFIED
    ]
    assert "guessed for 1 modules" in note(found)


def test_modules_with_and_without_alpha_are_told_apart() -> None:
    rows, found = said({**kohya("a"), **kohya("b", alpha=False)}, {"a.alpha": 2.0})
    assert [(row.scale, row.source) for row in rows] == [(0.5, "tensors"), (1.0, "default")]
    assert found.scale is None
    assert found.scales == (ScaleCount(0.5, "tensors", 1), ScaleCount(1.0, "default", 1))


@pytest.mark.parametrize(
    ("settings", "scale"),
    [
        ({}, 2.0),
        ({"use_rslora": True}, 4.0),
        ({"lora_alpha": None}, 1.0),
        ({"alpha_pattern": {"a": 1}}, 0.25),
        ({"alpha_pattern": {"other": 1}}, 2.0),
    ],
)
def test_the_scale_of_peft_stands_in_its_config(settings: dict[str, Any], scale: float) -> None:
    found, source = scale_of(peft("base_model.model.m.a"), None, {**CONFIG, **settings})
    assert found == scale
    assert source == ("default" if settings == {"lora_alpha": None} else "adapter_config.json")


def test_a_config_in_the_header_speaks_of_its_component_only() -> None:
    tensors = {**peft("transformer.x.a"), **peft("text_encoder.y"), **peft("other.z")}
    settings = {
        "transformer.peft_type": "LORA",
        "transformer.r": 4,
        "transformer.lora_alpha": 6,
        "transformer.alpha_pattern": {"x.a": 2},
        "text_encoder.peft_type": "LORA",
        "text_encoder.lora_alpha": 8,
        "text_encoder.use_rslora": True,
    }
    rows, found = said(tensors, lora_adapter_metadata=json.dumps(settings))
    assert {row.module: (row.scale, row.source) for row in rows} == {
        "transformer.x.a": (0.5, "lora_adapter_metadata"),
        "text_encoder.y": (4.0, "lora_adapter_metadata"),
        "other.z": (1.0, "default"),
    }
    assert found.scale is None


def test_the_side_file_counts_before_the_header_and_a_tensor_before_both() -> None:
    header = json.dumps({"base_model.peft_type": "LORA", "base_model.lora_alpha": 400})
    tensors = {**peft("base_model.model.a"), **kohya("base_model.model.b")}
    values = {"base_model.model.b.alpha": 1.0}
    rows, _ = said(tensors, values, CONFIG, lora_adapter_metadata=header)
    assert [(row.scale, row.source) for row in rows] == [
        (2.0, "adapter_config.json"),
        (0.25, "tensors"),
    ]


@pytest.mark.parametrize(
    ("alpha", "words"),
    [
        (4000.0, "more than 100"),
        (0.0001, "less than 0.001"),
        (0.0, "alpha is 0"),
        (-4.0, "negative"),
    ],
)
def test_absurd_scales_are_warned_of(alpha: float, words: str) -> None:
    _, found = said(kohya("m"), {"m.alpha": alpha})
    assert any(words in text for text in found.warnings)
    _, found = said(peft("m"), None, {**CONFIG, "lora_alpha": alpha})
    assert any(words in text.replace("effective scale", "alpha") for text in found.warnings)


def test_a_usual_scale_is_not_warned_of() -> None:
    _, found = said(kohya("m", rank=128), {"m.alpha": 1.0})
    assert found.warnings == ()


def test_mixed_ranks_without_alpha_are_warned_of() -> None:
    _, found = said({**peft("unet.a"), **peft("unet.b", rank=8)})
    assert any("loaders disagree" in text for text in found.warnings)
    _, found = said({**peft("unet.a"), **peft("unet.b", rank=8)}, None, CONFIG)
    assert not any("loaders disagree" in text for text in found.warnings)


def test_fused_projections_with_the_alpha_of_one_are_warned_of() -> None:
    single = kohya("lora_unet_double_blocks_0_img_attn_proj")
    fused = kohya("lora_unet_double_blocks_0_img_attn_qkv", rank=12)
    values = {name: 4.0 for name in (*single, *fused) if name.endswith("alpha")}
    rows, found = said({**single, **fused}, values)
    assert [row.scale for row in rows] == [1.0, pytest.approx(1 / 3)]
    assert any("1 fused modules" in text for text in found.warnings)
    values["lora_unet_double_blocks_0_img_attn_qkv.alpha"] = 12.0
    _, found = said({**single, **fused}, values)
    assert not any("fused" in text for text in found.warnings)


def test_counts_add_up_to_the_modules_that_have_a_scale() -> None:
    tensors = {**kohya("a"), **kohya("b", rank=8), "c.diff": (8, 8)}
    rows, found = said(tensors, {"a.alpha": 4.0, "b.alpha": 4.0})
    assert found.scales == (ScaleCount(0.5, "tensors", 1), ScaleCount(1.0, "tensors", 1))
    assert len(rows) == found.modules == 3
