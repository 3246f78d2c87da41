"""The answer of a verification: for people line by line, for programs as `loraseal/verify.v1`.

Wording rule: what to do first, the reason second.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from registry.errors import (
    CannotDecryptError,
    ContentMismatchError,
    FormatError,
    InconclusiveError,
    LorasealError,
    RevokedError,
    StaleStatusError,
    VerificationError,
)
from registry.formats.findings import Verdict
from registry.formats.keyset import KeyRole
from registry.formats.predicates.intake import Rendition
from registry.formats.words import spoken
from registry.verify.checklist import StepResult, StepState

if TYPE_CHECKING:
    from registry.verify.opener import OpenedResult
    from registry.verify.status import StatusAnswer
    from registry.verify.steps import VerifiedDelivery

SCHEMA = "loraseal/verify.v1"
_MARKS = {
    StepState.PASSED: "ok",
    StepState.FAILED: "FAILED",
    StepState.UNKNOWN: "unknown",
    StepState.NOT_CHECKED: "not checked",
    StepState.NOT_RUN: "not run",
}
_HEADLINES: tuple[tuple[type[LorasealError], str], ...] = (
    (RevokedError, "WITHDRAWN: please delete it"),
    (StaleStatusError, "GENUINE AND UNCHANGED, BUT STATUS UNKNOWN: ask for a fresh status list"),
    (CannotDecryptError, "NOT FOR YOU: none of the identities given is its recipient's"),
    (ContentMismatchError, "CHANGED OR DAMAGED: do not use it"),
    (FormatError, "DAMAGED: do not use it"),
    (VerificationError, "NOT PROVEN GENUINE: do not use it"),
    (InconclusiveError, "NOT DECIDED: the content was not looked at"),
)
_VERIFIED = "GENUINE AND UNCHANGED"
_FILES_SHOWN = 20

# What the recipient holds, where that is not what the trainer wrote.
_FORMS: dict[str, str] = {
    Rendition.PUBLIC: "public: its header was scrubbed, its weights are as they were trained",
    Rendition.MARKED: "marked: its weights bear a mark by which this copy can be told from others",
    Rendition.CONVERTED: "converted from a pickle",
}


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What was found. `error` is None when everything held; `notes` are remarks that change nothing."""

    steps: tuple[StepResult, ...]
    delivery: VerifiedDelivery | None = None
    status: StatusAnswer | None = None
    opened: OpenedResult | None = None
    error: LorasealError | None = None
    notes: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """The exit code of DESIGN section 5."""
        return 0 if self.error is None else self.error.exit_code

    @property
    def verified(self) -> bool | None:
        """True when everything held, None when it is intact and something stays unknown."""
        if self.error is None:
            return True
        return None if isinstance(self.error, StaleStatusError | InconclusiveError) else False

    @property
    def headline(self) -> str:
        """The answer in one line."""
        if self.error is None:
            return _VERIFIED
        for kind, words in _HEADLINES:
            if isinstance(self.error, kind):
                return words
        return "FAILED"

    def to_json(self) -> dict[str, object]:
        """Return the answer as JSON data, schema `loraseal/verify.v1`."""
        return {
            "schema": SCHEMA,
            "verified": self.verified,
            "exit": self.exit_code,
            "headline": self.headline,
            "steps": [
                {
                    "number": step.number,
                    "title": step.title,
                    "state": step.state.value,
                    "detail": step.detail,
                }
                for step in self.steps
            ],
            "delivery": None if self.delivery is None else _delivery_json(self.delivery),
            "status": None if self.status is None else _status_json(self.status),
            "out": None if self.opened is None else str(self.opened.out),
            "error": None if self.error is None else _error_json(self.error),
            "notes": list(self.notes),
        }

    def to_text(self) -> str:
        """Return the answer for people: the steps, then the one line that counts, then what it is."""
        lines = [
            f"{step.number:>2} {_MARKS[step.state]:<11} {step.title:<13} {step.detail}".rstrip()
            for step in self.steps
        ]
        lines += ["", self.headline]
        if self.error is not None:
            lines.append(f"  {'what to do':<10} {self.error.hint or 'ask the sender'}")
            lines.append(f"  {'because':<10} {self.error}")
        if self.delivery is not None:
            lines += _facts(self.delivery)
        if self.status is not None and self.status.superseded is not None:
            lines.append(f"  {'note':<10} a newer delivery takes the place of this one: ask for it")
        if self.opened is not None:
            lines.append(f"  {'opened to':<10} {self.opened.out}")
        lines += [f"  {'note':<10} {note}" for note in self.notes]
        return "\n".join(lines)


def _facts(delivery: VerifiedDelivery) -> list[str]:
    statement, release = delivery.statement, delivery.chain.release.predicate
    shown = [f"{entry.path} ({entry.size} bytes)" for entry in statement.files[:_FILES_SHOWN]]
    if len(statement.files) > _FILES_SHOWN:
        shown.append(f"and {len(statement.files) - _FILES_SHOWN} more")
    root = delivery.keyset.with_role(KeyRole.ROOT)[0]
    lines = [f"  {'from':<10} {statement.registry}, delivery {statement.delivery_id[:12]}"]
    # The words let a person compare the pinned key with the sender over another way, at any time.
    lines.append(f"  {'its key':<10} {spoken(bytes.fromhex(root.key_id))}")
    part = delivery.sealed_part
    if part is not None:
        lines.append(f"  {'for':<10} {part.recipient_name}")
        lines += [f"  {'licence':<10} {part.licence}"] if part.licence else []
        lines += [f"  {'allowed':<10} {', '.join(part.allowed_uses)}"] if part.allowed_uses else []
    lines += [f"  {'file':<10} {item}" for item in shown]
    if form := _FORMS.get(statement.rendition):
        lines.append(f"  {'form':<10} {form}")
    lines.append(
        f"  {'release':<10} {delivery.chain.words} (by {release.decided_by}, {release.at})"
    )
    lines += [f"  {'audit':<10} {words}" for words in _verdict_words(delivery)]
    return lines


def _verdict_words(delivery: VerifiedDelivery) -> list[str]:
    words = []
    for item in delivery.chain.verdicts:
        verdict = item.predicate
        seen = verdict.coverage
        remark = "" if verdict.verdict is Verdict.PASS else " (allowed by the release)"
        if verdict.verdict is Verdict.WARN:
            remark = ""
        words.append(
            f"{verdict.rule}: {verdict.verdict.value}{remark}, "
            f"{seen.examined} of {seen.total} {seen.unit}"
        )
    return words


def _delivery_json(delivery: VerifiedDelivery) -> dict[str, object]:
    statement, release = delivery.statement, delivery.chain.release.predicate
    part = delivery.sealed_part
    return {
        "registry": statement.registry,
        "delivery_id": statement.delivery_id,
        "artifact_id": statement.artifact_id,
        "rendition": statement.rendition,
        "form": statement.form,
        "created": statement.created,
        "acknowledge_by": statement.acknowledge_by,
        "files": [
            {"path": entry.path, "size": entry.size, "sha256": entry.sha256}
            for entry in statement.files
        ],
        "release": {
            "outcome": release.outcome.value,
            "decided_by": release.decided_by,
            "at": release.at,
            "privacy_audited": release.privacy_audited,
            "words": delivery.chain.words,
            "labels": list(release.labels),
        },
        "verdicts": [
            {"rule": item.predicate.rule, "verdict": item.predicate.verdict.value}
            for item in delivery.chain.verdicts
        ],
        "recipient": None if part is None else part.recipient_name,
        "log": {
            "origin": delivery.position.checkpoint.origin,
            "size": delivery.position.checkpoint.size,
            "continues_stored": delivery.position.continues_stored,
        },
    }


def _status_json(status: StatusAnswer) -> dict[str, object]:
    source = status.source
    return {
        "counter": source.counter,
        "issued": source.issued,
        "valid_until": source.valid_until,
        "superseded_by": status.superseded.superseded_by if status.superseded else None,
    }


def _error_json(error: LorasealError) -> dict[str, object]:
    return {"error": type(error).__name__, "message": str(error), "hint": error.hint}
