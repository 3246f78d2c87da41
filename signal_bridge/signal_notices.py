"""What a `receive` notification of signal-cli tells a channel; everything else in it is dropped at once.

Texts, captions and names of senders never leave this module. A notification comes in two shapes, bare or
wrapped with its subscription; all fields may be null or absent (facts: signal-cli 0.13 to 0.14).
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias, TypeGuard

from registry.limits import RECEIPT_BYTES
from signal_bridge.channel import EventKind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from signal_bridge.signal_rpc import Value

RECEIPT_BEGIN = "-----BEGIN LORASEAL RECEIPT-----"
RECEIPT_END = "-----END LORASEAL RECEIPT-----"
_RECEIPT_TEXT = re.compile(f"{RECEIPT_BEGIN}([A-Za-z0-9+/=\\s]*){RECEIPT_END}")
_RECEIPT_SUFFIX = ".receipt"
_STAMPS = 10_000


@dataclass(frozen=True, slots=True)
class MessageHint:
    """The `contact` (ACI UUID) got or read our messages with these timestamps."""

    kind: EventKind
    contact: str = field(repr=False)
    timestamps: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ReceiptText:
    """A sealed receipt that came as text."""

    contact: str = field(repr=False)
    sealed: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class ReceiptFile:
    """A sealed receipt that came as an attachment; `identifier` is signal-cli's name for the file."""

    contact: str = field(repr=False)
    identifier: str


@dataclass(frozen=True, slots=True)
class ForeignMessage:
    """The same account sent a message to `contact` from another device."""

    contact: str = field(repr=False)
    timestamp: int


@dataclass(frozen=True, slots=True)
class IdentityAlarm:
    """A message of `contact` came under an identity key that is not trusted."""

    contact: str = field(repr=False)


Notice: TypeAlias = MessageHint | ReceiptText | ReceiptFile | ForeignMessage | IdentityAlarm


def read_notice(params: Mapping[str, Value], *, account: str | None = None) -> tuple[Notice, ...]:
    """Return what concerns us in the `params` of one notification; never raises.

    With an `account`, what is meant for another account of the same daemon is left out.
    """
    wrapped = params.get("result")
    body = wrapped if isinstance(wrapped, dict) else params
    if account is not None and body.get("account") != account:
        return ()
    envelope = _object(body, "envelope")
    sender = envelope.get("sourceUuid")
    if not isinstance(sender, str):
        return ()
    if _object(body, "exception").get("type") == "UntrustedIdentityException":
        return (IdentityAlarm(sender),)
    return (
        *_hints(_object(envelope, "receiptMessage"), sender),
        *_receipts(_object(envelope, "dataMessage"), sender),
        *_foreign(_object(_object(envelope, "syncMessage"), "sentMessage")),
    )


def armor_receipt(sealed: bytes) -> str:
    """Return the text that carries a sealed receipt through a conversation."""
    return f"{RECEIPT_BEGIN}\n{base64.b64encode(sealed).decode('ascii')}\n{RECEIPT_END}"


def _object(value: Mapping[str, Value], name: str) -> Mapping[str, Value]:
    found = value.get(name)
    return found if isinstance(found, dict) else {}


def _hints(message: Mapping[str, Value], sender: str) -> tuple[Notice, ...]:
    listed = message.get("timestamps")
    stamps = tuple(s for s in listed if _is_stamp(s)) if isinstance(listed, list) else ()
    if not stamps:
        return ()
    if message.get("isRead") is True or message.get("isViewed") is True:
        return (MessageHint(EventKind.READ, sender, stamps[:_STAMPS]),)
    if message.get("isDelivery") is True:
        return (MessageHint(EventKind.DELIVERED, sender, stamps[:_STAMPS]),)
    return ()


def _receipts(message: Mapping[str, Value], sender: str) -> tuple[Notice, ...]:
    text, attached = message.get("message"), message.get("attachments")
    found: list[Notice] = []
    match = _RECEIPT_TEXT.search(text) if isinstance(text, str) else None
    if match is not None and (sealed := _unarmor(match[1])):
        found.append(ReceiptText(sender, sealed))
    for item in attached if isinstance(attached, list) else ():
        fields = item if isinstance(item, dict) else {}
        name, identifier = fields.get("filename"), fields.get("id")
        if isinstance(name, str) and isinstance(identifier, str) and name.endswith(_RECEIPT_SUFFIX):
            found.append(ReceiptFile(sender, identifier))
    return tuple(found)


def _unarmor(text: str) -> bytes:
    try:
        sealed = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        return b""
    return sealed if len(sealed) <= RECEIPT_BYTES else b""


def _foreign(message: Mapping[str, Value]) -> tuple[Notice, ...]:
    to, stamp = message.get("destinationUuid"), message.get("timestamp")
    if isinstance(to, str) and _is_stamp(stamp):
        return (ForeignMessage(to, stamp),)
    return ()


def _is_stamp(value: Value) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 1 << 53
