from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from bench.fuzz.gguf_header import build, word
from registry.artifacts.inspection import (
    Inspection,
    Surroundings,
    inspect_directory,
    inspect_glimpses,
    inspect_header_bytes,
    inspect_path,
)
from registry.artifacts.notes import Glimpse
from registry.errors import FormatError, NotFoundError, UsageError
from registry.formats.safetensors import dump_header, lay_out
from tests.mutants import mutants
from tests.other_user import MODE, looks_at

DOWN, UP, ALPHA = "lora_unet_x.lora_down.weight", "lora_unet_x.lora_up.weight", "lora_unet_x.alpha"
SHAPES: dict[str, tuple[int, ...]] = {DOWN: (4, 8), UP: (8, 4), ALPHA: ()}
GGUF = build([word("general.type", "model")])


def adapter(
    shapes: dict[str, tuple[int, ...]] | None = None,
    *,
    alpha: float = 2.0,
    fill: bytes = b"\x01",
    metadata: dict[str, str] | None = None,
) -> bytes:
    tensors = lay_out((name, "F32", shape) for name, shape in (shapes or SHAPES).items())
    body = b"".join(
        struct.pack("<f", alpha)
        if tensor.name.endswith("alpha")
        else fill * (tensor.end - tensor.start)
        for tensor in tensors
    )
    return dump_header(tensors, (metadata or {}).items()) + body


def inspect_bytes(data: bytes, **around: Any) -> Inspection:
    def read_at(offset: int, size: int) -> bytes:
        return data[offset : offset + size]

    return inspect_header_bytes(data[:32], len(data), read_at, around=Surroundings(**around))


def codes(found: Inspection) -> list[str]:
    return [refusal.code for refusal in found.refusals]


def statuses(found: Inspection, field: str) -> list[str]:
    return [str(claim.status) for claim in found.found.claims if claim.field == field]


GOOD = adapter()


# -- the broken files of the fixture sheet, by its ids


@pytest.mark.parametrize("kept", [7, len(GOOD) // 2, len(GOOD) - len(GOOD) // 3, len(GOOD) - 1])
def test_truncated(kept: int) -> None:
    assert codes(inspect_bytes(GOOD[:kept])) == ["broken"]


def test_trailing_bytes() -> None:
    found = inspect_bytes(GOOD + b"x")
    assert codes(found) == ["broken"]
    assert "1 bytes that no tensor covers" in found.refusals[0].message


def test_preallocated_zero() -> None:
    found = inspect_bytes(bytes(len(GOOD)))
    assert codes(found) == ["broken"]
    assert "wait until its writer is done" in found.refusals[0].message


def test_preallocated_header_only() -> None:
    shapes = {DOWN: (64, 64), UP: (64, 64)}
    found = inspect_bytes(adapter(shapes, fill=b"\0"))
    assert any("may not be written yet" in warning for warning in found.found.warnings)
    assert inspect_bytes(adapter(shapes)).found.warnings == ()


def test_zero_length() -> None:
    found = inspect_bytes(b"")
    assert (found.kind, codes(found)) == (None, ["broken"])
    assert "file is empty" in found.refusals[0].message


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"<!DOCTYPE html><html><body>not found</body></html>", "html"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "lfs-pointer"),
        (b"PK\x03\x04\x00\x00\x08\x08" + bytes(100), "zip"),
        (b"\x80\x02}q\x00(X\x01\x00\x00\x00aK\x01u." + bytes(100), "pickle"),
    ],
)
def test_another_container_is_refused_with_its_name(data: bytes, code: str) -> None:
    found = inspect_bytes(data)
    assert (found.kind, codes(found)) == (None, [code])


def test_header_too_large() -> None:
    assert codes(inspect_bytes(struct.pack("<Q", 2**63) + bytes(64))) == ["broken"]


@pytest.mark.parametrize(
    "text",
    [
        '{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}',
        ' {"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}',
        '{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0],"x":1}}',
        '{"a":{"dtype":"U8","shape":[0],"data_offsets":[1,1]}}',
        '{"__metadata__":{"a":1},"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}',
    ],
    ids=["duplicate-keys", "leading-space", "extra-field", "hole", "nonstring-metadata"],
)
def test_headers_that_the_official_reader_may_take_are_refused(text: str) -> None:
    assert codes(inspect_bytes(struct.pack("<Q", len(text)) + text.encode())) == ["broken"]


def test_half_pair_and_rank_mismatch() -> None:
    assert codes(inspect_bytes(adapter({DOWN: (4, 8)}))) == ["half-pair"]
    found = inspect_bytes(adapter({DOWN: (16, 8), UP: (8, 8)}))
    assert (found.kind, codes(found), found.is_sound_adapter) == ("adapter", ["misfit"], False)


@pytest.mark.parametrize("alpha", [float("nan"), float("inf"), 0.0, 4001.0])
def test_odd_alphas_are_warnings(alpha: float) -> None:
    found = inspect_bytes(adapter(alpha=alpha))
    assert found.is_sound_adapter
    assert found.found.warnings
    json.loads(found.to_text())


def test_mode_0600_of_another_user() -> None:
    looks = looks_at(GOOD)
    assert len(looks) == 2
    assert all(f"mode {MODE:04o}" in look and "broken" not in look for look in looks)


def test_vanish(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        inspect_path(tmp_path / "gone.safetensors")


# -- other refusals


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "a.safetensors"
    target.write_bytes(GOOD)
    (tmp_path / "link.safetensors").symlink_to(target)
    with pytest.raises(FormatError, match="symbolic link"):
        inspect_path(tmp_path / "link.safetensors")


def test_a_hostile_config_beside_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "adapter_model.safetensors").write_bytes(GOOD)
    (tmp_path / "adapter_config.json").write_text('{"peft_type":"LORA","megatron_core":"evil"}')
    found = inspect_path(tmp_path)
    assert codes(found) == ["adapter-config"]
    assert not found.is_sound_adapter


def test_a_hostile_config_in_the_header_is_refused() -> None:
    text = '{"unet.peft_type":"LORA","unet.megatron_core":"evil"}'
    found = inspect_bytes(adapter(metadata={"lora_adapter_metadata": text}))
    assert (found.kind, codes(found)) == ("adapter", ["metadata"])


def test_a_config_that_is_too_long_is_refused(tmp_path: Path) -> None:
    (tmp_path / "adapter_model.safetensors").write_bytes(GOOD)
    (tmp_path / "adapter_config.json").write_bytes(b" " * 2_000_000)
    assert codes(inspect_path(tmp_path)) == ["adapter-config"]


def test_embeddings_as_pickles_are_named_and_refused() -> None:
    data = (
        b"PK\x03\x04\x00\x00\x08\x08" + bytes(60) + b"X\x0f\x00\x00\x00string_to_param" + bytes(60)
    )
    found = inspect_bytes(data)
    assert (found.kind, codes(found)) == ("textual-inversion (pickle)", ["zip"])


def test_alphas_of_any_plain_number_type_are_read() -> None:
    for dtype, raw in (("BF16", b"\x00\x40"), ("F16", b"\x00\x40"), ("I64", b"\x02" + bytes(7))):
        tensors = lay_out([(DOWN, "F32", (4, 8)), (UP, "F32", (8, 4)), (ALPHA, dtype, ())])
        body = b"".join(
            raw if tensor.name == ALPHA else b"\x01" * (tensor.end - tensor.start)
            for tensor in tensors
        )
        assert inspect_bytes(dump_header(tensors, []) + body).alpha == 2.0


def test_a_hash_of_a_broken_file_is_not_made(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(b"short")
    assert codes(inspect_path(path, check_hash=True)) == ["broken"]


# -- what is sound


def test_a_file_is_inspected(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(adapter(metadata={"ss_output_name": "alice", "ss_sd_model_name": "/m/x.ckpt"}))
    found = inspect_path(path)
    assert found.is_sound_adapter
    assert (found.dialect, found.method, found.family) == ("kohya", "lora", None)
    assert (found.modules, found.tensors, found.rank, found.alpha) == (1, 3, 4, 2.0)
    assert found.base_model == "x.ckpt"
    assert [leak.key for leak in found.leaks] == ["ss_output_name", "ss_sd_model_name"]
    assert "alice" not in found.to_text()


def test_the_hash_claim_is_checked_when_asked(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    data = adapter()
    body = data[int.from_bytes(data[:8], "little") + 8 :]
    path.write_bytes(adapter(metadata={"sshs_model_hash": hashlib.sha256(body).hexdigest()}))
    assert statuses(inspect_path(path), "sshs_model_hash") == ["unverified"]
    assert statuses(inspect_path(path, check_hash=True), "sshs_model_hash") == []


@pytest.mark.parametrize(
    "data",
    [GOOD, GOOD[:-1], GGUF, adapter({"emb_params": (8, 768)}), adapter({"odd": (5, 5)}), b""],
    ids=["adapter", "broken", "gguf", "embedding", "unknown", "empty"],
)
def test_json_has_every_field_and_a_reason_for_each_null(data: bytes) -> None:
    found = json.loads(inspect_bytes(data).to_text())
    assert found["schema"] == "loraseal/inspect.v1"
    wanted = (
        "kind dialect method family base_model modules tensors rank alpha refusals leaks claims"
    )
    assert set(wanted.split()) <= set(found)
    reasons = {claim["field"] for claim in found["claims"]}
    assert {key for key, value in found.items() if value is None} <= reasons


def test_a_peft_folder_is_inspected(tmp_path: Path) -> None:
    name = "base_model.model.model.layers.0.self_attn.q_proj"
    shapes = {f"{name}.lora_A.weight": (4, 8), f"{name}.lora_B.weight": (8, 4)}
    (tmp_path / "adapter_model.safetensors").write_bytes(adapter(shapes))
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "base_model_name_or_path": "/home/a/m"}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    (tmp_path / "training_args.bin").write_bytes(b"\x80\x02")
    (tmp_path / "README.md").write_text("x")
    found = inspect_path(tmp_path)
    assert (found.dialect, found.alpha, found.base_model) == ("peft", 8, "m")
    # The config's path tells two things: where the model lies, and whose home that is.
    assert [(leak.key, leak.kind) for leak in found.leaks] == [
        ("README.md", "training-config"),
        ("adapter_config.json:base_model_name_or_path", "path"),
        ("adapter_config.json:base_model_name_or_path", "user-name"),
        ("training_args.bin", "pickle"),
    ]
    alone = inspect_path(tmp_path / "adapter_model.safetensors")
    assert alone.alpha == 8


def test_a_pair_of_experts_is_one_adapter(tmp_path: Path) -> None:
    for noise in ("high_noise", "low_noise"):
        (tmp_path / f"a_{noise}.safetensors").write_bytes(adapter())
    found = inspect_directory(tmp_path)
    assert (found.kind, found.modules, found.tensors, found.rank) == ("adapter", 2, 6, 4)


def test_parts_that_differ_are_null_with_a_reason(tmp_path: Path) -> None:
    (tmp_path / "a_high_noise.safetensors").write_bytes(adapter())
    (tmp_path / "a_low_noise.safetensors").write_bytes(adapter({DOWN: (2, 8), UP: (8, 2)}))
    found = inspect_directory(tmp_path)
    assert (found.rank, found.found.ranks) == (None, (2, 4))
    assert "unknown" in statuses(found, "rank")


def test_a_folder_of_several_adapters_is_a_usage_error(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.safetensors").write_bytes(GOOD)
    with pytest.raises(UsageError, match=r"2 [.]safetensors files"):
        inspect_directory(tmp_path)


def test_a_folder_without_weights_is_not_found(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(NotFoundError, match=r"no [.]safetensors file"):
        inspect_directory(tmp_path)


def test_a_folder_of_a_pickle_says_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "adapter_model.bin").write_bytes(b"PK\x03\x04\x00\x00\x08\x08" + bytes(64))
    assert codes(inspect_directory(tmp_path)) == ["zip"]


def test_what_intake_kept_is_enough() -> None:
    length = int.from_bytes(GOOD[:8], "little") + 8
    scalar = len(GOOD) - 4  # all are F32, so the order is by name, and alpha is the first
    scalars = ((length, GOOD[length : length + 4]),)
    assert scalar > length
    glimpse = Glimpse("a.safetensors", len(GOOD), GOOD[:length], scalars)
    found = inspect_glimpses([glimpse])
    assert (found.kind, found.alpha) == ("adapter", 2.0)
    without = Glimpse("a.safetensors", len(GOOD), GOOD[:length])
    assert inspect_glimpses([without]).alpha is None


def test_glimpses_of_a_folder_use_its_config() -> None:
    name = "base_model.model.a"
    data = adapter({f"{name}.lora_A.weight": (4, 8), f"{name}.lora_B.weight": (8, 4)})
    length = int.from_bytes(data[:8], "little") + 8
    config = b'{"peft_type":"LORA","lora_alpha":8,"r":4}'
    found = inspect_glimpses(
        [
            Glimpse("adapter_config.json", len(config), config),
            Glimpse("adapter_model.safetensors", len(data), data[:length]),
        ]
    )
    assert found.alpha == 8
    assert inspect_glimpses([]).kind is None


@settings(max_examples=300, deadline=None)
@given(mutants(GOOD, adapter(metadata={"lora_adapter_metadata": '{"unet.peft_type":"LORA"}'})))
def test_damage_is_an_answer_and_no_error(data: bytes) -> None:
    json.loads(inspect_bytes(data).to_text())
