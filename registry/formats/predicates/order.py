"""Order: an operator says that one artifact is to go to one recipient. Never part of a bundle.

What the settings' routes wish needs none: they are a file, which who writes the database does not. A
delivery planned by hand would rest on a row alone; without an order, custody does not make it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

from registry.formats.fields import ID_DIGITS
from registry.formats.predicates.predicate import PREFIX, artifact_subject, id_subject

if TYPE_CHECKING:
    from registry.formats.canonical import Json
    from registry.formats.fields import Fields
    from registry.formats.statement import Subject


@dataclass(frozen=True, slots=True)
class Order:
    """One artifact to one recipient by one channel; `ordinal` counts deliberate repeats from 1."""

    TYPE: ClassVar[str] = PREFIX + "order:v1"

    artifact_id: str
    recipient_id: str
    channel: str
    ordinal: int
    at: str

    @property
    def moment(self) -> str:
        """When it was ordered."""
        return self.at

    def subjects(self) -> tuple[Subject, ...]:
        """Return the artifact and the recipient's random id."""
        return (artifact_subject(self.artifact_id), id_subject("recipient", self.recipient_id))

    def to_json(self) -> dict[str, Json]:
        """Return its members."""
        return {
            "artifact_id": self.artifact_id,
            "recipient_id": self.recipient_id,
            "channel": self.channel,
            "ordinal": self.ordinal,
            "at": self.at,
        }

    @classmethod
    def from_json(cls, fields: Fields) -> Self:
        """Return the order in `fields`.

        Raises:
            FormatError: a member is missing or malformed.
        """
        return cls(
            artifact_id=fields.hexadecimal("artifact_id"),
            recipient_id=fields.hexadecimal("recipient_id", ID_DIGITS),
            channel=fields.text("channel"),
            ordinal=fields.integer("ordinal"),
            at=fields.moment("at"),
        )
