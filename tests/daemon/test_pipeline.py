"""The path of an artifact, step by step: what becomes of good input, of bad, and of each one's repeats."""

from __future__ import annotations

import os
import pickle  # noqa: TID251 - a pickle is made here, to be refused; nothing is loaded
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from daemon.pipeline.audit_step import audit_artifact
from daemon.pipeline.decide_step import decide_artifact
from daemon.pipeline.deliver_step import deliver
from daemon.pipeline.intake_step import take_in_candidate
from daemon.pipeline.reconcile import Unfinished, reconcile, unfinished
from registry.errors import LorasealError, NotFoundError
from registry.formats.safetensors import dump_header, lay_out
from tests.daemon.registry_on_disk import write_adapter
from tests.daemon.rig import Rig, sql
from tests.weights_files import lora_bytes

pytestmark = pytest.mark.xdist_group("lived")


def states(rig: Rig, table: str = "artifact") -> list[object]:
    return sorted(str(row[0]) for row in rig.rows(f"select state from reg_{table}"))  # noqa: S608 - a constant of these tests


def objects_in_vault(rig: Rig) -> int:
    vault = rig.shop.custody.paths.vault
    return sum(1 for path in vault.rglob("*.age") if path.is_file())


# --- what is wrong with a candidate ends it, with a reason, and leaves nothing behind


def pickled(path: Path) -> None:
    path.write_bytes(pickle.dumps({"lora": list(range(500))}))


def truncated(path: Path) -> None:
    write_adapter(path)
    data = path.read_bytes()
    path.write_bytes(data[:-100])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def checkpoint(path: Path) -> None:
    """A full UNet, in small: what a trainer's output directory holds beside adapters."""
    names = [
        "model.diffusion_model.input_blocks.0.0.weight",
        "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn1.to_q.weight",
        "first_stage_model.decoder.conv_in.weight",
        "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight",
    ]
    tensors = lay_out([(name, "F16", (4, 4)) for name in names])
    path.write_bytes(dump_header(tensors, ()) + bytes(sum(t.end - t.start for t in tensors)))


def web_page(path: Path) -> None:
    path.write_bytes(b"<!DOCTYPE html><html>404</html>" + b" " * 500)


@pytest.mark.parametrize(
    ("make", "words"),
    [(pickled, "pickle"), (checkpoint, "not an adapter"), (web_page, "HTML|html|web page")],
)
def test_what_is_no_adapter_is_refused_with_a_reason_and_not_sealed(
    rig: Rig, make: Callable[[Path], None], words: str
) -> None:
    """The watcher does not hand on what is not whole; here somebody swaps the file after it did."""
    path = write_adapter(rig.registry.watched / "lora.safetensors")
    candidate = rig.drop(path)
    make(path)
    rig.work()
    state, reason = rig.candidate(candidate)
    assert state in {"refused", "changed"}
    assert reason
    assert re.search(words, reason)
    assert str(rig.registry.watched) not in reason
    assert states(rig) == []
    assert objects_in_vault(rig) == 0


@pytest.mark.parametrize("make", [truncated, emptied])
def test_file_cut_short_after_it_settled_is_never_taken_in(
    rig: Rig, make: Callable[[Path], None]
) -> None:
    path = write_adapter(rig.registry.watched / "lora.safetensors")
    candidate = rig.drop(path)
    make(path)
    rig.work()
    assert rig.candidate(candidate)[0] in {"refused", "changed"}
    assert objects_in_vault(rig) == 0


def test_file_that_vanished_is_gone(rig: Rig) -> None:
    path = write_adapter(rig.registry.watched / "lora.safetensors")
    candidate = rig.drop(path)
    path.unlink()
    rig.work()
    state, reason = rig.candidate(candidate)
    assert state == "gone"
    assert reason
    assert str(path) not in reason


def test_file_replaced_by_a_link_out_of_the_folder_is_not_followed(
    rig: Rig, tmp_path: Path
) -> None:
    path = write_adapter(rig.registry.watched / "lora.safetensors")
    candidate = rig.drop(path)
    secret = write_adapter(tmp_path / "elsewhere.safetensors")
    path.unlink()
    path.symlink_to(secret)
    rig.work()
    state, reason = rig.candidate(candidate)
    assert state == "refused"
    assert "link" in str(reason)
    assert objects_in_vault(rig) == 0


def test_folder_replaced_by_a_link_is_not_followed(rig: Rig, tmp_path: Path) -> None:
    folder = rig.registry.watched / "run"
    folder.mkdir()
    candidate = rig.drop(write_adapter(folder / "lora.safetensors"))
    outside = tmp_path / "outside"
    shutil.copytree(folder, outside)
    shutil.rmtree(folder)
    folder.symlink_to(outside)
    rig.work()
    assert rig.candidate(candidate)[0] == "refused"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_file_of_another_user_says_so(rig: Rig) -> None:
    path = write_adapter(rig.registry.watched / "lora.safetensors")
    candidate = rig.drop(path)
    path.chmod(0)
    rig.work()
    state, reason = rig.candidate(candidate)
    assert state == "unreadable"
    assert "cannot read" in str(reason)


def test_file_that_grew_after_it_settled_is_another_candidate(rig: Rig) -> None:
    """The state that settled is gone; the new one is taken once it settles."""
    path = write_adapter(rig.registry.watched / "lora.safetensors", modules=4)
    first = rig.drop(path)
    write_adapter(path, modules=6)
    second = rig.drop(path)
    assert first != second
    rig.work()
    assert states(rig) == ["released"]
    assert objects_in_vault(rig) == 1


def test_same_candidate_noted_twice_is_one(rig: Rig) -> None:
    path = write_adapter(rig.registry.watched / "lora.safetensors")
    assert rig.drop(path) == rig.drop(path)
    rig.work()
    assert states(rig, "candidate") == ["taken"]


# --- three fates, and the same content again


def test_released_held_and_rejected_each_say_why(lived_rig: Rig) -> None:
    assert states(lived_rig) == ["held", "rejected", "released"]
    reasons = dict(lived_rig.rows("select state, reason from reg_artifact"))
    assert "dead_modules" in str(reasons["held"])
    assert "nonfinite" in str(reasons["rejected"])
    assert lived_rig.carried() == {"Alice/good.age", "Alice/good.loraseal"}
    assert unfinished(lived_rig.shop) == Unfinished()


def test_same_content_under_another_name_is_known_and_sealed_once(lived_rig: Rig) -> None:
    before = objects_in_vault(lived_rig)
    first = lived_rig.registry.watched / "good.safetensors"
    shutil.copyfile(first, lived_rig.registry.watched / "copy.safetensors")
    folder = lived_rig.registry.watched / "again"
    folder.mkdir()
    shutil.copyfile(first, folder / "good.safetensors")
    lived_rig.drop(folder / "good.safetensors")
    ran = lived_rig.work()
    assert ran == [("intake", "known")]
    assert objects_in_vault(lived_rig) == before
    assert lived_rig.carried() == {"Alice/good.age", "Alice/good.loraseal"}


def test_steps_run_again_change_nothing(lived_rig: Rig) -> None:
    """At least once means: every step may be called again with what it had."""
    artifacts = [str(row[0]) for row in lived_rig.rows("select id from reg_artifact")]
    candidates = [str(row[0]) for row in lived_rig.rows("select id from reg_candidate")]
    (delivery,) = lived_rig.one("select id from reg_delivery")
    size = lived_rig.one("select count(*) from reg_statement")
    shop = lived_rig.shop
    answers = {take_in_candidate(shop, item) for item in candidates}
    answers |= {
        step(shop, item) for item in artifacts for step in (audit_artifact, decide_artifact)
    }
    answers.add(deliver(shop, str(delivery)))
    assert answers == {"nothing to do"}
    assert lived_rig.one("select count(*) from reg_statement") == size


@pytest.mark.parametrize("step", [take_in_candidate, audit_artifact, decide_artifact, deliver])
def test_step_for_an_id_that_nobody_knows_is_an_error(
    rig: Rig, step: Callable[[object, str], str]
) -> None:
    with pytest.raises(NotFoundError):
        step(rig.shop, "0" * 32)


def test_peft_directory_goes_all_the_way(rig: Rig) -> None:
    folder = write_peft(rig.registry.watched / "my-peft")
    rig.clock.advance(hours=-1)  # the recipient's clock is the real one
    rig.drop(folder)
    rig.work()
    assert states(rig) == ["released"]
    assert rig.carried() == {"Alice/my-peft.age", "Alice/my-peft.loraseal"}
    registry, out = rig.registry, rig.registry.home / "opened"
    sealed = registry.stick / "Alice" / "my-peft.age"
    registry.run(
        *("open", sealed, "--bundle", sealed.with_suffix(".loraseal"), "--key", root_of(rig)),
        *("--home", registry.alice, "-o", out),
    )
    found = {path.name: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert found == {path.name: path.read_bytes() for path in folder.iterdir()}


def root_of(rig: Rig) -> str:
    from daemon.keyring import root_public

    return root_public(rig.shop.custody.keyring).hex()


def write_peft(folder: Path) -> Path:
    import json

    folder.mkdir()
    entries = []
    for number in range(6):
        base = f"base_model.model.model.layers.{number}.self_attn.q_proj"
        entries += [
            (f"{base}.lora_A.weight", "F32", (4, 16)),
            (f"{base}.lora_B.weight", "F32", (16, 4)),
        ]
    tensors = lay_out(entries)
    import numpy as np

    generator = np.random.Generator(np.random.PCG64(7))
    body = b"".join(
        (generator.standard_normal(int(np.prod(t.shape)), dtype=np.float32) * 0.02)
        .astype("<f4")
        .tobytes()
        for t in tensors
    )
    (folder / "adapter_model.safetensors").write_bytes(dump_header(tensors, ()) + body)
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 4, "target_modules": ["q_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


# --- the audit child dies


def test_artifact_that_kills_the_audit_child_three_times_is_set_aside(rig: Rig) -> None:
    """A child over its memory limit is killed for real; the limit is below what an interpreter has."""
    tiny = rig.shop.settings.audit.model_copy(update={"memory_bytes": 1})
    settings = rig.shop.settings.model_copy(update={"audit": tiny})
    rig.shop = replace(rig.shop, settings=settings)
    rig.drop(write_adapter(rig.registry.watched / "lora.safetensors"))
    ran = rig.work()
    assert [answer for job, answer in ran if job == "audit"] == ["death 1", "death 2", "death 3"]
    assert states(rig) == ["set_aside"]
    (reason,) = rig.one("select reason from reg_artifact")
    assert "killed the audit child 3 times" in str(reason)
    assert rig.carried() == set()
    assert rig.rows("select * from reg_decision") == []
    assert unfinished(rig.shop) == Unfinished()


def test_vault_object_damaged_before_the_audit_is_not_audited(rig: Rig) -> None:
    candidate = rig.drop(write_adapter(rig.registry.watched / "lora.safetensors"))
    take_in_candidate(rig.shop, candidate)
    (artifact,) = rig.one("select id from reg_artifact")
    (payload,) = [p for p in rig.shop.custody.paths.vault.rglob("*.age") if p.is_file()]
    data = payload.read_bytes()
    payload.chmod(0o600)
    payload.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(LorasealError):
        audit_artifact(rig.shop, str(artifact))
    assert states(rig) == ["sealed"]


# --- reconcile


def test_whatever_is_unfinished_gets_its_job_back(rig: Rig) -> None:
    """The engine's rows hold progress only; all of them may be deleted."""
    rig.drop(write_adapter(rig.registry.watched / "lora.safetensors"))
    for expected in ("intake", "audit", "decide", "deliver"):
        sql(rig.registry, "delete from workflow_status")
        assert rig.waiting() == []
        assert reconcile(rig.shop) == 1
        assert [job.name for job in rig.waiting()] == [expected]
        (job,) = rig.waiting()
        from tests.daemon.rig import STEPS

        STEPS[job.name](rig.shop, job.argument)
    assert states(rig, "delivery") == ["sent"]


def test_reconcile_adds_nothing_while_a_job_waits(rig: Rig) -> None:
    rig.drop(write_adapter(rig.registry.watched / "lora.safetensors"))
    assert reconcile(rig.shop) == 0


def test_reason_of_a_refusal_holds_no_name_out_of_the_file(rig: Rig) -> None:
    path = rig.registry.watched / "a.safetensors"
    data = lora_bytes(1).replace(b"lora_unet_block_0.alpha", b"jane@acme.com 138123456")
    path.write_bytes(data.replace(b'"F32","shape":[]', b'"F99","shape":[]'))
    candidate = rig.drop(path)
    rig.work()
    state, reason = rig.candidate(candidate)
    assert state == "refused"
    assert "acme" not in str(reason)
    assert not rig.rows("select detail from reg_event where detail like '%acme%'")


def test_folder_with_a_short_name_does_not_spoil_the_words(rig: Rig) -> None:
    folder = rig.registry.watched / "lora"
    folder.mkdir()
    (folder / "adapter_model.bin").write_bytes(b"PK\x03\x04" + bytes(400))
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 4}')
    candidate = rig.drop(folder)
    rig.work()
    _, reason = rig.candidate(candidate)
    assert "loraseal convert" in str(reason)
