"""Revocation: an operator withdraws an artifact, or one statement by its status id."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

from registry.errors import FormatError
from registry.formats.fields import ID_DIGITS, Fields
from registry.formats.predicates.predicate import PREFIX, artifact_subject, id_subject

if TYPE_CHECKING:
    from registry.formats.canonical import Json
    from registry.formats.statement import Subject

REASON_CODE = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")


@dataclass(frozen=True, slots=True)
class Revocation:
    """No further delivery, and status lists say so. It takes nothing back from who has it.

    Exactly one of `status_id` (of a release, an enrolment or a delivery) and `artifact_id` is set.
    `reason_code` is a short code in lower case with hyphens, never prose: it may be shown to others.
    """

    TYPE: ClassVar[str] = PREFIX + "revocation:v1"

    reason_code: str
    at: str
    status_id: str | None = None
    artifact_id: str | None = None
    superseded_by: str | None = None

    @property
    def moment(self) -> str:
        """When it was decided."""
        return self.at

    def subjects(self) -> tuple[Subject, ...]:
        """Return the artifact, or the status id's digest."""
        if self.artifact_id is not None:
            return (artifact_subject(self.artifact_id),)
        return (id_subject("status", self.status_id or ""),)

    def to_json(self) -> dict[str, Json]:
        """Return its members."""
        return {
            "reason_code": self.reason_code,
            "at": self.at,
            "status_id": self.status_id,
            "artifact_id": self.artifact_id,
            "superseded_by": self.superseded_by,
        }

    @classmethod
    def from_json(cls, fields: Fields) -> Self:
        """Return the revocation in `fields`.

        Raises:
            FormatError: a member is missing or malformed, or both or neither target is named.
        """
        status_id = fields.optional_hexadecimal("status_id", ID_DIGITS)
        artifact_id = fields.optional_hexadecimal("artifact_id")
        if (status_id is None) == (artifact_id is None):
            raise FormatError("revocation must name either a status id or an artifact id")
        reason_code = fields.text("reason_code")
        if not REASON_CODE.fullmatch(reason_code):
            raise FormatError("revocation: 'reason_code' must be like 'consent-withdrawn'")
        return cls(
            reason_code=reason_code,
            at=fields.moment("at"),
            status_id=status_id,
            artifact_id=artifact_id,
            superseded_by=fields.optional_hexadecimal("superseded_by", ID_DIGITS),
        )
