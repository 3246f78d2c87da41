"""diffusers as the oracle: its own model classes name the layers, its converters read the adapters."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import pytest

torch = pytest.importorskip("torch", reason="diffusers needs it")
diffusers = pytest.importorskip("diffusers", reason="diffusers is the oracle here (extra `audit`)")
pytest.importorskip("peft", reason="diffusers loads adapters with it")

from registry.artifacts.classifying.classify import Classification, classify  # noqa: E402 - after the skips
from registry.artifacts.classifying.modules import AdapterModule, pair_modules  # noqa: E402
from registry.artifacts.classifying.scales import list_scales  # noqa: E402
from registry.artifacts.classifying.shapes import group_shapes  # noqa: E402
from registry.formats.safetensors import SafetensorsHeader  # noqa: E402
from tests.sheet import header, make_header, rows, tensors_of  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")

DTYPES = {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32, "BOOL": torch.bool}
LOADERS = {
    "sd1": "StableDiffusionLoraLoaderMixin",
    "sdxl": "StableDiffusionXLLoraLoaderMixin",
    "flux1": "FluxLoraLoaderMixin",
    "sd3.5-large": "SD3LoraLoaderMixin",
    "wan-14b": "WanLoraLoaderMixin",
    "wan-1.3b": "WanLoraLoaderMixin",
    "qwen-image": "QwenImageLoraLoaderMixin",
    "z-image": "ZImageLoraLoaderMixin",
    "ltx-video": "LTXVideoLoraLoaderMixin",
    "flux2": "Flux2LoraLoaderMixin",
}
# diffusers 0.42.1 reads no LyCORIS for Stable Diffusion, drops DoRA's magnitudes, and leaves
# ai-toolkit's names for FLUX.1 as they are.
UNREAD = {"loha", "lokr", "dora", "full", "oft", "ia3"}
CONVERTED = [
    row
    for row in rows("adapters")
    if row["family"] in LOADERS
    and row["method"] not in UNREAD
    and row["id"] != "aitoolkit-flux-bfl"
]
FUSED = re.compile(r"qkv|linear1|to_qkv_mlp_proj")


def converted(fixture: dict[str, Any], tensors: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    loader = getattr(diffusers.loaders.lora_pipeline, LOADERS[fixture["family"]])
    result = loader.lora_state_dict(tensors)
    if isinstance(result, tuple):
        return result[0], result[1] or {}
    return result, {}


def header_of(tensors: dict[str, Any]) -> SafetensorsHeader:
    return make_header({name: tuple(tensor.shape) for name, tensor in tensors.items()})


def dense_size(modules: tuple[AdapterModule, ...]) -> int:
    """Return the number of weights that the modules change: the same however they are fused."""
    sizes = (module.geometry for module in modules if module.method != "scale")
    return sum((size.inputs or 0) * (size.outputs or 0) * size.kernel for size in sizes)


@pytest.mark.parametrize("fixture", CONVERTED, ids=lambda row: str(row["id"]))
def test_the_converter_sees_the_modules_that_we_see(fixture: dict[str, Any]) -> None:
    # Shapes are enough, but the converter of kohya's FLUX.1 looks for zeroes in what is fused.
    device = "cpu" if fixture["id"] == "kohya-flux-lora" else "meta"
    tensors = {
        name: torch.ones(shape, dtype=DTYPES[dtype], device=device if shape else "cpu")
        for name, dtype, shape in tensors_of(fixture)
    }
    ours = header(fixture)
    theirs = header_of(converted(fixture, tensors)[0])
    found, again = classify(ours), classify(theirs)
    before, after = pair_modules(ours), pair_modules(theirs)
    assert dense_size(before) == dense_size(after)
    if not any(FUSED.search(module.name) for module in before):
        assert len(before) == len(after)
    assert again.ranks == found.ranks
    assert (again.kind, again.refusals) == ("adapter", ())
    # Renamed, XLabs' double blocks are those of Qwen-Image too, so there is no answer any more.
    assert again.family == (None if fixture["dialect"] == "xlabs" else found.family)


LATER_BLOCK = re.compile(r"(?:blocks|layers)[._][1-9]")


def ones(fixture: dict[str, Any], *, alpha: float) -> dict[str, Any]:
    """Return the tensors of the first blocks of an adapter, every factor of ones."""
    return {
        name: torch.full(shape, alpha) if name.endswith(".alpha") else torch.ones(shape)
        for name, _, shape in tensors_of(fixture)
        if not LATER_BLOCK.search(name)
    }


WITH_ALPHA = [
    row for row in CONVERTED if row["dialect"] == "kohya" and row["family"] not in ("sd1", "sdxl")
]


@pytest.mark.parametrize("alpha", [1.0, 12.0, 48.0])
@pytest.mark.parametrize("fixture", WITH_ALPHA, ids=lambda row: str(row["id"]))
def test_converters_fold_in_the_scale_that_we_say(fixture: dict[str, Any], alpha: float) -> None:
    tensors = ones(fixture, alpha=alpha)
    alphas = {name: alpha for name in tensors if name.endswith(".alpha")}
    ours = header_of(tensors)
    rows_of = list_scales(group_shapes(pair_modules(ours)), alphas, ())
    expected = {row.scale for row in rows_of}
    assert len(expected) == 1
    result, network_alphas = converted(fixture, tensors)
    assert not network_alphas
    # Factors of ones: every entry of up @ down is the rank times the scale that was folded in.
    downs = {name: tensor for name, tensor in result.items() if ".lora_A." in name}
    entries = {
        round(float((tensor[:, 0] * result[name.replace("lora_A", "lora_B")][0]).sum()), 3)
        for name, tensor in downs.items()
    }
    assert len(entries) == 1
    assert entries.pop() == pytest.approx(fixture["rank"] * expected.pop(), rel=1e-3)


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_alphas_that_converters_keep_give_our_scale(family: str) -> None:
    fixture = next(row for row in CONVERTED if row["family"] == family and row["rank"])
    tensors = ones(fixture, alpha=6.0)
    alphas = {name: 6.0 for name in tensors if name.endswith(".alpha")}
    found = classify(header_of(tensors), alphas=alphas)
    result, network_alphas = converted(fixture, tensors)
    downs = [tensor for name, tensor in result.items() if ".down." in name]
    assert {float(value) / len(downs[0]) for value in network_alphas.values()} == {found.scale}
    assert len(network_alphas) == found.modules == len(downs)


class Model(NamedTuple):
    family: str | None
    kind: str
    settings: dict[str, Any]


def unet(cross: int, **settings: Any) -> dict[str, Any]:
    return {"cross_attention_dim": cross, "use_linear_projection": cross != 768, **settings}


XL = unet(
    2048,
    block_out_channels=[320, 640, 1280],
    attention_head_dim=[5, 10, 20],
    down_block_types=["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    up_block_types=["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    transformer_layers_per_block=[1, 2, 10],
)


def sd3(heads: int, layers: int, **settings: Any) -> dict[str, Any]:
    width = {"num_attention_heads": heads, "caption_projection_dim": heads * 64}
    return {**width, "num_layers": layers, "pos_embed_max_size": 96, **settings}


def heads(count: int, size: int, **settings: Any) -> dict[str, Any]:
    return {"num_attention_heads": count, "attention_head_dim": size, **settings}


MODELS: dict[str, Model] = {
    "sd1": Model("sd1", "UNet2DConditionModel", unet(768)),
    "sd2": Model("sd2", "UNet2DConditionModel", unet(1024)),
    "sdxl": Model("sdxl", "UNet2DConditionModel", XL),
    "flux1": Model("flux1", "FluxTransformer2DModel", {"guidance_embeds": True}),
    "chroma": Model("chroma", "ChromaTransformer2DModel", {}),
    "flux2-dev": Model("flux2", "Flux2Transformer2DModel", {}),
    "flux2-klein-4b": Model(
        "flux2",
        "Flux2Transformer2DModel",
        heads(24, 128, num_layers=5, num_single_layers=20, joint_attention_dim=7680),
    ),
    "sd3-medium": Model("sd3-medium", "SD3Transformer2DModel", sd3(24, 24)),
    "sd3.5-medium": Model(
        "sd3.5-medium",
        "SD3Transformer2DModel",
        sd3(24, 24, dual_attention_layers=tuple(range(13)), qk_norm="rms_norm"),
    ),
    "sd3.5-large": Model("sd3.5-large", "SD3Transformer2DModel", sd3(38, 38)),
    "wan-14b": Model("wan-14b", "WanTransformer3DModel", {}),
    "wan-14b-i2v": Model(
        "wan-14b", "WanTransformer3DModel", {"image_dim": 1280, "added_kv_proj_dim": 5120}
    ),
    "wan-1.3b": Model(
        "wan-1.3b", "WanTransformer3DModel", heads(12, 128, ffn_dim=8960, num_layers=30)
    ),
    "wan-5b": Model(
        "wan-5b", "WanTransformer3DModel", heads(24, 128, ffn_dim=14336, num_layers=30)
    ),
    "qwen-image": Model("qwen-image", "QwenImageTransformer2DModel", {}),
    "hunyuan-video": Model("hunyuan-video", "HunyuanVideoTransformer3DModel", {}),
    "ltx-video": Model("ltx-video", "LTXVideoTransformer3DModel", {}),
    "pixart": Model(
        "pixart",
        "PixArtTransformer2DModel",
        heads(16, 72, cross_attention_dim=1152, caption_channels=4096),
    ),
    "sana": Model("sana", "SanaTransformer2DModel", {}),
    "lumina2": Model("lumina2", "Lumina2Transformer2DModel", {}),
    "z-image": Model("z-image", "ZImageTransformer2DModel", {}),
    "cosmos": Model("anima/cosmos", "CosmosTransformer3DModel", heads(16, 128, num_layers=28)),
    "krea2": Model("krea2", "Krea2Transformer2DModel", {}),
    # None of these has a family in the sheet, and each looks like one that has.
    "hunyuan-video-1.5": Model(None, "HunyuanVideo15Transformer3DModel", {}),
    "mochi": Model(None, "MochiTransformer3DModel", {}),
    "cogvideox": Model(None, "CogVideoXTransformer3DModel", {}),
    "cogview4": Model(None, "CogView4Transformer2DModel", {}),
    "auraflow": Model(None, "AuraFlowTransformer2DModel", {}),
    "allegro": Model(None, "AllegroTransformer3DModel", {}),
    "ltx2": Model(None, "LTX2VideoTransformer3DModel", {}),
    "prx": Model(None, "PRXTransformer2DModel", {}),
}


def layers_of(model: Model) -> list[tuple[str, int, int, tuple[int, ...]]]:
    """Return name, input and output width and kernel of every layer, without a single weight."""
    model_class = getattr(diffusers, model.kind, None)
    if model_class is None:
        pytest.skip(f"this diffusers has no {model.kind}")
    with torch.device("meta"):
        built = model_class(**model.settings)
    found = []
    for name, layer in built.named_modules():
        if isinstance(layer, torch.nn.Linear):
            found.append((name, layer.in_features, layer.out_features, ()))
        elif isinstance(layer, torch.nn.Conv2d | torch.nn.Conv3d):
            found.append((name, layer.in_channels, layer.out_channels, layer.kernel_size))
    return found


def adapter(layers: list[tuple[str, int, int, tuple[int, ...]]], style: str) -> Classification:
    """Return what is said of a rank 4 LoRA on these layers in one of the spellings."""
    tensors: dict[str, tuple[int, ...]] = {}
    for name, inputs, outputs, kernel in layers:
        flat = name.replace(".", "_")
        base = {"kohya": f"lora_unet_{flat}", "lycoris": f"lycoris_{flat}"}.get(style, style + name)
        down, up = ("lora_down", "lora_up") if base[-len(flat) :] == flat else ("lora_A", "lora_B")
        tensors[f"{base}.{down}.weight"] = (4, inputs, *kernel)
        tensors[f"{base}.{up}.weight"] = (outputs, 4, *(1 for _ in kernel))
        if down == "lora_down":
            tensors[f"{base}.alpha"] = ()
    return classify(make_header(tensors, dtype="BF16"))


STYLES = {
    "kohya": "kohya",
    "lycoris": "kohya",
    "diffusion_model.": "native",
    "": "native",
    "base_model.model.": "peft",
}


@pytest.mark.parametrize("name", MODELS)
def test_adapters_for_real_models_in_every_spelling(name: str) -> None:
    model = MODELS[name]
    layers = layers_of(model)
    component = "unet." if model.kind == "UNet2DConditionModel" else "transformer."
    attention = [row for row in layers if "attn" in row[0] or "attention" in row[0]]
    for part in (layers, attention):
        for style, dialect in {**STYLES, component: "diffusers"}.items():
            found = adapter(part, style)
            family = found.family
            if name == "chroma" and part is attention:
                family = {"flux1": "chroma"}.get(family or "")  # its attention is FLUX.1's
            assert (found.kind, found.dialect, family) == ("adapter", dialect, model.family), style
            assert (found.modules, found.rank, found.refusals) == (len(part), 4, ())


# A single layer of each that no other model of the table has.
TELLING = {
    "sd1": "attn2.to_k",
    "sd2": "attn2.to_k",
    "sdxl": "attn2.to_k",
    "flux2-dev": "attn.add_q_proj",
    "sd3.5-large": "attn.to_q",
    "wan-14b": "ffn.net.0.proj",
    "wan-1.3b": "attn1.to_q",
    "qwen-image": "img_mlp.net.0.proj",
    "ltx-video": "attn2.to_k",
    "cosmos": "attn2.to_k",
    "pixart": "attn1.to_q",
    "sana": "ff.conv_inverted",
    "lumina2": "feed_forward.linear_1",
    "z-image": "feed_forward.w1",
    "krea2": "attn.to_k",
}


@pytest.mark.parametrize("name", TELLING)
def test_one_kind_of_layer_is_enough_where_it_tells(name: str) -> None:
    model = MODELS[name]
    layers = [row for row in layers_of(model) if row[0].endswith(TELLING[name])]
    assert layers
    for style in STYLES:
        assert adapter(layers, style).family == model.family, style


def test_a_whole_model_of_real_names_is_no_adapter() -> None:
    for name in ("sd1", "flux1", "wan-1.3b", "z-image"):
        model = MODELS[name]
        with torch.device("meta"):
            state = getattr(diffusers, model.kind)(**model.settings).state_dict()
        found = classify(make_header({key: tuple(value.shape) for key, value in state.items()}))
        assert (found.kind, found.refusals) == ("full-model-part", ())
