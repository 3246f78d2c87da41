"""Adapters that are in no sheet: other methods, spellings, parts and dtypes of models that are."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from registry.artifacts.classifying.classify import Classification, classify
from tests.sheet import make_header

Shapes = dict[str, tuple[int, ...]]
# Name in the model, input and output width, kernel.
Layer = tuple[str, int, int, tuple[int, ...]]

SDXL_BLOCK = "input_blocks_4_1_transformer_blocks_0_"
SDXL: list[Layer] = [
    (SDXL_BLOCK + "attn1_to_q", 640, 640, ()),
    (SDXL_BLOCK + "attn2_to_k", 2048, 640, ()),
    (SDXL_BLOCK + "ff_net_0_proj", 640, 5120, ()),
    ("middle_block_1_transformer_blocks_9_attn2_to_v", 2048, 1280, ()),
    ("input_blocks_1_0_in_layers_2", 320, 320, (3, 3)),
]
SD2: list[Layer] = [
    ("down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k", 1024, 320, ()),
    ("mid_block_attentions_0_transformer_blocks_0_attn1_to_q", 1280, 1280, ()),
]
FLUX: list[Layer] = [
    *((f"double_blocks_{n}_img_attn_qkv", 3072, 9216, ()) for n in (0, 18)),
    ("double_blocks_7_img_mlp_0", 3072, 12288, ()),
    ("single_blocks_37_linear1", 3072, 21504, ()),
]
CHROMA: list[Layer] = [*FLUX, ("distilled_guidance_layer_layers_0_in_layer", 5120, 5120, ())]
WAN: list[Layer] = [
    ("blocks_0_self_attn_q", 5120, 5120, ()),
    ("blocks_39_ffn_0", 5120, 13824, ()),
    ("blocks_3_cross_attn_k_img", 5120, 5120, ()),
]
WAN_SMALL: list[Layer] = [
    ("blocks_29_cross_attn_v", 1536, 1536, ()),
    ("blocks_0_ffn_2", 8960, 1536, ()),
]
ANIMA: list[Layer] = [
    ("blocks_0_cross_attn_q_proj", 2048, 2048, ()),
    ("blocks_27_mlp_layer1", 2048, 8192, ()),
]
HUNYUAN: list[Layer] = [
    ("double_blocks_0_img_attn_qkv", 3072, 9216, ()),
    ("double_blocks_19_img_mlp_fc1", 3072, 12288, ()),
]
KLEIN: list[Layer] = [
    ("double_blocks_0_img_attn_qkv", 3072, 9216, ()),
    ("double_blocks_0_img_mlp_0", 3072, 18432, ()),
]
KREA: list[Layer] = [("blocks_0_attn_wq", 6144, 6144, ()), ("blocks_27_mlp_up", 6144, 16384, ())]
SD35M: list[Layer] = [
    ("joint_blocks_0_x_block_attn_qkv", 1536, 4608, ()),
    ("joint_blocks_0_x_block_attn2_qkv", 1536, 4608, ()),
]
SD35L: list[Layer] = [("joint_blocks_37_x_block_attn_qkv", 2432, 7296, ())]
ZIMAGE: list[Layer] = [("layers_0_attention_qkv", 3840, 11520, ())]
LUMINA: list[Layer] = [("layers_25_attention_qkv", 2304, 3840, ())]


def lora(base: str, layer: Layer) -> Shapes:
    _, inputs, outputs, kernel = layer
    return {
        f"{base}.lora_down.weight": (4, inputs, *kernel),
        f"{base}.lora_up.weight": (outputs, 4, *(1 for _ in kernel)),
        f"{base}.alpha": (),
    }


def dora(base: str, layer: Layer) -> Shapes:
    return {**lora(base, layer), f"{base}.dora_scale": (layer[2], 1, *(1 for _ in layer[3]))}


def dora_by_input(base: str, layer: Layer) -> Shapes:
    """OneTrainer's default: a magnitude for each input."""
    return {**lora(base, layer), f"{base}.dora_scale": (1, layer[1], *(1 for _ in layer[3]))}


def tucker(base: str, layer: Layer) -> Shapes:
    _, inputs, outputs, kernel = layer
    if not kernel:
        return lora(base, layer)
    return {
        f"{base}.lora_down.weight": (4, inputs, 1, 1),
        f"{base}.lora_mid.weight": (4, 4, *kernel),
        f"{base}.lora_up.weight": (outputs, 4, 1, 1),
        f"{base}.alpha": (),
    }


def loha(base: str, layer: Layer) -> Shapes:
    _, inputs, outputs, kernel = layer
    wide = inputs
    for size in kernel:
        wide *= size
    sides = {"w1_a": (outputs, 4), "w1_b": (4, wide), "w2_a": (outputs, 4), "w2_b": (4, wide)}
    return {f"{base}.alpha": (), **{f"{base}.hada_{key}": shape for key, shape in sides.items()}}


def lokr(base: str, layer: Layer) -> Shapes:
    _, inputs, outputs, kernel = layer
    wide = inputs // 8
    for size in kernel:
        wide *= size
    return {
        f"{base}.alpha": (),
        f"{base}.lokr_w1": (8, 8),
        f"{base}.lokr_w2_a": (outputs // 8, 4),
        f"{base}.lokr_w2_b": (4, wide),
    }


def lokr_in_full(base: str, layer: Layer) -> Shapes:
    _, inputs, outputs, kernel = layer
    return {
        f"{base}.alpha": (),
        f"{base}.lokr_w1": (8, 8),
        f"{base}.lokr_w2": (outputs // 8, inputs // 8, *kernel),
    }


def glora(base: str, layer: Layer) -> Shapes:
    _, inputs, outputs, kernel = layer
    ones = tuple(1 for _ in kernel)
    return {
        f"{base}.alpha": (),
        f"{base}.a1.weight": (inputs, 4, *ones),
        f"{base}.a2.weight": (4, inputs, *ones),
        f"{base}.b1.weight": (outputs, 4, *ones),
        f"{base}.b2.weight": (4, inputs, *kernel),
    }


def oft(base: str, layer: Layer) -> Shapes:
    return {f"{base}.alpha": (), f"{base}.oft_blocks": (layer[2] // 4, 4, 4)}


def boft(base: str, layer: Layer) -> Shapes:
    rescale = (layer[2], 1, *(1 for _ in layer[3]))
    blocks = (5, layer[2] // 4, 4, 4)
    return {f"{base}.alpha": (), f"{base}.oft_blocks": blocks, f"{base}.rescale": rescale}


def ia3(base: str, layer: Layer) -> Shapes:
    return {f"{base}.on_input": (), f"{base}.weight": (layer[2],)}


def full(base: str, layer: Layer) -> Shapes:
    return {f"{base}.diff": (layer[2], layer[1], *layer[3]), f"{base}.diff_b": (layer[2],)}


def native(base: str, layer: Layer) -> Shapes:
    _, inputs, outputs, kernel = layer
    return {
        f"{base}.lora_A.weight": (4, inputs, *kernel),
        f"{base}.lora_B.weight": (outputs, 4, *(1 for _ in kernel)),
    }


def built(
    layers: list[Layer], make: Callable[[str, Layer], Shapes], prefix: str, dtype: str = "F16"
) -> Classification:
    tensors: Shapes = {}
    for layer in layers:
        tensors |= make(prefix + layer[0], layer)
    return classify(make_header(tensors, dtype=dtype))


METHODS = {
    "dora": (dora, "dora", 4),
    "dora by input": (dora_by_input, "dora", 4),
    "locon": (lora, "locon", 4),
    "locon with a core": (tucker, "locon", 4),
    "loha": (loha, "loha", 4),
    "lokr": (lokr, "lokr", 4),
    "lokr in full": (lokr_in_full, "lokr", None),
    "glora": (glora, "glora", 4),
    "oft": (oft, "oft", 4),
    "boft": (boft, "boft", 4),
    "ia3": (ia3, "ia3", None),
    "full": (full, "full", None),
}


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("dtype", ["F16", "BF16", "F32", "F8_E4M3"])
def test_every_method_on_sdxl(name: str, dtype: str) -> None:
    make, method, rank = METHODS[name]
    found = built(SDXL, make, "lora_unet_", dtype)
    assert (found.kind, found.dialect, found.method) == ("adapter", "kohya", method)
    assert (found.family, found.rank, found.modules) == ("sdxl", rank, 5)
    assert (found.refusals, found.warnings) == ((), ())


FAMILIES = {
    "sd2": SD2,
    "sdxl": SDXL[:4],
    "flux1": FLUX,
    "chroma": CHROMA,
    "flux2": KLEIN,
    "hunyuan-video": HUNYUAN,
    "wan-14b": WAN,
    "wan-1.3b": WAN_SMALL,
    "anima/cosmos": ANIMA,
    "krea2": KREA,
    "sd3.5-medium": SD35M,
    "sd3.5-large": SD35L,
    "z-image": ZIMAGE,
    "lumina2": LUMINA,
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("make", [lora, dora, loha, lokr, full], ids=lambda make: make.__name__)
@pytest.mark.parametrize("prefix", ["lora_unet_", "lycoris_", "lora_transformer_"])
def test_families_in_kohyas_spelling(
    family: str, make: Callable[[str, Layer], Shapes], prefix: str
) -> None:
    found = built(FAMILIES[family], make, prefix)
    assert (found.kind, found.dialect, found.family) == ("adapter", "kohya", family)
    assert (found.modules, found.refusals) == (len(FAMILIES[family]), ())


DOTTED = {
    "wan-14b": [("blocks.0.self_attn.q", 5120, 5120, ()), ("blocks.39.ffn.0", 5120, 13824, ())],
    "hunyuan-video": [
        ("double_blocks.19.img_attn_qkv", 3072, 9216, ()),
        ("double_blocks.0.img_mlp.fc1", 3072, 12288, ()),
    ],
    "flux1": [
        ("double_blocks.0.img_attn.qkv", 3072, 9216, ()),
        ("single_blocks.37.linear2", 15360, 3072, ()),
    ],
    "z-image": [("layers.0.attention.qkv", 3840, 11520, ())],
    "anima/cosmos": [("blocks.0.self_attn.q_proj", 2048, 2048, ())],
    "krea2": [
        ("txtfusion.projector.attn.wq", 2560, 2560, ()),
        ("blocks.0.attn.wq", 6144, 6144, ()),
    ],
    "qwen-image": [("transformer_blocks.59.attn.to_q", 3072, 3072, ())],
}


@pytest.mark.parametrize("family", DOTTED)
@pytest.mark.parametrize("make", [native, loha, lokr], ids=lambda make: make.__name__)
def test_families_in_comfys_spelling(family: str, make: Callable[[str, Layer], Shapes]) -> None:
    found = built(DOTTED[family], make, "diffusion_model.")
    assert (found.kind, found.dialect, found.family) == ("adapter", "native", family)
    bare = built(DOTTED[family], make, "")
    assert (bare.kind, bare.family) == ("adapter", family)


UNET = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2."
TEXT = "text_encoder.text_model.encoder.layers.0.self_attn."


@pytest.mark.parametrize(
    ("tensors", "family"),
    [
        # diffusers in 2023: attention processors.
        (
            {
                f"{UNET}processor.to_k_lora.down.weight": (4, 768),
                f"{UNET}processor.to_k_lora.up.weight": (320, 4),
                f"{TEXT}to_k_lora.down.weight": (4, 768),
                f"{TEXT}to_k_lora.up.weight": (768, 4),
            },
            "sd1",
        ),
        # and a year later, with the text encoders' own suffix.
        (
            {
                f"{UNET}to_k.lora.down.weight": (4, 2048),
                f"{UNET}to_k.lora.up.weight": (640, 4),
                f"{TEXT}k_proj.lora_linear_layer.down.weight": (4, 768),
                f"{TEXT}k_proj.lora_linear_layer.up.weight": (768, 4),
            },
            "sdxl",
        ),
    ],
)
def test_the_old_spellings_of_diffusers(tensors: Shapes, family: str) -> None:
    found = classify(make_header(tensors))
    assert (found.kind, found.dialect, found.method) == ("adapter", "diffusers", "lora")
    assert (found.family, found.rank, found.modules, found.refusals) == (family, 4, 2, ())


@pytest.mark.parametrize(
    ("down", "up"),
    [
        ("lora_A.default.weight", "lora_B.default.weight"),
        ("lora_A.alice.weight", "lora_B.alice.weight"),
        ("base_layer.lora_A.weight", "base_layer.lora_B.weight"),
        ("lora_A", "lora_B"),
        ("lora_embedding_A", "lora_embedding_B"),
        ("lora_embedding_A.default", "lora_embedding_B.default"),
    ],
)
def test_raw_dumps_of_peft_and_loralib(down: str, up: str) -> None:
    layer = "base_model.model.model.layers.0.self_attn.q_proj"
    found = classify(make_header({f"{layer}.{down}": (4, 64), f"{layer}.{up}": (64, 4)}))
    assert (found.kind, found.dialect, found.method) == ("adapter", "peft", "lora")
    assert (found.rank, found.modules, found.refusals) == (4, 1, ())


# OneTrainer writes one adapter in four spellings; embeddings that were trained with it come along.
ONE_TRAINER = {
    "diffusers": ("transformer.transformer_blocks.59.attn.to_q", native, "diffusers"),
    "kohya": ("lora_unet_transformer_blocks_59_attn_to_q", lora, "kohya"),
    "original": ("transformer_blocks.59.attn.to_q", native, "native"),
    "comfy": ("diffusion_model.transformer_blocks.59.attn.to_q", native, "native"),
    "legacy": ("lora_transformer_transformer_blocks_59_attn_to_q", lora, "kohya"),
}


@pytest.mark.parametrize("name", ONE_TRAINER)
def test_the_spellings_of_onetrainer(name: str) -> None:
    base, make, dialect = ONE_TRAINER[name]
    tensors = make(base, (base, 3072, 3072, ()))
    tensors["bundle_emb.token.t5_out"] = (8, 4096)
    found = classify(make_header(tensors))
    assert (found.kind, found.dialect, found.family) == ("adapter", dialect, "qwen-image")
    assert (found.modules, found.refusals, found.warnings[:1]) == (1, (), found.warnings[:1])
    assert not any("belong to no module" in text for text in found.warnings)


@pytest.mark.parametrize(
    ("layers", "family"),
    [
        (SDXL[1:2], "sdxl"),
        (SD2[:1], "sd2"),
        ([("down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_v", 768, 640, ())], "sd1"),
        ([("up_blocks_0_attentions_0_transformer_blocks_5_ff_net_2", 5120, 1280, ())], "sdxl"),
        ([("blocks_0_self_attn_o", 5120, 5120, ())], "wan-14b"),
        # One block of what several models share is no answer.
        ([("double_blocks_0_img_attn_qkv", 3072, 9216, ())], None),
        ([("down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q", 320, 320, ())], None),
    ],
)
def test_sliders_and_single_blocks(layers: list[Layer], family: str | None) -> None:
    found = built(layers, lora, "lora_unet_")
    assert (found.kind, found.method, found.family) == ("adapter", "lora", family)


@pytest.mark.parametrize("method", ["control", "lora"])
def test_a_control_lora_of_bfl_trains_biases_and_norms(method: str) -> None:
    tensors: Shapes = {}
    for name, inputs, outputs in (
        ("img_in", 128, 3072),
        ("double_blocks.0.img_attn.qkv", 3072, 9216),
    ):
        tensors |= {f"{name}.lora_A.weight": (4, inputs), f"{name}.lora_B.weight": (outputs, 4)}
        if method == "control":
            tensors[f"{name}.lora_B.bias"] = (outputs,)
    if method == "control":
        tensors["double_blocks.0.img_attn.norm.key_norm.scale"] = (128,)
    found = classify(make_header(tensors))
    assert (found.kind, found.dialect, found.method) == ("adapter", "bfl", method)
    assert found.refusals == ()
