from __future__ import annotations

import pytest

from registry.artifacts.classifying.modules import AdapterModule, pair_modules, pair_tensors
from registry.formats.safetensors import dump_header, lay_out, parse_header
from tests.sheet import header, make_header, rows


def only(tensors: dict[str, tuple[int, ...]], *, dtype: str = "F16") -> AdapterModule:
    (module,) = pair_modules(make_header(tensors, dtype=dtype))
    return module


DOWN, UP = "lora_unet_x.lora_down.weight", "lora_unet_x.lora_up.weight"


@pytest.mark.parametrize(
    ("tensors", "fault"),
    [
        ({DOWN: (4, 8)}, "down without up"),
        ({UP: (8, 4)}, "up without down"),
        ({"x.lora_A.weight": (4, 8)}, "down without up"),
        ({"lora_unet_x.alpha": ()}, "alpha without factors"),
        ({DOWN: (16, 8), UP: (8, 8)}, "down has rank 16 and up has rank 8"),
        ({DOWN: (4,), UP: (8, 4)}, "at least two dimensions"),
        ({DOWN: (4, 8), UP: (8, 4), "lora_unet_x.alpha": (2,)}, "expected one number"),
        ({DOWN: (4, 8), UP: (9, 4), "lora_unet_x.dora_scale": (7, 1)}, "magnitude has shape"),
        ({DOWN: (4, 8), UP: (8, 4), "lora_unet_x.lora_mid.weight": (4, 5, 3, 3)}, "mid has shape"),
        ({"m.lora_A.weight": (4, 8), "m.lora_B.weight": (8, 4), "m.lora_B.bias": (7,)}, "up_bias"),
        ({"m.hada_w1_a": (8, 4), "m.hada_w1_b": (4, 8), "m.hada_w2_a": (8, 4)}, "hada_w2_b"),
        (
            {
                "m.hada_w1_a": (8, 4),
                "m.hada_w1_b": (5, 8),
                "m.hada_w2_a": (8, 4),
                "m.hada_w2_b": (4, 8),
            },
            "hada_w1_a and _b have ranks 4 and 5",
        ),
        (
            {
                "m.hada_w1_a": (8, 4),
                "m.hada_w1_b": (4, 8),
                "m.hada_w2_a": (9, 4),
                "m.hada_w2_b": (4, 8),
            },
            "different shapes",
        ),
        ({"m.lokr_w1": (4, 4)}, "lokr_w2_a"),
        ({"m.lokr_w1": (4, 4), "m.lokr_w2_a": (8, 2)}, "lokr_w2_b"),
        ({"m.lokr_w1": (4, 4), "m.lokr_w2_a": (8, 2), "m.lokr_w2_b": (3, 8)}, "disagree"),
        ({"m.lokr_w1": (4, 4), "m.lokr_w1_a": (4, 4), "m.lokr_w2": (8, 8)}, "stand alone"),
        ({"m.oft_blocks": (4, 8, 7)}, "square blocks"),
        ({"m.on_input": ()}, "on_input without weight"),
        ({"m.diff": (8, 4), "m.diff_b": (7,)}, "different widths"),
    ],
)
def test_factors_that_do_not_fit_are_faults(
    tensors: dict[str, tuple[int, ...]], fault: str
) -> None:
    found = only(tensors).faults
    assert any(fault in words for words in found), found


def test_factors_of_integers_are_faults() -> None:
    assert "down has dtype I32" in only({DOWN: (4, 8), UP: (8, 4)}, dtype="I32").faults[0]


def test_a_role_that_stands_twice_is_a_fault() -> None:
    tensors = {
        "x.lora_A.weight": (4, 8),
        "x.lora_A.default.weight": (4, 8),
        "x.lora_B.weight": (8, 4),
    }
    assert "a role stands twice" in only(tensors).faults


def test_every_tensor_is_in_a_module_or_among_the_others_once() -> None:
    names = {
        DOWN: (4, 8),
        UP: (8, 4),
        "m.weight": (3, 3),
        "m.down.weight": (3, 3),
        "a1.weight": (2, 2),
        "x.a1.weight": (2, 2),
        "alpha": (),
        "": (),
    }
    del names[""]
    found = pair_tensors(make_header(names))
    seen = [tensor.name for module in found.modules for _, tensor in module.tensors]
    seen += [tensor.name for tensor in found.others]
    assert sorted(seen) == sorted(names)
    assert [module.name for module in found.modules] == ["lora_unet_x"]


@pytest.mark.parametrize(
    ("names", "module"),
    [
        ((DOWN, UP), "lora_unet_x"),
        (("a.b.lora_A.weight", "a.b.lora_B.weight"), "a.b"),
        (("a.b.lora_A.default.weight", "a.b.lora_B.default.weight"), "a.b"),
        (("a.b.lora_embedding_A", "a.b.lora_embedding_B"), "a.b"),
        (("unet.q.lora.down.weight", "unet.q.lora.up.weight"), "unet.q"),
        (("te.q.lora_linear_layer.down.weight", "te.q.lora_linear_layer.up.weight"), "te.q"),
        (("p.to_q_lora.down.weight", "p.to_q_lora.up.weight"), "p.to_q_lora"),
        (("b.0.processor.qkv_lora1.down.weight", "b.0.processor.qkv_lora1.up.weight"), None),
    ],
)
def test_every_spelling_of_a_pair_is_understood(names: tuple[str, str], module: str | None) -> None:
    found = only({names[0]: (4, 8), names[1]: (16, 4)})
    assert found.name == (module or "b.0.processor.qkv_lora1")
    assert (found.method, found.faults) == ("lora", ())
    assert (found.rank, found.geometry.inputs, found.geometry.outputs) == (4, 8, 16)
    down = found.find_tensor("down")
    assert down is not None
    assert down.name == names[0]
    assert found.find_tensor("mid") is None


@pytest.mark.parametrize(
    ("tensors", "expected"),
    [
        ({DOWN: (4, 8, 3, 3), UP: (16, 4, 1, 1)}, ("lora", 4, 8, 16, 9)),
        (
            {
                DOWN: (4, 8, 1, 1),
                UP: (16, 4, 1, 1),
                "lora_unet_x.lora_mid.weight": (4, 4, 3, 3),
            },
            ("lora", 4, 8, 16, 9),
        ),
        ({DOWN: (4, 8), UP: (16, 4), "lora_unet_x.dora_scale": (1, 8)}, ("dora", 4, 8, 16, 1)),
        (
            {
                "m.hada_w1_a": (4, 16),
                "m.hada_w1_b": (4, 8),
                "m.hada_t1": (4, 4, 3, 3),
                "m.hada_w2_a": (4, 16),
                "m.hada_w2_b": (4, 8),
                "m.hada_t2": (4, 4, 3, 3),
            },
            ("loha", 4, 8, 16, 9),
        ),
        ({"m.lokr_w1": (4, 2), "m.lokr_w2": (8, 3)}, ("lokr", None, 6, 32, 1)),
        (
            {
                "m.lokr_w1_a": (4, 2),
                "m.lokr_w1_b": (2, 4),
                "m.lokr_w2_a": (2, 8),
                "m.lokr_w2_b": (2, 3),
                "m.lokr_t2": (2, 2, 3, 3),
            },
            ("lokr", 2, 12, 32, 9),
        ),
        ({"m.oft_blocks": (40, 8, 8)}, ("oft", 8, None, 320, 1)),
        ({"m.oft_R.weight": (4, 28)}, ("oft", 4, None, None, 1)),
        ({"m.diff_b": (16,)}, ("full", None, None, 16, 1)),
        ({"m.diff": (16, 8, 3, 3), "m.diff_b": (16,)}, ("full", None, 8, 16, 9)),
        ({"m.on_input": (), "m.weight": (320,)}, ("ia3", None, None, 320, 1)),
        (
            {f"m.{key}.weight": (4, 4) for key in ("a1", "a2", "b1", "b2")},
            ("glora", 4, 4, 4, 1),
        ),
        ({"m.w_norm": (8,), "m.b_norm": (8,)}, ("norm", None, None, None, 1)),
    ],
)
def test_methods_are_told_apart_and_measured(
    tensors: dict[str, tuple[int, ...]], expected: tuple[object, ...]
) -> None:
    found = only(tensors)
    size = found.geometry
    assert (found.method, size.rank, size.inputs, size.outputs, size.kernel) == expected
    assert found.faults == ()


def test_the_switch_of_ia3_may_be_a_boolean() -> None:
    tensors = lay_out([("m.on_input", "BOOL", ()), ("m.weight", "F16", (320,))])
    (module,) = pair_modules(parse_header(dump_header(tensors, []), file_size=None))
    assert module.faults == ()


def test_a_model_without_factors_has_no_modules() -> None:
    found = pair_tensors(make_header({"b.0.norm.key_norm.scale": (128,), "b.0.qkv.weight": (8, 8)}))
    assert found.modules == ()
    assert len(found.others) == 2


@pytest.mark.parametrize("fixture", rows("adapters"), ids=lambda row: str(row["id"]))
def test_real_adapters_pair_without_fault_or_rest(fixture: dict[str, object]) -> None:
    found = pair_tensors(header(fixture))
    assert len(found.modules) == fixture["n_modules"]
    assert found.others == ()
    assert [module.faults for module in found.modules if module.faults] == []
