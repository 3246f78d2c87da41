"""The cache of a base model: what is refused, what is in it, and that it is the base's own."""

from __future__ import annotations

import hashlib
import struct

import pytest
from hypothesis import given, settings

torch = pytest.importorskip("torch")

from registry.artifacts.classifying.geometry import Geometry  # noqa: E402
from registry.artifacts.classifying.modules import AdapterModule  # noqa: E402
from registry.audits.bases.building import (  # noqa: E402 - needs torch
    BaseFile,
    build_base_cache,
    decompose,
    find_base_files,
)
from registry.audits.bases.cache import BaseCache, facts_in, read_cache_header  # noqa: E402
from registry.audits.bases.names import CANONICAL, Naming  # noqa: E402
from registry.audits.bases.store import base_path, find_base, list_bases, remove_base  # noqa: E402
from registry.errors import FormatError, LorasealError, NotFoundError, UsageError  # noqa: E402
from registry.fingerprints.parts import CanonicalPart  # noqa: E402
from registry.formats.safetensors import dump_header, lay_out  # noqa: E402
from tests.mutants import mutants  # noqa: E402

SOURCE = torch.Generator().manual_seed(5)
DTYPES = {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32}
BLOCK = "down_blocks.0.attentions.0"


def _weight(*shape):
    return torch.randn(shape, generator=SOURCE)


def _write(path, tensors, dtype="F16", metadata=()):
    """Write `tensors` by name; a value may also be (dtype, shape, bytes)."""
    rows = {
        name: value
        if isinstance(value, tuple)
        else (
            dtype,
            tuple(value.shape),
            value.to(DTYPES[dtype]).contiguous().view(torch.uint8).numpy().tobytes(),
        )
        for name, value in tensors.items()
    }
    laid = lay_out([(name, kind, shape) for name, (kind, shape, _) in rows.items()])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(dump_header(laid, metadata) + b"".join(rows[row.name][2] for row in laid))
    return path


def _build(path, out, **options):
    build_base_cache(find_base_files(path), out, **options)
    return _open(out)


def _open(out, naming="canonical.1"):
    return BaseCache(memoryview(bytearray(out.read_bytes())), naming=naming)


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ({"x.weight": ("F8_E4M3", (2, 2), b"\x38" * 4)}, "F8_E4M3"),
        ({"x.weight": ("I64", (2, 2), bytes(32))}, "I64"),
        ({"x.weight": ("F16", (2, 2), b"\x00\x7e" * 4)}, "not finite"),
        ({"x.bias": ("F16", (2,), bytes(4))}, "no weight that adapters change"),
        ({"vae.x.weight": ("F16", (2, 2), bytes(8))}, "no weight that adapters change"),
        (
            {
                "model.diffusion_model.a.weight": ("F16", (2, 2), bytes(8)),
                "diffusion_model.a.weight": ("F16", (2, 2), bytes(8)),
            },
            "two",
        ),
    ],
)
def test_what_is_no_base_is_refused_and_leaves_nothing(tmp_path, tensors, words):
    path = _write(tmp_path / "base.safetensors", tensors)
    with pytest.raises(FormatError, match=words):
        _build(path, tmp_path / "out.safetensors")
    assert [entry.name for entry in tmp_path.iterdir()] == ["base.safetensors"]


def test_a_folder_without_weights_and_a_missing_file_are_refused(tmp_path):
    with pytest.raises(NotFoundError):
        find_base_files(tmp_path)
    with pytest.raises(LorasealError):
        _build(tmp_path / "none.safetensors", tmp_path / "out.safetensors")


def test_a_link_in_a_folder_is_not_followed(tmp_path):
    real = _write(tmp_path / "real.safetensors", {"x.weight": _weight(4, 4)})
    folder = tmp_path / "model" / "unet"
    folder.mkdir(parents=True)
    (folder / "a.safetensors").symlink_to(real)
    with pytest.raises(FormatError, match="link"):
        _build(tmp_path / "model", tmp_path / "out.safetensors")


@settings(max_examples=150, deadline=None)
@given(data=mutants(b""))
def test_nothing_is_no_cache(data):
    with pytest.raises(FormatError):
        BaseCache(memoryview(bytearray(data)), naming="canonical.1")


@pytest.fixture(scope="module")
def cache_bytes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    path = _write(folder / "b.safetensors", {"a.weight": _weight(4, 6), "b.weight": _weight(6, 3)})
    _build(path, folder / "out.safetensors")
    return (folder / "out.safetensors").read_bytes()


def test_every_truncation_of_a_cache_is_refused(cache_bytes):
    for size in range(0, len(cache_bytes), 7):
        with pytest.raises(FormatError):
            BaseCache(memoryview(bytearray(cache_bytes[:size])), naming="canonical.1")


def test_one_flipped_bit_of_the_header_is_refused_or_changes_nothing_that_counts(cache_bytes):
    length = 8 + struct.unpack("<Q", cache_bytes[:8])[0]
    for place in range(length):
        data = bytearray(cache_bytes)
        data[place] ^= 1 << (place % 8)
        try:
            cache = BaseCache(memoryview(data), naming="canonical.1")
        except FormatError:
            continue
        for name in (named("diffusion_model.a"), named("diffusion_model.b")):
            found = cache.find(name)
            assert found is None or found.left.shape[1] == len(found.values)


def test_a_cache_of_another_naming_is_refused(cache_bytes):
    with pytest.raises(FormatError, match="named after") as caught:
        BaseCache(memoryview(bytearray(cache_bytes)), naming="other.1")
    assert "base add" in caught.value.hint


def test_an_adapter_is_no_cache(pack, lora):
    with pytest.raises(FormatError, match="no base cache"):
        BaseCache(memoryview(bytearray(pack(lora(1)))), naming="canonical.1")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(12, 20), (20, 12), (7, 7), (6, 5, 3, 3), (5, 3, 1, 1)])
def test_a_part_holds_the_weight_its_vectors_and_its_values(tmp_path, dtype, shape):
    weight = _weight(*shape).to(DTYPES[dtype])
    path = _write(tmp_path / "b.safetensors", {f"{BLOCK}.to_q.weight": weight}, dtype)
    found = _build(path, tmp_path / "out.safetensors").find(named(f"unet.{BLOCK}.to_q", shape[0]))
    assert found is not None
    flat = weight.flatten(1)
    assert torch.equal(found.weight, flat)
    exact = torch.linalg.svd(flat.double(), full_matrices=False)
    assert float((found.values.double() - exact.S).abs().max() / exact.S[0]) < 1e-6
    # The same lines, of either sign, to what float16 holds.
    cosines = (exact.U.T @ found.left.double()).abs()
    assert float((cosines - torch.eye(len(exact.S))).abs().max()) < 2e-3


def test_a_weight_of_low_rank_has_no_more_directions_than_it_has():
    thin = _weight(20, 3) @ _weight(3, 8)
    left, values = decompose(thin)
    assert left.shape == (20, 8)
    assert int((left.abs().sum(0) > 0).sum()) == 3
    assert float(values[3] / values[0]) < 1e-6
    nothing, zeroes = decompose(torch.zeros(6, 4))
    assert float(nothing.abs().sum()) == float(zeroes.sum()) == 0


def test_the_metadata_names_the_files_by_digest_and_size_only(tmp_path):
    path = _write(
        tmp_path / "secretClient.safetensors",
        {"a.weight": _weight(4, 6)},
        metadata=[("k", "alice")],
    )
    cache = _build(path, tmp_path / "out.safetensors")
    data = path.read_bytes()
    assert cache.facts.files == ((hashlib.sha256(data).hexdigest(), len(data)),)
    written = (tmp_path / "out.safetensors").read_bytes()
    assert b"secretClient" not in written
    assert b"alice" not in written


def test_the_same_base_gives_the_same_bytes(tmp_path):
    path = _write(tmp_path / "b.safetensors", {"a.weight": _weight(30, 40)})
    for name in ("one", "two"):
        build_base_cache(find_base_files(path), tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_a_base_in_half_precision_costs_at_most_twice_its_size(tmp_path):
    shapes = {"sq": (64, 64), "wide": (64, 256), "tall": (256, 64), "conv": (64, 64, 3, 3)}
    tensors = {f"{name}.weight": _weight(*shape) for name, shape in shapes.items()}
    path = _write(tmp_path / "b.safetensors", tensors)
    built = build_base_cache(find_base_files(path), tmp_path / "out")
    body = sum(2 * tensor.numel() for tensor in tensors.values())
    values = sum(4 * min(tensor.flatten(1).shape) for tensor in tensors.values())
    header = 8 + struct.unpack("<Q", (tmp_path / "out").read_bytes()[:8])[0]
    assert built.size - header <= 2 * body + values


def named(module, outputs=4, inputs=4):
    """Return the first canonical part that an adapter's module of this name changes."""
    geometry = Geometry(rank=2, inputs=inputs, outputs=outputs)
    (parts,) = CANONICAL.of_modules([AdapterModule(module, "lora", (), geometry)])
    return parts[0].name


def test_a_diffusers_folder_is_read_component_by_component(tmp_path):
    model = tmp_path / "model"
    _write(
        model / "unet" / "diffusion_pytorch_model.safetensors",
        {f"{BLOCK}.proj_in.weight": _weight(4, 4)},
    )
    _write(
        model / "unet" / "diffusion_pytorch_model.fp16.safetensors",
        {f"{BLOCK}.proj_in.weight": _weight(4, 4)},
    )
    layer = "text_model.encoder.layers.0.mlp.fc1.weight"
    _write(model / "text_encoder" / "model.safetensors", {layer: _weight(6, 4)})
    _write(model / "text_encoder_2" / "model.safetensors", {layer: _weight(8, 4)})
    _write(model / "vae" / "model.safetensors", {"conv_in.weight": _weight(4, 4)})
    assert len(find_base_files(model)) == 3
    cache = _build(model, tmp_path / "out")
    for name in (
        "lora_te_text_model_encoder_layers_0_mlp_fc1",
        "lora_te1_text_model_encoder_layers_0_mlp_fc1",
    ):
        found = cache.find(named(name))
        assert found is not None
        assert found.weight.shape == (6, 4)
    second = cache.find(named("lora_te2_text_model_encoder_layers_0_mlp_fc1"))
    assert second is not None
    assert second.weight.shape == (8, 4)
    assert cache.find(named(f"unet.{BLOCK}.proj_in")) is not None
    assert cache.facts.parts == 3


@pytest.mark.parametrize(
    ("tensor", "module"),
    [
        (
            "model.layers.3.self_attn.q_proj.weight",
            "base_model.model.model.layers.3.self_attn.q_proj",
        ),
        (
            "model.diffusion_model.input_blocks.1.1.proj_in.weight",
            "lora_unet_input_blocks_1_1_proj_in",
        ),
        (
            "cond_stage_model.transformer.text_model.encoder.layers.0.mlp.fc1.weight",
            "lora_te_text_model_encoder_layers_0_mlp_fc1",
        ),
        ("double_blocks.0.img_attn.qkv.weight", "lora_unet_double_blocks_0_img_attn_qkv"),
        ("transformer_blocks.0.attn.to_q.weight", "transformer.transformer_blocks.0.attn.to_q"),
        (f"{BLOCK}.attn1.to_q.weight", f"unet.{BLOCK}.attn1.processor.to_q_lora"),
    ],
)
def test_a_layer_is_found_under_the_name_of_its_module(tmp_path, tensor, module):
    outputs = 12 if "qkv" in tensor else 4
    path = _write(tmp_path / "b.safetensors", {tensor: _weight(outputs, 4)})
    assert _build(path, tmp_path / "out").find(named(module, outputs)) is not None


def test_gpt2s_own_layers_are_stored_upright(tmp_path):
    weight = _weight(4, 12)
    path = _write(tmp_path / "b.safetensors", {"h.0.attn.c_attn.weight": weight}, "F32")
    found = _build(path, tmp_path / "out").find(
        named("base_model.model.transformer.h.0.attn.c_attn", 12)
    )
    assert found is not None
    assert torch.equal(found.weight, weight.T[:4])


def test_a_fused_layer_is_cut_by_the_rows_of_its_parts(tmp_path):
    weight = _weight(12, 5)
    path = _write(tmp_path / "b.safetensors", {"blocks.0.qkv.weight": weight}, "F32")
    parts = [
        CanonicalPart(f"main:{n}", "attn", range(4 * k, 4 * k + 4)) for k, n in enumerate("qkv")
    ]
    naming = Naming("cut.1", CANONICAL.of_payload, lambda modules: [parts for _ in modules])
    build_base_cache([BaseFile(path)], tmp_path / "out", names=naming)
    cache = _open(tmp_path / "out", "cut.1")
    for place, name in enumerate("qkv"):
        found = cache.find(f"main:{name}")
        assert found is not None
        assert torch.equal(found.weight, weight[4 * place : 4 * place + 4])
        assert found.left.shape == (4, 4)


@pytest.mark.parametrize(
    "name", ["", "a/b", "../x", "A", ".x", "x.", "a..b", "x" * 65, "a b", "a\n", "é"]
)
def test_names_that_are_no_plain_file_names_are_refused(tmp_path, name):
    with pytest.raises(UsageError, match="base name"):
        base_path(tmp_path, name)


def test_caches_are_listed_and_removed_by_name(tmp_path, cache_bytes):
    folder = tmp_path / "bases"
    assert list_bases(folder) == ()
    folder.mkdir()
    base_path(folder, "sd15").write_bytes(cache_bytes)
    base_path(folder, "cut").write_bytes(cache_bytes[:-1])
    listed = list_bases(folder)
    assert [(one.name, one.facts is None) for one in listed] == [("cut", True), ("sd15", False)]
    header = read_cache_header(
        lambda start, size: cache_bytes[start : start + size], len(cache_bytes)
    )
    assert listed[1].facts == facts_in(header)
    with pytest.raises(NotFoundError):
        find_base(folder, "other")
    assert remove_base(folder, "sd15") == len(cache_bytes)
    with pytest.raises(NotFoundError):
        remove_base(folder, "sd15")


def test_an_adapter_is_no_base(tmp_path, pack, lora):
    (tmp_path / "a.safetensors").write_bytes(pack(lora(2)))
    with pytest.raises(FormatError, match="is an adapter"):
        _build(tmp_path / "a.safetensors", tmp_path / "out")
    assert not (tmp_path / "out").exists()
