"""Pairs, and the same weights written twice: what is one artifact to a person is one to the ledger."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from registry.digest import sha256_of
from registry.fingerprints.exact import name_file
from registry.provenance.tracing import trace
from tests.daemon.registry_on_disk import write_adapter
from tests.daemon.rig import Rig, opened, sql

pytestmark = pytest.mark.xdist_group("lived")


def again(rig: Rig, path: Path, **how: object) -> None:
    """Write `path` anew, as a later second would see it."""
    before = path.stat().st_mtime_ns
    write_adapter(path, **how)  # type: ignore[arg-type]
    os.utime(path, ns=(before + 3_000_000_000, before + 3_000_000_000))
    rig.drop(path)


def test_other_weights_at_the_same_path_are_another_artifact(rig: Rig) -> None:
    path = write_adapter(rig.registry.watched / "a.safetensors")
    rig.drop(path)
    rig.work()
    again(rig, path, seed="other")
    assert ("intake", "sealed") in rig.work()
    assert rig.one("select count(*) from reg_artifact") == (2,)


def test_same_weights_under_a_new_header_much_later_are_another_artifact(rig: Rig) -> None:
    path = write_adapter(rig.registry.watched / "a.safetensors")
    rig.drop(path)
    rig.work()
    rig.clock.advance(hours=1)
    again(rig, path, metadata={"modelspec.title": "later"})
    assert ("intake", "sealed") in rig.work()


def test_header_written_after_the_weights_is_one_artifact_known_by_both(rig: Rig) -> None:
    path = write_adapter(rig.registry.watched / "pytorch_lora_weights.safetensors")
    digests = [sha256_of(path.read_bytes()).value]
    rig.drop(path)
    rig.work()
    again(rig, path, metadata={"modelspec.title": "mine"})
    digests.append(sha256_of(path.read_bytes()).value)
    assert rig.work() == [("intake", "rewritten")]
    assert rig.one("select count(*) from reg_artifact") == (1,)
    assert rig.one("select count(*) from reg_delivery") == (1,)
    with rig.shop.ledger.reading() as reader:
        found = [trace(reader, (digest,)).matches[0].artifact.id for digest in digests]
    assert len(set(found)) == 1
    assert len(list(rig.shop.custody.vault.payloads())) == 1
    assert not rig.shop.custody.vault.unfinished()
    where = ("--config", rig.registry.settings)
    assert "rows" in rig.registry.run("fsck", *where).output


def test_header_written_anew_can_be_restored(rig: Rig, tmp_path: Path) -> None:
    path = write_adapter(rig.registry.watched / "a.safetensors")
    rig.drop(path)
    rig.work()
    again(rig, path, metadata={"modelspec.title": "mine"})
    second = path.read_bytes()
    rig.work()
    out, where = tmp_path / "b.safetensors", ("--config", rig.registry.settings)
    rig.registry.run("scrub", "--restore", path, "-o", out, *where)
    assert out.read_bytes() == second


def test_pair_is_one_artifact_with_two_files(rig: Rig) -> None:
    watched = rig.registry.watched
    high = write_adapter(watched / "wan_high_noise.safetensors")
    write_adapter(watched / "wan_low_noise.safetensors", seed="low")
    rig.drop(high)
    assert ("decide", "released") in rig.work()
    assert rig.one("select count(*) from reg_artifact") == (1,)
    assert rig.one("select files from reg_artifact") == (2,)
    assert rig.carried() >= {"Alice/wan.age", "Alice/wan.loraseal"}


def test_half_of_a_pair_that_is_no_adapter_refuses_both(rig: Rig) -> None:
    watched = rig.registry.watched
    high = write_adapter(watched / "wan_high_noise.safetensors")
    (watched / "wan_low_noise.safetensors").write_bytes(b"<!DOCTYPE html><html></html>" * 40)
    candidate = rig.drop(high)
    assert rig.work() == [("intake", "refused")]
    assert "web page" in str(rig.candidate(candidate)[1])


def test_row_that_lends_its_hash_does_not_swallow_other_weights(rig: Rig) -> None:
    """Who writes the database must not get weights dropped as if the vault had them."""
    path = write_adapter(rig.registry.watched / "a.safetensors")
    rig.drop(path)
    rig.work()
    other = write_adapter(rig.registry.home / "other.safetensors", seed="other")
    tensors = name_file(other).tensors
    sql(rig.registry, "update reg_hash set value=? where algorithm='tensors'", tensors)
    other.unlink()
    before = path.stat().st_mtime_ns
    write_adapter(rig.registry.home / "other.safetensors", seed="other").rename(path)
    os.utime(path, ns=(before + 3_000_000_000, before + 3_000_000_000))
    rig.drop(path)
    assert ("intake", "sealed") in rig.work()
    assert len(list(rig.shop.custody.vault.payloads())) == 2


def test_header_that_is_written_anew_on_what_was_rejected_is_held_for_a_person(rig: Rig) -> None:
    path = write_adapter(rig.registry.watched / "a.safetensors", nan=True)
    rig.drop(path)
    rig.work()
    again(rig, path, nan=True, metadata={"modelspec.title": "mine"})
    assert ("intake", "sealed") in rig.work()


def test_save_on_the_way_is_kept_and_goes_to_nobody_unless_a_route_says_so(rig: Rig) -> None:
    rig.drop(write_adapter(rig.registry.watched / "a-000001.safetensors"))
    assert [step for step, _ in rig.work()] == ["intake", "audit", "decide"]
    assert rig.one("select state from reg_artifact") == ("released",)
    text = rig.registry.settings.read_text()
    rig.registry.settings.write_text(
        text.replace('to = "Alice"', 'to = "Alice"\nintermediates = true')
    )
    with opened(rig.registry, rig.shop.audits) as again_open:
        again_open.drop(write_adapter(rig.registry.watched / "a-000002.safetensors", seed="second"))
        assert ("deliver", "sent") in again_open.work()


def test_save_of_a_trainer_that_writes_no_result_is_what_people_get(rig: Rig) -> None:
    folder = rig.registry.watched / "checkpoint-7"
    folder.mkdir()
    rig.drop(write_adapter(folder / "lora.safetensors"))
    assert ("deliver", "sent") in rig.work()


def test_half_of_a_pair_is_told(rig: Rig) -> None:
    rig.drop(write_adapter(rig.registry.watched / "wan_high_noise.safetensors"))
    rig.work()
    shown = rig.registry.run("show", "wan", "--json", "--config", rig.registry.settings).stdout
    assert "half of a high- and low-noise pair" in shown
