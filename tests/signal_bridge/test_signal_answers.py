"""Answers and notifications of any shape: never an exception, never a success that was not said."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.errors import FormatError
from signal_bridge.channel import EventKind
from signal_bridge.signal_identity import clean_pin, identity_trouble, read_contacts
from signal_bridge.signal_notices import (
    ForeignMessage,
    MessageHint,
    ReceiptFile,
    ReceiptText,
    armor_receipt,
    read_notice,
)
from signal_bridge.signal_outcomes import SentMessage, read_fault, read_result
from signal_bridge.signal_rpc import FaultError
from signal_bridge.signal_version import parse_version

ME = "11111111-1111-4111-8111-111111111111"
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
)
NAMES = st.sampled_from(
    [
        *("timestamp", "results", "type", "recipientAddress", "uuid", "token", "envelope"),
        *(
            "retryAfterSeconds",
            "sourceUuid",
            "receiptMessage",
            "timestamps",
            "isDelivery",
            "result",
        ),
        *("dataMessage", "attachments", "message", "filename", "id", "syncMessage", "sentMessage"),
        *("destinationUuid", "exception", "isRead", "trustLevel", "fingerprint", "safetyNumber"),
    ]
)
VALUES = st.recursive(
    SCALARS | st.sampled_from(["SUCCESS", ME, "x.receipt", "NETWORK_FAILURE"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=150)
@given(VALUES)
def test_success_is_said_only_by_every_entry_of_a_full_answer(value: Any) -> None:
    if isinstance(read_result(value, recipient=ME), SentMessage):
        assert isinstance(value["timestamp"], int)
        assert value["results"]
        assert {entry["type"] for entry in value["results"]} == {"SUCCESS"}


@settings(max_examples=100)
@given(st.integers(-40_000, 10), st.text(max_size=30), VALUES)
def test_error_is_never_success(code: int, text: str, data: Any) -> None:
    for body in (data, {"response": data}):
        answer = read_fault(FaultError("send", code, text, body), recipient=ME)
        assert not isinstance(answer, SentMessage)


@settings(max_examples=150)
@given(st.dictionaries(NAMES, VALUES, max_size=4))
def test_notification_of_any_shape_is_read_without_an_exception(params: dict[str, Any]) -> None:
    for shape in (params, {"result": params}, {"envelope": {"sourceUuid": ME} | params}):
        assert isinstance(read_notice(shape), tuple)


@settings(max_examples=100)
@given(VALUES, st.none() | st.text(max_size=70))
def test_identity_rows_of_any_shape_never_pass_unless_pinned(rows: Any, pin: str | None) -> None:
    assert identity_trouble(read_contacts(rows), uuid=ME, pin=pin) is not None


def entry(kind: str, **more: Any) -> dict[str, Any]:
    address = {"uuid": ME, "number": None, "username": None}
    return {"recipientAddress": address, "type": kind, **more}


@pytest.mark.parametrize(
    "results",
    [
        [],
        [entry("SUCCESS"), entry("NETWORK_FAILURE")],
        [entry("SUCCESS"), entry("SUCCESS") | {"recipientAddress": {"uuid": "other"}}],
        ["SUCCESS"],
        [None],
        {"type": "SUCCESS"},
    ],
)
def test_doubtful_lists_are_no_success(results: Any) -> None:
    answer = read_result({"timestamp": 5, "results": results}, recipient=ME)
    assert not isinstance(answer, SentMessage)


def test_success_of_two_devices_of_one_contact_is_success() -> None:
    value: Any = {"timestamp": 5, "results": [entry("SUCCESS", extra=1), entry("SUCCESS")]}
    assert read_result(value, recipient=ME.upper()) == SentMessage(5)


def test_error_that_also_reports_success_is_doubtful() -> None:
    data: Any = {"response": {"timestamp": 5, "results": [entry("SUCCESS")]}}
    answer = read_fault(FaultError("send", -1, "x", data), recipient=ME)
    assert not isinstance(answer, SentMessage)


def test_another_key_and_two_rows_are_refused() -> None:
    row = {"uuid": ME, "fingerprint": "05 " + "ab" * 32, "trustLevel": "TRUSTED_VERIFIED"}
    pin = "05" + "ab" * 32
    assert identity_trouble(read_contacts([row]), uuid=ME, pin=pin) is None
    assert identity_trouble(read_contacts([row, row]), uuid=ME, pin=pin) is not None
    assert identity_trouble(read_contacts([row]), uuid="0" + ME[1:], pin=pin) is not None
    assert identity_trouble(read_contacts([row]), uuid=ME, pin="05" + "cd" * 32) is not None


@pytest.mark.parametrize(
    "pin", ["", " ", "1" * 59, "1" * 61, "06" + "a" * 64, "05" + "A" * 63, "x"]
)
def test_what_is_no_pin_is_refused(pin: str) -> None:
    assert clean_pin(pin) is None


@pytest.mark.parametrize("text", ["", "1.2", "a.b.c", "1.2.3.4", "1.2.3 ", "99999.1.1", None, 5])
def test_what_is_no_release_is_refused(text: object) -> None:
    with pytest.raises(FormatError):
        parse_version(text)


def test_both_shapes_of_a_notification_read_the_same() -> None:
    envelope: Any = {
        "sourceUuid": ME,
        "receiptMessage": {"isDelivery": True, "timestamps": [1, True, "2", 3]},
    }
    bare: Any = {"envelope": envelope, "account": "+1"}
    wrapped: Any = {"subscription": 0, "result": bare}
    expected = (MessageHint(EventKind.DELIVERED, ME, (1, 3)),)
    assert read_notice(bare) == read_notice(wrapped) == expected
    assert read_notice(bare, account="+2") == ()


def test_receipts_are_found_in_text_and_among_attachments() -> None:
    attached = [{"filename": "a.receipt", "id": "x1"}, {"filename": "b.png", "id": "x2"}, 5]
    message: Any = {"message": "hi " + armor_receipt(b"sealed"), "attachments": attached}
    params: Any = {"envelope": {"sourceUuid": ME, "dataMessage": message}}
    assert read_notice(params) == (ReceiptText(ME, b"sealed"), ReceiptFile(ME, "x1"))


@pytest.mark.parametrize("text", [armor_receipt(bytes(70_000)), armor_receipt(b"")])
def test_receipt_text_out_of_bounds_is_dropped(text: str) -> None:
    params: Any = {"envelope": {"sourceUuid": ME, "dataMessage": {"message": text}}}
    assert read_notice(params) == ()


def test_message_from_another_device_of_ours_is_told_apart() -> None:
    sent: Any = {"sentMessage": {"destinationUuid": ME, "timestamp": 7}}
    params: Any = {"envelope": {"sourceUuid": "me", "syncMessage": sent}}
    assert read_notice(params) == (ForeignMessage(ME, 7),)
