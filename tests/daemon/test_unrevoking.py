"""Someone who can write the database takes back no revocation and puts no older history in place."""

from __future__ import annotations

from datetime import timedelta

import pytest

from daemon.custody.checking import check_all
from daemon.custody.holder import About, keep_statement
from daemon.custody.revoking import withdraw_delivery
from daemon.custody.status import publish_status
from daemon.keyring import load_operator
from daemon.pipeline.decide_step import decide_artifact
from registry.errors import DeniedError, VerificationError
from registry.sealing.signing import SigningKey
from tests.daemon.forging import (
    database_files,
    outcome,
    plan,
    revoke,
    without_triggers,
)
from tests.daemon.rig import Rig, artifact_named, sql

pytestmark = pytest.mark.xdist_group("lived")


def test_revocation_row_deleted_after_a_list_was_signed_stays_revoked(forger: Rig) -> None:
    good = artifact_named(forger.registry, "good")
    revoke(forger, good)
    plan(forger, "good")
    sql(forger.registry, "update reg_artifact set state='released' where id=?", good)
    with without_triggers(forger.registry) as base:
        base.execute("delete from reg_revocation")
        base.execute("delete from reg_statement where kind like '%revocation%'")
    state, reason = outcome(forger)
    assert state == "failed"
    assert "a revocation may be missing" in reason


def test_artifact_set_back_after_its_revocation_was_deleted_is_not_decided_again(
    forger: Rig,
) -> None:
    """A second release under a fresh status id would be on no list that was ever signed."""
    good = artifact_named(forger.registry, "good")
    revoke(forger, good)
    with without_triggers(forger.registry) as base:
        base.execute("delete from reg_revocation")
        base.execute("update reg_statement set kind='other' where kind like '%revocation%'")
        base.execute("update reg_artifact set state='audited' where id=?", (good,))
        base.execute("update reg_delivery set ordinal=7")
    with pytest.raises(DeniedError, match="released before"):
        decide_artifact(forger.shop, good)


def test_release_made_anew_is_on_the_list_that_was_signed(forger: Rig) -> None:
    """Also when the first release itself was hidden: every release of one artifact has one status id."""
    good = artifact_named(forger.registry, "good")
    revoke(forger, good)
    with without_triggers(forger.registry) as base:
        base.execute("delete from reg_revocation")
        base.execute("delete from reg_decision")
        base.execute(
            "update reg_statement set kind='other' "
            "where kind like '%revocation%' or kind like '%release%'"
        )
        base.execute("update reg_artifact set state='audited' where id=?", (good,))
        base.execute("update reg_delivery set ordinal=7")
    decide_artifact(forger.shop, good)
    (made,) = forger.one("select min(id) from reg_delivery where state='planned'")
    state, reason = outcome(forger, str(made))
    assert state == "failed"
    assert "revoked" in reason


def test_delivery_revoked_by_itself_is_not_sent(forger: Rig) -> None:
    (made,) = forger.one("select id from reg_delivery")
    sql(forger.registry, "update reg_delivery set state='prepared' where id=?", made)
    custody = forger.shop.custody
    operator = load_operator(custody.paths)
    assert withdraw_delivery(custody, str(made), "withdrawn", operator, forger.clock())
    assert forger.one("select state from reg_delivery where id=?", made) == ("cancelled",)
    sql(forger.registry, "update reg_delivery set state='prepared' where id=?", made)
    state, reason = outcome(forger, str(made))
    assert state == "failed"
    assert "this delivery was revoked" in reason


def test_revocation_and_every_status_list_deleted_stays_revoked(forger: Rig) -> None:
    """The newest list is kept outside the database too, as the log's head is."""
    good = artifact_named(forger.registry, "good")
    revoke(forger, good)
    plan(forger, "good")
    sql(forger.registry, "update reg_artifact set state='released' where id=?", good)
    with without_triggers(forger.registry) as base:
        base.execute("delete from reg_revocation")
        base.execute("delete from reg_status_list")
        base.execute("update reg_statement set kind='other' where kind like '%revocation%'")
    state, reason = outcome(forger)
    assert state == "failed"
    assert "revoked" in reason


def test_delivery_prepared_before_a_revocation_is_not_sent_after_it(forger: Rig) -> None:
    """Also when the cancelled row is put back by hand."""
    (made,) = forger.one("select id from reg_delivery")
    good = artifact_named(forger.registry, "good")
    revoke(forger, good)
    sql(forger.registry, "update reg_delivery set state='prepared' where id=?", made)
    state, reason = outcome(forger, str(made))
    assert state == "failed"
    assert "revoked" in reason


def test_planted_revocation_by_a_stranger_is_not_skipped(forger: Rig) -> None:
    from registry.attest import attest
    from registry.formats.moments import to_text
    from registry.formats.predicates.revocation import Revocation

    good = artifact_named(forger.registry, "good")
    plan(forger, "good")
    fake = Revocation(
        artifact_id="0" * 64, status_id=None, reason_code="x", at=to_text(forger.clock())
    )
    with forger.shop.ledger.transaction() as tx:
        envelope = attest(fake, SigningKey.generate())
        keep_statement(tx, envelope, Revocation.TYPE, forger.clock(), About(artifact_id=good))
    assert outcome(forger)[0] == "failed"


def test_old_database_put_back_signs_nothing(lived_rig: Rig) -> None:
    registry = lived_rig.registry
    before = {path: path.read_bytes() for path in database_files(registry)}
    plan(lived_rig, "good")
    assert outcome(lived_rig)[0] == "sent"
    lived_rig.shop.ledger.engine.dispose()
    for path in database_files(registry):
        path.unlink()
    for path, content in before.items():
        path.write_bytes(content)
    plan(lived_rig, "good", delivery="beef" * 8)
    delivered = lived_rig.carried()
    state, reason = outcome(lived_rig, "beef" * 8)
    assert state == "failed"
    assert "older database" in reason
    assert lived_rig.carried() == delivered
    found = {
        check.name: check.problems for check in check_all(lived_rig.shop.custody, lived_rig.clock())
    }
    assert found["log head"]


def test_up_on_an_old_database_exits_5_and_says_what_to_do(lived_rig: Rig) -> None:
    registry = lived_rig.registry
    before = {path: path.read_bytes() for path in database_files(registry)}
    plan(lived_rig, "good")
    assert outcome(lived_rig)[0] == "sent"
    lived_rig.shop.ledger.engine.dispose()
    for path in database_files(registry):
        path.unlink()
    for path, content in before.items():
        path.write_bytes(content)
    result = registry.run("up", "--once", "--quiet", "--config", registry.settings, code=5)
    assert "older database was put in place" in result.stderr
    status = registry.run("status", "--config", registry.settings).stdout
    assert "! log head: the ledger is older than the last signed head" in status
    assert "what to do: restore the newest database" in result.stderr


def test_leaf_rewritten_under_a_signed_head_is_another_history(forger: Rig) -> None:
    plan(forger, "good")
    with without_triggers(forger.registry) as base:
        base.execute("update reg_log_node set hash=zeroblob(32) where level=0")
    assert outcome(forger)[0] == "failed"


def test_fsck_finds_a_statement_whose_kind_was_changed(forger: Rig) -> None:
    with without_triggers(forger.registry) as base:
        base.execute("update reg_statement set kind='other' where kind like '%intake%'")
    found = {check.name: check.problems for check in check_all(forger.shop.custody, forger.clock())}
    assert any("unknown kind" in problem for problem in found["signatures"])


def test_fsck_of_an_honest_registry_finds_nothing(lived_rig: Rig) -> None:
    checks = list(check_all(lived_rig.shop.custody, lived_rig.clock()))
    assert [check.name for check in checks if check.problems] == []
    assert {check.name for check in checks} >= {
        "ledger",
        "signatures",
        "log head",
        "vault",
        "orphans",
    }


def test_list_signed_after_a_revocation_was_deleted_still_names_it(lived_rig: Rig) -> None:
    """Recipients see it too: a newer list never says less than an older one."""
    custody, good = lived_rig.shop.custody, artifact_named(lived_rig.registry, "good")
    revoke(lived_rig, good)
    listed = custody.status.read()
    assert listed is not None
    assert len(listed.entries) == 2
    with without_triggers(lived_rig.registry) as base:
        base.execute("delete from reg_revocation")
    publish_status(custody, lived_rig.clock(), timedelta(days=1))
    later = custody.status.read()
    assert later is not None
    assert (later.counter, later.entries) == (listed.counter + 1, listed.entries)


def test_status_lists_deleted_stop_every_signature(forger: Rig) -> None:
    revoke(forger, artifact_named(forger.registry, "good"))
    with without_triggers(forger.registry) as base:
        base.execute("delete from reg_status_list")
    with pytest.raises(VerificationError, match="lists were removed"):
        publish_status(forger.shop.custody, forger.clock(), timedelta(days=1))
