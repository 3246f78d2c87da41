"""What a channel remembers of its deliveries: the journal, folded into answers.

Kinds of lines: `offered`, `stopped`; `submitted` (written before the first byte leaves), then one of
`sent`, `refused`, `unclear` for it; `hint` (a carrier's receipt for a known parcel), `orphan` (one
for a message that nothing on record explains), `foreign` (sent by hand from another device), `receipt` (a sealed DeliveryReceipt), `attention`.
"""

from __future__ import annotations

import base64
import hashlib
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from registry.errors import FormatError
from registry.formats.canonical import Json, dump_canonical
from signal_bridge.channel import Accepted, ChannelEvent, EventKind, Fate

if TYPE_CHECKING:
    from signal_bridge.channel import Address, Offer, Parcel
    from signal_bridge.journal import Entry, Journal

# facts/signal.md 4.2 rule 2: clocks of the daemon and of ours may differ by that much.
CLOCK_SLACK_MS = 5_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class _Folded:
    seq: int = 0
    offers: dict[str, Entry] = field(default_factory=dict)
    sent: dict[tuple[str, int], Entry] = field(default_factory=dict)
    sent_messages: dict[tuple[str, str], Entry] = field(default_factory=dict)
    open: dict[int, Entry] = field(default_factory=dict)
    unclear: dict[tuple[str, str], Entry] = field(default_factory=dict)
    stopped: set[str] = field(default_factory=set)
    orphans: dict[tuple[str, str], list[Entry]] = field(default_factory=dict)
    hints: set[tuple[str, str, str]] = field(default_factory=set)
    foreign: set[tuple[str, str]] = field(default_factory=set)
    receipts: set[str] = field(default_factory=set)
    tags: set[str] = field(default_factory=set)


class Book:
    """A channel's memory over its journal; safe to share between threads."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._lock = threading.RLock()
        self._folded = _Folded()

    def offer(self, offer: Offer, public: str) -> str:
        """Record an offer and return its public part: the one recorded first, if it is a repeat.

        Raises:
            ValueError: the delivery was offered with other parcels or to another address.
        """
        digest = _offer_digest(offer)
        tag = self._journal.tag(offer.to)
        with self._lock:
            known = self._now().offers.get(offer.delivery_id)
            if known is None:
                fields = {"delivery": offer.delivery_id, "digest": digest, "tag": tag}
                known = self._append("offered", **fields, public=public)
            if known.text("digest") != digest or known.text("tag") != tag:
                raise ValueError(f"delivery {offer.delivery_id} was offered with other content")
            return known.text("public")

    def public_part(self, delivery_id: str) -> str | None:
        """Return what `offer` recorded for a delivery, None if it was never offered."""
        with self._lock:
            known = self._now().offers.get(delivery_id)
            return None if known is None else known.text("public")

    def public_parts(self, to: Address) -> tuple[str, ...]:
        """Return the public parts of everything that was ever offered to an address."""
        tag = self._journal.tag(to)
        with self._lock:
            offers = self._now().offers.values()
            return tuple(entry.text("public") for entry in offers if entry.text("tag") == tag)

    def require_offered(self, delivery_id: str, to: Address) -> str:
        """Return the public part of the offer of a delivery to an address.

        Raises:
            ValueError: the delivery was not offered to that address.
        """
        with self._lock:
            known = self._now().offers.get(delivery_id)
            if known is None or known.text("tag") != self._journal.tag(to):
                raise ValueError(f"delivery {delivery_id} was not offered to that address")
            return known.text("public")

    def sent(self, delivery_id: str, number: int) -> Accepted | None:
        """Return the acceptance of a parcel that is known to have left."""
        with self._lock:
            entry = self._now().sent.get((delivery_id, number))
            if entry is None:
                return None
            return Accepted(entry.text("msgref"), from_ms(entry.integer("at")))

    def has_left(self, delivery_id: str) -> bool:
        """Say whether any parcel of a delivery left, or may have."""
        with self._lock:
            now = self._now()
            open_ones = (entry.text("delivery") for entry in now.open.values())
            return any(key[0] == delivery_id for key in now.sent) or delivery_id in open_ones

    def last_attempt(self, delivery_id: str, number: int) -> datetime | None:
        """Return when the last attempt began of which nobody knows the outcome."""
        with self._lock:
            found = [e for e in self._now().open.values() if _key(e) == (delivery_id, number)]
            return from_ms(found[-1].integer("at")) if found else None

    def is_stopped(self, delivery_id: str) -> bool:
        """Say whether a delivery was revoked."""
        with self._lock:
            return delivery_id in self._now().stopped

    def stop(self, delivery_id: str) -> None:
        """Record that nothing more of a delivery may leave."""
        with self._lock:
            if delivery_id not in self._now().stopped:
                self._append("stopped", delivery=delivery_id)

    def submit(self, parcel: Parcel, to: Address, at: datetime) -> int:
        """Record that a parcel is about to leave; return the number of this attempt."""
        with self._lock:
            fields = {"delivery": parcel.delivery_id, "tag": self._journal.tag(to)}
            return self._append("submitted", **fields, number=parcel.number, at=to_ms(at)).seq

    def accept(self, parcel: Parcel, to: Address, accepted: Accepted) -> None:
        """Record that the carrier took a parcel; receipts that came too early are matched now."""
        fields = {"delivery": parcel.delivery_id, "tag": self._journal.tag(to)}
        with self._lock:
            self._record_sent(fields, parcel.number, accepted.msgref, to_ms(accepted.at))

    def refuse(self, attempt: int) -> None:
        """Record that an attempt surely did not leave."""
        with self._lock:
            self._append("refused", attempt=attempt)

    def doubt(self, attempt: int, msgref: str) -> None:
        """Record that an attempt may have left, and the name it would have."""
        with self._lock:
            self._append("unclear", attempt=attempt, msgref=msgref)

    def knows(self, to: Address) -> bool:
        """Say whether anything was ever offered to that address."""
        with self._lock:
            self._now()
            return self._journal.tag(to) in self._folded.tags

    def hint(self, kind: EventKind, sender: Address, msgref: str) -> None:
        """Record a carrier's receipt, once; for an unknown message it waits as an orphan."""
        tag = self._journal.tag(sender)
        with self._lock:
            now = self._now()
            early = now.orphans.get((tag, msgref), [])
            if (kind, tag, msgref) in now.hints or any(e.text("what") == kind for e in early):
                return
            parcel = now.sent_messages.get((tag, msgref))
            if parcel is None:
                self._append("orphan", what=kind, tag=tag, msgref=msgref)
            else:
                self._append_hint(kind, parcel)

    def foreign(self, to: Address, msgref: str) -> None:
        """Record a message that the same account sent from another device: no parcel of ours."""
        tag = self._journal.tag(to)
        with self._lock:
            now = self._now()
            if tag in now.tags and (tag, msgref) not in now.foreign:
                self._append("foreign", tag=tag, msgref=msgref)

    def receipt(self, sealed: bytes) -> None:
        """Record a sealed receipt, once however often it comes."""
        digest = hashlib.sha256(sealed).hexdigest()
        with self._lock:
            if digest not in self._now().receipts:
                data = base64.b64encode(sealed).decode("ascii")
                self._append("receipt", digest=digest, data=data)

    def attention(self, reason: str) -> None:
        """Record something that a person should look at; `reason` must hold nothing private."""
        with self._lock:
            self._append("attention", reason=reason)

    def fate(self, delivery_id: str, number: int) -> Fate:
        """Say what became of a parcel, adopting a receipt that only this attempt explains."""
        key = (delivery_id, number)
        with self._lock:
            now = self._now()
            if key in now.sent:
                return Fate.SENT
            attempts = [entry for entry in now.open.values() if _key(entry) == key]
            if not attempts:
                return Fate.NOT_SENT
            msgref = self._explained_by(key, attempts[-1].text("tag"))
            if msgref is None:
                return Fate.UNKNOWN
            fields = {"delivery": delivery_id, "tag": attempts[-1].text("tag")}
            self._record_sent(fields, number, msgref, int(msgref))
            return Fate.SENT

    def events(self, cursor: str | None) -> tuple[ChannelEvent, ...]:
        """Return the events after `cursor`, oldest first.

        Raises:
            ValueError: the cursor is not one of this journal.
        """
        after = 0 if cursor is None else int(cursor) if cursor.isdecimal() else -1
        with self._lock:
            if not 0 <= after <= self._now().seq:
                raise ValueError("cursor is not one of this channel")
            found = (_event(entry) for entry in self._journal.entries(after))
            return tuple(event for event in found if event is not None)

    def _explained_by(self, key: tuple[str, int], tag: str) -> str | None:
        """Return the message name of an orphan that no other open parcel could explain."""
        now = self._folded
        for orphan_tag, msgref in now.orphans:
            if orphan_tag != tag or not msgref.isdecimal():
                continue
            if (doubted := now.unclear.get((tag, msgref))) is not None:
                owners = {_key(doubted)}
            else:
                latest = int(msgref) + CLOCK_SLACK_MS
                owners = {
                    _key(entry)
                    for entry in now.open.values()
                    if entry.text("tag") == tag and entry.integer("at") <= latest
                }
            if owners == {key}:
                return msgref
        return None

    def _record_sent(self, fields: dict[str, str], number: int, msgref: str, at: int) -> None:
        entry = self._append("sent", **fields, number=number, msgref=msgref, at=at)
        for early in self._folded.orphans.pop((entry.text("tag"), msgref), []):
            self._append_hint(early.text("what"), entry)

    def _append_hint(self, kind: str, parcel: Entry) -> None:
        names = {name: parcel.text(name) for name in ("tag", "msgref", "delivery")}
        self._append("hint", what=kind, **names)

    def _append(self, kind: str, **fields: str | int | None) -> Entry:
        entry = self._journal.append(kind, **fields)
        self._now()
        return entry

    def _now(self) -> _Folded:
        for entry in self._journal.entries(self._folded.seq):
            _fold(self._folded, entry)
        return self._folded


def to_ms(moment: datetime) -> int:
    """Return milliseconds since 1970 of an aware moment."""
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def from_ms(milliseconds: int) -> datetime:
    """Return the UTC moment of milliseconds since 1970."""
    return _EPOCH + timedelta(milliseconds=milliseconds)


def _offer_digest(offer: Offer) -> str:
    numbers = [parcel.number for parcel in offer.parcels]
    if not numbers or numbers != list(range(1, len(numbers) + 1)):
        raise ValueError("parcels are not numbered from 1")
    if {(parcel.delivery_id, parcel.count) for parcel in offer.parcels} != {
        (offer.delivery_id, len(numbers))
    }:
        raise ValueError("parcels are not those of one delivery")
    # Not the path: the same bytes may lie elsewhere after a restart.
    parcels: list[Json] = [[p.number, p.sha256, p.size, p.clean_name] for p in offer.parcels]
    return hashlib.sha256(dump_canonical(parcels)).hexdigest()


def _key(entry: Entry) -> tuple[str, int]:
    return entry.text("delivery"), entry.integer("number")


def _fold(state: _Folded, entry: Entry) -> None:
    state.seq = entry.seq
    match entry.kind:
        case "offered":
            state.offers[entry.text("delivery")] = entry
            state.tags.add(entry.text("tag"))
        case "stopped":
            state.stopped.add(entry.text("delivery"))
        case "receipt":
            state.receipts.add(entry.text("digest"))
        case "submitted" | "sent" | "refused" | "unclear":
            _fold_attempt(state, entry)
        case "hint" | "orphan" | "foreign":
            _fold_message(state, entry)
        case _:
            pass  # nothing to remember of it


def _fold_attempt(state: _Folded, entry: Entry) -> None:
    if entry.kind == "submitted":
        state.open[entry.seq] = entry
    elif entry.kind == "refused":
        state.open.pop(entry.integer("attempt"), None)
    elif entry.kind == "unclear":
        attempt = state.open.get(entry.integer("attempt"))
        if attempt is None:
            raise FormatError(f"journal line {entry.seq} speaks of an attempt that is not open")
        state.unclear[attempt.text("tag"), entry.text("msgref")] = attempt
    else:
        key = _key(entry)
        state.sent[key] = entry
        state.sent_messages[entry.text("tag"), entry.text("msgref")] = entry
        for seq in [seq for seq, attempt in state.open.items() if _key(attempt) == key]:
            del state.open[seq]


def _fold_message(state: _Folded, entry: Entry) -> None:
    name = entry.text("tag"), entry.text("msgref")
    if entry.kind == "orphan":
        if name not in state.foreign:
            state.orphans.setdefault(name, []).append(entry)
    elif entry.kind == "foreign":
        state.foreign.add(name)
        state.orphans.pop(name, None)
    else:
        state.hints.add((entry.text("what"), *name))
        state.orphans.pop(name, None)


def _event(entry: Entry) -> ChannelEvent | None:
    cursor = str(entry.seq)
    if entry.kind == "hint":
        kind = EventKind(entry.text("what"))
        return ChannelEvent(kind, entry.text("msgref"), None, cursor, entry.text("delivery"))
    if entry.kind == "receipt":
        sealed = base64.b64decode(entry.text("data"), validate=True)
        return ChannelEvent(EventKind.RECEIPT, None, sealed, cursor)
    if entry.kind == "attention":
        return ChannelEvent(EventKind.ATTENTION, None, None, cursor, reason=entry.text("reason"))
    return None
