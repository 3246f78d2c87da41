"""A recipient's receipt, from verification to sealed bytes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from registry.errors import LorasealError, RevokedError, SignatureError, UsageError
from registry.formats.delivery_receipt import ReceiptLevel
from registry.verify.checklist import Checklist
from registry.verify.home import load_signing_key
from registry.verify.inputs import Inputs, prepare, read_passphrase
from registry.verify.memory import load_memory
from registry.verify.receipts import facts_of, make_receipt, seal_receipt
from registry.verify.report import VerifyReport
from registry.verify.session import Task, run_verification
from registry.verify.steps import Given, VerifiedDelivery, verify_bundle

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from registry.sealing.file_key import FileKey


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """What is acknowledged. `has_content` is false when the sealed file is gone (level `deleted`)."""

    inputs: Inputs
    signing_key: Path
    level: str
    has_content: bool = True


@dataclass(frozen=True, slots=True)
class MadeReceipt:
    """The sealed receipt, or None and the report that says why there is none."""

    report: VerifyReport
    data: bytes | None


def acknowledge(wish: Acknowledgement, now: datetime) -> MadeReceipt:
    """Return the receipt for a delivery that verifies, sealed to the registry's receipt key.

    Raises:
        SignatureError: the signing key is not the one that was enrolled.
        LorasealError: a key cannot be read; the sealed file is missing for a level that needs it.
    """
    level = ReceiptLevel(wish.level)
    passphrase = read_passphrase(wish.inputs.passphrase_file)
    key = load_signing_key(wish.signing_key, passphrase)
    task = prepare(wish.inputs, now)
    report, file_key = _judge(task, level, has_content=wish.has_content)
    if report.delivery is None or _is_refused(report, level):
        return MadeReceipt(report, None)
    verified = report.delivery
    if verified.sealed_part is None or verified.sealed_part.signing_key != key.public_raw:
        raise SignatureError(
            "your signing key is not the one that you enrolled with",
            hint="name the right one with --signing-key",
        )
    memory = None if task.memory is None else load_memory(task.memory)
    seen = verified.position.note if memory is None else memory.checkpoint
    receipt = make_receipt(facts_of(verified, level, now, seen), key, file_key)
    return MadeReceipt(report, seal_receipt(receipt, verified.keyset, now=now))


def _judge(
    task: Task, level: ReceiptLevel, *, has_content: bool
) -> tuple[VerifyReport, FileKey | None]:
    if has_content:
        return run_verification(task)
    if level is not ReceiptLevel.DELETED:
        raise UsageError(
            "the sealed file is needed to prove that it was opened", hint="name it as SEALED"
        )
    steps = Checklist()
    verified: VerifiedDelivery | None = None
    error: LorasealError | None = None
    try:
        verified = verify_bundle(_with_memory(task), steps)
    except LorasealError as fault:
        error = fault
    return VerifyReport(steps.results(), verified, error=error), None


def _with_memory(task: Task) -> Given:
    memory = None if task.memory is None else load_memory(task.memory)
    return replace(task.given, memory=memory)


def _is_refused(report: VerifyReport, level: ReceiptLevel) -> bool:
    # A withdrawn delivery can still be reported as deleted: that is what its owner asks for.
    return report.verified is False and not (
        level is ReceiptLevel.DELETED and report.exit_code == RevokedError.exit_code
    )
