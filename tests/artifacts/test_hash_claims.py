"""Hashes that a header claims are recomputed, and what differs is flagged: never believed, never fatal."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path

import pytest

from registry.artifacts.claims import BodyHashes, check_hash_claims
from registry.artifacts.inspection import Inspection, inspect_glimpses, inspect_path
from registry.artifacts.notes import Glimpse, IntakeResult
from registry.artifacts.vault import Vault
from registry.fingerprints.exact import name_file
from registry.formats.safetensors import dump_header, lay_out
from tests.artifacts.taking import take, take_folder

NOTHING = hashlib.sha256(b"").hexdigest()
WRONG, WRONG_SHORT = "ab" * 32, "abababab"
NAMES = ("sshs_model_hash", "sshs_legacy_hash", "modelspec.hash_sha256")
# Mixed types: alphas stand first in the file, and between the weights by name.
MIXED: list[tuple[str, str, tuple[int, ...]]] = [
    row
    for number in range(4)
    for row in (
        (f"lora_unet_{number}.lora_down.weight", "F16", (64, 1200)),
        (f"lora_unet_{number}.lora_up.weight", "F16", (1200, 64)),
        (f"lora_unet_{number}.alpha", "F32", ()),
    )
]
ALIKE = [(name, "F32", shape) for name, _, shape in MIXED]


def contents(entries: list[tuple[str, str, tuple[int, ...]]]) -> dict[str, bytes]:
    return {
        tensor.name: struct.pack("<f", 8.0)
        if not tensor.shape
        else hashlib.shake_128(tensor.name.encode()).digest(tensor.end - tensor.start)
        for tensor in lay_out(entries)
    }


def file_of(entries: list[tuple[str, str, tuple[int, ...]]], metadata: dict[str, str]) -> bytes:
    content = contents(entries)
    tensors = lay_out(entries)
    return dump_header(tensors, metadata.items()) + b"".join(content[item.name] for item in tensors)


def by_name(entries: list[tuple[str, str, tuple[int, ...]]]) -> str:
    content = contents(entries)
    return hashlib.sha256(b"".join(content[name] for name in sorted(content))).hexdigest()


def write(path: Path, entries: list[tuple[str, str, tuple[int, ...]]], **metadata: str) -> Path:
    path.write_bytes(
        file_of(entries, {key.replace("__", "."): text for key, text in metadata.items()})
    )
    return path


def claims(found: Inspection) -> dict[str, str]:
    return {claim.field: str(claim.status) for claim in found.found.claims if claim.field in NAMES}


def taken(path: Path, vault: Vault) -> dict[str, str]:
    """What intake's one pass says of the claims, also after its notes were written and read back."""
    result = take(path, vault)
    again = IntakeResult.from_notes(result.to_notes())
    assert again == result
    return claims(inspect_glimpses(again.glimpses))


@pytest.mark.parametrize("name", NAMES)
def test_the_sha256_of_nothing_is_false_without_reading_the_weights(
    tmp_path: Path, name: str
) -> None:
    path = write(tmp_path / "a.safetensors", ALIKE, **{name.replace(".", "__"): NOTHING})
    assert claims(inspect_path(path)) == {name: "false"}


@pytest.mark.parametrize(
    ("name", "value"), [(NAMES[0], WRONG), (NAMES[1], WRONG_SHORT), (NAMES[2], "0x" + WRONG)]
)
def test_a_wrong_hash_is_unverified_until_the_weights_are_read_and_false_then(
    tmp_path: Path, vault: Vault, name: str, value: str
) -> None:
    path = write(tmp_path / "a.safetensors", ALIKE, **{name.replace(".", "__"): value})
    assert claims(inspect_path(path)) == {name: "unverified"}
    assert claims(inspect_path(path, check_hash=True)) == {name: "false"}
    assert taken(path, vault) == {name: "false"}


@pytest.mark.parametrize("entries", [ALIKE, MIXED], ids=["one dtype", "mixed"])
def test_true_hashes_are_not_remarked_on(
    tmp_path: Path, vault: Vault, entries: list[tuple[str, str, tuple[int, ...]]]
) -> None:
    bare = name_file(write(tmp_path / "bare.safetensors", entries, ss_a="1"))
    path = write(
        tmp_path / "a.safetensors",
        entries,
        ss_a="1",
        sshs_model_hash=str(bare.body_sha256),
        sshs_legacy_hash=str(bare.sshs_legacy_hash),
        modelspec__hash_sha256="0x" + str(bare.body_sha256).upper(),
    )
    assert claims(inspect_path(path, check_hash=True)) == {}
    assert taken(path, vault) == {}


def test_hash_by_name_is_true_for_one_dtype_in_one_pass(tmp_path: Path, vault: Vault) -> None:
    path = write(tmp_path / "a.safetensors", ALIKE, modelspec__hash_sha256="0x" + by_name(ALIKE))
    assert taken(path, vault) == {}
    assert claims(inspect_path(path, check_hash=True)) == {}


def test_hash_by_name_of_mixed_dtypes_takes_a_second_read(tmp_path: Path, vault: Vault) -> None:
    path = write(tmp_path / "a.safetensors", MIXED, modelspec__hash_sha256="0x" + by_name(MIXED))
    assert taken(path, vault) == {"modelspec.hash_sha256": "unverified"}
    assert claims(inspect_path(path, check_hash=True)) == {}
    write(path, MIXED, modelspec__hash_sha256="0x" + WRONG)
    assert claims(inspect_path(path, check_hash=True)) == {"modelspec.hash_sha256": "false"}


def test_legacy_hash_of_another_order_cannot_be_computed(tmp_path: Path) -> None:
    header = b'{"__metadata__":{"sshs_legacy_hash":"abababab"},'
    header += b'"b":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},'
    header += b'"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}'
    path = tmp_path / "a.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"xy")
    (claim,) = [
        claim
        for claim in inspect_path(path, check_hash=True).found.claims
        if claim.field == "sshs_legacy_hash"
    ] or check_hash_claims({"sshs_legacy_hash": "abababab"}, 2, BodyHashes("00" * 32))
    assert (str(claim.status), "cannot be computed" in claim.note) == ("unverified", True)


@pytest.mark.parametrize("text", ["", "None", "none"])
def test_no_claim_is_none(text: str) -> None:
    assert check_hash_claims(dict.fromkeys(NAMES, text), 8, None) == ()


def test_values_are_not_repeated_in_the_remarks() -> None:
    known = BodyHashes("cd" * 32, "ef" * 32, "01234567")
    found = check_hash_claims(dict.fromkeys(NAMES, WRONG), 8, known)
    assert [str(claim.status) for claim in found] == ["false"] * 3
    assert not any(WRONG in claim.note or "cdcd" in claim.note for claim in found)


def test_each_file_of_a_pair_is_held_against_its_own_weights(tmp_path: Path, vault: Vault) -> None:
    folder = tmp_path / "pair"
    folder.mkdir()
    small = [("m.lora_A.weight", "F16", (4, 8)), ("m.lora_B.weight", "F16", (8, 4))]
    other = [("n.lora_A.weight", "F16", (4, 8)), ("n.lora_B.weight", "F16", (8, 4))]
    body = by_name(small)  # one dtype: the body too
    write(folder / "a_high_noise.safetensors", small, sshs_model_hash=body)
    write(folder / "a_low_noise.safetensors", other, sshs_model_hash=body)
    result = take_folder(folder, vault)
    assert claims(inspect_glimpses(result.glimpses)) == {"sshs_model_hash": "false"}
    assert result.body_sha256 is None


def test_notes_of_an_earlier_release_are_read_without_hashes(tmp_path: Path, vault: Vault) -> None:
    path = write(tmp_path / "a.safetensors", ALIKE, sshs_model_hash=WRONG)
    notes = take(path, vault).to_notes()
    length = int.from_bytes(notes[:8], "little")
    start = notes.index(b'"hashes":{', 8, 8 + length)
    end = notes.index(b"},", start) + 2
    body = notes[8:start] + notes[end : 8 + length]
    old = len(body).to_bytes(8, "little") + body + notes[8 + length :]
    again = IntakeResult.from_notes(old)
    assert again.glimpses[0].hashes is None
    assert claims(inspect_glimpses(again.glimpses)) == {"sshs_model_hash": "unverified"}


def test_a_glimpse_of_no_weights_has_no_hashes() -> None:
    assert Glimpse("adapter_config.json", 2, b"{}").hashes is None
