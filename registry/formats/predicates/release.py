"""Release: the policy, or a person, says what becomes of an artifact, and on which verdicts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

from registry.errors import FormatError
from registry.formats.fields import ID_DIGITS, Fields
from registry.formats.findings import Outcome
from registry.formats.predicates.predicate import PREFIX, artifact_subject
from registry.limits import BUNDLE_VERDICTS, RELEASE_LABELS, RELEASE_WAIVERS

if TYPE_CHECKING:
    from registry.formats.canonical import Json
    from registry.formats.statement import Subject

DECIDED_BY_POLICY = "policy"
DECIDED_BY_OPERATOR = "operator"


@dataclass(frozen=True, slots=True)
class WaiverNote:
    """One verdict that may stand although it is neither pass nor warn.

    `finding` is the fingerprint of what is waived; the waiver ends at `expires`.
    """

    rule: str
    finding: str
    reason: str
    expires: str

    def to_json(self) -> dict[str, Json]:
        """Return its members."""
        return {
            "rule": self.rule,
            "finding": self.finding,
            "reason": self.reason,
            "expires": self.expires,
        }

    @classmethod
    def from_json(cls, value: Json) -> Self:
        """Return the waiver in `value`; raises `FormatError`."""
        fields = Fields.of(value, "waiver")
        return cls(
            fields.text("rule"),
            fields.text("finding"),
            fields.text("reason"),
            fields.moment("expires"),
        )


@dataclass(frozen=True, slots=True)
class Release:
    """What becomes of one rendition of one artifact.

    `verdict_digests` are the sha256 of the payloads of every verdict statement relied on.
    `status_id` is what a revocation of the artifact names in status lists.
    """

    TYPE: ClassVar[str] = PREFIX + "release:v1"

    artifact_id: str
    rendition: str
    policy_digest: str
    verdict_digests: tuple[str, ...]
    outcome: Outcome
    decided_by: str
    privacy_audited: bool
    status_id: str
    at: str
    reason: str | None = None
    waivers: tuple[WaiverNote, ...] = ()
    labels: tuple[str, ...] = ()

    @property
    def moment(self) -> str:
        """When it was decided."""
        return self.at

    def subjects(self) -> tuple[Subject, ...]:
        """Return the artifact."""
        return (artifact_subject(self.artifact_id),)

    def to_json(self) -> dict[str, Json]:
        """Return its members."""
        return {
            "artifact_id": self.artifact_id,
            "rendition": self.rendition,
            "policy_digest": self.policy_digest,
            "verdict_digests": list(self.verdict_digests),
            "outcome": self.outcome.value,
            "decided_by": self.decided_by,
            "privacy_audited": self.privacy_audited,
            "status_id": self.status_id,
            "at": self.at,
            "reason": self.reason,
            "waivers": [waiver.to_json() for waiver in self.waivers],
            "labels": list(self.labels),
        }

    @classmethod
    def from_json(cls, fields: Fields) -> Self:
        """Return the release in `fields`.

        Raises:
            FormatError: a member is missing or malformed, or a verdict is listed twice.
        """
        digests = _texts(fields, "verdict_digests", BUNDLE_VERDICTS)
        if len(set(digests)) != len(digests):
            raise FormatError("release lists a verdict twice")
        return cls(
            artifact_id=fields.hexadecimal("artifact_id"),
            rendition=fields.text("rendition"),
            policy_digest=fields.hexadecimal("policy_digest"),
            verdict_digests=digests,
            outcome=Outcome(fields.choice("outcome", [item.value for item in Outcome])),
            decided_by=fields.choice("decided_by", (DECIDED_BY_POLICY, DECIDED_BY_OPERATOR)),
            privacy_audited=fields.flag("privacy_audited"),
            status_id=fields.hexadecimal("status_id", ID_DIGITS),
            at=fields.moment("at"),
            reason=fields.optional_text("reason"),
            waivers=tuple(
                WaiverNote.from_json(row) for row in fields.items("waivers", most=RELEASE_WAIVERS)
            ),
            labels=_texts(fields, "labels", RELEASE_LABELS),
        )


def _texts(fields: Fields, name: str, most: int) -> tuple[str, ...]:
    rows = [row for row in fields.items(name, most=most) if isinstance(row, str)]
    if len(rows) != len(fields.items(name, most=most)):
        raise FormatError(f"{fields.what}: {name!r} must hold strings only")
    return tuple(rows)
