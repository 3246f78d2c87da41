"""diffusers as the oracle of names: its checkpoint converters and its own model classes."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="diffusers needs it")
diffusers = pytest.importorskip("diffusers", reason="diffusers is the oracle here (extra `audit`)")
pytest.importorskip("peft", reason="diffusers loads adapters with it")

from diffusers.loaders import single_file_utils as checkpoints  # noqa: E402

from registry.artifacts.classifying.modules import pair_modules  # noqa: E402
from registry.fingerprints.names import canonical_modules  # noqa: E402
from tests.artifacts.test_diffusers_oracle import (  # noqa: E402
    MODELS,
    layers_of,
)
from tests.fingerprints.names_rig import NATIVE, lora_shapes, prefixed  # noqa: E402
from tests.fingerprints.native_layers import (  # noqa: E402
    ANIMA,
    CHROMA,
    FLUX2,
    FLUX2_MORE,
    HUNYUAN,
    KREA,
    LUMINA_WHOLE,
    NORMS,
    SD3,
    SD35,
    WAN,
    ZIMAGE,
)
from tests.sheet import make_header  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")


CHECKPOINTS = {
    "sd3": ("convert_sd3_transformer_checkpoint_to_diffusers", SD3),
    "sd3.5": ("convert_sd3_transformer_checkpoint_to_diffusers", SD35),
    "chroma": ("convert_chroma_transformer_checkpoint_to_diffusers", CHROMA),
    "z-image": ("convert_z_image_transformer_checkpoint_to_diffusers", ZIMAGE),
    "lumina2": ("convert_lumina2_to_diffusers", LUMINA_WHOLE),
    "flux2": (
        "convert_flux2_transformer_checkpoint_to_diffusers",
        {**FLUX2, **FLUX2_MORE, "final_layer.adaLN_modulation.1": (192, 96)},
    ),
    "krea2": ("convert_krea2_transformer_checkpoint_to_diffusers", KREA),
    "cosmos": (
        "convert_cosmos_transformer_checkpoint_to_diffusers",
        {name: widths for name, widths in ANIMA.items() if "llm_adapter" not in name},
    ),
    "hunyuan": (
        "convert_hunyuan_video_transformer_to_diffusers",
        {
            **HUNYUAN,
            "txt_in.individual_token_refiner.blocks.1.self_attn_qkv": (9216, 3072),
            "txt_in.individual_token_refiner.blocks.1.self_attn_proj": (3072, 3072),
            "txt_in.individual_token_refiner.blocks.1.mlp.fc1": (12288, 3072),
            "txt_in.individual_token_refiner.blocks.1.adaLN_modulation.1": (6144, 3072),
            "final_layer.adaLN_modulation.1": (6144, 3072),
        },
    ),
    "wan": ("convert_wan_transformer_to_diffusers", WAN),
}


def weights_of(layers: dict[str, tuple[int, int]]) -> dict[str, Any]:
    """Return a checkpoint whose weights have one column: as much as tells their rows apart."""
    source = torch.Generator().manual_seed(11)
    return {
        f"{name}.weight": torch.randn((outputs, 1), generator=source)
        for name, (outputs, _) in layers.items()
    }


def as_adapter(weights: dict[str, Any], inputs: dict[str, int], prefix: str) -> dict[str, Any]:
    """Return a rank 1 adapter whose updates have the rows of `weights`."""
    tensors = {}
    for name, weight in weights.items():
        layer = name.removesuffix(".weight")
        tensors[f"{prefix}{layer}.lora_A.weight"] = torch.ones((1, inputs[layer]))
        tensors[f"{prefix}{layer}.lora_B.weight"] = weight
    return tensors


def columns(tensors: dict[str, Any]) -> dict[str, Any]:
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    modules = pair_modules(make_header(shapes))
    found = {}
    for module, parts in zip(modules, canonical_modules(modules), strict=True):
        up = module.find_tensor("up")
        assert up is not None
        for part in parts:
            rows = part.rows or range(up.shape[0])
            found[part.name] = tensors[up.name][rows.start : rows.stop]
    return found


@pytest.mark.parametrize("case", CHECKPOINTS)
def test_a_checkpoint_and_its_conversion_have_the_same_rows(case: str) -> None:
    function, layers = CHECKPOINTS[case]
    native = weights_of(layers)
    ours = columns(as_adapter(native, {name: size for name, (_, size) in layers.items()}, NATIVE))
    extras = {}
    if case.startswith(("sd3", "chroma")):
        biases = {name.replace(".weight", ".bias"): weight[:, 0] for name, weight in native.items()}
        others = NORMS if case == "chroma" else ("pos_embed",)
        extras = {**biases, **dict.fromkeys(others, torch.ones(1))}
    converted = getattr(checkpoints, function)({**native, **extras})
    theirs = {
        name: value for name, value in converted.items() if value.ndim > 1 and "weight" in name
    }
    inputs = dict.fromkeys((name.removesuffix(".weight") for name in theirs), 64)
    after = columns(as_adapter(theirs, inputs, "transformer."))
    assert ours.keys() == after.keys()
    for name, rows in ours.items():
        assert torch.equal(rows, after[name]), name


STYLES = ("lora_unet_", "lycoris_", "diffusion_model.", "", "base_model.model.")


@pytest.mark.parametrize("name", MODELS)
def test_every_layer_of_a_real_model_keeps_its_name_in_every_spelling(name: str) -> None:
    model = MODELS[name]
    component = "unet" if model.kind == "UNet2DConditionModel" else "transformer"
    layers = {layer: (outputs, inputs) for layer, inputs, outputs, _ in layers_of(model)}
    expected = {part.name for parts in spelled(layers, f"{component}.") for part in parts}
    for style in STYLES:
        assert {part.name for parts in spelled(layers, style) for part in parts} == expected, style
    own = {part.partition("[")[0].removeprefix(f"{component}.") for part in expected}
    split = {"norm1_context.linear", "norm_out.linear", "to_kv", "to_k", "to_v"}
    assert {layer for layer in own ^ layers.keys() if not layer.endswith(tuple(split))} == set()


def spelled(layers: dict[str, tuple[int, int]], prefix: str) -> tuple[Any, ...]:
    return canonical_modules(
        pair_modules(make_header(lora_shapes(prefixed(layers, prefix), "peft")))
    )


def ldm_layers(attentions: tuple[int, ...], levels: int) -> list[str]:
    """Return the module names of an LDM UNet; `attentions` are the levels that attend."""
    resnet = ("in_layers.2", "emb_layers.1", "out_layers.3", "in_layers.0", "out_layers.0")
    attention = ("proj_in", "transformer_blocks.0.attn1.to_out.0", "proj_out")
    found = ["input_blocks.0.0", "time_embed.0", "time_embed.2", "out.0", "out.2"]
    number = 1
    for level in range(levels):
        for layer in range(2):
            inside = [f"0.{leaf}" for leaf in resnet]
            inside += ["0.skip_connection"] if layer == 0 and 0 < level < 3 else []
            inside += [f"1.{leaf}" for leaf in attention] if level in attentions else []
            found += [f"input_blocks.{number}.{leaf}" for leaf in inside]
            number += 1
        if level < levels - 1:
            found.append(f"input_blocks.{number}.0.op")
            number += 1
    for inner, leaves in enumerate((resnet, attention, resnet)):
        found += [f"middle_block.{inner}.{leaf}" for leaf in leaves]
    for number in range(3 * levels):
        level = levels - 1 - number // 3
        inside = [f"0.{leaf}" for leaf in (*resnet, "skip_connection")]
        inside += [f"1.{leaf}" for leaf in attention] if level in attentions else []
        if number % 3 == 2 and level > 0:
            inside.append(f"{2 if level in attentions else 1}.conv")
        found += [f"output_blocks.{number}.{leaf}" for leaf in inside]
    return found


@pytest.mark.parametrize(
    ("name", "attentions", "levels"), [("sd1", (0, 1, 2), 4), ("sdxl", (1, 2), 3)]
)
def test_ldms_numbering_is_that_of_the_checkpoint_converter(
    name: str, attentions: tuple[int, ...], levels: int
) -> None:
    layers = ldm_layers(attentions, levels)
    checkpoint = {
        f"model.diffusion_model.{layer}.{end}": (layer, end)
        for layer in layers
        for end in ("weight", "bias")
    }
    config = {"layers_per_block": 2, "class_embed_type": None, "addition_embed_type": None}
    converted = checkpoints.convert_ldm_unet_checkpoint(dict(checkpoint), config)
    theirs = {
        layer: name.removesuffix(".weight")
        for name, (layer, end) in converted.items()
        if end == "weight"
    }
    modules = pair_modules(
        make_header(lora_shapes(prefixed(dict.fromkeys(layers, (8, 8)), NATIVE), "peft"))
    )
    ours = {
        module.name.removeprefix("diffusion_model."): parts[0].name.removeprefix("unet.")
        for module, parts in zip(modules, canonical_modules(modules), strict=True)
    }
    assert ours == theirs
    real = {layer for layer, *_ in layers_of(MODELS[name])}
    assert {layer for layer in ours.values() if "norm" not in layer} <= real
