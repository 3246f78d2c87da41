"""Every audited artifact leaves features and a sketch; peers and base weights are lent to later audits."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from daemon.pipeline import audit_step
from daemon.pipeline.lending import lend
from registry.audits.runner import AuditWorker
from registry.provenance.cohorts import peers_of
from registry.provenance.sketches import code_pages, read_sketch, sketch_count
from tests.daemon.registry_on_disk import Registry, write_adapter
from tests.daemon.rig import Rig, opened, sql

pytestmark = pytest.mark.xdist_group("lived")


def drop(rig: Rig, name: str, **how: object) -> str:
    """Take in an adapter and do all that follows; return its artifact id."""
    write_adapter(rig.registry.watched / f"{name}.safetensors", **how)  # type: ignore[arg-type]
    candidate = rig.drop(rig.registry.watched / f"{name}.safetensors")
    rig.work()
    (found,) = rig.one("select artifact_id from reg_candidate where id=?", candidate)
    return str(found)


def audited(rig: Rig, *arguments: object, code: int = 0) -> dict[str, dict[str, object]]:
    told = rig.registry.run(
        *("audit", *arguments, "--config", rig.registry.settings, "--json"), code=code
    )
    return {report["rule"]: report for report in json.loads(told.stdout)["reports"]}


def said_of(rig: Rig, artifact_id: str, rule: str) -> tuple[str, str]:
    told = rig.registry.run("show", artifact_id, "--config", rig.registry.settings, "--json")
    audits = json.loads(told.stdout)["artifact"]["audits"]
    (found,) = (row for row in audits if row["rule"] == rule)
    return found["verdict"], found["summary"]


def test_features_and_sketch_are_kept_and_show_nothing_in_the_clear(rig: Rig) -> None:
    first = drop(rig, "first")
    second = drop(rig, "second")
    with rig.shop.ledger.reading() as reader:
        assert sketch_count(reader) == 2
        sketch = read_sketch(reader, first)
        assert sketch is not None
        assert sketch != read_sketch(reader, second)
        (page,) = code_pages(reader)
        assert len(page) == 512
        assert page[:256] != page[256:]
        found = peers_of(reader, second)
    assert found is not None
    assert len(found.features) == 1
    assert "lora for" in found.label
    (sealed,) = rig.one("select sealed_sketch from reg_sketch where artifact_id=?", first)
    assert sketch not in bytes(sealed)  # type: ignore[arg-type]


def test_what_was_turned_down_is_nobodys_peer(rig: Rig) -> None:
    other = drop(rig, "other")
    newest = drop(rig, "newest")
    sql(rig.registry, "update reg_artifact set state='rejected' where id=?", other)
    with rig.shop.ledger.reading() as reader:
        found = peers_of(reader, newest)
    assert found is not None
    assert found.features == ()


def test_few_peers_are_told_and_hold_nothing(rig: Rig) -> None:
    drop(rig, "first")
    second = drop(rig, "second")
    verdict, summary = said_of(rig, second, "spectral_outlier")
    assert verdict == "inconclusive"
    assert "have 1" in summary
    assert rig.one("select state from reg_artifact where id=?", second) == ("released",)


def test_audit_on_the_command_line_counts_the_same_peers(rig: Rig, tmp_path: Path) -> None:
    drop(rig, "first")
    stranger = write_adapter(tmp_path / "stranger.safetensors")
    reports = audited(rig, stranger, "--compare")
    assert "have 1" in str(reports["spectral_outlier"]["summary"])
    assert "spectral_outlier" not in audited(rig, stranger)


@pytest.fixture
def based(fresh: Registry, audits: AuditWorker, tmp_path: Path) -> Iterator[Rig]:
    """A registry that knows the base model of its adapters."""
    from safetensors.numpy import save_file

    weights = np.random.default_rng(4)
    block = "down_blocks.0.attentions.0.transformer_blocks.{}.attn1.to_q.weight"
    save_file(
        {block.format(n): weights.standard_normal((16, 16), np.float32) for n in range(10)},
        tmp_path / "unet.safetensors",
    )
    fresh.run(
        *("base", "add", tmp_path / "unet.safetensors", "--name", "tiny"),
        *("--config", fresh.settings),
    )
    with opened(fresh, audits, hours=0) as rig:
        family = drop(rig, "probe")
        (known,) = rig.one("select family from reg_artifact where id=?", family)
    with fresh.settings.open("a") as settings:
        settings.write(f'\n[audit.bases]\n"{known}" = "tiny"\n')
    with opened(fresh, audits, hours=0) as rig:
        yield rig


def test_base_weights_are_lent_where_the_settings_name_them(based: Rig, tmp_path: Path) -> None:
    verdict, summary = said_of(based, drop(based, "good"), "base_relation")
    assert verdict in {"pass", "warn"}, summary
    stranger = write_adapter(tmp_path / "stranger.safetensors")
    reports = audited(based, stranger, "--base", "tiny")
    assert reports["base_relation"]["coverage"] == {"examined": 10, "total": 10, "unit": "modules"}


def test_base_that_is_gone_is_not_lent_and_holds_nothing(based: Rig) -> None:
    based.registry.run("base", "remove", "tiny", "--config", based.registry.settings)
    artifact = drop(based, "good")
    with lend(based.shop, artifact) as lent:
        assert lent.base is None
    assert said_of(based, artifact, "base_relation")[0] == "not_applicable"
    told = based.registry.run("doctor", "--config", based.registry.settings, code=7).output
    assert "bases" in told


def test_audit_that_is_repeated_keeps_one_sketch(rig: Rig) -> None:
    artifact = drop(rig, "good")
    sql(rig.registry, "update reg_artifact set state='sealed' where id=?", artifact)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(audit_step, "record_verdicts", lambda *_: None)
        audit_step.audit_artifact(rig.shop, artifact)
    with rig.shop.ledger.reading() as reader:
        assert sketch_count(reader) == 1
        assert len(next(code_pages(reader))) == 256


def test_peer_that_was_changed_by_hand_rejects_nobody(rig: Rig) -> None:
    first = drop(rig, "first")
    sql(rig.registry, "update reg_features set sealed_features=x'00' where artifact_id=?", first)
    second = drop(rig, "second")
    assert rig.one("select state from reg_artifact where id=?", second) == ("released",)
    assert "have 0" in said_of(rig, second, "spectral_outlier")[1]


def test_likeness_is_asked_of_files_only_and_a_missing_file_is_told(
    rig: Rig, tmp_path: Path
) -> None:
    drop(rig, "first")
    settings = ("--config", rig.registry.settings)
    assert (
        "from a file" in rig.registry.run("trace", "0" * 64, "--similar", *settings, code=2).output
    )
    told = rig.registry.run("trace", tmp_path / "gone.safetensors", *settings, code=3).output
    assert "there is no file" in told
    other = write_adapter(tmp_path / "other.safetensors")
    told = rig.registry.run("trace", other, *settings, code=3).output
    assert "resembles none of 1 sketched artifacts" in told
