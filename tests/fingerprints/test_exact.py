"""Exact names: byte for byte what Civitai, web UIs and kohya compute."""

from __future__ import annotations

import hashlib
import json
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from registry.artifacts.body_hashes import hash_body
from registry.artifacts.claims import check_hash_claims
from registry.artifacts.digesting import GIT_BLOB_BYTES, read_head
from registry.artifacts.inspection import inspect_path
from registry.artifacts.intake import IntakeSource, take_in
from registry.artifacts.reading import open_source
from registry.artifacts.vault import Vault
from registry.errors import FormatError, NotFoundError
from registry.fingerprints.exact import manifest_of, name_file, name_path
from registry.formats.safetensors import dump_header, lay_out
from registry.sealing.identities import X25519Identity
from tests.weights_files import lora_bytes, write_lora

# Ours, so no vector of others has them; stored digests would lose their meaning if these changed.
TENSORS_TINY = "9f6fb60520a526a7d57b24a391e84c02be8a7d9115abca19be702dd4a7cd35e2"
TENSORS_MIXED = "120684f3383b42fba672a54a4668e91be231cdeedfa6aaf74870d5f56ec2fd8b"

Vector = dict[str, object]


@pytest.fixture(scope="session")
def vectors(shared: Path) -> dict[str, dict[str, object]]:
    sheet = json.loads((shared / "data" / "adapters.json").read_text("utf-8"))
    return {vector["id"]: vector for vector in sheet["hash_vectors"]}


def mixed(metadata: dict[str, str]) -> bytes:
    """Build the sheet's 5 MiB vector by its recipe."""
    entries: list[tuple[str, str, tuple[int, ...]]] = []
    for number in range(40):
        entries.append((f"t{number:02d}.lora_down.weight", "F16", (64, 512)))
        entries.append((f"t{number:02d}.lora_up.weight", "F16", (512, 64)))
        entries.append((f"t{number:02d}.alpha", "F32", ()))
    tensors = lay_out(entries)
    body = [
        hashlib.shake_128(tensor.name.encode()).digest(65536)
        if tensor.shape
        else struct.pack("<f", 8.0)
        for tensor in tensors
    ]
    return b"".join((dump_header(tensors, metadata.items()), *body))


def check_computed(path: Path, expected: dict[str, object], tensors: str) -> None:
    names = name_file(path)
    assert names.size == expected["size"]
    assert names.sha256 == expected["sha256"]
    assert names.blake3 == expected["blake3"]
    assert names.crc32 == expected["crc32_civitai"]
    assert names.autov1 == expected["autov1"]
    assert names.webui_legacy == expected["webui_model_hash_legacy"]
    assert names.autov2 == expected["autov2"]
    assert names.autov3 == expected["autov3"]
    assert names.body_sha256 == expected["body_sha256"] == expected["sshs_model_hash"]
    if "sshs_legacy_hash" in expected:
        assert names.sshs_legacy_hash == expected["sshs_legacy_hash"]
    assert names.sshs_model_hash == expected["sshs_model_hash"]
    assert names.hf_lfs_oid == expected["hf_lfs_oid"]
    assert names.hf_git_blob == expected["hf_non_lfs_etag_git_blob_sha1"]
    assert names.tensors == tensors
    assert names.reason == ""
    check_intake(path, expected)
    check_claims(path, expected)


def check_intake(path: Path, expected: dict[str, object]) -> None:
    """What one pass of intake records under the names in the ledger, lower-case, full length."""
    vault = Vault(path.parent / "vault")
    vault.create()
    identity = X25519Identity.generate()
    source = IntakeSource.of_file(path)
    hashes = dict(take_in(source, vault, [identity.recipient()], "ab" * 16).hashes)
    wanted = {
        "sha256": expected["sha256"],
        "hf_lfs_oid": expected["hf_lfs_oid"],
        "hf_git_blob": expected["hf_non_lfs_etag_git_blob_sha1"],
        "blake3": expected["blake3"],
        "crc32": str(expected["crc32_civitai"]).lower(),
        "autov3": expected["body_sha256"],
        "sshs_model_hash": expected["sshs_model_hash"],
    }
    if expected["autov1"] is not None:
        wanted["autov1"] = str(expected["autov1"]).lower()
    assert wanted.items() <= hashes.items()
    assert hashes["sha256"].startswith(str(expected["autov2"]).lower())
    assert hashes["autov3"].startswith(str(expected["autov3"]).lower())


def check_claims(path: Path, expected: dict[str, object]) -> None:
    """The sheet's values for kohya's and OneTrainer's claims are true of this file, and no others."""
    with open_source(path) as source:
        known = hash_body(source)
        head = read_head(source).header
    claims = {
        "sshs_model_hash": expected["sshs_model_hash"],
        "sshs_legacy_hash": expected.get("sshs_legacy_hash"),
        "modelspec.hash_sha256": expected.get("onetrainer_modelspec_hash_sha256"),
    }
    said = {key: str(value) for key, value in claims.items() if value is not None}
    found = check_hash_claims(said, head.body_bytes, known)
    # By name it takes a second read, which is only made where the header claims it.
    assert {claim.field for claim in found} <= {"modelspec.hash_sha256"}
    claimed = path.with_name("claimed.safetensors")
    claimed.write_bytes(
        dump_header(head.tensors, {**dict(head.metadata), **said}.items())
        + path.read_bytes()[head.header_bytes :]
    )
    remarks = inspect_path(claimed, check_hash=True).found.claims
    assert not [claim for claim in remarks if claim.field in said]


def test_civitai_published_vector(tmp_path: Path, vectors: dict[str, dict[str, object]]) -> None:
    vector = vectors["civitai-hello-world"]
    published = vector["expected_published"]
    assert isinstance(published, dict)
    (tmp_path / "dummy.txt").write_text(str(vector["bytes_utf8"]))
    names = name_file(tmp_path / "dummy.txt")
    assert names.crc32 == published["CRC32"]
    assert names.sha256.upper() == published["SHA256"]
    assert names.autov1 is published["AutoV1"] is None
    assert names.autov2 == published["AutoV2"]
    assert names.blake3.upper() == published["Blake3"]
    assert names.reason == "not a safetensors file"
    assert names.autov3 is names.tensors is None


def test_known_bad_sentinel_is_a_false_claim(
    tmp_path: Path, vectors: dict[str, dict[str, object]]
) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(
        lora_bytes(metadata={"sshs_model_hash": str(vectors["known-bad-sentinel"]["value"])})
    )
    (claim,) = [
        claim for claim in inspect_path(path).found.claims if claim.field == "sshs_model_hash"
    ]
    assert str(claim.status) == "false"


def test_every_vector_of_the_sheet_is_compared(vectors: dict[str, dict[str, object]]) -> None:
    compared = (
        "civitai-hello-world tiny mixed-dtype-5MiB mixed-dtype-5MiB-scrubbed known-bad-sentinel"
    )
    assert set(vectors) == set(compared.split())


def test_git_knows_a_small_file_by_that_name(tmp_path: Path, oracle: Callable[[str], str]) -> None:
    path = write_lora(tmp_path / "a.safetensors")
    done = subprocess.run(
        [oracle("git"), "hash-object", "--no-filters", str(path)], capture_output=True, check=True
    )
    assert name_file(path).hf_git_blob == done.stdout.decode().strip()


def test_large_file_has_no_git_name(tmp_path: Path) -> None:
    for size in (GIT_BLOB_BYTES, GIT_BLOB_BYTES + 1):
        path = tmp_path / "a.bin"
        path.write_bytes(bytes(size))
        assert (name_file(path).hf_git_blob is None) == (size > GIT_BLOB_BYTES)


def test_tiny_vector(tmp_path: Path, vectors: dict[str, dict[str, object]]) -> None:
    vector = vectors["tiny"]
    (tmp_path / "tiny.safetensors").write_bytes(bytes.fromhex(str(vector["bytes_hex"])))
    expected = vector["computed"]
    assert isinstance(expected, dict)
    check_computed(tmp_path / "tiny.safetensors", expected, TENSORS_TINY)


@pytest.mark.parametrize("name", ["mixed-dtype-5MiB", "mixed-dtype-5MiB-scrubbed"])
def test_large_vector(tmp_path: Path, vectors: dict[str, dict[str, object]], name: str) -> None:
    metadata, expected = vectors[name].get("metadata", {}), vectors[name]["computed"]
    assert isinstance(metadata, dict)
    assert isinstance(expected, dict)
    (tmp_path / "a.safetensors").write_bytes(mixed(metadata))
    check_computed(tmp_path / "a.safetensors", expected, TENSORS_MIXED)


@pytest.mark.parametrize("metadata", [{}, {"ss_a": 'quote " é \n', "modelspec.title": "x"}])
def test_legacy_hash_is_that_of_the_official_serialiser(
    tmp_path: Path, metadata: dict[str, str]
) -> None:
    torch = pytest.importorskip("torch", reason="needs the official safetensors writer")
    writer = pytest.importorskip("safetensors.torch")
    path = tmp_path / "a.safetensors"
    tensors = {f"t{number}": torch.full((128, 512), float(number)).half() for number in range(16)}
    writer.save_file(tensors, str(path), metadata=metadata)
    kept = {key: text for key, text in metadata.items() if key.startswith("ss_")}
    window = writer.save(tensors, metadata=kept)[0x100000:0x110000]
    assert name_file(path).sshs_legacy_hash == hashlib.sha256(window).hexdigest()[:8]


def test_legacy_hash_is_left_out_where_the_order_is_not_the_writers(tmp_path: Path) -> None:
    header = b'{"b":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},'
    header += b'"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}'
    path = tmp_path / "a.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"xy")
    names = name_file(path)
    assert names.sshs_legacy_hash is None
    assert names.tensors is not None


def test_broken_weights_keep_the_names_of_their_bytes_and_say_why(tmp_path: Path) -> None:
    path = tmp_path / "cut.safetensors"
    path.write_bytes(lora_bytes()[:-1])
    names = name_file(path)
    assert names.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert names.tensors is None
    assert "cut off" in names.reason


def test_weights_under_another_suffix_are_named_too(tmp_path: Path) -> None:
    write_lora(tmp_path / "a.bin")
    assert name_file(tmp_path / "a.bin").tensors is not None


def test_folder_is_named_file_by_file_in_order(tmp_path: Path) -> None:
    write_lora(tmp_path / "b" / "adapter_model.safetensors")
    (tmp_path / "a.json").write_text("{}")
    (tmp_path / "link").symlink_to(tmp_path / "a.json")
    names = tuple(name_path(tmp_path))
    assert [one.path for one in names] == ["a.json", "b/adapter_model.safetensors"]
    assert [entry.path for entry in manifest_of(names).entries] == [one.path for one in names]


def test_nothing_there_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        list(name_path(tmp_path / "none"))
    with pytest.raises(NotFoundError, match="no file below"):
        list(name_path(tmp_path))


def test_link_is_not_followed(tmp_path: Path) -> None:
    write_lora(tmp_path / "a.safetensors")
    (tmp_path / "link").symlink_to(tmp_path / "a.safetensors")
    with pytest.raises(FormatError, match="symbolic link"):
        list(name_path(tmp_path / "link"))
