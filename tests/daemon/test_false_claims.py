"""An adapter whose header lies about its hash is taken in, and what is shown of it says so."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from registry.formats.safetensors import dump_header, header_length, parse_header
from registry.provenance.show import read_inspection
from tests.daemon.registry_on_disk import write_adapter
from tests.daemon.rig import Rig

NOTHING = hashlib.sha256(b"").hexdigest()


def with_claim(path: Path, claim: str | None) -> str:
    """Put a `sshs_model_hash` into the header (None: the true one) and return the true one."""
    data = path.read_bytes()
    length = header_length(data[:8], file_size=len(data))
    header, body = parse_header(data[:length], file_size=len(data)), data[length:]
    true = hashlib.sha256(body).hexdigest()
    pairs = {**dict(header.metadata), "sshs_model_hash": claim or true}
    path.write_bytes(dump_header(header.tensors, pairs.items()) + body)
    return true


def stored(rig: Rig) -> tuple[str, dict[str, str]]:
    (artifact_id,) = rig.one("select id from reg_artifact")
    with rig.shop.ledger.reading() as reader:
        inspection = json.loads(str(read_inspection(reader, str(artifact_id))))
    return str(artifact_id), {
        claim["field"]: claim["status"]
        for claim in inspection["claims"]
        if claim["field"].startswith("sshs")
    }


@pytest.mark.parametrize("claim", [NOTHING, "ab" * 32], ids=["of nothing", "wrong"])
def test_false_hash_is_taken_in_and_flagged(rig: Rig, claim: str) -> None:
    path = write_adapter(rig.registry.watched / "lora.safetensors")
    true = with_claim(path, claim)
    candidate = rig.drop(path)
    rig.work()
    assert rig.candidate(candidate)[0] == "taken"
    artifact_id, found = stored(rig)
    assert found == {"sshs_model_hash": "false"}
    shown = rig.registry.run("show", artifact_id, "--json", "--config", rig.registry.settings)
    (said,) = [
        claim
        for claim in json.loads(shown.stdout)["inspection"]["claims"]
        if claim["source"] == "sshs_model_hash"
    ]
    assert said["status"] == "false"
    told = rig.registry.run("show", artifact_id, "--config", rig.registry.settings)
    assert "claim     sshs_model_hash false: is " in told.stdout
    # It is known by what it is, and not by what it says.
    traced = rig.registry.run("trace", true, "--json", "--config", rig.registry.settings)
    assert json.loads(traced.stdout)["answer"]["matches"][0]["artifact"]["id"] == artifact_id
    rig.registry.run("trace", claim, "--config", rig.registry.settings, code=3)


def test_true_hash_is_not_remarked_on(rig: Rig) -> None:
    path = write_adapter(rig.registry.watched / "lora.safetensors")
    with_claim(path, None)
    rig.drop(path)
    rig.work()
    assert stored(rig)[1] == {}


def test_artifact_is_traced_by_every_name_of_its_hashes(rig: Rig) -> None:
    path = write_adapter(rig.registry.watched / "lora.safetensors")
    rig.drop(path)
    rig.work()
    names = rig.registry.run("hash", path, "--json")
    answer = json.loads(names.stdout)
    (file,) = answer["files"]
    wanted = {
        "hf_lfs_oid": file["sha256"],
        "hf_git_blob": file["hf_git_blob"],
        "sshs_model_hash": file["body_sha256"],
        "manifest_root": answer["manifest_root"],
    }
    rows = dict(rig.rows("select algorithm, value from reg_hash"))
    assert wanted.items() <= rows.items()
    for name, value in wanted.items():
        for evidence in (value, f"{name}:{value.upper()}"):
            done = rig.registry.run("trace", evidence, "--json", "--config", rig.registry.settings)
            (match,) = json.loads(done.stdout)["answer"]["matches"]
            kind = "same_tensors" if name == "sshs_model_hash" else "exact"
            assert match["answer"] == kind
