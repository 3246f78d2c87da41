"""The public rendition: made from the vault, judged by itself, and the only thing that a public route sends."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.pipeline import render_step
from daemon.pipeline.decide_step import plan_routes
from daemon.pipeline.reconcile import reconcile, unfinished
from registry.audits.runner import AuditWorker
from registry.errors import BusyError
from registry.formats.bundle import parse_bundle
from registry.formats.predicates.intake import Intake
from registry.formats.predicates.predicate import parse_predicate
from registry.formats.safetensors import TensorInfo, dump_header, parse_header
from registry.provenance.show import show_artifact
from registry.provenance.status import needs_person
from tests.daemon.registry_on_disk import Registry, write_adapter
from tests.daemon.rig import Rig, opened, sql

pytestmark = pytest.mark.xdist_group("lived")

NAME = "Mrs Example of Bergen"
STEPS = ["intake", "audit", "decide", "render", "audit", "decide", "deliver"]


@pytest.fixture
def rig(fresh: Registry, audits: AuditWorker) -> Iterator[Rig]:
    """A registry that sends Alice public renditions only."""
    text = fresh.settings.read_text().replace('to = "Alice"', 'to = "Alice"\nrendition = "public"')
    fresh.settings.write_text(text + '\n[public]\nlicence = "CC-BY-4.0"\n')
    with opened(fresh, audits, hours=0) as rig:
        yield rig


def drop(rig: Rig, name: str = "good", **how: object) -> Path:
    path = rig.registry.watched / f"{name}.safetensors"
    write_adapter(path, metadata={"ss_output_name": NAME}, **how)  # type: ignore[arg-type]
    rig.drop(path)
    return path


def open_delivery(rig: Rig, name: str, out: Path) -> str:
    """Open as Alice what lies on the stick; return what the verifier said."""
    registry, state = rig.registry, rig.registry.home / "state"
    root = json.loads(registry.run("keys", "show", "--config", registry.settings, "--json").stdout)[
        "root"
    ]
    there = registry.stick / "Alice" / name
    return registry.run(
        *("open", f"{there}.age", "--bundle", f"{there}.loraseal", "--key", root),
        *("--home", registry.alice, "-o", out, "--status", state / "status-list"),
    ).output


# --- what is not made


@pytest.mark.parametrize(("how", "state"), [({"nan": True}, "rejected"), ({"dead": 3}, "held")])
def test_what_is_not_released_has_no_public_form(
    rig: Rig, how: dict[str, object], state: str
) -> None:
    drop(rig, **how)
    assert [step for step, _ in rig.work()] == ["intake", "audit", "decide"]
    assert rig.rows("select state from reg_artifact") == [(state,)]
    assert not rig.rows("select * from reg_rendition_order")


def test_original_that_was_withdrawn_meanwhile_is_not_rendered(rig: Rig) -> None:
    drop(rig)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(render_step, "_made", busy)
        with pytest.raises(BusyError):
            rig.work()
    sql(rig.registry, "update reg_artifact set state='revoked'")
    assert rig.work() == [("render", "impossible")]
    assert "no longer released" in str(rig.one("select reason from reg_rendition_order")[0])


def busy(*_: object) -> None:
    raise BusyError("the disk is full")


def test_header_with_nothing_to_leave_out_is_told_and_not_tried_for_ever(rig: Rig) -> None:
    text = rig.registry.settings.read_text()
    rig.registry.settings.write_text(text.replace('licence = "CC-BY-4.0"', ""))
    write_adapter(rig.registry.watched / "clean.safetensors")
    with opened(rig.registry, rig.shop.audits) as clean:
        clean.drop(rig.registry.watched / "clean.safetensors")
        assert clean.work()[-1] == ("render", "impossible")
        with clean.shop.ledger.reading() as reader:
            (need,) = needs_person(reader)
        assert need.kind == "rendition impossible"
        assert "route the original" in need.reason
        assert not unfinished(clean.shop).moving
        assert len(list(clean.shop.custody.vault.payloads())) == 1


def test_row_that_calls_the_original_public_sends_nothing(rig: Rig) -> None:
    """Who writes the database must not get the original to someone who is to have the public form."""
    drop(rig)
    rig.work()
    (original,) = rig.one("select parent from reg_edge where relation='rendition-of'")
    sql(rig.registry, "update reg_artifact set rendition='public' where id=?", original)
    copy = (
        "insert into reg_rendition select artifact_id, 'public', payload_digest, made_at "
        "from reg_rendition where artifact_id=?"
    )
    sql(rig.registry, copy, original)
    before = rig.carried()
    with rig.shop.ledger.transaction() as tx:
        assert plan_routes(rig.shop, tx, str(original)) == 1
    assert rig.work() == [("deliver", "failed")]
    assert rig.carried() == before


# --- what is made


def test_public_route_sends_what_was_scrubbed_and_judged_by_itself(
    rig: Rig, tmp_path: Path
) -> None:
    source = drop(rig)
    assert [step for step, _ in rig.work()] == STEPS
    assert rig.carried() >= {"Alice/good-public.age", "Alice/good-public.loraseal"}
    out = tmp_path / "good.safetensors"
    open_delivery(rig, "good-public", out)
    data = out.read_bytes()
    head = parse_header(data[: 8 + int.from_bytes(data[:8], "little")], file_size=len(data))
    assert dict(head.metadata) == {"ss_network_dim": "4", "modelspec.license": "CC-BY-4.0"}
    whole = source.read_bytes()
    assert data[head.header_bytes :] == whole[8 + int.from_bytes(whole[:8], "little") :]


def test_recipient_reads_the_licence_that_its_owner_states(rig: Rig, tmp_path: Path) -> None:
    drop(rig)
    rig.work()
    assert "CC-BY-4.0" in open_delivery(rig, "good-public", tmp_path / "a.safetensors")


def test_bundle_of_a_public_form_names_neither_the_original_nor_what_was_left_out(rig: Rig) -> None:
    drop(rig)
    rig.work()
    (original,) = rig.one("select parent from reg_edge where relation='rendition-of'")
    bundle = (rig.registry.stick / "Alice" / "good-public.loraseal").read_bytes()
    intake = parse_predicate(parse_bundle(bundle).intake.envelope.payload, Intake)
    assert intake.rendition == "public"
    assert intake.derived_from is not None
    said = bundle + parse_bundle(bundle).intake.envelope.payload
    assert str(original).encode() not in said
    assert NAME.encode() not in said


def test_original_comes_back_from_the_public_form(rig: Rig, tmp_path: Path) -> None:
    source = drop(rig)
    rig.work()
    out, back = tmp_path / "public.safetensors", tmp_path / "back.safetensors"
    open_delivery(rig, "good-public", out)
    where = ("--config", rig.registry.settings)
    rig.registry.run("scrub", "--restore", out, "-o", back, *where)
    assert back.read_bytes() == source.read_bytes()


def test_lineage_and_form_are_shown(rig: Rig) -> None:
    drop(rig)
    rig.work()
    original, public = rig.one(
        "select parent, child_id from reg_edge where relation='rendition-of'"
    )
    with rig.shop.ledger.reading() as reader:
        detail = show_artifact(reader, str(public))
    assert detail.summary.rendition == "public"
    assert ("rendition-of", original) in [(edge.relation, edge.parent) for edge in detail.edges]
    policy = rig.shop.policy
    assert {audit.rule for audit in detail.audits} == {*policy.rules}
    judged = [audit for audit in detail.audits if audit.rule in policy.required]
    assert all(audit.verdict in ("pass", "warn") for audit in judged)


def test_killed_after_sealing_makes_one_payload_only(rig: Rig) -> None:
    drop(rig)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(render_step, "_record", busy)
        with pytest.raises(BusyError):
            rig.work()
    before = set(rig.shop.custody.vault.payloads())
    assert len(before) == 2
    assert [step for step, _ in rig.work()] == STEPS[3:]
    assert set(rig.shop.custody.vault.payloads()) == before
    assert not rig.shop.custody.vault.unfinished()


def test_lost_job_is_taken_up_by_reconcile(rig: Rig) -> None:
    drop(rig)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(render_step, "_made", busy)
        with pytest.raises(BusyError):
            rig.work()
    sql(rig.registry, "delete from workflow_status")
    assert rig.work() == []
    assert reconcile(rig.shop) == 1
    assert [step for step, _ in rig.work()] == STEPS[3:]


def test_set_is_scrubbed_file_by_file(rig: Rig, tmp_path: Path) -> None:
    folder = rig.registry.watched / "lora"
    folder.mkdir()
    write_adapter(folder / "adapter_model.safetensors", metadata={"ss_output_name": NAME})
    config = {
        "peft_type": "LORA",
        "r": 4,
        "lora_alpha": 4,
        "base_model_name_or_path": "/home/eve/private/base",
    }
    (folder / "adapter_config.json").write_text(json.dumps(config))
    rig.drop(folder)
    ran = [step for step, _ in rig.work()]
    assert "render" in ran
    public = rig.rows("select id from reg_artifact where rendition='public'")
    assert len(public) == 1
    kept = rig.rows("select file_sha256 from reg_header")
    assert len(kept) == 1
    if ("deliver", "sent") in rig.done:
        out = tmp_path / "set"
        open_delivery(rig, "lora-public", out)
        assert "eve" not in (out / "adapter_config.json").read_text()
        assert NAME.encode() not in (out / "adapter_model.safetensors").read_bytes()


def test_render_by_hand_refuses_what_is_not_released_and_what_is_public(lived: Registry) -> None:
    where = ("--config", lived.settings)
    held = lived.run("render", "held.safetensors", *where, code=7)
    assert "expected released" in held.output
    body = json.loads(lived.run("render", "good", *where, "--json").stdout)
    assert body["ordered"] is True
    (row,) = sql(lived, "select state from reg_rendition_order")
    assert row == ("ordered",)
    assert "would be made" in lived.run("render", "good", "--dry-run", *where).output


def test_name_is_the_originals_and_not_that_of_its_public_form(rig: Rig) -> None:
    drop(rig)
    rig.work()
    where = ("--config", rig.registry.settings)
    body = json.loads(rig.registry.run("show", "good.safetensors", "--json", *where).stdout)
    assert body["artifact"]["summary"]["rendition"] == "original"


def test_trace_by_name_claims_nothing_about_bytes(rig: Rig) -> None:
    drop(rig)
    rig.work()
    found = rig.registry.run("trace", "good-public.safetensors", "--config", rig.registry.settings)
    assert "no bytes compared" in found.output
    assert "exact" not in found.output


def test_embedded_tokens_have_no_public_form(rig: Rig) -> None:
    path = rig.registry.watched / "tokens.safetensors"
    write_adapter(path, metadata={"ss_output_name": NAME})
    data = path.read_bytes()
    head = parse_header(data[: 8 + int.from_bytes(data[:8], "little")], file_size=len(data))
    tensors = [
        *head.tensors,
        TensorInfo(
            "bundle_emb.eve.clip_l", "F32", (1, 768), head.body_bytes, head.body_bytes + 3072
        ),
    ]
    body = data[head.header_bytes :] + bytes(range(256)) * 12
    path.write_bytes(dump_header(tensors, head.metadata) + body)
    rig.drop(path)
    ran = rig.work()
    if ("decide", "released") in ran:
        assert ("render", "impossible") in ran
        (reason,) = rig.one("select reason from reg_rendition_order")
        assert "embedded tokens" in str(reason)
        assert "eve" not in str(reason)


def test_public_form_comes_back_to_its_own_original_among_several(rig: Rig, tmp_path: Path) -> None:
    source = drop(rig)
    rig.work()
    out, back = tmp_path / "public.safetensors", tmp_path / "back.safetensors"
    open_delivery(rig, "good-public", out)
    other = tmp_path / "other.safetensors"
    where = ("--config", rig.registry.settings)
    rig.registry.run("scrub", out, "-o", other, "--owner", "Studio", *where)
    rig.registry.run("scrub", "--restore", out, "-o", back, *where)
    assert back.read_bytes() == source.read_bytes()
