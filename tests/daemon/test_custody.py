"""Someone who can write the database file: may delay deliveries, releases and redirects nothing.

Each test changes rows by SQL in a registry that has released "good" to Alice, holds "held" and rejected
"bad", then has a delivery made. Promise: it ends failed with a reason, and the channel's folder holds
what it held before.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import replace

import pytest

from daemon.custody.decisions import decide_by_operator
from daemon.custody.opening import payload_in_memory
from daemon.keyring import load_operator
from daemon.pipeline.decide_step import decide_artifact
from registry.errors import DeniedError
from registry.formats.findings import Outcome
from registry.formats.predicates.release import Release
from registry.provenance.columns import Cell, ColumnKeeper
from registry.provenance.recipients import Address, set_address
from registry.provenance.statements import statements_of
from registry.sealing.signing import SigningKey
from registry.verify.signed import verify_statement
from tests.daemon.forging import (
    DELIVERY,
    outcome,
    plan,
    plant_release,
    pretend_released,
    statement,
    without_triggers,
)
from tests.daemon.rig import Rig, artifact_named, sql

pytestmark = pytest.mark.xdist_group("lived")


def test_the_planted_delivery_of_a_released_artifact_would_go_out(lived_rig: Rig) -> None:
    """The honest twin of all that follows: with nothing forged, the same plan delivers."""
    plan(lived_rig, "good")
    assert outcome(lived_rig)[0] == "sent"
    assert "Bob/good.age" in lived_rig.carried()


@pytest.mark.parametrize("name", ["held", "bad"])
def test_state_changed_to_released_by_hand_releases_nothing(forger: Rig, name: str) -> None:
    plan(forger, name)
    pretend_released(forger, name)
    state, reason = outcome(forger)
    assert state == "failed"
    assert "expected 'released'" in reason


def test_forged_decision_row_releases_nothing(forger: Rig) -> None:
    artifact = artifact_named(forger.registry, "held")
    plan(forger, "held")
    pretend_released(forger, "held")
    sql(
        forger.registry,
        "update reg_decision set outcome='released', decided_by='operator' where artifact_id=?",
        artifact,
    )
    assert outcome(forger)[0] == "failed"


def test_release_statement_copied_from_another_artifact_releases_nothing(forger: Rig) -> None:
    good, bad = (artifact_named(forger.registry, name) for name in ("good", "bad"))
    plan(forger, "bad")
    pretend_released(forger, "bad")
    with without_triggers(forger.registry) as base:
        base.execute(
            "delete from reg_statement where digest=?", (statement(forger, bad, "release"),)
        )
        base.execute(
            "update reg_statement set artifact_id=? where digest=?",
            (bad, statement(forger, good, "release")),
        )
    state, reason = outcome(forger)
    assert state == "failed"
    assert "lost its statement" in reason


def test_everything_signed_about_a_good_artifact_under_a_bad_ones_id_releases_nothing(
    forger: Rig,
) -> None:
    """The whole chain agrees in itself, and is not of the artifact that the delivery names."""
    good, bad = (artifact_named(forger.registry, name) for name in ("good", "bad"))
    plan(forger, "bad")
    with without_triggers(forger.registry) as base:
        base.execute("update reg_statement set artifact_id='x' where artifact_id=?", (bad,))
        base.execute("update reg_statement set artifact_id=? where artifact_id=?", (bad, good))
    state, reason = outcome(forger)
    assert (state, reason) == ("failed", "the delivery is of another artifact than was released")


def test_verdicts_of_a_good_artifact_do_not_decide_a_bad_one(forger: Rig) -> None:
    """Custody must not even sign a release over verdicts that are about something else."""
    good, bad = (artifact_named(forger.registry, name) for name in ("good", "bad"))
    sql(forger.registry, "update reg_artifact set state='audited' where id=?", bad)
    with without_triggers(forger.registry) as base:
        like = "%verdict%"
        base.execute(
            "update reg_statement set artifact_id='x' where artifact_id=? and kind like ?",
            (bad, like),
        )
        base.execute(
            "update reg_statement set artifact_id=? where artifact_id=? and kind like ?",
            (bad, good, like),
        )
    with pytest.raises(DeniedError, match="another artifact"):
        decide_artifact(forger.shop, bad)
    assert (
        forger.rows(
            "select outcome from reg_decision where artifact_id=? and outcome='released'", bad
        )
        == []
    )


def test_verdict_envelope_replaced_by_another_rows_is_refused(forger: Rig) -> None:
    good, bad = (artifact_named(forger.registry, name) for name in ("good", "bad"))
    plan(forger, "good")
    with without_triggers(forger.registry) as base:
        base.execute(
            "update reg_statement set sealed_envelope=(select sealed_envelope from reg_statement where digest=?) "
            "where digest=?",
            (statement(forger, bad, "verdict"), statement(forger, good, "verdict")),
        )
    state, reason = outcome(forger)
    assert state == "failed"
    assert "belongs to another row" in reason


def test_verdict_statement_that_is_gone_is_missed(forger: Rig) -> None:
    good = artifact_named(forger.registry, "good")
    plan(forger, "good")
    with without_triggers(forger.registry) as base:
        base.execute(
            "delete from reg_statement where digest=?", (statement(forger, good, "verdict"),)
        )
    state, reason = outcome(forger)
    assert state == "failed"
    assert "lost its statement" in reason


def test_name_sealed_anew_with_the_public_recipient_serves_no_route(forger: Rig) -> None:
    """A watch host has the public recipient: it can make a subject key and seal a name into a row."""
    custody = forger.shop.custody
    keeper = ColumnKeeper(custody.keyring.vault.recipient(), b"\0" * 32)
    (bob, subject) = forger.one(
        "select id, subject_id from reg_recipient order by rowid desc limit 1"
    )
    key = keeper.new_key()
    name = keeper.seal(key, Cell("reg_recipient", str(bob), "name"), b"Alice")
    with without_triggers(forger.registry) as base:
        base.execute(
            "insert into reg_subject_key (id, subject_id, wrapped, created_at) "
            "values (?, ?, ?, '2026-01-01 00:00:00.000000')",
            (key.key_id, subject, key.wrapped),
        )
        base.execute("update reg_recipient set sealed_name=? where id=?", (name, bob))
    settings = forger.shop.settings
    only_alice = settings.model_copy(update={"route": settings.route[:1]})
    plan(forger, "good")
    state, reason = outcome(replace(forger, shop=replace(forger.shop, settings=only_alice)))
    assert state == "failed"
    assert "no signed order" in reason


def test_delivery_row_pointed_to_another_artifact_wraps_nothing(forger: Rig) -> None:
    plan(forger, "good")
    bad = artifact_named(forger.registry, "bad")
    sql(forger.registry, "update reg_delivery set artifact_id=? where id=?", bad, DELIVERY)
    assert outcome(forger)[0] == "failed"


def test_prepared_delivery_pointed_to_another_artifact_is_not_sent(forger: Rig) -> None:
    (made,) = forger.one("select id from reg_delivery")
    bad = artifact_named(forger.registry, "bad")
    shutil.rmtree(forger.shop.custody.paths.outbox)
    sql(
        forger.registry,
        "update reg_delivery set artifact_id=?, state='prepared' where id=?",
        *(bad, made),
    )
    assert outcome(forger, str(made))[0] == "failed"


def test_prepared_delivery_pointed_to_another_recipient_is_not_sent(forger: Rig) -> None:
    """Nobody but the settings' routes and signed orders says who gets what."""
    (made,) = forger.one("select id from reg_delivery")
    only_alice = forger.shop.settings.model_copy(update={"route": forger.shop.settings.route[:1]})
    forger.shop = replace(forger.shop, settings=only_alice)
    sql(
        forger.registry,
        "update reg_delivery set state='prepared', recipient_id="
        "(select id from reg_recipient where id != recipient_id) where id=?",
        made,
    )
    state, reason = outcome(forger, str(made))
    assert state == "failed"
    assert "no signed order" in reason


def test_recipient_keys_swapped_for_anothers_sealed_columns_wrap_nothing(forger: Rig) -> None:
    plan(forger, "good")
    sql(
        forger.registry,
        "update reg_recipient set sealed_age_recipient="
        "(select sealed_age_recipient from reg_recipient order by at limit 1)",
    )
    state, reason = outcome(forger)
    assert state == "failed"
    assert "belongs to another row" in reason


def test_recipient_row_pointed_to_anothers_enrolment_wraps_nothing(forger: Rig) -> None:
    plan(forger, "good")
    ids = [
        str(row[0]) for row in forger.rows("select enrolment_digest from reg_recipient order by at")
    ]
    sql(forger.registry, "update reg_recipient set enrolment_digest=?", ids[0])
    state, reason = outcome(forger)
    assert (state, reason) == ("failed", "the delivery is to another recipient than was enrolled")


def test_payload_digest_swapped_in_the_rendition_row_changes_nothing(lived_rig: Rig) -> None:
    """What is wrapped is the payload of the signed intake, whatever the row says by now."""
    good, bad = (artifact_named(lived_rig.registry, name) for name in ("good", "bad"))
    digests = dict(lived_rig.rows("select artifact_id, payload_digest from reg_rendition"))
    plan(lived_rig, "good")
    sql(
        lived_rig.registry,
        "update reg_rendition set payload_digest=? where artifact_id=?",
        *(digests[bad], good),
    )
    assert outcome(lived_rig)[0] == "sent"
    (shipped,) = lived_rig.one("select payload_digest from reg_delivery where id=?", DELIVERY)
    assert shipped == digests[good]


def test_audit_reads_the_payload_of_the_signed_intake(forger: Rig) -> None:
    good, bad = (artifact_named(forger.registry, name) for name in ("good", "bad"))
    digests = dict(forger.rows("select artifact_id, payload_digest from reg_rendition"))
    with payload_in_memory(forger.shop.custody, bad) as payload:
        before = os.pread(payload.descriptor, 1 << 20, 0)
    sql(
        forger.registry,
        "update reg_rendition set payload_digest=? where artifact_id=?",
        *(digests[good], bad),
    )
    with payload_in_memory(forger.shop.custody, bad) as payload:
        assert os.pread(payload.descriptor, 1 << 20, 0) == before


def test_artifact_without_signed_intake_is_not_opened(forger: Rig) -> None:
    bad = artifact_named(forger.registry, "bad")
    with without_triggers(forger.registry) as base:
        base.execute(
            "delete from reg_statement where digest=?", (statement(forger, bad, "intake"),)
        )
    with (
        pytest.raises(DeniedError, match="no signed intake"),
        payload_in_memory(forger.shop.custody, bad),
    ):
        raise AssertionError("opened")


def test_statement_by_a_key_of_nobody_stops_the_delivery(forger: Rig) -> None:
    held = artifact_named(forger.registry, "held")
    plan(forger, "held")
    plant_release(forger, held, SigningKey.generate(), reason="trust me")
    state, reason = outcome(forger)
    assert state == "failed"
    assert "key" in reason


@pytest.mark.parametrize("reason", [None, "by hand"])
def test_release_by_policy_and_release_by_operator_need_their_own_keys(
    forger: Rig, reason: str | None
) -> None:
    """A release that says `policy` is the statement key's, one that says `operator` the operator's."""
    held = artifact_named(forger.registry, "held")
    operator = load_operator(forger.shop.custody.paths)
    wrong = operator if reason is None else forger.shop.custody.keyring.statement
    plan(forger, "held")
    plant_release(forger, held, wrong, reason=reason)
    state, words = outcome(forger)
    assert state == "failed"
    assert "expected a" in words


def test_release_by_policy_over_a_verdict_that_does_not_stand_is_refused(forger: Rig) -> None:
    """Even custody's own key does not make a held artifact go."""
    held = artifact_named(forger.registry, "held")
    plan(forger, "held")
    plant_release(forger, held, forger.shop.custody.keyring.statement, reason=None)
    state, words = outcome(forger)
    assert state == "failed"
    assert "lets that stand" in words


def test_operator_cannot_overrule_failure_even_with_the_key(forger: Rig) -> None:
    bad = artifact_named(forger.registry, "bad")
    sql(forger.registry, "update reg_artifact set state='held' where id=?", bad)
    operator = load_operator(forger.shop.custody.paths)
    ruling = (Outcome.RELEASED, "I insist", forger.shop.policy)
    with pytest.raises(DeniedError, match="not failure"), forger.shop.ledger.transaction() as tx:
        decide_by_operator(forger.shop.custody, tx, bad, ruling, (operator, forger.clock()))


def test_signed_release_names_what_the_rows_say(lived_rig: Rig) -> None:
    """Rows are copies: the statement of the released artifact agrees with its decision row."""
    good = artifact_named(lived_rig.registry, "good")
    keyset = lived_rig.shop.custody.keyring.keyset
    with lived_rig.shop.ledger.reading() as reader:
        (row,) = (item for item in statements_of(reader, good) if item.kind == Release.TYPE)
    from registry.formats.keyset import KeyRole

    signed = verify_statement(row.envelope, Release, keyset, (KeyRole.STATEMENT,))
    (outcome_row,) = lived_rig.one("select outcome from reg_decision where artifact_id=?", good)
    assert signed.predicate.outcome.value == outcome_row == "released"


def test_pin_changed_by_hand_stops_the_delivery(forger: Rig) -> None:
    """A pin in a row that the signed enrolment does not know, sealed as the ledger itself would."""
    plan(forger, "good")
    (bob,) = forger.one("select id from reg_recipient order by at desc limit 1")
    with forger.shop.ledger.transaction() as tx:
        address = Address("signal", "00000000-0000-4000-8000-000000000000", "12345 67890")
        set_address(tx, str(bob), address, forger.clock())
    assert outcome(forger) == (
        "failed",
        "the recipient's pins are not those that were enrolled",
    )


def test_header_changed_in_the_row_of_a_prepared_delivery_is_not_sent(forger: Rig) -> None:
    (made,) = forger.one("select id from reg_delivery")
    sql(
        forger.registry,
        "update reg_delivery set state='prepared', header=cast('age-encryption.org/v1' as blob) where id=?",
        made,
    )
    assert outcome(forger, str(made)) == ("failed", "what was prepared is not what was signed")
