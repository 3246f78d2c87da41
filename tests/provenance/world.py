"""Builders for ledgers with something in them; every moment and digest is given, none is drawn from a clock."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from registry.formats.envelope import Envelope, EnvelopeSignature
from registry.formats.findings import AuditReport, Coverage, Decision, Finding, Outcome, Verdict
from registry.formats.manifest import Manifest, ManifestEntry
from registry.provenance.artifacts import (
    FromCandidate,
    NewArtifact,
    NewPayload,
    Traits,
    add_artifact,
)
from registry.provenance.candidates import NewCandidate, note_candidate
from registry.provenance.deliveries import (
    NewDelivery,
    Preparation,
    plan_delivery,
    set_delivery_prepared,
)
from registry.provenance.recipients import Address, NewRecipient, add_recipient
from registry.provenance.statements import NewStatement, append_statement
from registry.provenance.subjects import create_subject
from registry.provenance.verdicts import NewAudit, NewDecision, record_audit, record_decision

if TYPE_CHECKING:
    from registry.provenance.ledger import Ledger, Transaction
    from registry.provenance.moves import Move

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
PAYLOAD_TYPE = "application/vnd.in-toto+json"


def digest_of(*parts: object) -> str:
    return hashlib.sha256("/".join(map(str, parts)).encode()).hexdigest()


def id_of(*parts: object) -> str:
    return digest_of(*parts)[:32]


def at(minutes: int) -> datetime:
    return NOW + timedelta(minutes=minutes)


def envelope_of(text: str) -> Envelope:
    signature = EnvelopeSignature("a" * 64, b"a signature that others check")
    return Envelope(PAYLOAD_TYPE, json.dumps({"says": text}).encode(), (signature,))


@dataclass(frozen=True)
class World:
    """A ledger and short ways to put things into it; each opens a transaction of its own."""

    ledger: Ledger

    def candidate(self, name: str, signature: str = "s1") -> str:
        path = f"/train/out/{name}"
        new = NewCandidate(path, "kohya", ((name, path),), signature)
        with self.ledger.transaction() as tx:
            return note_candidate(tx, new, NOW).id

    def artifact(self, name: str, content: str = "c1", **changes: object) -> str:
        with self.ledger.transaction() as tx:
            return self.artifact_in(tx, name, content, **changes)

    def artifact_in(self, tx: Transaction, name: str, content: str, **changes: object) -> str:
        path = f"/train/out/{name}"
        new = NewCandidate(path, "kohya", ((name, path),), f"{name}/{content}")
        candidate_id = note_candidate(tx, new, NOW).id
        return add_artifact(tx, new_artifact(name, content, candidate_id, **changes)).id

    def statement(self, text: str, **about: object) -> str:
        with self.ledger.transaction() as tx:
            return self.statement_in(tx, text, **about)

    def statement_in(self, tx: Transaction, text: str, **about: object) -> str:
        envelope = envelope_of(text)
        salt = hashlib.sha256(text.encode()).digest()
        append_statement(tx, NewStatement(envelope, salt, "urn:test", NOW, **about))  # type: ignore[arg-type]
        return envelope.statement_digest.value

    def recipient(self, name: str) -> str:
        recipient_id = id_of("recipient", name)
        with self.ledger.transaction() as tx:
            subject_id = create_subject(tx, "recipient", NOW)
            enrolment = self.statement_in(
                tx, f"enrol {recipient_id}", subject_id=subject_id, recipient_id=recipient_id
            )
            add_recipient(tx, new_recipient(name, subject_id, enrolment))
        return recipient_id

    def delivery(self, artifact_id: str, recipient_id: str, ordinal: int = 1) -> str:
        delivery_id = id_of("delivery", artifact_id, recipient_id, ordinal)
        new = NewDelivery(delivery_id, artifact_id, recipient_id, "folder", ordinal)
        with self.ledger.transaction() as tx:
            return plan_delivery(tx, new, NOW).id

    def prepared(self, artifact_id: str, recipient_id: str) -> str:
        delivery_id = self.delivery(artifact_id, recipient_id)
        with self.ledger.transaction() as tx:
            statement = self.statement_in(
                tx, f"delivery {delivery_id}", artifact_id=artifact_id, delivery_id=delivery_id
            )
            made = preparation(delivery_id, statement, digest_of("payload", artifact_id))
            set_delivery_prepared(tx, delivery_id, made, NOW)
        return delivery_id

    def audit(self, artifact_id: str, rule: str = "structure", run: int = 1) -> str:
        with self.ledger.transaction() as tx:
            statement = self.statement_in(
                tx, f"{rule} {artifact_id} {run}", artifact_id=artifact_id
            )
            record_audit(tx, NewAudit(artifact_id, report(rule), statement, NOW, run))
        return statement

    def decision(self, artifact_id: str, outcome: Outcome, number: int = 1) -> str:
        with self.ledger.transaction() as tx:
            statement = self.statement_in(
                tx, f"{outcome} {artifact_id} {number}", artifact_id=artifact_id
            )
            record_decision(tx, new_decision(artifact_id, outcome, statement))
        return statement

    def move_artifact(self, artifact_id: str, move: Move) -> None:
        from registry.provenance.artifacts import move_artifact

        with self.ledger.transaction() as tx:
            move_artifact(tx, artifact_id, move)


def new_artifact(name: str, content: str, candidate_id: str, **changes: object) -> NewArtifact:
    file_digest = digest_of("file", content)
    manifest = Manifest.of([ManifestEntry(name, 1000, file_digest)])
    payload_digest = digest_of("payload", digest_of_manifest(manifest))
    values: dict[str, object] = {
        "manifest": manifest,
        "name": name,
        "source": FromCandidate(candidate_id),
        "payload": NewPayload(payload_digest, "raw", 1016, ("x25519",)),
        "traits": Traits("adapter", "kohya", "lora", "sdxl", None, 16, "8.0", 722, 2166),
        "hashes": (
            ("sha256", file_digest),
            ("blake3", digest_of("blake3", content)),
            ("autov1", digest_of("autov1", content)[:8]),
            ("autov3", digest_of("autov3", content).upper()),
            ("tensors", digest_of("tensors", content)),
        ),
        "host": "trainer-1",
        "taken_at": NOW,
        "inspection": json.dumps({"kind": "adapter", "leaks": ["ss_output_name"]}),
    }
    return NewArtifact(**{**values, **changes})  # type: ignore[arg-type]


def digest_of_manifest(manifest: Manifest) -> str:
    return hashlib.sha256(manifest.to_bytes()).hexdigest()


def new_recipient(name: str, subject_id: str, enrolment: str) -> NewRecipient:
    return NewRecipient(
        id=id_of("recipient", name),
        subject_id=subject_id,
        name=name,
        age_recipient=f"age1{digest_of('age', name)}",
        signing_key=hashlib.sha256(name.encode()).digest(),
        key_class="x25519",
        confirmed_how="in person",
        enrolment_digest=enrolment,
        status_id=id_of("status", name),
        at=NOW,
        addresses=(Address("folder", f"box-of-{name}"), Address("signal", "+15550001", "05 12 77")),
    )


def preparation(delivery_id: str, statement: str, payload_digest: str) -> Preparation:
    return Preparation(
        header=f"age-encryption.org/v1 for {delivery_id}".encode(),
        bundle=b'{"schema":"loraseal/bundle.v1","files":["kiki_v3.safetensors"]}',
        payload_digest=payload_digest,
        statement_digest=statement,
        status_id=id_of("status", delivery_id),
        nonce=id_of("nonce", delivery_id),
        acknowledge_by=at(60),
    )


def report(rule: str = "structure") -> AuditReport:
    finding = Finding(rule, Verdict.WARN, "alpha is missing in kiki", "set it", "lora_te_kiki")
    return AuditReport(
        rule=rule,
        version="1",
        verdict=Verdict.WARN,
        coverage=Coverage(722, 722, "modules"),
        summary="one of 722 modules has no alpha",
        findings=(finding,),
        metrics=(("modules", "722"),),
    )


def new_decision(artifact_id: str, outcome: Outcome, statement: str) -> NewDecision:
    return NewDecision(
        artifact_id=artifact_id,
        decision=Decision(outcome, ("because of kiki",), ("structure",), privacy_audited=False),
        relied_on=(digest_of("verdict"),),
        policy_digest=digest_of("policy"),
        decided_by="policy",
        status_id=id_of("status", statement),
        statement_digest=statement,
        at=NOW,
    )
