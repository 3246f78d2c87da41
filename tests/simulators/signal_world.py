"""What lies behind the simulated signal-cli: contacts and their keys, what really arrived, scripted faults."""

from __future__ import annotations

import hashlib
import threading
from collections import defaultdict, deque
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path
from typing import Any

FIRST_TIMESTAMP = 1_900_000_000_001


class Cut(Enum):
    """Where the daemon or the connection breaks while it handles a request."""

    BEFORE_EFFECT = auto()
    AFTER_EFFECT = auto()
    HALF_ANSWER = auto()
    HANG_BEFORE_EFFECT = auto()
    HANG_AFTER_EFFECT = auto()
    NULL_ID = auto()
    GARBAGE = auto()


@dataclass(frozen=True)
class Script:
    """How one call of a method goes. Without any field it goes as the world stands.

    `results` are types per recipient (or dicts with more keys); `error` is (code, message); `before`
    and `after` are events that are waited for around the effect; `noise` adds answers nobody asked for.
    """

    results: tuple[Any, ...] | None = None
    error: tuple[int, str] | None = None
    timestamp: int | None = None
    cut: Cut | None = None
    before: threading.Event | None = None
    after: threading.Event | None = None
    noise: bool = False


@dataclass
class Contact:
    """A contact as signal-cli has it stored; `actual` is the key that the person has now."""

    uuid: str
    number: str | None
    fingerprint: str
    safety_number: str
    trust: str = "TRUSTED_VERIFIED"
    added: int = 1_700_000_000_000
    scannable: str | None = None
    name: str = "Alice"
    actual: str = ""

    def __post_init__(self) -> None:
        self.actual = self.actual or self.fingerprint


@dataclass(frozen=True)
class Arrived:
    """One message that really reached one recipient."""

    timestamp: int
    uuid: str
    text: str
    attachments: tuple[tuple[str, str, int], ...]
    """(file name, hex sha256, bytes)"""


def make_contact(index: int, **changes: Any) -> Contact:
    """Return a contact whose ids and keys follow from `index` (1 to 9)."""
    uuid = "-".join(str(index) * n for n in (8, 4)) + f"-4{str(index) * 3}-8{str(index) * 3}-"
    seed = hashlib.sha256(f"contact {index}".encode()).hexdigest()
    digits = "".join(str(int(pair, 16) % 10) for pair in (seed * 2)[:60])
    fields: dict[str, Any] = {
        "uuid": uuid + str(index) * 12,
        "number": f"+155501{index:02}",
        "fingerprint": "05" + seed,
        "safety_number": digits,
    }
    return Contact(**(fields | changes))


@dataclass
class World:
    """All state; share it between simulators to let it outlive a daemon."""

    version: str = "0.14.7"
    account: str = "+15550100"
    account_uuid: str = "00000000-0000-4000-8000-000000000000"
    contacts: list[Contact] = field(default_factory=lambda: [make_contact(1), make_contact(2)])
    groups: dict[str, tuple[str | None, ...]] = field(default_factory=dict)
    results_first: bool = False
    """Order of the members of a send result: it differs from one run of the real one to the next."""
    reads_attachments: bool = True
    auto_receipts: bool = False
    offline: bool = False
    trust_mode: str = "on-first-use"
    keep: Path | None = None
    """Where attachments that arrived are kept, as `<keep>/<timestamp>/<name>`; None keeps digests only."""
    attachments: Path | None = None
    """signal-cli's own folder for attachments that came in."""

    arrived: list[Arrived] = field(default_factory=list)
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    waiting: deque[dict[str, Any]] = field(default_factory=deque)
    captchas: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self._scripts: dict[str, deque[Script]] = defaultdict(deque)
        self._next = FIRST_TIMESTAMP

    def script(self, method: str, *scripts: Script) -> None:
        """Let the next calls of `method` go as the scripts say, one each."""
        with self.lock:
            self._scripts[method].extend(scripts)

    def take_script(self, method: str) -> Script:
        """Return the script for a call that begins now."""
        with self.lock:
            queue = self._scripts[method]
            return queue.popleft() if queue else Script()

    def timestamp(self) -> int:
        """Return a message timestamp that was never used."""
        with self.lock:
            self._next += 1
            return self._next - 1

    def contact(self, name: str) -> Contact | None:
        """Return the contact with that uuid or number."""
        return next((c for c in self.contacts if name in (c.uuid, c.number)), None)

    def change_identity(self, uuid: str) -> Contact:
        """Let a contact get a new phone; signal-cli learns of it at the next send."""
        contact = self.contact(uuid)
        assert contact is not None
        contact.actual = "05" + hashlib.sha256(contact.actual.encode()).hexdigest()
        return contact

    def meet_identity(self, contact: Contact) -> bool:
        """Do what signal-cli does before it encrypts: True if it may send."""
        with self.lock:
            if contact.actual != contact.fingerprint:
                contact.fingerprint = contact.actual
                digest = hashlib.sha256(contact.actual.encode()).hexdigest()
                contact.safety_number = "".join(str(int(c, 16) % 10) for c in digest)[:60]
                always = self.trust_mode == "always"
                contact.trust = "TRUSTED_UNVERIFIED" if always else "UNTRUSTED"
                contact.added += 1
            return contact.trust != "UNTRUSTED"

    def arrive(self, message: Arrived) -> None:
        """Record what reached a recipient."""
        with self.changed:
            self.arrived.append(message)
            self.changed.notify_all()

    def wait_for(self, count: int, seconds: float = 20) -> None:
        """Wait until `count` messages arrived (a deadline, not a delay)."""
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.arrived) >= count, seconds)

    def envelope(self, contact: Contact, timestamp: int, **body: Any) -> dict[str, Any]:
        """Return an envelope of `contact` as a notification carries it."""
        envelope = {
            "source": contact.number or contact.uuid,
            "sourceNumber": contact.number,
            "sourceUuid": contact.uuid,
            "sourceName": contact.name,
            "sourceDevice": 1,
            "timestamp": timestamp,
            "serverReceivedTimestamp": timestamp + 50,
            "serverDeliveredTimestamp": timestamp + 70,
        }
        return {"envelope": envelope | body, "account": self.account}

    def receipt_of(
        self, contact: Contact, stamps: list[int], *, when: int, kind: str = "delivery"
    ) -> dict[str, Any]:
        """Return the delivery, read or viewed receipt of a contact for our messages."""
        body = {
            "when": when,
            "isDelivery": kind == "delivery",
            "isRead": kind == "read",
            "isViewed": kind == "viewed",
            "timestamps": stamps,
        }
        return self.envelope(contact, when, receiptMessage=body)
