"""After a revocation: sticks give back what nobody collected, and status lists do not run out."""

from __future__ import annotations

from datetime import timedelta

import pytest

from daemon.pipeline.withdrawal import keep_head_fresh, keep_status_fresh, recall_revoked
from registry.formats.moments import parse_moment
from tests.daemon.registry_on_disk import Registry, write_adapter
from tests.daemon.rig import Rig, artifact_named

pytestmark = pytest.mark.xdist_group("lived")


def revoke(rig: Rig) -> None:
    good = artifact_named(rig.registry, "good")
    rig.registry.run("revoke", good, "--yes", "--config", rig.registry.settings)


def recalls(rig: Rig) -> list[object]:
    return [
        row[0] for row in rig.rows("select detail from reg_event where kind = 'delivery recalled'")
    ]


def alices(rig: Rig) -> set[str]:
    return {name for name in rig.carried() if name.startswith("Alice/")}


def test_revoked_delivery_is_taken_off_the_stick_once(lived_rig: Rig) -> None:
    assert alices(lived_rig)
    revoke(lived_rig)
    assert recall_revoked(lived_rig.shop) == 1
    assert not alices(lived_rig)
    assert recalls(lived_rig) == ["stopped"]
    assert recall_revoked(lived_rig.shop) == 0
    assert recalls(lived_rig) == ["stopped"]


def test_what_was_carried_away_before_is_too_late(lived_rig: Rig) -> None:
    for name in alices(lived_rig):
        (lived_rig.registry.stick / name).unlink()
    revoke(lived_rig)
    recall_revoked(lived_rig.shop)
    assert recalls(lived_rig) == ["too_late"]


def test_stick_that_is_away_is_asked_when_it_is_back(lived_rig: Rig) -> None:
    stick = lived_rig.registry.stick
    away = stick.rename(stick.with_name("away"))
    revoke(lived_rig)
    assert recall_revoked(lived_rig.shop) == 0
    assert recalls(lived_rig) == []
    away.rename(stick)
    assert recall_revoked(lived_rig.shop) == 1
    assert not alices(lived_rig)


def test_channel_that_the_settings_forgot_is_said_once(lived_rig: Rig) -> None:
    revoke(lived_rig)
    lived_rig.with_channels({})
    assert recall_revoked(lived_rig.shop) == 1
    assert recalls(lived_rig) == ["unsupported: the settings no longer name its channel"]
    assert recall_revoked(lived_rig.shop) == 0


def test_what_was_not_revoked_stays(lived_rig: Rig) -> None:
    before = lived_rig.carried()
    assert recall_revoked(lived_rig.shop) == 0
    assert lived_rig.carried() == before


def test_status_list_is_renewed_after_a_quarter_of_its_time(lived_rig: Rig) -> None:
    status = lived_rig.shop.custody.status
    first = status.read()
    assert first is not None
    quarter = (parse_moment(first.valid_until) - parse_moment(first.issued)) / 4
    lived_rig.clock.now = parse_moment(first.issued) + quarter - timedelta(seconds=1)
    assert not keep_status_fresh(lived_rig.shop)
    lived_rig.clock.advance(seconds=1)
    assert keep_status_fresh(lived_rig.shop)
    renewed = status.read()
    assert renewed is not None
    assert renewed.counter == first.counter + 1
    assert parse_moment(renewed.valid_until) > parse_moment(first.valid_until)
    assert not keep_status_fresh(lived_rig.shop)


def test_registry_without_a_list_has_nothing_to_renew(rig: Rig) -> None:
    assert not keep_status_fresh(rig.shop)
    assert rig.shop.custody.status.read() is None


def test_status_list_command_says_where_the_newest_is_and_refreshes_it(fresh: Registry) -> None:
    config = ("--config", fresh.settings)
    refused = fresh.run("keys", "status-list", *config, code=3)
    assert "keys status-list --refresh" in refused.stderr
    made = fresh.run("keys", "status-list", "--refresh", *config).stdout.splitlines()
    assert made[0] == str(fresh.home / "state" / "status-list")
    assert made[1].startswith("number 1, valid until ")
    assert fresh.run("keys", "status-list", *config).stdout.splitlines() == made
    assert "number 2" in fresh.run("keys", "status-list", "--refresh", *config).stdout


def test_nothing_in_the_clear_beside_the_database_is_named_after_the_adapter(
    lived_rig: Rig,
) -> None:
    assert "Alice/good.age" in alices(lived_rig)
    state = lived_rig.registry.home / "state"
    assert [path for path in (state / "channels").rglob("*") if path.is_file()]
    for path in state.rglob("*"):
        assert "good" not in path.name
        if path.is_file() and path.is_relative_to(state / "channels"):
            assert b"good" not in path.read_bytes()


def test_head_is_signed_where_nothing_is_delivered(rig: Rig) -> None:
    """Else an older database could be put in place, and nobody would notice what it lacks."""
    rig.drop(write_adapter(rig.registry.watched / "a.safetensors", dead=3))
    rig.work()
    custody = rig.shop.custody
    (leaves,) = rig.one("select count(*) from reg_log_leaf")
    assert keep_head_fresh(rig.shop) == leaves
    head = custody.head.read(rig.clock())
    assert head is not None
    assert head.size == leaves
    assert keep_head_fresh(rig.shop) == leaves
    assert rig.one("select count(*) from reg_log_checkpoint where size=?", leaves) == (1,)
