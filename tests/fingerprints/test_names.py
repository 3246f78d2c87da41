"""Canonical names without any oracle: collisions, strange names, cuts, and spellings told by hand."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.artifacts.classifying import dialects
from registry.artifacts.classifying.modules import pair_modules
from registry.fingerprints import native_tables
from registry.fingerprints.names import RAW, canonical_modules
from registry.fingerprints.native_tables import Fused
from registry.fingerprints.origins import BARE, origin_of
from tests.fingerprints.names_rig import modules_of, names_of, parts_by_name
from tests.sheet import header, make_header, rows

# --- refusals: what cannot be told apart or cut stays as it is -------------------------------------


def test_two_modules_of_one_name_both_keep_their_own() -> None:
    split, fused = "diffusion_model.layers.0.attention.to_q", "lora_unet_layers_0_attention_qkv"
    found = parts_by_name({split: (64, 64), fused: (192, 64), "lora_unet_x": (8, 8)})
    assert [part.name for part in found[split]] == [RAW + split]
    assert [(part.name, part.rows) for part in found[fused]] == [(RAW + fused, None)]
    assert [part.name for part in found["lora_unet_x"]] == ["transformer.x"]


def test_a_module_that_is_really_called_so_gives_way_as_well() -> None:
    twins = ["diffusion_model.blocks.0.x_y", "lora_unet_blocks_0_x.y"]
    names = [*twins, f"{RAW}{twins[0]}", f"{RAW}{RAW}{twins[0]}"]
    found = names_of([*names, "diffusion_model.blocks.0.x.y", "lora_unet_blocks_0_x_y"])
    assert len(set(found.values())) == len(found)


@pytest.mark.parametrize(
    ("name", "widths"),
    [
        # Heads are interleaved: no range of rows is the queries'.
        ("base_model.model.gpt_neox.layers.0.attention.query_key_value", (192, 64)),
        ("base_model.model.transformer.h.0.self_attention.query_key_value", (80, 64)),
        ("base_model.model.model.layers.0.attention.wqkv", (96, 64)),
        ("base_model.model.transformer.blocks.0.attn.Wqkv", (192, 64)),
        # Widths that no stack of the layers has.
        ("base_model.model.model.layers.0.self_attn.qkv_proj", (64, 64)),
        ("base_model.model.model.layers.0.self_attn.qkv_proj", (97, 64)),
        ("base_model.model.model.layers.0.self_attn.qkv_proj", (256, 64)),
        ("base_model.model.transformer.h.0.attn.c_attn", (80, 64)),
        ("base_model.model.model.layers.0.mlp.gate_up_proj", (65, 64)),
        ("diffusion_model.double_blocks.0.img_attn.qkv", (64, 64)),
        ("diffusion_model.single_blocks.0.linear1", (192, 64)),
        ("transformer.norm_out.linear", (127, 64)),
    ],
)
def test_what_no_rows_tell_apart_stays_whole(name: str, widths: tuple[int, int]) -> None:
    (part,) = parts_by_name({name: widths})[name]
    assert part.rows is None
    assert part.name.endswith(name.rpartition(".")[2])


def test_methods_without_rows_and_faulty_modules_are_not_cut() -> None:
    base = "lora_unet_double_blocks_0_img_attn_qkv"
    oft = pair_modules(make_header({f"{base}.oft_blocks": (24, 8, 8), f"{base}.alpha": ()}))
    torn = pair_modules(
        make_header({f"{base}.lora_down.weight": (4, 64), f"{base}.lora_up.weight": (192, 5)})
    )
    for modules in (oft, torn):
        ((part,),) = canonical_modules(modules)
        assert (part.name, part.rows) == ("transformer.double_blocks.0.img_attn.qkv", None)


# --- every name ------------------------------------------------------------------------------------

WORDS = st.sampled_from(
    [
        "lora_unet_",
        "lora_te_",
        "lora_te2_",
        "lora_te3_",
        "lycoris_",
        "unet.",
        "transformer.",
        "text_encoder.",
        "model.",
        "base_model.model.",
        "base_model.",
        "diffusion_model.",
        "text_encoders.clip_l.transformer.",
        "text_encoders.x.",
        "raw:",
        "down_blocks",
        "input_blocks",
        "output_blocks",
        "middle_block",
        "double_blocks",
        "single_blocks",
        "joint_blocks",
        "transformer_blocks",
        "blocks",
        "layers",
        "resblocks",
        "attn",
        "attn1",
        "img_attn",
        "qkv",
        "to_q",
        "to_qkv",
        "to_out",
        "proj",
        "conv",
        "op",
        "ff",
        "net",
        "mlp",
        "gate_up_proj",
        "qkv_proj",
        "norm_out",
        "linear",
        "linear1",
        "final_layer",
        "adaLN_modulation",
        "processor",
        "to_q_lora",
        "to_out_lora",
        "encoder",
        "self_attn",
        "h",
        "lm_head",
        "img_in",
        "language_model.model.",
        "transformer.h.",
        "0",
        "1",
        "2",
        "7",
        "999999",
        "#",
        "[0]",
        "_",
        ".",
        "-",
        "é",
        "[q]",
        "]",
        "*",
    ]
)
NAMES = st.one_of(
    st.lists(WORDS, min_size=1, max_size=7).map("".join),
    st.lists(WORDS, min_size=1, max_size=7).map("_".join),
    st.lists(WORDS, min_size=1, max_size=7).map(".".join),
    # The parser of headers lets no other characters through.
    st.text(st.characters(categories=("L", "N", "P", "S")), min_size=1, max_size=12).filter(
        lambda text: unicodedata.is_normalized("NFC", text)
    ),
)
FILES = st.dictionaries(
    NAMES, st.tuples(st.sampled_from([8, 16, 24, 56, 72]), st.just(8)), min_size=1, max_size=8
)


@given(FILES)
def test_any_names_at_all_give_distinct_parts_of_the_whole(
    layers: dict[str, tuple[int, int]],
) -> None:
    modules = modules_of(layers)
    found = canonical_modules(modules)
    assert canonical_modules(modules) == found
    assert len(found) == len(modules)
    names = [part.name for parts in found for part in parts]
    assert len(set(names)) == len(names)
    for module, parts in zip(modules, found, strict=True):
        assert all(part.name and part.kind for part in parts)
        if len(parts) == 1:
            assert parts[0].rows is None
            continue
        covered = [row for part in parts for row in part.rows or ()]
        assert covered == list(range(module.geometry.outputs or 0))


@given(FILES)
def test_order_of_the_file_changes_no_name(layers: dict[str, tuple[int, int]]) -> None:
    modules = modules_of(layers)
    ahead = dict(zip((m.name for m in modules), canonical_modules(modules), strict=True))
    back = dict(zip((m.name for m in modules[::-1]), canonical_modules(modules[::-1]), strict=True))
    assert ahead == back


@given(NAMES)
def test_a_canonical_name_is_its_own(name: str) -> None:
    for parts in canonical_modules(modules_of({name: (24, 8)})):
        for part in parts:
            again = canonical_modules(modules_of({part.name: (8, 8)}))
            assert [found.name for parts in again for found in parts] == [part.name]


@pytest.mark.parametrize("fixture", rows("adapters"), ids=lambda row: str(row["id"]))
def test_canonical_names_of_an_adapter_are_their_own(fixture: dict[str, object]) -> None:
    modules = pair_modules(header(fixture))
    found = canonical_modules(modules)
    names = [part.name for parts in found for part in parts]
    assert len(set(names)) == len(names)
    assert set(names_of(names).values()) == set(names)
    assert not any(name.startswith((RAW, "lora_")) for name in names)
    assert all(part.kind != "other" for parts in found for part in parts)


def test_no_native_name_is_what_diffusers_calls_another_layer() -> None:
    tables = [
        table
        for name, table in vars(native_tables).items()
        if name.endswith(("_BLOCKS", "_REFINER")) and isinstance(table, dict)
    ]
    keys = {key for table in tables for key in table}
    assert len(tables) > 6
    for table in tables:
        for key, target in table.items():
            paths = target.paths if isinstance(target, Fused) else (target,)
            flat = {path.replace(".", "_").partition("[")[0] for path in paths}
            assert not (flat - {key}) & keys, key


def test_every_prefix_of_every_dialect_is_taken_off() -> None:
    for prefixes in dialects.PREFIXES.values():
        for prefix in prefixes:
            origin = origin_of(f"{prefix}mid_block.x")
            assert origin.own == "mid_block.x", prefix
            assert origin.component != BARE or prefix.startswith("base_model."), prefix
