"""A whole registry in memory: keys, keyset, log, and deliveries made by the real code.

`World.make()` has everything that signs; `world.deliver(files)` seals, logs and bundles for real. Every
argument of `deliver` is a way to make one thing different, for tests that refuse it.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from blake3 import blake3
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from registry.artifacts.archive import Member, tar_batches
from registry.attest import (
    BundleParts,
    CustodyKeys,
    DeliveryPlan,
    LogView,
    ReleaseTerms,
    SignedDelivery,
    assemble_bundle,
    attest_delivery,
    attest_enrolment,
    attest_intake,
    attest_release,
    attest_verdict,
    consistency_link,
    issue_status_list,
    logged_statement,
    new_id,
)
from registry.digest import Digest, sha256_of
from registry.formats.bundle import Bundle, LoggedStatement
from registry.formats.checkpoint import Checkpoint
from registry.formats.envelope import Envelope
from registry.formats.findings import AuditReport, Coverage, Decision, Outcome, Verdict
from registry.formats.keyset import KeyEntry, KeyRole, Keyset
from registry.formats.moments import to_text
from registry.formats.predicates.enrolment import Enrolment
from registry.formats.predicates.intake import Rendition
from registry.formats.predicates.release import WaiverNote
from registry.formats.status_list import StatusEntry, StatusList
from registry.sealing.file_key import FileKey
from registry.sealing.identities import X25519Identity
from registry.sealing.keysets import sign_keyset
from registry.sealing.notes import sign_checkpoint
from registry.sealing.seal import read_header, seal, unwrap_file_key, wrap_header
from registry.sealing.signing import P256Key, SigningKey
from registry.transparency.commitment import leaf_for, new_salt
from registry.transparency.merkle import leaf_hash
from registry.transparency.tlog import MemoryNodeStore, append, root
from registry.verify.chain import ApprovedDelivery, ChainEvidence, verify_chain
from registry.verify.pin import KeyPin
from registry.verify.steps import Given
from tests.verify.intakes import intake_of, manifest_id
from tests.verify.unverified import unverified_chain

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
ORIGIN = "log.example/loraseal"
POLICY = sha256_of(b"policy").value
RAW_FILES = {"kiki_v3.safetensors": b"weights" * 20_000}
TAR_FILES = {
    "adapter_config.json": b'{"peft_type": "LORA"}',
    "adapter_model.safetensors": bytes(range(256)) * 700,
    "sub/notes.txt": b"",
}


def report(rule: str = "structure", verdict: Verdict = Verdict.PASS, **more: object) -> AuditReport:
    """An audit's report."""
    coverage = Coverage(examined=10, total=10, unit="modules")
    return AuditReport(rule, "1", verdict, coverage, "seen", **more)  # type: ignore[arg-type]


class Log:
    """An append-only log in memory."""

    def __init__(self) -> None:
        self.nodes = MemoryNodeStore()
        self.size = 0

    def add(self, envelope: Envelope) -> tuple[bytes, int]:
        """Append a statement's leaf; return its salt and index."""
        salt = new_salt()
        index = self.size
        self.size = append(self.nodes, self.size, leaf_hash(leaf_for(salt, envelope)))
        return salt, index

    def checkpoint(self, key: SigningKey, origin: str = ORIGIN) -> bytes:
        """The signed checkpoint at the present size."""
        return sign_checkpoint(Checkpoint(origin, self.size, root(self.nodes, self.size)), key)


@dataclass(frozen=True)
class Recipient:
    """Someone who enrolled."""

    identity: X25519Identity = field(default_factory=X25519Identity.generate)
    signing: SigningKey = field(default_factory=SigningKey.generate)
    name: str = "Li W."

    def enrolment(self) -> Enrolment:
        """What the operator signs of them."""
        return Enrolment(
            recipient_id=new_id(),
            age_recipient=str(self.identity.recipient()),
            signing_key=self.signing.public_raw,
            confirmed_how="six words by telephone",
            confirmed_by="operator",
            status_id=new_id(),
            at=to_text(NOW),
        )


@dataclass(frozen=True)
class Delivered:
    """One delivery as its recipient gets it, and what custody knows of it."""

    sealed: bytes
    bundle: Bundle
    files: dict[str, bytes]
    recipient: Recipient
    approved: ApprovedDelivery
    signed: SignedDelivery
    status: StatusList
    file_key: FileKey

    @property
    def bundle_bytes(self) -> bytes:
        return self.bundle.to_bytes()

    def write(self, folder: Path, name: str = "kiki") -> tuple[Path, Path]:
        """Write sealed file and bundle; return their paths."""
        sealed, bundle = folder / f"{name}.age", folder / f"{name}.loraseal"
        sealed.write_bytes(self.sealed)
        bundle.write_bytes(self.bundle_bytes)
        return sealed, bundle


@dataclass(frozen=True)
class Script:
    """What may be different about a delivery."""

    reports: tuple[AuditReport, ...] = (report(), report("nonfinite"))
    outcome: Outcome = Outcome.RELEASED
    privacy_audited: bool = False
    reason: str | None = None
    waivers: tuple[WaiverNote, ...] = ()
    release_key: SigningKey | None = None
    intake_key: SigningKey | None = None
    auditor_key: SigningKey | None = None
    enrolment_key: SigningKey | None = None
    custody_key: SigningKey | None = None
    with_oms: bool = True
    entries: Callable[[str, str], tuple[StatusEntry, ...]] = lambda _delivery, _release: ()
    valid_for: timedelta = timedelta(days=7)
    old_checkpoint: str | None = None
    rendition: str = "original"
    intake_rendition: Rendition = Rendition.ORIGINAL
    skip_chain: bool = False


@dataclass
class World:
    """All keys of one registry, its log, and one status counter."""

    root: SigningKey
    statement: SigningKey
    log_key: SigningKey
    oms: P256Key
    operator: SigningKey
    host: SigningKey
    auditor: SigningKey
    receipt: X25519PrivateKey
    vault: X25519Identity
    keyset: Keyset
    keyset_envelope: Envelope
    log: Log = field(default_factory=Log)
    counter: int = 0
    now: datetime = NOW

    @classmethod
    def make(cls, *, name: str = "studio.example", version: int = 1) -> World:
        """A fresh registry."""
        keys = [SigningKey.generate() for _ in range(6)]
        root_key, statement, log_key, operator, host, auditor = keys
        oms, receipt = P256Key.generate(), X25519PrivateKey.generate()
        publics = (
            (KeyRole.ROOT, root_key.public_raw),
            (KeyRole.STATEMENT, statement.public_raw),
            (KeyRole.LOG, log_key.public_raw),
            (KeyRole.OMS, oms.public_raw),
            (KeyRole.OPERATOR, operator.public_raw),
            (KeyRole.HOST, host.public_raw),
            (KeyRole.AUDITOR, auditor.public_raw),
            (KeyRole.RECEIPT, receipt.public_key().public_bytes_raw()),
        )
        since = NOW - timedelta(days=30)
        entries = tuple(KeyEntry.of(role, key, valid_from=since) for role, key in publics)
        keyset = Keyset(name, version, to_text(since), ORIGIN, entries)
        return cls(
            root_key,
            statement,
            log_key,
            oms,
            operator,
            host,
            auditor,
            receipt,
            X25519Identity.generate(),
            keyset,
            sign_keyset(keyset, root_key),
        )

    @property
    def pin(self) -> KeyPin:
        """What a recipient pinned."""
        return KeyPin((self.root.public_raw,))

    def with_keyset(self, keyset: Keyset) -> World:
        """The same registry under another keyset, signed by its root."""
        return replace(self, keyset=keyset, keyset_envelope=sign_keyset(keyset, self.root))

    def given(self, delivered: Delivered, **more: object) -> Given:
        """What the recipient verifies with."""
        base = Given(delivered.bundle_bytes, self.pin, self.now, (delivered.recipient.identity,))
        return replace(base, **more)  # type: ignore[arg-type]

    def deliver(
        self,
        files: dict[str, bytes] | None = None,
        recipient: Recipient | None = None,
        script: Script | None = None,
    ) -> Delivered:
        """Take in, audit, release, enrol, wrap, log and bundle, all for real."""
        files, script = files or RAW_FILES, script or Script()
        recipient = recipient or Recipient()
        at_rest, payload_digest = self._seal(files)
        taken = intake_of(files, payload_digest, self.now, script.intake_rendition)
        intake = attest_intake(taken, script.intake_key or self.host)
        verdicts = tuple(
            attest_verdict(
                item,
                manifest_id(files),
                script.auditor_key or self.auditor,
                self.now,
                rendition=script.rendition,
            )
            for item in script.reports
        )
        terms = ReleaseTerms(
            artifact_id=manifest_id(files),
            policy_digest=POLICY,
            verdicts=verdicts,
            decision=Decision(script.outcome, ("because",), (), script.privacy_audited),
            status_id=new_id(),
            rendition=script.rendition,
            reason=script.reason,
            waivers=script.waivers,
        )
        default = self.statement if script.reason is None else self.operator
        release = attest_release(terms, script.release_key or default, self.now)
        enrolment = attest_enrolment(recipient.enrolment(), script.enrolment_key or self.operator)
        evidence = ChainEvidence(intake, verdicts, release, enrolment)
        approved = self._approve(evidence, script)
        return self._bundle(at_rest, payload_digest, evidence, approved, recipient, script, files)

    def _approve(self, evidence: ChainEvidence, script: Script) -> ApprovedDelivery:
        return (
            unverified_chain(evidence) if script.skip_chain else verify_chain(evidence, self.keyset)
        )

    def _seal(self, files: dict[str, bytes]) -> tuple[bytes, Digest]:
        batches: Iterable[bytes | memoryview] = files.values()
        if len(files) > 1:
            batches = tar_batches(
                Member(path, len(data), partial(list, [data])) for path, data in files.items()
            )
        sink, digest = io.BytesIO(), blake3()
        seal(batches, sink, [self.vault.recipient()], payload_observer=digest.update)
        return sink.getvalue(), Digest("blake3", digest.hexdigest())

    def _bundle(
        self,
        at_rest: bytes,
        payload_digest: Digest,
        evidence: ChainEvidence,
        approved: ApprovedDelivery,
        recipient: Recipient,
        script: Script,
        files: dict[str, bytes],
    ) -> Delivered:
        _, old_header = read_header(io.BytesIO(at_rest))
        file_key = unwrap_file_key(old_header, [self.vault])
        header = wrap_header(file_key, [recipient.identity.recipient()])
        plan = DeliveryPlan(
            delivery_id=new_id(),
            status_id=new_id(),
            header=header,
            payload_digest=payload_digest,
            form="raw" if len(files) == 1 else "tar",
            key_class="x25519",
            acknowledge_by=self.now + timedelta(days=3),
            recipient_name=recipient.name,
            artifact_name="kiki v3",
            licence="research only",
            allowed_uses=("inference",),
        )
        keys = CustodyKeys(
            script.custody_key or self.statement, self.oms if script.with_oms else None
        )
        signed = attest_delivery(plan, approved, self.keyset, keys, self.now)
        envelopes = (evidence.intake, *evidence.verdicts, evidence.release, signed.envelope)
        placed = [(item, *self.log.add(item)) for item in envelopes]
        view = LogView(self.log.nodes, self.log.checkpoint(self.log_key))
        logged = [logged_statement(item, salt, index, view) for item, salt, index in placed]
        entries = script.entries(plan.status_id, approved.release.release.predicate.status_id)
        status = self.status_list(entries, valid_for=script.valid_for)
        link = script.old_checkpoint and consistency_link(script.old_checkpoint, view)
        bundle = assemble_bundle(
            BundleParts(
                keyset=self.keyset_envelope,
                intake=logged[0],
                verdicts=tuple(logged[1:-2]),
                release=logged[-2],
                delivery=logged[-1],
                signed=signed,
                status=issue_status_list(status, self.statement),
                consistency=(link,) if link else (),
            )
        )
        sealed = header + at_rest[len(old_header) :]
        return Delivered(sealed, bundle, files, recipient, approved, signed, status, file_key)

    def status_list(
        self, entries: tuple[StatusEntry, ...] = (), *, valid_for: timedelta = timedelta(days=7)
    ) -> StatusList:
        """The next status list, covering the whole log."""
        self.counter += 1
        return StatusList(
            registry=self.keyset.registry,
            counter=self.counter,
            issued=to_text(self.now),
            valid_until=to_text(self.now + valid_for),
            log_size=self.log.size,
            log_root=root(self.log.nodes, self.log.size).hex(),
            entries=tuple(sorted(entries, key=lambda entry: entry.status_id)),
        )

    def signed_status(self, entries: tuple[StatusEntry, ...] = ()) -> bytes:
        """A fresh status list, as the file that a recipient gives with --status."""
        return issue_status_list(self.status_list(entries), self.statement).to_bytes()


def replace_logged(bundle: Bundle, name: str, **more: object) -> Bundle:
    """The bundle with one member of one logged statement exchanged."""
    logged: LoggedStatement = getattr(bundle, name)
    return replace(bundle, **{name: replace(logged, **more)})  # type: ignore[arg-type]


def written_delivery(folder: Path) -> tuple[Path, Path, str]:
    """Write a delivery made at this moment; return sealed file, bundle, and the root key in hex.

    For commands run as whole processes, which judge freshness by the real clock.
    """
    world = World.make()
    world.now = datetime.now(UTC)
    folder.mkdir(parents=True, exist_ok=True)
    sealed, bundle = world.deliver().write(folder)
    return sealed, bundle, world.root.public_raw.hex()
