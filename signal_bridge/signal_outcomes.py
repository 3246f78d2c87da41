"""What an answer of signal-cli to a 1:1 `send` means (facts: its source and recorded answers, 0.13.16 to 0.14.x).

Pure, and table-driven because the texts change between releases. Nothing of an answer is copied into an
outcome: its texts quote numbers, paths and whole requests. What no rule knows is `Unknown`, never success.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from signal_bridge.channel import Refused, Retry, Unknown
from signal_bridge.signal_rpc import FaultError, RpcError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from registry.errors import LorasealError
    from signal_bridge.signal_rpc import Value

RETRY_SOON_SECONDS = 30
RETRY_LIMIT_SECONDS = 60
RETRY_HOURS_SECONDS = 6 * 3600
RETRY_CHALLENGE_SECONDS = 24 * 3600

CHALLENGE_PAGE = "https://signalcaptchas.org/challenge/generate.html"


@dataclass(frozen=True, slots=True)
class SentMessage:
    """The one recipient got it, under this message timestamp (ms since 1970)."""

    timestamp: int


@dataclass(frozen=True, slots=True)
class Doubtful:
    """It may have left, under this message timestamp if the daemon said one."""

    unknown: Unknown
    timestamp: int | None = None


@dataclass(frozen=True, slots=True)
class Challenged:
    """The account must solve a captcha first, or wait `seconds`; `token` is the captcha's."""

    refused: Refused
    token: str = field(repr=False)
    seconds: int


SendAnswer: TypeAlias = SentMessage | Doubtful | Challenged | Refused

_IDENTITY = Refused(
    "the contact's identity key is not the verified one",
    Retry.HUMAN,
    "ask the person whether they changed phones, compare safety numbers, then trust the new one",
)
_NO_PREKEYS = Refused(
    "the contact has no usable prekeys",
    Retry.LATER,
    "ask the person to open Signal on every device of theirs, or to unlink dead ones",
    RETRY_HOURS_SECONDS,
)
_UNREGISTERED = Refused(
    "Signal does not find the contact just now",
    Retry.LATER,
    "check the network; if it lasts, ask the person whether they still use Signal",
    RETRY_HOURS_SECONDS,
)
_LIMITED = Refused(
    "Signal limits how fast this account may send",
    Retry.LATER,
    "nothing: it goes on by itself",
    RETRY_LIMIT_SECONDS,
)
CHALLENGE = Refused(
    "Signal wants a captcha solved before this account may send",
    Retry.HUMAN,
    f"open {CHALLENGE_PAGE} from this host's address, then run `loraseal channel challenge`",
)
_NO_ONE = Refused(
    "signal-cli names no recipient that it sent to",
    Retry.LATER,
    "check that the contact is still known to signal-cli",
    RETRY_LIMIT_SECONDS,
)
_ACCOUNT = Refused(
    "signal-cli has no authorised account",
    Retry.HUMAN,
    "link or register the account again, start the daemon with -a, then retry",
)
_TOO_LARGE = Refused(
    "Signal's server refuses an attachment of this size",
    Retry.NEVER,
    "set a smaller parcel_bytes for this channel and plan the delivery again",
)
_STAGING = Refused(
    "signal-cli may not read the staged file",
    Retry.HUMAN,
    "let its user read the outbox, and keep the outbox outside its data directory",
)
_UPLOAD = Refused(
    "the upload failed before anything was sent",
    Retry.LATER,
    "check the network of the signal-cli daemon",
    RETRY_SOON_SECONDS,
)
_OFFLINE = Refused(
    "signal-cli cannot reach Signal",
    Retry.LATER,
    "check the network of the signal-cli daemon",
    RETRY_LIMIT_SECONDS,
)
_ILL = Refused(
    "signal-cli answers with an unexpected error",
    Retry.LATER,
    "look at the log of the signal-cli daemon",
    RETRY_LIMIT_SECONDS,
)
_BAD_REQUEST = Refused(
    "signal-cli refuses the request",
    Retry.NEVER,
    "check the contact's address and the version of signal-cli",
)

# Order matters: the first that matches counts. All of these come before anything is sent (1:1).
_FAULT_TEXTS: tuple[tuple[re.Pattern[str], Refused], ...] = (
    (re.compile(r"\[413\]|code=413"), _TOO_LARGE),
    (re.compile(r"\[429\]|code=429|RateLimit"), _LIMITED),
    (re.compile(r"\[40[13]\]|code=40[13]|Authorization failed"), _ACCOUNT),
    (re.compile(r"No prekeys available"), _NO_PREKEYS),
    (re.compile(r"No such file|Permission denied|data directory is not allowed"), _STAGING),
    (re.compile(r"ClassCastException"), _BAD_REQUEST),
    (re.compile(r"^Failed to send message: .*\(UnexpectedErrorException\)$", re.DOTALL), _UPLOAD),
)
_FAULT_CODES: dict[int, Refused] = {
    -1: _BAD_REQUEST,
    -4: _IDENTITY,
    -5: _LIMITED,
    -6: CHALLENGE,
    -32600: _BAD_REQUEST,
    -32601: _BAD_REQUEST,
    -32602: _ACCOUNT,
}
_RESULT_TYPES: dict[str, Refused] = {
    "IDENTITY_FAILURE": _IDENTITY,
    "UNREGISTERED_FAILURE": _UNREGISTERED,
    "INVALID_PRE_KEY_FAILURE": _NO_PREKEYS,
}
_UNEXPECTED_ERROR = -32603
_NO_NETWORK = -3


def read_result(result: Value, *, recipient: str) -> SendAnswer:
    """Return what a `send` to the one `recipient` (an ACI UUID) came to.

    An empty list of results is *not sent*, although signal-cli reports it as success.
    """
    if not isinstance(result, dict):
        return Doubtful(Unknown("signal-cli's answer holds no result"))
    stamp = result.get("timestamp")
    timestamp = stamp if isinstance(stamp, int) and not isinstance(stamp, bool) else None
    entries = result.get("results")
    if not isinstance(entries, list):
        return Doubtful(Unknown("signal-cli's answer lists no recipients"), timestamp)
    if not entries:
        return _NO_ONE
    answers = [_read_entry(entry, timestamp, recipient) for entry in entries]
    first = answers[0]
    if all(answer == first for answer in answers):
        return first
    return Doubtful(Unknown("signal-cli's answer contradicts itself"), timestamp)


def read_fault(fault: FaultError, *, recipient: str) -> SendAnswer:
    """Return what an error in answer to `send` came to; per-recipient results inside it count first."""
    if isinstance(fault.data, dict) and isinstance(response := fault.data.get("response"), dict):
        answer = read_result(response, recipient=recipient)
        if isinstance(answer, SentMessage):
            return Doubtful(Unknown("signal-cli reports both error and success"), answer.timestamp)
        return answer
    if fault.code == _UNEXPECTED_ERROR:
        for pattern, refused in _FAULT_TEXTS:
            if pattern.search(fault.text):
                return refused
    refused_by_code = _FAULT_CODES.get(fault.code)
    if refused_by_code is None:
        return Doubtful(Unknown(f"signal-cli answered with error {fault.code}"))
    return refused_by_code


def _read_entry(entry: Value, timestamp: int | None, recipient: str) -> SendAnswer:
    fields = entry if isinstance(entry, dict) else {}
    if not _is_for(fields, recipient):
        return Doubtful(Unknown("signal-cli's answer names another recipient"), timestamp)
    kind = fields.get("type")
    if kind == "SUCCESS" and timestamp is not None:
        return SentMessage(timestamp)
    if kind == "RATE_LIMIT_FAILURE":
        return _read_limit(fields)
    if isinstance(kind, str) and kind in _RESULT_TYPES:
        return _RESULT_TYPES[kind]
    if kind == "NETWORK_FAILURE":
        return Doubtful(Unknown("the network failed while the message was being sent"), timestamp)
    return Doubtful(Unknown("signal-cli reports an outcome that is not known here"), timestamp)


def _is_for(fields: Mapping[str, Value], recipient: str) -> bool:
    address = fields.get("recipientAddress")
    uuid = address.get("uuid") if isinstance(address, dict) else None
    # A contact known only by PNI has no names at all, so null cannot contradict what we asked.
    return uuid is None or (isinstance(uuid, str) and uuid.lower() == recipient.lower())


def _read_limit(fields: Mapping[str, Value]) -> Refused | Challenged:
    token, seconds = fields.get("token"), fields.get("retryAfterSeconds")
    # -1 was seen (AsamK/signal-cli 1470): it says nothing.
    wait = seconds if isinstance(seconds, int) and seconds > 0 else None
    if isinstance(token, str):
        return Challenged(CHALLENGE, token, wait or RETRY_CHALLENGE_SECONDS)
    if wait is None:
        return _LIMITED
    return Refused(_LIMITED.reason, Retry.LATER, _LIMITED.what_to_do, wait)


def refused_without_send(error: LorasealError) -> Refused:
    """Return what an error in any call before `send` means: nothing left in any case."""
    if isinstance(error, FaultError):
        if error.code == _NO_NETWORK:
            return _OFFLINE
        return _FAULT_CODES.get(error.code, _ILL)
    if isinstance(error, RpcError):
        hint = error.hint or "look at the signal-cli daemon, restart it if it hangs"
        return Refused(str(error), Retry.LATER, hint, RETRY_SOON_SECONDS)
    return Refused(str(error), Retry.HUMAN, error.hint or "look at the signal-cli daemon")
