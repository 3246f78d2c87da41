"""diffusers as the oracle of names: its converters and model classes against ours, weights included."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="diffusers needs it")
diffusers = pytest.importorskip("diffusers", reason="diffusers is the oracle here (extra `audit`)")
pytest.importorskip("peft", reason="diffusers loads adapters with it")

from diffusers.loaders import lora_conversion_utils as converters  # noqa: E402 - after the skips

from registry.artifacts.classifying.modules import pair_modules  # noqa: E402
from registry.fingerprints.names import canonical_modules  # noqa: E402
from tests.artifacts.test_diffusers_oracle import (  # noqa: E402
    CONVERTED,
    LOADERS,
)
from tests.fingerprints.names_rig import NATIVE, RANK, lora_shapes, prefixed  # noqa: E402
from tests.fingerprints.native_layers import (  # noqa: E402
    ANIMA,
    FLUX,
    FLUX2,
    FLUX2_MORE,
    FLUX3,
    HUNYUAN,
    IDEOGRAM,
    KREA,
    LTX,
    LTX2,
    LUMINA,
    QWEN,
    WAN,
    XLABS,
    ZIMAGE_SPLIT,
)
from tests.sheet import make_header, tensors_of  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")


def random_tensors(shapes: dict[str, tuple[int, ...]]) -> dict[str, Any]:
    """Return tensors of these shapes, alphas so that every scale is 1."""
    source = torch.Generator().manual_seed(5)
    return {
        name: torch.tensor(float(RANK)) if not shape else torch.randn(shape, generator=source)
        for name, shape in shapes.items()
    }


def updates(tensors: dict[str, Any]) -> dict[str, Any]:
    """Return what every part's rows of the update do to one vector, by canonical name.

    The vector depends on the input width alone, so equal updates give equal results.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    modules = pair_modules(make_header(shapes))
    found: dict[str, Any] = {}
    for module, parts in zip(modules, canonical_modules(modules), strict=True):
        up, down = module.find_tensor("up"), module.find_tensor("down")
        if up is None or down is None:
            assert module.method == "scale"
            continue
        left, right = tensors[up.name].flatten(1), tensors[down.name].flatten(1)
        vector = torch.randn(right.shape[1], generator=torch.Generator().manual_seed(7))
        whole = left @ (right @ vector)
        for part in parts:
            assert part.name not in found
            found[part.name] = whole[part.rows.start : part.rows.stop] if part.rows else whole
    return found


def assert_same(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    before, after = updates(ours), updates(theirs)
    assert before.keys() == after.keys()
    for name, values in before.items():
        assert torch.allclose(values, after[name], atol=1e-3, rtol=1e-3), name


def shrunk(fixture: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Return the shapes of an adapter of the sheet with rank 2 in place of its own."""
    shapes = {}
    for name, _, shape in tensors_of(fixture):
        sizes = list(shape)
        if name.endswith(("down.weight", "lora_A.weight")):
            sizes[0] = RANK
        elif name.endswith(("up.weight", "lora_B.weight")):
            sizes[1] = RANK
        shapes[name] = tuple(sizes)
    return shapes


def loaded(fixture: dict[str, Any], tensors: dict[str, Any]) -> dict[str, Any]:
    loader = getattr(diffusers.loaders.lora_pipeline, LOADERS[fixture["family"]])
    settings = {}
    if fixture["family"] in ("sd1", "sdxl"):
        settings["unet_config"] = SimpleNamespace(layers_per_block=2)
    result = loader.lora_state_dict(dict(tensors), **settings)
    return result[0] if isinstance(result, tuple) else result


@pytest.mark.parametrize("fixture", CONVERTED, ids=lambda row: str(row["id"]))
def test_an_adapter_and_its_conversion_have_the_same_parts(fixture: dict[str, Any]) -> None:
    tensors = random_tensors(shrunk(fixture))
    theirs = loaded(fixture, tensors)
    if fixture["dialect"] == "bfl":
        # diffusers 0.42.1 swaps the halves of this layer's ranks with those of its outputs, which
        # makes another update of it (the converter of kohya's names does not).
        down = theirs["transformer.norm_out.linear.lora_A.weight"]
        theirs["transformer.norm_out.linear.lora_A.weight"] = down.flip(0)
    assert_same(tensors, theirs)


def test_bfl_names_behind_comfys_prefix_are_those_of_kohya() -> None:
    """The converter of diffusers takes the dotted names only with kohya's factors."""
    ours = random_tensors(lora_shapes(prefixed(FLUX, "diffusion_model."), "kohya"))
    assert_same(ours, converters._convert_kohya_flux_lora_to_diffusers(dict(ours)))


CASES = {
    "kohya flux": ("_convert_kohya_flux_lora_to_diffusers", prefixed(FLUX, "lora_unet_"), "kohya"),
    "kohya flux2": (
        "_convert_kohya_flux2_lora_to_diffusers",
        prefixed(FLUX2, "lora_unet_"),
        "kohya",
    ),
    "flux2": (
        "_convert_non_diffusers_flux2_lora_to_diffusers",
        prefixed({**FLUX2, **FLUX2_MORE}, NATIVE),
        "peft",
    ),
    "flux3": ("_convert_non_diffusers_flux3_lora_to_diffusers", prefixed(FLUX3, NATIVE), "peft"),
    "hunyuan": ("_convert_hunyuan_video_lora_to_diffusers", prefixed(HUNYUAN, NATIVE), "peft"),
    "hunyuan, transformer.": (
        "_convert_hunyuan_video_lora_to_diffusers",
        prefixed(HUNYUAN, "transformer."),
        "peft",
    ),
    "hunyuan, bare": ("_convert_hunyuan_video_lora_to_diffusers", HUNYUAN, "peft"),
    "lumina2": (
        "_convert_non_diffusers_lumina2_lora_to_diffusers",
        prefixed(LUMINA, NATIVE),
        "peft",
    ),
    "wan": ("_convert_non_diffusers_wan_lora_to_diffusers", prefixed(WAN, NATIVE), "peft"),
    "musubi wan": (
        "_convert_musubi_wan_lora_to_diffusers",
        prefixed({name: w for name, w in WAN.items() if "blocks" in name}, "lora_unet_"),
        "kohya",
    ),
    "anima": ("_convert_non_diffusers_anima_lora_to_diffusers", prefixed(ANIMA, NATIVE), "peft"),
    "krea2": ("_convert_non_diffusers_krea2_lora_to_diffusers", prefixed(KREA, NATIVE), "peft"),
    "krea2, peft": (
        "_convert_non_diffusers_krea2_lora_to_diffusers",
        prefixed(KREA, "base_model.model."),
        "peft",
    ),
    "qwen": (
        "_convert_non_diffusers_qwen_lora_to_diffusers",
        prefixed(QWEN, "lora_unet_"),
        "kohya",
    ),
    "z-image, kohya": (
        "_convert_non_diffusers_z_image_lora_to_diffusers",
        prefixed(ZIMAGE_SPLIT, "lora_unet_"),
        "kohya",
    ),
    "ideogram": (
        "_convert_non_diffusers_ideogram4_lora_to_diffusers",
        prefixed(IDEOGRAM, NATIVE),
        "peft",
    ),
    "ltx2": ("_convert_non_diffusers_ltx2_lora_to_diffusers", prefixed(LTX2, NATIVE), "peft"),
    "ltx": ("_convert_non_diffusers_ltxv_lora_to_diffusers", prefixed(LTX, NATIVE), "peft"),
}


@pytest.mark.parametrize("case", CASES)
def test_every_converter_finds_the_parts_that_we_find(case: str) -> None:
    function, layers, style = CASES[case]
    ours = random_tensors(lora_shapes(layers, style))
    theirs = getattr(converters, function)(dict(ours))
    assert_same(ours, theirs)


def test_xlabs_processors_are_fluxs_layers() -> None:
    shapes = {}
    for name, (outputs, inputs) in XLABS.items():
        shapes[f"{name}.down.weight"] = (RANK, inputs)
        shapes[f"{name}.up.weight"] = (outputs, RANK)
    ours = random_tensors(shapes)
    assert_same(ours, converters._convert_xlabs_flux_lora_to_diffusers(dict(ours)))
