"""Pickles in a watched folder: refused aloud, or taken in as safetensors where the owner says so."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from registry.audits.runner import AuditWorker
from registry.digest import sha256_of
from registry.formats.bundle import parse_bundle
from registry.formats.predicates.intake import Intake
from registry.formats.predicates.predicate import parse_predicate
from registry.formats.safetensors import header_length, parse_header
from registry.provenance.tracing import SAME_TENSORS, trace
from tests.conversion.evasions import EVASIONS
from tests.daemon.registry_on_disk import Registry, write_adapter
from tests.daemon.rig import Rig, opened

pytestmark = pytest.mark.xdist_group("lived")
torch = pytest.importorskip("torch")


@pytest.fixture
def converting(fresh: Registry, audits: AuditWorker) -> Iterator[Rig]:
    text = fresh.settings.read_text()
    assert "settle_seconds = 0.1" in text
    fresh.settings.write_text(
        text.replace("settle_seconds = 0.1", "settle_seconds = 0.1\nconvert = true")
    )
    with opened(fresh, audits, hours=0) as rig:
        yield rig


def pickled(folder: Path, name: str = "old.ckpt") -> Path:
    """Write an adapter that would be released, as torch.save writes it; nothing else is left there."""
    plain = write_adapter(folder / "plain.safetensors")
    data = plain.read_bytes()
    head = parse_header(data[: header_length(data[:32], file_size=len(data))], file_size=len(data))
    weights = {
        each.name: torch.frombuffer(
            bytearray(data[head.header_bytes + each.start : head.header_bytes + each.end]),
            dtype=torch.float32,
        ).reshape(each.shape)
        for each in head.tensors
    }
    plain.unlink()
    path = folder / name
    torch.save(weights, path)
    return path


def test_pickle_is_refused_aloud_unless_the_owner_wants_it_converted(rig: Rig) -> None:
    candidate = rig.drop(pickled(rig.registry.watched))
    assert rig.work() == [("intake", "refused")]
    assert "pickle" in str(rig.candidate(candidate)[1])
    assert not list(rig.shop.custody.vault.payloads())


@pytest.mark.parametrize("name", ["os-system", *sorted(EVASIONS)[:3]])
def test_evil_pickle_is_refused_and_nothing_of_it_is_kept(converting: Rig, name: str) -> None:
    data = EVASIONS.get(name) or next(iter(EVASIONS.values()))
    path = converting.registry.watched / "evil.ckpt"
    path.write_bytes(data)
    converting.drop(path)
    assert converting.work() == [("intake", "refused")]
    assert not list(converting.shop.custody.vault.payloads())
    assert not converting.shop.custody.vault.unfinished()


def test_converted_checkpoint_that_is_no_adapter_leaves_nothing_behind(converting: Rig) -> None:
    path = converting.registry.watched / "base.ckpt"
    names = (
        "model.diffusion_model.input_blocks.0.0.weight",
        "first_stage_model.encoder.conv_in.weight",
    )
    torch.save({name: torch.zeros(4, 4) for name in names}, path)
    candidate = converting.drop(path)
    assert converting.work() == [("intake", "refused")]
    assert "not an adapter" in str(converting.candidate(candidate)[1])
    assert not list(converting.shop.custody.vault.payloads())
    assert not converting.shop.custody.vault.unfinished()


def test_pickle_becomes_safetensors_that_is_judged_and_delivered(converting: Rig) -> None:
    path = pickled(converting.registry.watched)
    digest = sha256_of(path.read_bytes()).value
    converting.drop(path)
    assert [step for step, _ in converting.work()] == ["intake", "audit", "decide", "deliver"]
    assert converting.one("select rendition, state from reg_artifact") == ("converted", "released")
    bundle = parse_bundle((converting.registry.stick / "Alice" / "old.loraseal").read_bytes())
    intake = parse_predicate(bundle.intake.envelope.payload, Intake)
    assert intake.rendition == "converted"
    assert intake.trainer_facts == (("pickle", digest),)
    assert [entry.path for entry in intake.manifest.entries] == ["old.safetensors"]
    with converting.shop.ledger.reading() as reader:
        (match,) = trace(reader, (digest,)).matches
    assert match.answer == SAME_TENSORS
    assert ("converted-from", digest) in [(edge.relation, edge.parent) for edge in match.edges]


def test_pickled_peft_folder_keeps_its_config(converting: Rig) -> None:
    folder = converting.registry.watched / "lora"
    folder.mkdir()
    pickled(folder, "adapter_model.bin")
    (folder / "adapter_config.json").write_text(
        json.dumps({"peft_type": "LORA", "r": 4, "lora_alpha": 4})
    )
    converting.drop(folder)
    assert ("intake", "sealed") in converting.work()
    assert converting.one("select files, rendition from reg_artifact") == (2, "converted")
