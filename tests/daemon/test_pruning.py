"""Deleting a trainer's saves: only by the owner's word, only exactly what was looked at, and told."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from daemon.pipeline import pruning
from daemon.pipeline.pruning import doomed, prune
from daemon.service import Service
from daemon.settings import WatchSettings
from registry.audits.runner import AuditWorker
from registry.formats.safetensors import dump_header, lay_out
from registry.provenance.events import EventQuery, recent_events
from tests.daemon.registry_on_disk import Registry, write_adapter
from tests.daemon.rig import Rig, opened, sql

pytestmark = pytest.mark.xdist_group("lived")

NAMES = ("a-000001", "a-000002", "a-000003", "a")


@pytest.fixture
def rig(fresh: Registry, audits: AuditWorker) -> Iterator[Rig]:
    """A folder with three saves and a result, all older than an hour by the rig's clock."""
    for number, name in enumerate(NAMES):
        path = write_adapter(fresh.watched / f"{name}.safetensors")
        stamp = path.stat().st_ctime_ns - (10 - number) * 1_000_000_000
        os.utime(path, ns=(stamp, stamp))
    with opened(fresh, audits) as rig:
        newest = max(path.stat().st_ctime for path in fresh.watched.iterdir())
        rig.clock.now = max(rig.clock.now, datetime.fromtimestamp(newest + 3600, UTC))
        yield rig


def watch(rig: Rig, how: str) -> WatchSettings:
    return WatchSettings(path=rig.registry.watched, delete_intermediates=how)  # type: ignore[arg-type]


def left(rig: Rig) -> set[str]:
    return {path.stem for path in rig.registry.watched.iterdir()}


def told(rig: Rig) -> list[tuple[str, str]]:
    with rig.shop.ledger.reading() as reader:
        events = recent_events(reader, EventQuery(limit=50))
    return [(event.kind, event.detail) for event in events if event.kind.startswith("trainer")]


def test_nothing_is_deleted_unless_the_settings_say_so(rig: Rig) -> None:
    assert prune(rig.shop, rig.shop.settings.watch[0]).files == 0
    assert left(rig) == set(NAMES)
    assert told(rig) == []


def test_save_that_is_not_in_the_vault_stays(rig: Rig) -> None:
    assert prune(rig.shop, watch(rig, "sealed")).files == 0
    assert left(rig) == set(NAMES)


def test_save_that_changed_since_it_was_sealed_stays(rig: Rig) -> None:
    path = rig.registry.watched / "a-000001.safetensors"
    rig.drop(path)
    rig.work()
    write_adapter(path, seed="other")
    rig.clock.advance(hours=2)
    assert prune(rig.shop, watch(rig, "sealed")).files == 0
    assert left(rig) == set(NAMES)


def test_sealed_save_goes_and_the_ledger_is_told_before_and_after(rig: Rig) -> None:
    rig.drop(rig.registry.watched / "a-000001.safetensors")
    rig.work()
    assert [str(one.group.base) for one in doomed(rig.shop, watch(rig, "sealed"))] == [
        "a-000001.safetensors"
    ]
    assert prune(rig.shop, watch(rig, "sealed")).files == 1
    assert left(rig) == set(NAMES) - {"a-000001"}
    (before, words), (after, _) = told(rig)
    assert (before, after) == ("trainer files to be deleted", "trainer files deleted")
    assert "copy-on-write" in words
    assert "a-000001" not in words
    assert str(rig.registry.watched) not in words


def test_payload_that_is_gone_from_the_vault_keeps_the_file(rig: Rig) -> None:
    rig.drop(rig.registry.watched / "a-000001.safetensors")
    rig.work()
    (payload,) = list(rig.shop.custody.vault.payloads())
    rig.shop.custody.vault.delete(payload)
    assert prune(rig.shop, watch(rig, "sealed")).files == 0


def test_all_leaves_the_result_and_the_newest_save_of_the_run(rig: Rig) -> None:
    assert prune(rig.shop, watch(rig, "all")).files == 2
    assert left(rig) == {"a-000003", "a"}


def test_save_that_is_wanted_and_not_sealed_yet_stays(rig: Rig) -> None:
    wanted = watch(rig, "all").model_copy(update={"intermediates": "last", "keep_last": 1})
    assert prune(rig.shop, wanted).files == 0
    assert left(rig) == set(NAMES)


def test_what_a_trainer_without_results_leaves_stays_unless_it_is_sealed(rig: Rig) -> None:
    for number in (1, 2):
        folder = rig.registry.watched / f"checkpoint-{number}"
        folder.mkdir()
        write_adapter(folder / "lora.safetensors")
    rig.clock.advance(days=1)
    prune(rig.shop, watch(rig, "all"))
    assert (rig.registry.watched / "checkpoint-1" / "lora.safetensors").exists()


def test_file_with_another_name_stays(rig: Rig) -> None:
    first = rig.registry.watched / "a-000001.safetensors"
    os.link(first, rig.registry.home / "other-name")
    rig.clock.advance(days=1)
    for _ in range(3):
        prune(rig.shop, watch(rig, "all"))
    assert first.exists()
    # What cannot go is no news each minute: the one other save was told of, before and after.
    assert len(told(rig)) == 2


def test_damaged_payload_keeps_the_file(rig: Rig) -> None:
    rig.drop(rig.registry.watched / "a-000001.safetensors")
    rig.work()
    (payload,) = list(rig.shop.custody.vault.payloads())
    stored = rig.shop.custody.vault.path_of(payload)
    data = bytearray(stored.read_bytes())
    data[-20] ^= 1
    stored.chmod(0o600)
    stored.write_bytes(data)
    assert prune(rig.shop, watch(rig, "sealed")).files == 0


def test_result_that_bears_a_date_is_no_save(rig: Rig) -> None:
    for day in ("010224", "020224", "241121"):
        write_adapter(rig.registry.watched / f"portrait-{day}.safetensors")
    rig.clock.advance(days=1)
    prune(rig.shop, watch(rig, "all"))
    assert {name for name in left(rig) if "portrait" in name} == {
        "portrait-010224", "portrait-020224", "portrait-241121",
    }  # fmt: skip


def test_several_files_of_one_checkpoint_are_not_older_than_each_other(rig: Rig) -> None:
    folder = rig.registry.watched / "checkpoint-500"
    folder.mkdir()
    for name in ("model.safetensors", "model_1.safetensors"):
        write_adapter(folder / name)
    rig.clock.advance(days=1)
    prune(rig.shop, watch(rig, "all"))
    assert len(list(folder.iterdir())) == 2


def test_what_is_no_adapter_stays(rig: Rig) -> None:
    tensors = lay_out([("model.diffusion_model.input_blocks.0.0.weight", "F32", (4, 4))])
    for number in (1, 2):
        folder = rig.registry.watched / f"checkpoint-{number}"
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(dump_header(tensors, ()) + bytes(64))
    rig.clock.advance(days=1)
    prune(rig.shop, watch(rig, "all"))
    assert (rig.registry.watched / "checkpoint-1" / "model.safetensors").exists()


def test_newest_by_time_stays_where_a_run_began_anew(rig: Rig) -> None:
    fresh = write_adapter(rig.registry.watched / "a-000001.safetensors", seed="second run")
    rig.clock.advance(days=1)
    prune(rig.shop, watch(rig, "all"))
    assert fresh.exists()


def test_row_that_points_at_another_artifact_deletes_nothing(rig: Rig) -> None:
    """Who writes the database must not get a file deleted that the vault does not hold."""
    rig.drop(rig.registry.watched / "a.safetensors")
    rig.work()
    (artifact,) = rig.one("select id from reg_artifact")
    candidate = rig.drop(rig.registry.watched / "a-000001.safetensors")
    sql(
        rig.registry,
        "update reg_candidate set state='taken', artifact_id=? where id=?",
        artifact,
        candidate,
    )
    assert prune(rig.shop, watch(rig, "sealed")).files == 0
    assert left(rig) == set(NAMES)


def test_young_save_stays(rig: Rig) -> None:
    newest = max(path.stat().st_ctime for path in rig.registry.watched.iterdir())
    rig.clock.now = datetime.fromtimestamp(newest + 5, UTC)
    assert prune(rig.shop, watch(rig, "all")).files == 0


def test_what_takes_the_name_meanwhile_stays(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    first = rig.registry.watched / "a-000001.safetensors"
    elsewhere = rig.registry.home / "elsewhere"
    tell = pruning._tell

    def swap(*arguments: object) -> None:
        tell(*arguments)  # type: ignore[arg-type]
        if not first.is_symlink():
            first.rename(elsewhere)
            first.symlink_to(elsewhere)

    monkeypatch.setattr(pruning, "_tell", swap)
    done = prune(rig.shop, watch(rig, "all"))
    assert (done.files, done.left) == (1, 1)
    assert elsewhere.exists()
    assert first.is_symlink()


def test_folder_that_became_a_link_is_not_entered(rig: Rig, tmp_path: Path) -> None:
    inside = rig.registry.watched / "run"
    for number in (1, 2):
        folder = inside / f"checkpoint-{number}"
        folder.mkdir(parents=True)
        write_adapter(folder / "lora.safetensors")
    rig.clock.advance(hours=2)
    real = tmp_path / "real"
    inside.rename(real)
    inside.symlink_to(real)
    prune(rig.shop, watch(rig, "all"))
    assert (real / "checkpoint-1" / "lora.safetensors").exists()


def test_ledger_that_cannot_be_told_keeps_everything(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(pruning, "_tell", full)
    with pytest.raises(OSError, match="disk full"):
        prune(rig.shop, watch(rig, "all"))
    assert left(rig) == set(NAMES)


def test_service_prunes_by_its_settings(rig: Rig) -> None:
    settings = rig.shop.settings.model_copy(update={"watch": (watch(rig, "all"),)})
    shop = replace(rig.shop, settings=settings)
    Service(shop=shop, watchers=()).run_once()
    assert left(rig) == {"a-000003", "a"}


def test_last_saves_are_not_deleted_to_make_room_for_older_ones(rig: Rig) -> None:
    """Else each deletion would make an older save one of the last, and it would be taken and delivered."""
    wanted = watch(rig, "sealed").model_copy(update={"intermediates": "last", "keep_last": 2})
    for name in ("a-000003", "a-000002"):
        rig.drop(rig.registry.watched / f"{name}.safetensors")
    rig.work()
    assert prune(rig.shop, wanted).files == 0
    assert left(rig) == set(NAMES)


def test_best_checkpoint_that_the_trainer_loads_in_the_end_stays(rig: Rig) -> None:
    for number in (5, 6, 7):
        folder = rig.registry.watched / f"checkpoint-{number}"
        folder.mkdir()
        write_adapter(folder / "adapter_model.safetensors", seed=str(number))
        config = {"peft_type": "LORA", "r": 4, "lora_alpha": 4}
        (folder / "adapter_config.json").write_text(json.dumps(config))
        state = {"best_model_checkpoint": "/somewhere/out/checkpoint-5"}
        (folder / "trainer_state.json").write_text(json.dumps(state))
    rig.clock.advance(days=1)
    prune(rig.shop, watch(rig, "all"))
    there = [
        (rig.registry.watched / f"checkpoint-{n}" / "adapter_model.safetensors").exists()
        for n in (5, 6, 7)
    ]
    assert there == [True, False, True]
