"""Marked copies: off unless a route says so, one for each recipient, judged by itself, and nobody else's."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from daemon.custody.opening import payload_in_memory
from daemon.pipeline import mark_step
from daemon.pipeline.audit_step import audit_artifact
from daemon.pipeline.reconcile import reconcile, unfinished
from daemon.pipeline.workshop import Workshop
from daemon.standing import stopped_deliveries
from registry.artifacts.notes import IntakeResult
from registry.audits.marking import ChildDiedError
from registry.audits.runner import AuditWorker
from registry.audits.sealed_memory import map_memory
from registry.errors import BusyError
from registry.fingerprints.marks.seeds import verify_opening
from registry.formats.bundle import parse_bundle
from registry.formats.predicates.intake import Intake, Rendition
from registry.formats.predicates.predicate import parse_predicate
from registry.formats.safetensors import parse_header
from registry.provenance.marks import MarkOrder, mark_seed
from registry.provenance.renditions import order_rendition
from registry.provenance.status import needs_person
from tests.daemon.registry_on_disk import Registry, write_adapter
from tests.daemon.rig import STEPS as STEPS_RUN
from tests.daemon.rig import Rig, opened, sql

pytestmark = pytest.mark.xdist_group("lived")

Step = Callable[[Workshop, str], str]

STEPS = ["intake", "audit", "decide", "mark", "audit", "decide", "deliver"]
MODULES = 90  # of rank 4: 1,080 chips, just enough to accuse anyone


@pytest.fixture
def rig(fresh: Registry, audits: AuditWorker) -> Iterator[Rig]:
    """A registry whose route to Alice sends copies with her mark."""
    with opened(marking(fresh), audits, hours=0) as rig:
        yield rig


@pytest.fixture
def rig_with_bob(lived: Registry, audits: AuditWorker) -> Iterator[Rig]:
    """The same, with another recipient."""
    with opened(marking(lived), audits) as rig:
        yield rig


def marking(registry: Registry) -> Registry:
    text = registry.settings.read_text().replace('to = "Alice"', 'to = "Alice"\nmark = true')
    registry.settings.write_text(text)
    return registry


def drop(rig: Rig, name: str = "good", **how: object) -> Path:
    path = rig.registry.watched / f"{name}.safetensors"
    write_adapter(path, **{"modules": MODULES, **how})  # type: ignore[arg-type]
    rig.drop(path)
    return path


def carried_to_alice(rig: Rig, suffix: str) -> Path:
    (found,) = (rig.registry.stick / "Alice").glob(f"good-*{suffix}")
    return found


def opened_by_alice(rig: Rig, out: Path) -> Path:
    registry, state = rig.registry, rig.registry.home / "state"
    shown = registry.run("keys", "show", "--config", registry.settings, "--json").stdout
    told = registry.run(
        *("open", carried_to_alice(rig, ".age")),
        *("--bundle", carried_to_alice(rig, ".loraseal"), "--key", json.loads(shown)["root"]),
        *("--home", registry.alice, "-o", out, "--status", state / "status-list"),
    ).output
    assert "marked: its weights bear a mark" in told
    return out


def traced(rig: Rig, path: Path, *, code: int = 9) -> dict[str, object]:
    told = rig.registry.run(
        *("trace", path, "--config", rig.registry.settings, "--json"), code=code
    )
    answer: dict[str, object] = json.loads(told.stdout)["answer"]
    return answer


def scaled_up(source: Path, target: Path, factor: float) -> Path:
    """Write `source` with every up factor times `factor`: other bytes, the same function but for strength."""
    data = bytearray(source.read_bytes())
    length = 8 + int.from_bytes(data[:8], "little")
    header = parse_header(bytes(data[:length]), file_size=len(data))
    for tensor in header.tensors:
        if "lora_up" in tensor.name:
            place = slice(length + tensor.start, length + tensor.end)
            data[place] = (np.frombuffer(data[place], "<f4") * np.float32(factor)).tobytes()
    target.write_bytes(data)
    return target


# --- what is not made, and what is not sent


def test_too_small_an_adapter_is_told_and_never_sent_unmarked(rig: Rig) -> None:
    drop(rig, modules=4)
    assert rig.work()[-1] == ("mark", "impossible")
    with rig.shop.ledger.reading() as reader:
        (need,) = needs_person(reader)
    assert need.kind == "marked copy impossible"
    (stopped,) = stopped_deliveries(rig.shop, 0, frozenset())
    assert "marked copy impossible" in stopped
    told = rig.registry.run("status", "--config", rig.registry.settings).output
    assert "copies      1 impossible" in told
    assert "chips" in need.reason
    assert not rig.carried()
    assert not unfinished(rig.shop).moving


def test_original_that_was_withdrawn_meanwhile_is_not_marked(rig: Rig) -> None:
    drop(rig)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mark_step, "_made", busy)
        with pytest.raises(BusyError):
            rig.work()
    sql(rig.registry, "update reg_artifact set state='revoked'")
    assert rig.work() == [("mark", "impossible")]


def busy(*_: object) -> None:
    raise BusyError("the disk is full")


def test_a_copy_goes_to_nobody_but_its_recipient(rig_with_bob: Rig) -> None:
    """Bob, with Alice's copy, could have her accused of what he does with it."""
    rig = rig_with_bob
    drop(rig, "leaky")
    rig.work()
    (copy,) = rig.one("select made_id from reg_mark")
    before = rig.carried()
    deliver = ("deliver", copy, "--to", "Bob", "--by", "folder", "--config", rig.registry.settings)
    assert "another recipient" in rig.registry.run(*deliver, code=7).output
    assert "another recipient" in rig.registry.run(*deliver, "--dry-run", code=7).output
    rig.work()
    assert rig.carried() == before


def test_a_copy_has_no_public_form(rig: Rig) -> None:
    """It would bear the mark, and nothing would say so."""
    drop(rig)
    rig.work()
    (copy,) = rig.one("select made_id from reg_mark")
    render = ("render", copy, "--config", rig.registry.settings)
    assert "marked copy" in rig.registry.run(*render, code=7).output
    with rig.shop.ledger.transaction() as tx:
        order_rendition(tx, str(copy), Rendition.PUBLIC, rig.clock())
    assert reconcile(rig.shop) == 1
    assert rig.work() == [("render", "impossible")]


def test_who_gets_marked_copies_is_sent_no_other_by_hand_unless_that_is_said(rig: Rig) -> None:
    drop(rig)
    rig.work()
    (original,) = rig.one("select source_id from reg_mark")
    to_alice = ("deliver", original, "--to", "Alice", "--by", "folder")
    settings = ("--config", rig.registry.settings)
    assert "marked copies only" in rig.registry.run(*to_alice, *settings, code=2).output
    rig.registry.run(*to_alice, "--unmarked", *settings)


def test_routes_that_give_the_mark_away_are_refused(fresh: Registry) -> None:
    with fresh.settings.open("a") as settings:
        settings.write('\n[[route]]\nto = "alice"\nchannel = "folder"\nmark = true\n')
    told = fresh.run("doctor", "--config", fresh.settings, code=2).output
    assert "marked and unmarked" in told


def test_revoked_original_takes_its_copies_with_it(rig: Rig, tmp_path: Path) -> None:
    drop(rig)
    rig.work()
    (original,) = rig.one("select source_id from reg_mark")
    told = rig.registry.run("revoke", original, "--yes", "--config", rig.registry.settings).output
    assert "1 deliveries" in told
    assert rig.rows("select distinct state from reg_artifact") == [("revoked",)]
    assert rig.one("select count(*) from reg_revocation") == (3,)  # two releases, one delivery


def revoked(rig: Rig, artifact: object) -> None:
    rig.registry.run("revoke", artifact, "--yes", "--config", rig.registry.settings)


def test_copy_of_what_was_revoked_meanwhile_is_held(rig: Rig) -> None:
    drop(rig)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(STEPS_RUN, "audit", once_more(rig, audit_artifact))
        with pytest.raises(BusyError):
            rig.work()
    (original, copy) = rig.one("select source_id, made_id from reg_mark")
    sql(rig.registry, "update reg_artifact set state='revoked' where id=?", original)
    rig.work()
    state, reason = rig.one("select state, reason from reg_artifact where id=?", copy)
    assert state == "held"
    assert "made of artifact" in str(reason)
    assert not rig.carried()


def once_more(rig: Rig, step: Step) -> Step:
    """Return `step`, which stops before its second artifact: the marked copy."""
    seen: list[str] = []

    def limited(shop: Workshop, artifact_id: str) -> str:
        seen.append(artifact_id)
        if len(seen) > 1:
            raise BusyError("stopped here")
        return step(shop, artifact_id)

    return limited


def test_copy_whose_source_is_revoked_while_it_is_made_is_dropped(rig: Rig) -> None:
    drop(rig)
    made = mark_step._made

    def slow(shop: Workshop, order: MarkOrder) -> IntakeResult:
        result = made(shop, order)
        revoked(rig, order.source_id)
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mark_step, "_made", slow)
        assert rig.work()[-1] == ("mark", "impossible")
    assert len(list(rig.shop.custody.vault.payloads())) == 1
    assert not rig.carried()


def test_payload_that_kills_the_process_is_not_tried_for_ever(rig: Rig) -> None:
    drop(rig)

    def dies(*_: object) -> None:
        raise ChildDiedError("the process that reads payloads did not finish")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mark_step, "make_marked", dies)
        answers = [answer for step, answer in rig.work() if step == "mark"]
    assert answers == ["death 1", "death 2", "impossible"]
    with rig.shop.ledger.reading() as reader:
        (need,) = needs_person(reader)
    assert "killed the process" in need.reason


def test_row_that_gives_a_copy_to_another_sends_nothing(rig_with_bob: Rig) -> None:
    rig = rig_with_bob
    drop(rig, "leaky")
    rig.work()
    before = rig.carried()
    (copy,) = rig.one("select made_id from reg_mark")
    (bob,) = rig.one(
        "select id from reg_recipient where id not in (select recipient_id from reg_mark)"
    )
    sql(rig.registry, "update reg_mark set recipient_id=?", bob)
    sql(
        rig.registry,
        "update reg_delivery set recipient_id=?, state='planned' where artifact_id=?",
        bob,
        copy,
    )
    reconcile(rig.shop)
    rig.work()
    assert rig.carried() == before


# --- what is made


def test_route_without_mark_sends_the_bytes_that_were_trained(
    fresh: Registry, audits: AuditWorker
) -> None:
    with opened(fresh, audits, hours=0) as rig:
        drop(rig)
        assert "mark" not in [step for step, _ in rig.work()]
        assert not rig.rows("select * from reg_mark")


def test_marked_copy_is_judged_by_itself_and_names_its_recipient(rig: Rig, tmp_path: Path) -> None:
    source = drop(rig)
    assert [step for step, _ in rig.work()] == STEPS
    copy = opened_by_alice(rig, tmp_path / "copy.safetensors")
    ours, theirs = source.read_bytes(), copy.read_bytes()
    assert len(ours) == len(theirs)
    assert ours != theirs
    assert (
        ours[: 8 + int.from_bytes(ours[:8], "little")]
        == theirs[: 8 + int.from_bytes(ours[:8], "little")]
    )
    leak = scaled_up(copy, tmp_path / "leak.safetensors", 0.7)
    answer = traced(rig, leak)
    assert not answer["matches"]
    assert answer["similar"][0]["kinship"] in {"same_function", "re_encoded"}  # type: ignore[index]
    # The original alone resembles it: likeness must not name the recipient of one copy.
    assert [one["artifact"]["rendition"] for one in answer["similar"]] == ["original"]  # type: ignore[union-attr]
    (mark,) = answer["marks"]  # type: ignore[misc]
    assert [one["recipient"] for one in mark["named"]] == ["Alice"]
    assert any("innocent" in sentence for sentence in mark["words"])
    told = rig.registry.run("trace", leak, "--config", rig.registry.settings, code=9).output
    assert "MARK OF   Alice" in told
    assert "SIMILAR" in told


def test_what_was_never_marked_names_nobody(rig: Rig, tmp_path: Path) -> None:
    source = drop(rig)
    rig.work()
    (mark,) = traced(rig, scaled_up(source, tmp_path / "a.safetensors", 0.7))["marks"]  # type: ignore[misc]
    assert mark["named"] == []
    assert "says nothing" in mark["words"][0]


def test_bundle_commits_to_the_seed_and_hides_it(rig: Rig) -> None:
    drop(rig)
    rig.work()
    bundle = carried_to_alice(rig, ".loraseal").read_bytes()
    said = parse_bundle(bundle).intake.envelope.payload
    intake = parse_predicate(said, Intake)
    assert intake.rendition == "marked"
    assert intake.mark is not None
    source, recipient = rig.one("select source_id, recipient_id from reg_mark")
    with rig.shop.ledger.reading() as reader:
        seed = mark_seed(reader, str(source), str(recipient))
    verify_opening(bytes.fromhex(intake.mark.commitment), seed)
    assert seed.hex().encode() not in bundle + said
    assert str(source).encode() not in bundle + said
    assert str(recipient).encode() not in said


def test_killed_after_sealing_makes_one_copy_only(rig: Rig) -> None:
    drop(rig)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mark_step, "_record", busy)
        with pytest.raises(BusyError):
            rig.work()
    assert [step for step, _ in rig.work()] == STEPS[3:]
    assert len(list(rig.shop.custody.vault.payloads())) == 2


def test_lost_job_is_taken_up_by_reconcile(rig: Rig) -> None:
    drop(rig)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mark_step, "_made", busy)
        with pytest.raises(BusyError):
            rig.work()
    sql(rig.registry, "update workflow_status set status='ERROR' where status != 'SUCCESS'")
    assert reconcile(rig.shop) == 1
    assert rig.work()[-1][0] == "deliver"


def test_merge_of_known_adapters_is_taken_apart(
    fresh: Registry, audits: AuditWorker, tmp_path: Path
) -> None:
    with opened(fresh, audits, hours=0) as rig:
        first, second = drop(rig, "one"), drop(rig, "two")
        rig.work()
        answer = traced(rig, concatenated(first, second, tmp_path / "merge.safetensors"))
        weights = {part["artifact"]["name"]: part["weight"] for part in answer["merge"]["parts"]}  # type: ignore[index]
        assert weights.keys() == {"one.safetensors", "two.safetensors"}
        assert [round(float(weight), 2) for weight in weights.values()] == [0.5, 0.5]


def concatenated(first: Path, second: Path, target: Path) -> Path:
    """Write the mean of two adapters of one shape as one of twice the rank."""
    from safetensors.numpy import load_file, save_file

    one, two = load_file(first), load_file(second)
    merged = {}
    for name, values in one.items():
        if name.endswith(".alpha"):
            merged[name] = values  # half of the rank: so each counts half
        else:
            axis = 0 if "lora_down" in name else 1
            merged[name] = np.ascontiguousarray(np.concatenate([values, two[name]], axis))
    save_file(merged, target, {"note": secrets.token_hex(4)})
    return target


def test_copy_that_comes_back_under_another_name_is_held_and_sent_to_nobody(
    rig_with_bob: Rig,
) -> None:
    """Bob, with Alice's copy unsaid, could have her accused of what he does with it."""
    rig = rig_with_bob
    drop(rig, "leaky")
    rig.work()
    (copy,) = rig.one("select made_id from reg_mark")
    back = rig.registry.watched / "returned.safetensors"
    with payload_in_memory(rig.shop.custody, str(copy)) as payload:
        back.write_bytes(map_memory(payload.descriptor))
    before = rig.carried()
    candidate = rig.drop(back)
    rig.work()
    (returned,) = rig.one("select artifact_id from reg_candidate where id=?", candidate)
    state, reason = rig.one("select state, reason from reg_artifact where id=?", returned)
    assert state == "held"
    assert "marked copy" in str(reason)
    release = ("release", returned, "--reason", "by mistake", "--config", rig.registry.settings)
    rig.registry.run(*release)
    rig.work()
    assert rig.carried() == before
    assert rig.one("select count(*) from reg_mark where source_id=?", returned) == (0,)
