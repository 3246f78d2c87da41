"""`loraseal hash`: every name on stdout, errors with their exit code."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from registry.cli.hashing import hash_command
from tests.weights_files import write_lora


def test_missing_path_exits_3(tmp_path: Path) -> None:
    done = CliRunner().invoke(hash_command, [str(tmp_path / "none")])
    assert done.exit_code == 3
    assert "is not there" in done.stderr
    assert done.stdout == ""


def test_json_names_every_file_and_the_artifact(tmp_path: Path) -> None:
    path = write_lora(tmp_path / "a.safetensors")
    done = CliRunner().invoke(hash_command, [str(path), "--json"])
    assert done.exit_code == 0
    answer = json.loads(done.stdout)
    assert answer["schema"] == "loraseal/hash.v1"
    (names,) = answer["files"]
    assert names["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert names["autov2"] == names["sha256"][:10].upper()
    manifest = {"path": "a.safetensors", "sha256": names["sha256"], "size": path.stat().st_size}
    body = {"entries": [manifest], "schema": "loraseal/manifest.v1"}
    canonical = json.dumps(body, separators=(",", ":"), sort_keys=True).encode()
    assert answer["artifact"] == hashlib.sha256(canonical).hexdigest()
    assert names["hf_lfs_oid"] == names["sha256"]
    assert names["sshs_model_hash"] == names["body_sha256"]
    root = hashlib.sha256(bytes.fromhex(names["sha256"])).hexdigest()
    assert answer["manifest_root"] == root


def test_manifest_root_is_the_one_of_openssf_model_signing(tmp_path: Path) -> None:
    signing = pytest.importorskip("model_signing.hashing", reason="oracle missing: model_signing")
    folder = tmp_path / "adapter"
    write_lora(folder / "adapter_model.safetensors")
    for name in ("adapter_config.json", "a-b/z", "a/z", "a.txt", "B", "ä", "Z/y/x"):
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        (folder / name).write_text(name)
    manifest = signing.Config().hash(folder)
    digests = b"".join(one.digest.digest_value for one in manifest.resource_descriptors())
    done = CliRunner().invoke(hash_command, [str(folder), "--json"])
    assert json.loads(done.stdout)["manifest_root"] == hashlib.sha256(digests).hexdigest()


def test_people_see_labels_and_the_reason(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello world")
    done = CliRunner().invoke(hash_command, [str(tmp_path / "notes.txt")])
    assert done.exit_code == 0
    assert "CRC32         85114A0D" in done.stdout
    assert "(not a safetensors file)" in done.stdout
    assert "AutoV3" not in done.stdout


def test_link_into_a_model_cache_is_followed_and_keeps_its_name(tmp_path: Path) -> None:
    path = write_lora(tmp_path / "a.safetensors")
    direct = CliRunner().invoke(hash_command, [str(path), "--json"])
    (tmp_path / "blobs").mkdir()
    blob = path.rename(tmp_path / "blobs" / "0ab1")
    path.symlink_to(blob)
    linked = CliRunner().invoke(hash_command, [str(path), "--json"])
    assert linked.exit_code == 0
    assert linked.stdout == direct.stdout


def test_link_that_leads_nowhere_is_refused(tmp_path: Path) -> None:
    link = tmp_path / "a.safetensors"
    link.symlink_to(link)
    done = CliRunner().invoke(hash_command, [str(link)])
    assert done.exit_code == 4
    assert "link" in done.stderr
