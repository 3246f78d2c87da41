"""Enrolment requests as bytes."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from registry.errors import FormatError
from registry.formats.canonical import dump_canonical
from registry.formats.enrolment_file import EnrolmentRequest

REQUEST = EnrolmentRequest("Li W.", "age1x", bytes(32), "2026-11-21T12:00:00Z")


@pytest.mark.parametrize(
    "change",
    [
        {"schema": "x"},
        {"name": ""},
        {"name": "  "},
        {"name": "Li\u001b[31m"},
        {"name": "Li\u202e"},
        {"name": "x" * 201},
        {"signing_key": "AAAA"},
        {"at": ""},
    ],
)
def test_malformed_request_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(FormatError):
        EnrolmentRequest.parse(dump_canonical({**json.loads(REQUEST.to_bytes()), **change}))


def test_request_survives() -> None:
    assert EnrolmentRequest.parse(REQUEST.to_bytes()) == REQUEST
    chinese = replace(REQUEST, name="李薇")
    assert EnrolmentRequest.parse(chinese.to_bytes()) == chinese
