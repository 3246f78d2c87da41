"""What the registry signs is built from the verified chain, and tools of others can check it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from registry.attest import (
    CustodyKeys,
    DeliveryPlan,
    LogView,
    attest_delivery,
    attest_intake,
    consistency_link,
    issue_status_list,
    logged_statement,
    new_id,
    report_digest,
)
from registry.digest import Digest
from registry.errors import DeniedError, FormatError
from registry.formats.findings import Finding, Verdict
from registry.formats.predicates.delivery import Delivery
from registry.formats.predicates.predicate import parse_predicate
from registry.formats.sha256sums import sha256sums
from registry.sealing.oms import public_pem
from registry.sealing.sshsig import allowed_signers_line
from tests.verify.world import NOW, Delivered, Log, World, report


@pytest.fixture(scope="module")
def world() -> World:
    return World.make()


@pytest.fixture(scope="module")
def delivered(world: World) -> Delivered:
    return world.deliver()


def _plan(**more: object) -> DeliveryPlan:
    plan = DeliveryPlan(
        new_id(),
        new_id(),
        b"header",
        Digest("blake3", "ab" * 32),
        "raw",
        "x25519",
        NOW + timedelta(days=1),
        "Li W.",
        "kiki",
    )
    return replace(plan, **more)  # type: ignore[arg-type]


def test_header_of_another_key_class_is_denied(world: World, delivered: Delivered) -> None:
    with pytest.raises(DeniedError, match="class x25519, the header one of scrypt"):
        attest_delivery(
            _plan(key_class="scrypt"),
            delivered.approved,
            world.keyset,
            CustodyKeys(world.statement),
            NOW,
        )


def test_what_nobody_could_read_is_not_signed(world: World, delivered: Delivered) -> None:
    intake = delivered.approved.release.intake.predicate
    with pytest.raises(FormatError):
        attest_intake(replace(intake, artifact_id="ab" * 32), world.host)
    with pytest.raises(FormatError):
        issue_status_list(replace(delivered.status, log_root="x"), world.statement)


def test_log_behind_a_recipients_checkpoint_gives_no_link(world: World) -> None:
    log = Log()
    made = world.deliver()
    salt, index = log.add(made.bundle.intake.envelope)
    early = LogView(log.nodes, log.checkpoint(world.log_key))
    log.add(made.bundle.release.envelope)
    late = LogView(log.nodes, log.checkpoint(world.log_key))
    assert consistency_link(late.checkpoint.decode(), early) is None
    assert consistency_link(early.checkpoint.decode(), late) is not None
    assert logged_statement(made.bundle.intake.envelope, salt, index, early).salt == salt
    with pytest.raises(ValueError, match="outside"):
        logged_statement(made.bundle.release.envelope, salt, 1, early)


def test_report_digest_names_every_finding_and_value() -> None:
    base = report()
    finding = Finding("structure", Verdict.WARN, "odd", "look", "module.1")
    digests = {
        report_digest(item)
        for item in (
            base,
            replace(base, summary="other"),
            replace(base, metrics=(("rank", "16"),)),
            replace(base, findings=(finding,)),
            replace(base, findings=(replace(finding, place="module.2"),)),
        )
    }
    assert len(digests) == 5


def test_two_deliveries_share_no_salt_nonce_or_commitment(world: World) -> None:
    first = world.deliver()
    second = world.deliver(recipient=first.recipient)
    one, two = (
        parse_predicate(item.bundle.delivery.envelope.payload, Delivery) for item in (first, second)
    )
    assert one.nonce != two.nonce
    assert one.audience != two.audience
    assert first.bundle.delivery.salt != second.bundle.delivery.salt


def test_ssh_keygen_verifies_the_files(
    world: World, delivered: Delivered, tmp_path: Path, oracle: object
) -> None:
    ssh_keygen = oracle("ssh-keygen")  # type: ignore[operator]
    (entry,) = (key for key in world.keyset.keys if key.key_id == world.statement.key_id)
    signers = tmp_path / "allowed_signers"
    signers.write_text(allowed_signers_line("studio", entry, with_times=False))
    signature = tmp_path / "SHA256SUMS.sig"
    signature.write_text(str(delivered.bundle.sshsig))
    manifest = delivered.approved.release.intake.predicate.manifest
    command = [ssh_keygen, "-Y", "verify", "-f", str(signers), "-I", "studio", "-n", "loraseal"]
    done = subprocess.run(
        [*command, "-s", str(signature)],
        input=sha256sums(manifest),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_model_signing_verifies_the_files(
    world: World, delivered: Delivered, tmp_path: Path, oracle: object
) -> None:
    beside = Path(sys.executable).with_name("model_signing")
    program = str(beside) if beside.exists() else oracle("model_signing")  # type: ignore[operator]
    model = tmp_path / "model"
    model.mkdir()
    for path, data in delivered.files.items():
        (model / path).write_bytes(data)
    (tmp_path / "oms.pem").write_bytes(public_pem(world.oms.public_raw))
    (tmp_path / "model.sig").write_text(str(delivered.bundle.oms))
    options = [
        "--public_key",
        str(tmp_path / "oms.pem"),
        "--signature",
        str(tmp_path / "model.sig"),
    ]
    done = subprocess.run(
        [program, "verify", "key", str(model), *options],
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
