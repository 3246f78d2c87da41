"""Is the contact still the person who was enrolled: signal-cli's identity rows against the pin.

A row per contact, overwritten when the key changes; no row means that nothing is known, which is refused.
"""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from signal_bridge.channel import Refused, Retry

if TYPE_CHECKING:
    from collections.abc import Mapping

    from signal_bridge.signal_rpc import Value

VERIFIED = "TRUSTED_VERIFIED"
_PIN = re.compile(r"[0-9]{60}|05[0-9a-f]{64}")
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_COMPARE = "compare safety numbers with the person, by voice or in person, then"


@dataclass(frozen=True, slots=True)
class SignalContact:
    """What signal-cli holds of a contact now; only the trust level shows in a repr.

    `fingerprint` is 66 lower-case hex digits, `safety_number` 60 digits, both without spaces.
    """

    uuid: str = field(repr=False)
    fingerprint: str = field(repr=False)
    safety_number: str = field(repr=False)
    trust: str


def is_account_id(text: str) -> bool:
    """Say whether `text` is an ACI UUID in lower case."""
    return _UUID.fullmatch(text) is not None


def clean_pin(pin: str | None) -> str | None:
    """Return a fingerprint or safety number without spaces, None if it is neither."""
    text = "".join((pin or "").split()).lower()
    return text if _PIN.fullmatch(text) else None


def read_contacts(rows: Value) -> tuple[SignalContact, ...]:
    """Return the contacts in an answer to `listIdentities`; rows without a UUID are left out."""
    found = []
    for row in rows if isinstance(rows, list) else []:
        fields = row if isinstance(row, dict) else {}
        uuid, trust = fields.get("uuid"), fields.get("trustLevel")
        if isinstance(uuid, str) and isinstance(trust, str):
            fingerprint, number = _pin_of(fields, "fingerprint"), _pin_of(fields, "safetyNumber")
            found.append(SignalContact(uuid.lower(), fingerprint, number, trust))
    return tuple(found)


def identity_trouble(
    contacts: tuple[SignalContact, ...], *, uuid: str, pin: str | None
) -> Refused | None:
    """Return why nothing may be sent to `uuid`, None if the pinned key is there and verified."""
    wanted = clean_pin(pin)
    if wanted is None:
        return _ask("the contact has no pinned safety number", "store theirs with the recipient")
    if len(contacts) != 1 or contacts[0].uuid != uuid:
        return _ask("signal-cli knows no identity key of the contact", "write them a first message")
    known = contacts[0]
    if not any(hmac.compare_digest(wanted, p) for p in (known.fingerprint, known.safety_number)):
        return _ask("the contact's identity key is not the pinned one", "pin the new one")
    if known.trust != VERIFIED:
        return _ask("signal-cli does not hold the pinned key as verified", "trust it in signal-cli")
    return None


def _pin_of(fields: Mapping[str, Value], name: str) -> str:
    value = fields.get(name)
    return (clean_pin(value) if isinstance(value, str) else None) or ""


def _ask(reason: str, then: str) -> Refused:
    return Refused(reason, Retry.HUMAN, f"{_COMPARE} {then}")
