"""Enrolment: an operator says which keys are a recipient's, and how that was confirmed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

from registry.errors import FormatError
from registry.formats.base64_text import encode_base64
from registry.formats.fields import ID_DIGITS, Fields
from registry.formats.predicates.predicate import PREFIX, id_subject

if TYPE_CHECKING:
    from registry.formats.canonical import Json
    from registry.formats.statement import Subject

_KEY_BYTES = 32
_PINS = 64


@dataclass(frozen=True, slots=True)
class ChannelPin:
    """What was pinned for one channel, for instance a safety number's digest."""

    channel: str
    pin: str


@dataclass(frozen=True, slots=True)
class Enrolment:
    """The keys of one recipient. Never part of a bundle; the log holds a salted commitment only.

    `signing_key` is the raw 32-byte Ed25519 public key. `status_id` is what its revocation names.
    `name_tag` is a keyed tag of the name, so that a row given another name serves no route.
    """

    TYPE: ClassVar[str] = PREFIX + "enrolment:v1"

    recipient_id: str
    age_recipient: str
    signing_key: bytes
    confirmed_how: str
    confirmed_by: str
    status_id: str
    at: str
    channel_pins: tuple[ChannelPin, ...] = ()
    name_tag: str | None = None

    @property
    def moment(self) -> str:
        """When it was confirmed."""
        return self.at

    def subjects(self) -> tuple[Subject, ...]:
        """Return the recipient's random id."""
        return (id_subject("recipient", self.recipient_id),)

    def to_json(self) -> dict[str, Json]:
        """Return its members."""
        return {
            "recipient_id": self.recipient_id,
            "age_recipient": self.age_recipient,
            "signing_key": encode_base64(self.signing_key),
            "confirmed_how": self.confirmed_how,
            "confirmed_by": self.confirmed_by,
            "status_id": self.status_id,
            "at": self.at,
            "channel_pins": [{"channel": pin.channel, "pin": pin.pin} for pin in self.channel_pins],
            "name_tag": self.name_tag,
        }

    @classmethod
    def from_json(cls, fields: Fields) -> Self:
        """Return the enrolment in `fields`.

        Raises:
            FormatError: a member is missing or malformed.
        """
        signing_key = fields.encoded("signing_key")
        if len(signing_key) != _KEY_BYTES:
            raise FormatError(f"enrolment: 'signing_key' has {len(signing_key)} bytes, expected 32")
        pins = [Fields.of(row, "channel pin") for row in fields.items("channel_pins", most=_PINS)]
        return cls(
            recipient_id=fields.hexadecimal("recipient_id", ID_DIGITS),
            age_recipient=fields.text("age_recipient"),
            signing_key=signing_key,
            confirmed_how=fields.text("confirmed_how"),
            confirmed_by=fields.text("confirmed_by"),
            status_id=fields.hexadecimal("status_id", ID_DIGITS),
            at=fields.moment("at"),
            channel_pins=tuple(ChannelPin(pin.text("channel"), pin.text("pin")) for pin in pins),
            name_tag=fields.optional_hexadecimal("name_tag"),
        )
