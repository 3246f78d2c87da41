"""What custody writes down as an artifact comes in, is audited and is decided: each fact signed."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from daemon.custody.holder import About, keep_statement, log_statement
from daemon.jobs import sources_of
from daemon.tags import origin_tag, source_tag
from registry.artifacts.inspection import headers_of
from registry.attest import attest_verdict
from registry.audits.cohorts.cohort import cohort_of, facts_of
from registry.errors import DeniedError
from registry.formats.moments import to_text
from registry.formats.predicates.intake import Intake, Mark, Rendition
from registry.formats.predicates.verdict import VerdictStatement
from registry.provenance.artifacts import (
    FromArtifact,
    FromCandidate,
    NewArtifact,
    NewPayload,
    Traits,
    add_artifact,
    find_payload,
    get_artifact,
    move_artifact,
)
from registry.provenance.cohorts import note_cohort
from registry.provenance.copies import link_copy
from registry.provenance.lineage import Edge, add_edge
from registry.provenance.moves import Move
from registry.provenance.renditions import CONVERTED_FROM, RENDITION_OF
from registry.provenance.states import ArtifactState, EdgeGrade
from registry.provenance.verdicts import NewAudit, record_audit

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from pathlib import Path

    from daemon.custody.holder import Custody
    from registry.artifacts.inspection import Inspection
    from registry.artifacts.notes import IntakeResult
    from registry.formats.findings import AuditReport
    from registry.provenance.candidates import Noted
    from registry.provenance.ledger import Reader, Transaction


@dataclass(frozen=True, slots=True)
class Taken:
    """What was sealed, what its header shows, its name for people, and the watched folder.

    `facts` are (what, sha256 in hex) of files that it was made from and that are not in it.

    `mark` is what the intake of a marked copy says of its mark.

    `root` is None if the folder is no longer watched, which a derived rendition may meet.
    """

    result: IntakeResult
    inspection: Inspection
    name: str
    root: Path | None
    rendition: Rendition = Rendition.ORIGINAL
    facts: tuple[tuple[str, str], ...] = ()
    mark: Mark | None = None


def record_intake(
    custody: Custody, tx: Transaction, candidate_id: str, taken: Taken, now: datetime
) -> Noted:
    """Record a sealed artifact and the host's signed intake; content that is known adds nothing."""
    return _record(custody, tx, FromCandidate(candidate_id), taken, now)


def record_rendition(
    custody: Custody, tx: Transaction, source_id: str, taken: Taken, now: datetime
) -> Noted:
    """Record what was made of artifact `source_id`, signed as an intake of its own, and the lineage."""
    noted = _record(custody, tx, FromArtifact(source_id), taken, now)
    if noted.is_new:
        edge = Edge(
            noted.id, RENDITION_OF, source_id, EdgeGrade.OBSERVED, taken.rendition.value, now
        )
        add_edge(tx, edge)
    return noted


def _record(
    custody: Custody,
    tx: Transaction,
    source: FromCandidate | FromArtifact,
    taken: Taken,
    now: datetime,
) -> Noted:
    result, inspection = taken.result, taken.inspection
    new = NewArtifact(
        manifest=result.manifest,
        name=taken.name,
        source=source,
        payload=NewPayload(
            digest=result.payload_digest.value,
            form=result.payload_form.value,
            size=result.payload_bytes,
            key_classes=(custody.keyring.vault.recipient().key_class,),
        ),
        traits=traits_of(inspection),
        hashes=result.hashes,
        host=host_name(),
        taken_at=now,
        inspection=inspection.to_text(),
        rendition=taken.rendition,
    )
    noted = add_artifact(tx, new)
    if noted.is_new:
        statement = _statement(custody, noted.id, source, taken, now)
        log_statement(tx, statement, custody.keyring.host, About(artifact_id=noted.id))
        link_copy(tx, noted.id, now)
        cohort = cohort_of(facts_of(inspection, headers_of(result.glimpses)))
        note_cohort(tx, noted.id, cohort.label, cohort.digest, now)
        for _, digest in taken.facts:
            grade, how = EdgeGrade.OBSERVED, taken.rendition.value
            add_edge(tx, Edge(noted.id, CONVERTED_FROM, digest, grade, how, now))
    return noted


def _statement(
    custody: Custody,
    artifact_id: str,
    source: FromCandidate | FromArtifact,
    taken: Taken,
    now: datetime,
) -> Intake:
    result, inspection, keyring = taken.result, taken.inspection, custody.keyring
    return Intake(
        artifact_id=artifact_id,
        manifest=result.manifest,
        payload_digest=result.payload_digest,
        host=host_name(),
        taken_at=to_text(now),
        tensors_digest=result.tensors_digest,
        body_sha256=result.body_sha256,
        kind=inspection.kind,
        dialect=inspection.dialect,
        method=inspection.method,
        family=inspection.family,
        origin=None if taken.root is None else origin_tag(keyring, artifact_id, taken.root),
        rendition=taken.rendition,
        trainer_facts=taken.facts,
        mark=taken.mark,
        derived_from=source_tag(keyring, artifact_id, source.id)
        if isinstance(source, FromArtifact)
        else None,
    )


def record_verdicts(
    custody: Custody,
    tx: Transaction,
    artifact_id: str,
    reports: Sequence[AuditReport],
    now: datetime,
) -> None:
    """Record each report and the auditor's signed verdict on it."""
    rendition = get_artifact(tx, artifact_id).rendition
    for report in reports:
        auditor = custody.keyring.auditor
        envelope = attest_verdict(report, artifact_id, auditor, now, rendition=rendition)
        keep_statement(tx, envelope, VerdictStatement.TYPE, now, About(artifact_id=artifact_id))
        digest = envelope.statement_digest.value
        record_audit(tx, NewAudit(artifact_id, report, digest, now))


def set_aside(tx: Transaction, artifact_id: str, reason: str, now: datetime) -> None:
    """Set an artifact aside that keeps killing the audit child."""
    state = ArtifactState.SET_ASIDE
    move_artifact(tx, artifact_id, Move(tuple(sources_of(state)), state, now, reason))


def payload_of(reader: Reader, artifact_id: str) -> tuple[str, str]:
    """Return digest (blake3 in hex) and form of an artifact's payload.

    Raises:
        DeniedError: it has none.
    """
    payload = find_payload(reader, artifact_id)
    if payload is None:
        raise DeniedError(f"artifact {artifact_id[:12]} has no payload in the vault")
    return payload.digest, payload.form


def traits_of(inspection: Inspection) -> Traits:
    """Return what the ledger keeps of an inspection in the clear."""
    return Traits(
        kind=inspection.kind or "unknown",
        dialect=inspection.dialect,
        method=inspection.method,
        family=inspection.family,
        base_model=None,
        rank=inspection.rank,
        alpha=None if inspection.alpha is None else str(inspection.alpha),
        modules=inspection.modules,
        tensors=inspection.tensors,
    )


def host_name() -> str:
    """Return the name of this machine, as statements show it."""
    return socket.gethostname()[:64] or "unnamed"
