"""The Signal channel: parcels as attachments, 1:1, through a signal-cli daemon on a unix socket.

Before the first byte of every parcel the contact's identity key must be the pinned one and verified.
One send is in flight at a time; its answer is read entry by entry; no answer is never taken for
failure. The daemon must run with `-a`, `--receive-mode=manual` and never with
`--trust-new-identities=always`: no call tells that mode, and it would take a new key silently.
"""

from __future__ import annotations

import contextlib
import json
import math
import threading
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, assert_never

from registry.errors import HumanNeededError, LorasealError, NotFoundError
from signal_bridge.book import Book, to_ms
from signal_bridge.channel import (
    Accepted,
    Address,
    Capabilities,
    ChannelStatus,
    Fate,
    Health,
    Level,
    Offered,
    Recall,
    Refused,
    Retry,
    Role,
    Unknown,
)
from signal_bridge.journal import Journal
from signal_bridge.outbox import Outbox
from signal_bridge.parcels import HARD_PARCEL_BYTES
from signal_bridge.signal_challenge import Challenge
from signal_bridge.signal_identity import (
    SignalContact,
    clean_pin,
    identity_trouble,
    is_account_id,
    read_contacts,
)
from signal_bridge.signal_inbox import SignalInbox
from signal_bridge.signal_link import SignalLink
from signal_bridge.signal_outcomes import (
    CHALLENGE,
    Challenged,
    Doubtful,
    SentMessage,
    read_fault,
    read_result,
    refused_without_send,
)
from signal_bridge.signal_rpc import FaultError, NoAnswerError, Value

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path

    from signal_bridge.channel import ChannelEvent, Offer, Parcel, SendOutcome
    from signal_bridge.settings import SignalSettings
    from signal_bridge.signal_outcomes import SendAnswer


RETRY_CONNECT_SECONDS = 30


class SignalChannel:
    """A channel over one account. An address is the contact's ACI UUID with the pinned key."""

    def __init__(
        self, settings: SignalSettings, *, state: Path, clock: Callable[[], datetime]
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._book = Book(Journal(state))
        self._challenge = Challenge(state)
        self._outbox = Outbox(settings.outbox)
        self._inbox = SignalInbox(self._book, settings)
        self._link = SignalLink(settings, self._inbox.put)
        self._sending = threading.Lock()
        self._swept = False
        self._retry_at = clock()

    @property
    def name(self) -> str:
        """The name that the settings give this channel."""
        return self._settings.name

    @property
    def capabilities(self) -> Capabilities:
        """Attachments up to Signal's limit; its receipts prove delivery to a device, no more."""
        return Capabilities(
            roles=frozenset({Role.CARRIER, Role.COURIER}),
            max_parcel_bytes=min(self._settings.parcel_bytes, HARD_PARCEL_BYTES),
            recipient_online=False,
            revocable=False,
            best_receipt=Level.DELIVERED,
        )

    def check(self) -> ChannelStatus:
        """Probe the socket, the release, the account and the network; starts receiving."""
        try:
            waiting = self._challenge.token(now_ms=to_ms(self._clock()))
            self._link.rpc().call("listDevices", deadline_s=self._settings.call_seconds)
        except LorasealError as error:
            trouble = refused_without_send(error)
            human = trouble.retry is not Retry.LATER
            health = Health.NEEDS_PERSON if human else Health.UNAVAILABLE
            return self._status(health, trouble.reason, trouble.what_to_do)
        if waiting is not None:
            return self._status(Health.NEEDS_PERSON, CHALLENGE.reason, CHALLENGE.what_to_do)
        if (warning := self._link.warning) is not None:
            return self._status(Health.WARNING, warning, "upgrade signal-cli to 0.14.7 or later")
        return self._status(Health.READY, "signal-cli is connected and receives", None)

    def offer(self, offer: Offer) -> Offered | Refused:
        """Check address, pin, sizes, and that signal-cli is there; nothing leaves.

        One that is away is refused here, before an attempt is counted: it may be away for a weekend.
        """
        to = _contact(offer.to)
        if to.kind not in {"signal", self.name} or not is_account_id(to.value):
            what_to_do = "give the contact's account id (a UUID), not the phone number"
            return Refused("the address is no Signal account id", Retry.HUMAN, what_to_do)
        if clean_pin(to.pin) is None:
            return Refused(
                "the contact has no pinned safety number",
                Retry.HUMAN,
                "compare safety numbers with the person, then store theirs with the recipient",
            )
        if any(parcel.size > HARD_PARCEL_BYTES for parcel in offer.parcels):
            return Refused(
                f"a parcel has more than the {HARD_PARCEL_BYTES} bytes that Signal takes",
                Retry.NEVER,
                "plan the parcels with this channel's max_parcel_bytes",
            )
        try:
            self._link.rpc()
        except LorasealError as error:
            refused = refused_without_send(error)
            if refused.retry is Retry.LATER:
                return refused
        public = json.dumps({"parcels": len(offer.parcels)})
        return Offered(offer.delivery_id, self._book.offer(replace(offer, to=to), public))

    def send(self, parcel: Parcel, to: Address) -> SendOutcome:
        """Send one parcel as one message with one attachment, to one contact."""
        contact = _contact(to)
        self._book.require_offered(parcel.delivery_id, contact)
        with self._sending, contextlib.ExitStack() as stack:
            settled = self._settled(parcel)
            if settled is not None:
                return settled
            try:
                self._sweep()
                copy = stack.enter_context(self._outbox.staged(parcel))
            except LorasealError as error:
                return Refused(str(error), Retry.NEVER, error.hint or "prepare the delivery again")
            except OSError as error:
                reason = f"the outbox does not take the parcel: {error.strerror}"
                return Refused(reason, Retry.LATER, "make room in the outbox", 60)
            return self._send_copy(parcel, contact, copy)

    def events(self, cursor: str | None) -> tuple[ChannelEvent, ...]:
        """Return hints and sealed receipts; connects, so that what waits at Signal comes in."""
        self._gather()
        return self._book.events(cursor)

    def revoke(self, delivery_id: str, to: Address) -> Recall:
        """Stop parcels that have not left; a message that was accepted is beyond recall."""
        if self._book.public_part(delivery_id) is not None:
            self._book.require_offered(delivery_id, _contact(to))
        self._book.stop(delivery_id)
        return Recall.TOO_LATE if self._book.has_left(delivery_id) else Recall.STOPPED

    def reconcile(self, delivery_id: str, number: int) -> Fate:
        """Say what became of a parcel; UNKNOWN may become SENT when a receipt explains it.

        Give the daemon the time of a send before deciding on UNKNOWN: it goes on without us.
        """
        self._gather()
        return self._book.fate(delivery_id, number)

    def close(self) -> None:
        """Close the connection and journal what is left."""
        self._link.close()
        self._inbox.close()

    def find_contact(self, name: str) -> SignalContact | None:
        """Return what signal-cli holds of a contact, by account id or phone number, for enrolment.

        Raises:
            LorasealError: signal-cli is not reachable, or does not answer as it should.
        """
        params: dict[str, Value] = {"number": name}
        rows = self._link.rpc().call(
            "listIdentities", params, deadline_s=self._settings.call_seconds
        )
        contacts = read_contacts(rows)
        return contacts[0] if len(contacts) == 1 else None

    def answer_challenge(self, captcha: str) -> None:
        """Hand in a solved captcha; the account may send again when this returns.

        Raises:
            NotFoundError: no challenge waits.
            HumanNeededError: Signal refuses the captcha.
            LorasealError: signal-cli is not reachable, or does not answer.
        """
        token = self._challenge.token(now_ms=to_ms(self._clock()))
        if token is None:
            raise NotFoundError("no challenge waits for an answer", hint="just retry the delivery")
        params: dict[str, Value] = {"challenge": token, "captcha": captcha}
        rpc = self._link.rpc()
        try:
            rpc.call("submitRateLimitChallenge", params, deadline_s=self._settings.call_seconds)
        except FaultError as error:
            raise HumanNeededError(
                "Signal refuses the captcha: it may be old, used, or solved from another address",
                hint="solve a new one on this host, or through its network address",
            ) from error
        self._challenge.clear()

    def _gather(self) -> None:
        if self._clock() >= self._retry_at:
            try:
                self._link.rpc()
            except LorasealError:
                # `check` says why; what is on record counts all the same. A daemon that hangs costs a
                # deadline each time, so it is not asked at every poll.
                self._retry_at = self._clock() + timedelta(seconds=RETRY_CONNECT_SECONDS)
        self._inbox.flush()

    def _settled(self, parcel: Parcel) -> SendOutcome | None:
        """Return the outcome of a parcel that needs or may have no sending."""
        known = self._book.sent(parcel.delivery_id, parcel.number)
        if known is not None:
            return known
        if self._book.is_stopped(parcel.delivery_id):
            return Refused("the delivery was revoked", Retry.NEVER, "plan a new delivery")
        if self._challenge.token(now_ms=to_ms(self._clock())) is not None:
            return CHALLENGE
        begun = self._book.last_attempt(parcel.delivery_id, parcel.number)
        if begun is None:
            return None
        # The daemon goes on with a request whose client has gone: not twice at the same time.
        left = begun + timedelta(seconds=self._deadline(parcel)) - self._clock()
        if left <= timedelta(0):
            return None
        reason = "an earlier attempt may still be running in signal-cli"
        return Unknown(reason, math.ceil(left.total_seconds()))

    def _send_copy(self, parcel: Parcel, to: Address, copy: Path) -> SendOutcome:
        seconds = self._settings.call_seconds
        try:
            rpc = self._link.rpc()
            number: dict[str, Value] = {"number": to.value}
            rows = rpc.call("listIdentities", number, deadline_s=seconds)
        except LorasealError as error:
            return refused_without_send(error)
        trouble = identity_trouble(read_contacts(rows), uuid=to.value, pin=to.pin)
        if trouble is not None:
            return trouble
        # On disk before the line is written: after a kill here the parcel is unknown, not unsent.
        attempt = self._book.submit(parcel, to, self._clock())
        try:
            answer = read_result(
                rpc.call("send", _request(parcel, to, copy), deadline_s=self._deadline(parcel)),
                recipient=to.value,
            )
        except FaultError as fault:
            answer = read_fault(fault, recipient=to.value)
        except NoAnswerError as error:
            return Unknown(str(error), math.ceil(self._deadline(parcel)))
        return self._conclude(parcel, to, attempt, answer)

    def _conclude(
        self, parcel: Parcel, to: Address, attempt: int, answer: SendAnswer
    ) -> SendOutcome:
        match answer:
            case SentMessage(timestamp):
                accepted = Accepted(str(timestamp), self._clock())
                self._book.accept(parcel, to, accepted)
                self._challenge.clear()
                return accepted
            case Doubtful(unknown, timestamp):
                if timestamp is not None:
                    self._book.doubt(attempt, str(timestamp))
                return unknown
            case Challenged(refused, token, seconds):
                self._book.refuse(attempt)
                until = self._clock() + timedelta(seconds=seconds)
                self._challenge.store(token, until_ms=to_ms(until))
                return refused
            case Refused():
                self._book.refuse(attempt)
                return answer
            case _:
                assert_never(answer)

    def _deadline(self, parcel: Parcel) -> float:
        return self._settings.send_seconds + parcel.size / self._settings.bytes_per_second

    def _sweep(self) -> None:
        # Here and not at the start: the command line opens channels too, beside a daemon that sends.
        if not self._swept:
            self._outbox.sweep()
            self._swept = True

    def _status(self, health: Health, reason: str, what_to_do: str | None) -> ChannelStatus:
        version = self._link.version
        release = "unknown" if version is None else ".".join(map(str, version))
        return ChannelStatus(self.name, health, reason, what_to_do, (("signal-cli", release),))


def _contact(to: Address) -> Address:
    return replace(to, value=to.value.lower())


def _request(parcel: Parcel, to: Address, copy: Path) -> dict[str, Value]:
    text = (
        f"LoRASeal delivery {parcel.delivery_id}\n"
        f"part {parcel.number} of {parcel.count}: {parcel.clean_name}\n"
        f"sha256 {parcel.sha256}"
    )
    return {"recipient": [to.value], "message": text, "attachment": [str(copy)]}
