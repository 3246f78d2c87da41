from __future__ import annotations

import pytest

from registry.errors import NotFoundError
from registry.formats.findings import Outcome, Verdict
from registry.provenance.show import show_artifact
from registry.provenance.verdicts import (
    NewAudit,
    NewWaiver,
    audits_of,
    find_decision,
    record_audit,
    record_decision,
    record_waiver,
    waived_findings,
)
from tests.provenance.world import NOW, World, at, digest_of, new_decision, report


def test_audit_of_an_unknown_artifact_is_refused(world: World) -> None:
    statement = digest_of("verdict")
    with world.ledger.transaction() as tx, pytest.raises(NotFoundError):
        record_audit(tx, NewAudit("0" * 64, report(), statement, NOW))


def test_audit_without_its_statement_is_refused(world: World) -> None:
    artifact = world.artifact("kiki.safetensors")
    with pytest.raises(Exception, match="FOREIGN KEY"), world.ledger.transaction() as tx:
        record_audit(tx, NewAudit(artifact, report(), digest_of("unsigned"), NOW))


def test_repeated_run_keeps_the_first_verdict(world: World) -> None:
    artifact = world.artifact("kiki.safetensors")
    first = world.audit(artifact)
    other = world.statement("verdict of the run after the kill", artifact_id=artifact)
    with world.ledger.transaction() as tx:
        assert record_audit(tx, NewAudit(artifact, report(), other, NOW)) == first
        assert [item.statement_digest for item in audits_of(tx, artifact)] == [first]


def test_audits_are_those_of_the_latest_run(world: World) -> None:
    artifact = world.artifact("kiki.safetensors")
    world.audit(artifact, "structure")
    world.audit(artifact, "spectrum")
    again = world.audit(artifact, "structure", run=2)
    with world.ledger.reading() as reader:
        (found,) = audits_of(reader, artifact)
        assert (found.rule, found.run, found.statement_digest) == ("structure", 2, again)
        assert found.verdict is Verdict.WARN
        assert len(show_artifact(reader, artifact).audits) == 3


def test_there_is_no_decision_before_the_first(world: World) -> None:
    artifact = world.artifact("kiki.safetensors")
    with world.ledger.reading() as reader:
        assert find_decision(reader, artifact) is None
        assert audits_of(reader, artifact) == ()


def test_latest_decision_in_the_log_counts_even_at_equal_moments(world: World) -> None:
    artifact = world.artifact("kiki.safetensors")
    world.decision(artifact, Outcome.HELD)
    released = world.decision(artifact, Outcome.RELEASED)
    with world.ledger.transaction() as tx:
        record_decision(tx, new_decision(artifact, Outcome.RELEASED, released))
        found = find_decision(tx, artifact)
        detail = show_artifact(tx, artifact)
    assert found is not None
    assert (found.outcome, found.statement_digest) == (Outcome.RELEASED, released)
    assert found.relied_on == (digest_of("verdict"),)
    assert not found.privacy_audited
    assert [item.outcome for item in detail.decisions] == ["held", "released"]
    assert detail.decisions[0].reasons == ("because of kiki",)


def test_waiver_ends_when_it_expires(world: World) -> None:
    artifact = world.artifact("kiki.safetensors")
    statement = world.decision(artifact, Outcome.RELEASED)
    waiver = NewWaiver(artifact, "f1", "known and harmless", at(10), statement, NOW)
    with world.ledger.transaction() as tx:
        for _ in range(2):
            record_waiver(tx, waiver)
        assert waived_findings(tx, artifact, at(9)) == ("f1",)
        assert waived_findings(tx, artifact, at(10)) == ()
