from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta

import pytest

from registry.errors import FormatError, SignatureError
from registry.formats.keyset import KEYSET_PAYLOAD_TYPE, KeyEntry, KeyRole, Keyset
from registry.sealing.keysets import sign_keyset, verify_keyset
from registry.sealing.signing import SigningKey, sign_envelope

NOW = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)
ROOT, OTHER = SigningKey.generate(), SigningKey.generate()


def _keyset(*keys: KeyEntry) -> Keyset:
    return Keyset("example", 1, "2026-11-21T12:00:00Z", "example.org/log", keys)


ENTRY = KeyEntry.of(
    KeyRole.ROOT, ROOT.public_raw, valid_from=NOW, valid_until=NOW + timedelta(days=1)
)
KEYSET = _keyset(ENTRY, KeyEntry.of(KeyRole.HOST, OTHER.public_raw, valid_from=NOW))
ENVELOPE = sign_keyset(KEYSET, ROOT)


def test_keyset_that_does_not_list_its_root_is_not_signed() -> None:
    with pytest.raises(ValueError, match="does not list"):
        sign_keyset(_keyset(KEYSET.keys[1]), ROOT)
    with pytest.raises(ValueError, match="does not list"):
        sign_keyset(KEYSET, OTHER)


def test_keyset_of_another_root_is_refused() -> None:
    with pytest.raises(SignatureError, match="expected the pinned root key") as caught:
        verify_keyset(ENVELOPE, OTHER.public_raw, at=NOW)
    assert ROOT.key_id[:12] in str(caught.value)
    assert OTHER.key_id[:12] in str(caught.value)


def test_changed_keyset_is_refused() -> None:
    changed = dataclasses.replace(KEYSET, version=2).to_bytes()
    with pytest.raises(SignatureError, match="does not fit"):
        verify_keyset(dataclasses.replace(ENVELOPE, payload=changed), ROOT.public_raw, at=NOW)


def test_statement_signed_by_the_root_is_no_keyset() -> None:
    envelope = sign_envelope("application/vnd.in-toto+json", KEYSET.to_bytes(), [ROOT])
    with pytest.raises(SignatureError, match=r"expected .*keyset"):
        verify_keyset(envelope, ROOT.public_raw, at=NOW)


def test_second_signature_is_refused() -> None:
    envelope = sign_envelope(KEYSET_PAYLOAD_TYPE, KEYSET.to_bytes(), [ROOT, OTHER])
    with pytest.raises(SignatureError, match="pinned root"):
        verify_keyset(envelope, ROOT.public_raw, at=NOW)


@pytest.mark.parametrize("at", [NOW - timedelta(seconds=1), NOW + timedelta(days=1)])
def test_root_outside_its_time_is_refused(at: datetime) -> None:
    with pytest.raises(SignatureError, match="as valid now"):
        verify_keyset(ENVELOPE, ROOT.public_raw, at=at)


def test_root_without_the_role_is_refused() -> None:
    for keys in (
        (KEYSET.keys[1],),
        (KeyEntry.of(KeyRole.STATEMENT, ROOT.public_raw, valid_from=NOW),),
    ):
        envelope = sign_envelope(KEYSET_PAYLOAD_TYPE, _keyset(*keys).to_bytes(), [ROOT])
        with pytest.raises(SignatureError, match="does not list root key"):
            verify_keyset(envelope, ROOT.public_raw, at=NOW)


def test_signed_garbage_is_no_keyset() -> None:
    envelope = sign_envelope(KEYSET_PAYLOAD_TYPE, b"{}", [ROOT])
    with pytest.raises(FormatError):
        verify_keyset(envelope, ROOT.public_raw, at=NOW)


def test_keyset_under_the_pinned_root_is_returned() -> None:
    assert verify_keyset(ENVELOPE, ROOT.public_raw, at=NOW) == KEYSET
