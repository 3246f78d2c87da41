"""What a channel is: it carries sealed bytes to an address and says honestly what became of them.

A channel sees ciphertext only and promises nothing about the far end: a delivery is complete when
the recipient's signed DeliveryReceipt comes back, whatever a carrier says (DESIGN 1.6).

Order of calls for one delivery: `offer` once (repeating it is harmless), then `send` for each parcel
in order. After `Unknown`, or after a restart that lost the outcome, call `reconcile` before `send`:
it alone knows whether the parcel left. Every method may be called from any thread.

Errors: what the world does (folder gone, daemon dead, recipient refused) comes back as a value, never
as an exception. `ValueError` is a caller's bug; `FormatError` and `OSError` mean that the channel's own journal
is damaged or cannot be written: nothing more leaves until it is repaired.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING, Protocol, TypeAlias, runtime_checkable

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path


class Level(IntEnum):
    """What the best receipt of a channel proves; each level implies those before it."""

    ACCEPTED = 1
    DELIVERED = 2
    FETCHED = 3
    OPENED = 4
    VERIFIED = 5


class Role(StrEnum):
    """A carrier moves sealed bytes; a courier brings the short secret to a pinned contact."""

    CARRIER = "carrier"
    COURIER = "courier"


class Retry(StrEnum):
    """When a refused parcel may be tried again."""

    NEVER = "never"
    LATER = "later"
    HUMAN = "human"


class Fate(StrEnum):
    """What is known of a parcel: it left, it surely did not, or nobody can tell (yet)."""

    SENT = "sent"
    NOT_SENT = "not_sent"
    UNKNOWN = "unknown"


class Recall(StrEnum):
    """What revoking did. None of them takes back plaintext, nor a copy that somebody already has."""

    STOPPED = "stopped"
    TOO_LATE = "too_late"
    UNSUPPORTED = "unsupported"


class Health(StrEnum):
    """Whether a channel can carry something now."""

    READY = "ready"
    WARNING = "warning"
    UNAVAILABLE = "unavailable"
    NEEDS_PERSON = "needs_person"


class EventKind(StrEnum):
    """DELIVERED and READ are the carrier's hints; RECEIPT brings a sealed DeliveryReceipt."""

    DELIVERED = "delivered"
    READ = "read"
    RECEIPT = "receipt"
    ATTENTION = "attention"


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a channel can do. `max_parcel_bytes` is None where only disk space limits it."""

    roles: frozenset[Role]
    max_parcel_bytes: int | None
    recipient_online: bool
    revocable: bool
    best_receipt: Level


@dataclass(frozen=True, slots=True)
class Address:
    """Where a recipient is on one kind of channel; `value` and `pin` never show in a repr.

    `kind` is the channel's kind, or the name that the settings give to a channel.

    `pin` is what the far end must prove to be (Signal: the contact's identity key fingerprint or
    safety number as confirmed at enrolment); None where the channel has no such thing.
    """

    kind: str
    value: str = field(repr=False)
    pin: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Parcel:
    """One part of a delivery: the `size` bytes of `path` from `offset`, with their hex sha256.

    `number` runs from 1 to `count`; `clean_name` is the file name that the recipient sees and holds
    only `[A-Za-z0-9._-]`. The bytes at `path` must not change until the delivery is over.
    """

    delivery_id: str
    number: int
    count: int
    path: Path
    sha256: str
    size: int
    clean_name: str
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Offer:
    """All parcels of one delivery and where they go."""

    delivery_id: str
    to: Address
    parcels: tuple[Parcel, ...]


@dataclass(frozen=True, slots=True)
class Offered:
    """The channel is ready to take the parcels.

    `public` may be stored and shown; `secret` (a link's key, a code) goes to a courier and nowhere
    else. Both are the same when the same offer is made again.
    """

    delivery_id: str
    public: str
    secret: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Accepted:
    """The carrier took the parcel at `at` (UTC) and calls it `msgref`."""

    msgref: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Unknown:
    """Nobody can say whether the parcel left: reconcile before anything else.

    The carrier may be at it for another `settle_s` seconds; it is of no use to try again before.
    """

    reason: str
    settle_s: int = 60


@dataclass(frozen=True, slots=True)
class Refused:
    """The parcel did not leave. `retry_after_s` counts from now, for `Retry.LATER` only."""

    reason: str
    retry: Retry
    what_to_do: str
    retry_after_s: int | None = None


SendOutcome: TypeAlias = Accepted | Unknown | Refused


@dataclass(frozen=True, slots=True)
class ChannelStatus:
    """What `check` found; `facts` are names and values fit for a table and hold nothing private."""

    channel: str
    health: Health
    message: str
    what_to_do: str | None = None
    facts: tuple[tuple[str, str], ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the channel can carry something now, with a warning or without."""
        return self.health in {Health.READY, Health.WARNING}


@dataclass(frozen=True, slots=True)
class ChannelEvent:
    """Something came in. Handle it, store `cursor`, then ask for what comes after that cursor.

    `msgref` is that of `Accepted` (DELIVERED, READ); `delivery_id` is set where the channel knows it.
    `sealed_receipt` (RECEIPT) is unproved ciphertext, at most `limits.RECEIPT_BYTES` long.
    """

    kind: EventKind
    msgref: str | None
    sealed_receipt: bytes | None = field(repr=False)
    cursor: str
    delivery_id: str | None = None
    reason: str | None = None


@runtime_checkable
class Channel(Protocol):
    """One way to a recipient. A new one is done when `tests/conformance/channel.py` passes."""

    @property
    def name(self) -> str:
        """The name that the settings give this channel."""

    @property
    def capabilities(self) -> Capabilities:
        """What this channel can do."""

    def check(self) -> ChannelStatus:
        """Probe the channel as `doctor` does; sends nothing to any recipient."""

    def offer(self, offer: Offer) -> Offered | Refused:
        """Get ready for a delivery; the same delivery id again gives the same answer.

        Raises:
            ValueError: the delivery id was offered before with other parcels or another address,
                or the parcels are not numbered 1 to count.
        """

    def send(self, parcel: Parcel, to: Address) -> SendOutcome:
        """Carry one offered parcel; one that is known to have left is not carried again.

        The bytes are compared with `parcel.sha256` before any of them leaves. After `Unknown` it stays
        `Unknown` while the carrier may still be at it; a call after that sends a second time, so
        `reconcile` first, and say in the delivery that a copy is possible.

        Raises:
            ValueError: the parcel was not offered to that address.
        """

    def events(self, cursor: str | None) -> tuple[ChannelEvent, ...]:
        """Return what came in after `cursor` (None: from the beginning), oldest first.

        Does not wait for something to come in; a carrier that hangs may cost a call's deadline.


        Raises:
            ValueError: the cursor is not one of this channel.
        """

    def revoke(self, delivery_id: str, to: Address) -> Recall:
        """Stop a delivery: what has not left stays here, what can be withdrawn is withdrawn."""

    def reconcile(self, delivery_id: str, number: int) -> Fate:
        """Say what became of a parcel, from what is on record and from what came in since."""

    def close(self) -> None:
        """Let go of sockets, threads and files; the channel is of no use afterwards."""
