"""The methods of the simulated signal-cli: params to result, with the texts of the real one."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.simulators.signal_world import Arrived, Contact, Cut, Script, World

MAX_CIPHERTEXT_BYTES = 100 * 1024 * 1024
_NO_EFFECT = {Cut.BEFORE_EFFECT, Cut.HANG_BEFORE_EFFECT, Cut.NULL_ID}
_NUMBER = re.compile(r"\+[0-9]{5,15}")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class FaultAnswerError(Exception):
    """An error in answer to a request."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.body = {"code": code, "message": message, "data": data}


@dataclass(frozen=True)
class Call:
    """One request: its world, its params and how it is scripted to go."""

    world: World
    params: dict[str, Any]
    script: Script

    def get(self, *names: str, default: Any = None) -> Any:
        return next((self.params[name] for name in names if name in self.params), default)


def answer(method: str, call: Call) -> Any:
    """Return the result of a call; unknown params are ignored, as the real one does."""
    if method not in METHODS:
        raise FaultAnswerError(-32601, "Method not implemented")
    if call.script.error is not None:
        raise FaultAnswerError(*call.script.error)
    return METHODS[method](call)


def ciphertext_bytes(size: int) -> int:
    """Return the size of an attachment after Signal's padding and encryption."""
    padded = max(541, int(1.05 ** _ceil_log(size)))
    return 16 + (padded // 16 + 1) * 16 + 32


def _ceil_log(size: int) -> int:
    power = 0
    while 1.05**power < size:
        power += 1
    return power


def _send(call: Call) -> Any:
    _check_types(call.params)
    group = call.get("groupId", "group-id")
    attached = _list(call.get("attachment", "attachments", default=[]))
    text = call.get("message")
    if group is not None:
        return _send_group(call, group)
    recipients = list(dict.fromkeys(_list(call.get("recipient", "recipients", default=[]))))
    for item in recipients:
        if not isinstance(item, str):
            raise FaultAnswerError(-32603, _class_cast(item, "String"))
    if not recipients:
        raise FaultAnswerError(-1, "No recipients given")
    if text is None and not attached:
        raise FaultAnswerError(
            -1,
            "Sending empty message is not allowed, either a message, attachment or sticker must be given.",
        )
    contacts = [_resolve(call.world, item) for item in recipients]
    files = _upload(call.world, attached)
    results = _results(call, contacts)
    stamp = call.script.timestamp or call.world.timestamp()
    if call.script.cut not in _NO_EFFECT:
        _deliver(call, contacts, results, Arrived(stamp, "", str(text), files), attached)
    return _conclude(_ordered(call.world, stamp, results))


def _send_group(call: Call, group: str) -> Any:
    try:
        base64.b64decode(group, validate=True)
    except binascii.Error:
        bad = next(c for c in group if not re.match(r"[A-Za-z0-9+/=]", c))
        raise FaultAnswerError(
            -1,
            f'Invalid group id: Failed to decode groupId (must be base64) "{group}": '
            f"Illegal base64 character {ord(bad):x}",
        ) from None
    if group not in call.world.groups:
        raise FaultAnswerError(-1, f"Group not found: {group}")
    types = call.script.results or ()
    members = call.world.groups[group]
    results = [
        {"recipientAddress": _address(call.world, member), "groupId": group, "type": kind}
        for member, kind in zip(members, types, strict=False)
    ]
    return _ordered(call.world, call.script.timestamp or call.world.timestamp(), results)


def _results(call: Call, contacts: list[Contact]) -> list[dict[str, Any]]:
    scripted = call.script.results
    if scripted is not None:
        pairs = zip(contacts, scripted, strict=False)
        return [
            {"recipientAddress": _address(call.world, contact.uuid)}
            | (kind if isinstance(kind, dict) else {"type": kind})
            for contact, kind in pairs
        ]
    results = []
    for contact in contacts:
        trusted = call.world.meet_identity(contact)
        kind = "SUCCESS" if trusted else "IDENTITY_FAILURE"
        if call.world.offline:
            kind = "NETWORK_FAILURE"
        address = {"uuid": contact.uuid, "number": contact.number, "username": None}
        results.append({"recipientAddress": address, "type": kind})
    return results


def _deliver(
    call: Call,
    contacts: list[Contact],
    results: list[dict[str, Any]],
    message: Arrived,
    attached: list[str],
) -> None:
    for contact, result in zip(contacts, results, strict=False):
        if result["type"] != "SUCCESS":
            continue
        world = call.world
        if world.keep is not None:
            _keep(world.keep / str(message.timestamp), attached)
        world.arrive(Arrived(message.timestamp, contact.uuid, message.text, message.attachments))
        if world.auto_receipts:
            world.waiting.append(
                world.receipt_of(contact, [message.timestamp], when=message.timestamp + 7)
            )


def _keep(folder: Path, attached: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for path in attached:
        (folder / Path(path).name).write_bytes(Path(path).read_bytes())


def _ordered(world: World, stamp: int, results: list[dict[str, Any]]) -> dict[str, Any]:
    if world.results_first:
        return {"results": results, "timestamp": stamp}
    return {"timestamp": stamp, "results": results}


def _conclude(result: dict[str, Any]) -> Any:
    types = {entry["type"] for entry in result["results"]}
    if not types or "SUCCESS" in types or not types <= FAILURES:
        return result
    data = {"response": result}
    if types == {"IDENTITY_FAILURE"}:
        raise FaultAnswerError(-4, "Failed to send message due to untrusted identities", data)
    if types == {"RATE_LIMIT_FAILURE"}:
        raise FaultAnswerError(-5, "Failed to send message due to rate limiting", data)
    raise FaultAnswerError(-1, "Failed to send message", data)


def _upload(world: World, attached: list[str]) -> tuple[tuple[str, str, int], ...]:
    if not world.reads_attachments:
        return ()
    if attached and world.offline:
        raise FaultAnswerError(
            -32603,
            "Failed to send message: Closed unexpectedly (SocketException) (UnexpectedErrorException)",
        )
    files = []
    for path in attached:
        try:
            data = Path(path).read_bytes()
        except OSError as error:
            raise FaultAnswerError(
                -32603,
                f"Failed to send message: {path}: {path} ({error.strerror}) "
                "(AttachmentInvalidException) (UnexpectedErrorException)",
            ) from None
        if ciphertext_bytes(len(data)) > MAX_CIPHERTEXT_BYTES:
            raise FaultAnswerError(
                -32603,
                f"Failed to send message: {path}: [413] Bad response "
                "(AttachmentInvalidException) (UnexpectedErrorException)",
            )
        files.append((Path(path).name, hashlib.sha256(data).hexdigest(), len(data)))
    return tuple(files)


def _resolve(world: World, name: str) -> Contact:
    known = world.contact(name)
    if known is not None:
        return known
    if _UUID.fullmatch(name):
        return Contact(name, None, "", "")
    if not _NUMBER.fullmatch(name):
        raise FaultAnswerError(-1, f"Invalid phone number '{name}': No valid characters found.")
    return Contact("", name, "", "")


def _address(world: World, uuid: str | None) -> dict[str, Any]:
    contact = world.contact(uuid) if uuid else None
    number = contact.number if contact else None
    return {"uuid": uuid or None, "number": number, "username": None}


def _list_identities(call: Call) -> Any:
    name = call.get("number")
    return [
        {
            "number": contact.number,
            "uuid": contact.uuid,
            "fingerprint": _spaced(contact.fingerprint, 2),
            "safetyNumber": _spaced(contact.safety_number, 5),
            "scannableSafetyNumber": contact.scannable,
            "trustLevel": contact.trust,
            "addedTimestamp": contact.added,
        }
        for contact in call.world.contacts
        if name is None or name in (contact.uuid, contact.number)
    ]


def _trust(call: Call) -> Any:
    name = call.get("recipient")
    contact = call.world.contact(name[0] if isinstance(name, list) else name)
    number = call.get("verifiedSafetyNumber")
    if call.get("trustAllKnownKeys") is True and contact is not None:
        contact.trust = "TRUSTED_UNVERIFIED"
        return {}
    if number is None:
        raise FaultAnswerError(
            -1,
            "You need to specify the fingerprint/safety number you have verified with -v SAFETY_NUMBER",
        )
    plain = "".join(number.split())
    if not re.fullmatch(r"[0-9]{60}|[0-9a-f]{66}", plain):
        raise FaultAnswerError(
            -1,
            "Safety number has invalid format, either specify the old hex fingerprint or the new safety number",
        )
    if contact is None or plain not in (contact.safety_number, contact.fingerprint):
        raise FaultAnswerError(
            -1,
            "Failed to set the trust for this number, make sure the number and the "
            "fingerprint/safety number are correct.",
        )
    contact.trust = "TRUSTED_VERIFIED"
    return {}


def _get_user_status(call: Call) -> Any:
    found = []
    for name in _list(call.get("recipient", "recipients", default=[])):
        contact = call.world.contact(name)
        uuid = contact.uuid if contact else None
        found.append(
            {"recipient": name, "number": name, "uuid": uuid, "isRegistered": uuid is not None}
        )
    return found


def _send_receipt(call: Call) -> Any:
    kind = call.get("type", default="read")
    if kind not in ("read", "viewed"):
        raise FaultAnswerError(-1, f"Unknown receipt type: {kind}")
    contact = _resolve(call.world, call.get("recipient"))
    address = {"uuid": contact.uuid, "number": contact.number, "username": None}
    results = [{"recipientAddress": address, "type": "SUCCESS"}]
    return {"timestamp": call.world.timestamp(), "results": results}


def _get_attachment(call: Call) -> Any:
    name = call.get("id")
    folder = call.world.attachments
    path = None if folder is None else folder / Path(name).name
    if path is None or not path.is_file():
        raise FaultAnswerError(-1, f"Could not find attachment with ID: {name}")
    return {"data": base64.b64encode(path.read_bytes()).decode()}


def _submit_challenge(call: Call) -> Any:
    call.world.captchas.append((call.get("challenge"), call.get("captcha")))
    return {}


def _list_devices(call: Call) -> Any:
    if call.world.offline:
        raise FaultAnswerError(
            -3, "Error while getting devices: Closed unexpectedly (SocketException)"
        )
    device = {"id": 1, "name": None, "createdTimestamp": 1, "lastSeenTimestamp": 2}
    return [device]


def _receive(call: Call) -> Any:
    unknown = [name for name in call.params if name not in ("timeout", "maxMessages")]
    if unknown:
        params = "org.asamk.signal.commands.ReceiveCommand$ReceiveParams"
        raise FaultAnswerError(
            -32600,
            f'Unrecognized field "{unknown[0]}" (class {params}), not marked as ignorable '
            '(2 known properties: "maxMessages", "timeout"])\n at [Source: UNKNOWN; byte offset: #UNKNOWN] '
            f'(through reference chain: {params}["{unknown[0]}"])',
        )
    with call.world.lock:
        found = list(call.world.waiting)
        call.world.waiting.clear()
        return found


def _check_types(params: dict[str, Any]) -> None:
    for name in ("notifySelf", "noteToSelf", "viewOnce", "view-once", "endSession"):
        if name in params and not isinstance(params[name], bool):
            raise FaultAnswerError(-32603, _class_cast(params[name], "Boolean"))
    for name in ("editTimestamp", "quoteTimestamp", "storyTimestamp"):
        value = params.get(name)
        if isinstance(value, int) and abs(value) < 2**31:
            raise FaultAnswerError(-32603, _class_cast(value, "Long"))


def _class_cast(value: Any, wanted: str) -> str:
    given = {str: "String", bool: "Boolean", int: "Integer", float: "Double"}[type(value)]
    found, target = f"java.lang.{given}", f"java.lang.{wanted}"
    return (
        f"class {found} cannot be cast to class {target} ({found} and {target} are in module "
        "java.base of loader 'bootstrap') (ClassCastException)"
    )


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _spaced(text: str, size: int) -> str:
    return " ".join(text[at : at + size] for at in range(0, len(text), size))


FAILURES = {
    "NETWORK_FAILURE",
    "UNREGISTERED_FAILURE",
    "IDENTITY_FAILURE",
    "RATE_LIMIT_FAILURE",
    "INVALID_PRE_KEY_FAILURE",
}
METHODS: dict[str, Callable[[Call], Any]] = {
    "version": lambda call: {"version": call.world.version},
    "send": _send,
    "sendReceipt": _send_receipt,
    "listIdentities": _list_identities,
    "trust": _trust,
    "getUserStatus": _get_user_status,
    "getAttachment": _get_attachment,
    "submitRateLimitChallenge": _submit_challenge,
    "updateContact": lambda _call: {},
    "updateConfiguration": lambda _call: {},
    "listDevices": _list_devices,
    "listContacts": lambda _call: [],
    "listGroups": lambda _call: [],
    "receive": _receive,
}
