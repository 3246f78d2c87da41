from __future__ import annotations

import copy
import dataclasses
import json
import pickle  # noqa: TID251 - shows that a key refuses it
from datetime import UTC, datetime, timedelta

import pytest

from registry.errors import FormatError, SignatureError
from registry.formats.checkpoint import Checkpoint
from registry.formats.envelope import Envelope, EnvelopeSignature, pae
from registry.formats.keyset import KeyEntry, KeyRole
from registry.sealing.notes import sign_checkpoint
from registry.sealing.signing import (
    P256Key,
    SigningKey,
    VerifiedEnvelope,
    sign_envelope,
    verify_envelope,
)

NOW = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)
DAY = timedelta(days=1)
TYPE = "application/vnd.in-toto+json"
PAYLOAD = b'{"a":1}'
HOST, AUDITOR, LOG = SigningKey.generate(), SigningKey.generate(), SigningKey.generate()
OMS = P256Key.generate()
KEYS = (
    KeyEntry.of(KeyRole.HOST, HOST.public_raw, valid_from=NOW, valid_until=NOW + DAY),
    KeyEntry.of(KeyRole.AUDITOR, AUDITOR.public_raw, valid_from=NOW),
    KeyEntry.of(KeyRole.LOG, LOG.public_raw, valid_from=NOW),
    KeyEntry.of(KeyRole.OMS, OMS.public_raw, valid_from=NOW),
)
ENVELOPE = sign_envelope(TYPE, PAYLOAD, [HOST])


def _verify(
    envelope: Envelope, *roles: KeyRole, payload_type: str = TYPE, at: datetime = NOW
) -> VerifiedEnvelope:
    return verify_envelope(
        envelope, KEYS, payload_type=payload_type, roles=roles or (KeyRole.HOST,), at=at
    )


def test_another_payload_type_is_refused() -> None:
    other = "application/vnd.loraseal.status-list+json"
    with pytest.raises(SignatureError, match=r"holds .*in-toto.*expected .*status-list"):
        _verify(ENVELOPE, payload_type=other)
    with pytest.raises(SignatureError, match="does not fit"):
        _verify(dataclasses.replace(ENVELOPE, payload_type=other), payload_type=other)


def test_changed_payload_is_refused() -> None:
    with pytest.raises(SignatureError, match="does not fit") as caught:
        _verify(dataclasses.replace(ENVELOPE, payload=b'{"a":2}'))
    assert caught.value.hint is not None
    assert caught.value.exit_code == 5


def test_unknown_key_is_refused_by_name() -> None:
    stranger = SigningKey.generate()
    with pytest.raises(SignatureError, match="does not list") as caught:
        _verify(sign_envelope(TYPE, PAYLOAD, [stranger]))
    assert stranger.key_id[:12] in str(caught.value)


def test_genuine_key_of_another_role_is_refused_with_its_own_message() -> None:
    with pytest.raises(SignatureError, match="has role host and may not sign this"):
        _verify(ENVELOPE, KeyRole.OPERATOR, KeyRole.STATEMENT)
    with pytest.raises(SignatureError, match="has role log"):
        _verify(sign_envelope(TYPE, PAYLOAD, [LOG]))


def test_a_key_id_that_names_another_key_gives_no_other_role() -> None:
    claimed = EnvelopeSignature(AUDITOR.key_id, ENVELOPE.signatures[0].signature)
    with pytest.raises(SignatureError, match="does not fit"):
        _verify(dataclasses.replace(ENVELOPE, signatures=(claimed,)), KeyRole.AUDITOR)


@pytest.mark.parametrize("at", [NOW - timedelta(seconds=1), NOW + DAY])
def test_key_outside_its_time_is_refused(at: datetime) -> None:
    with pytest.raises(SignatureError, match="is valid from 2026-11-21T12:00:00Z until 2026-11-22"):
        _verify(ENVELOPE, at=at)


def test_one_bad_signature_beside_a_good_one_is_refused() -> None:
    both = sign_envelope(TYPE, PAYLOAD, [HOST, AUDITOR])
    bad = EnvelopeSignature(AUDITOR.key_id, bytes(64))
    for second in (bad, sign_envelope(TYPE, PAYLOAD, [SigningKey.generate()]).signatures[0]):
        with pytest.raises(SignatureError):
            _verify(
                dataclasses.replace(both, signatures=(both.signatures[0], second)),
                KeyRole.HOST,
                KeyRole.AUDITOR,
            )


def test_two_signatures_by_one_key_are_refused() -> None:
    twice = dataclasses.replace(ENVELOPE, signatures=ENVELOPE.signatures * 2)
    with pytest.raises(SignatureError, match="twice by one key"):
        _verify(twice)


def test_no_role_at_all_permits_nothing() -> None:
    with pytest.raises(SignatureError):
        verify_envelope(ENVELOPE, KEYS, payload_type=TYPE, roles=(), at=NOW)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"[1]",
        b"SSHSIG\x00\x00\x00\x08loraseal",
        b"DSSEv1 1 a 1 b",
        sign_checkpoint(Checkpoint("a.example", 0, bytes(32)), LOG),
    ],
)
def test_a_note_or_ssh_signature_is_never_a_statement(payload: bytes) -> None:
    with pytest.raises(ValueError, match="JSON object"):
        sign_envelope(TYPE, payload, [HOST])
    genuine = EnvelopeSignature(HOST.key_id, HOST.sign(pae(TYPE, payload)))
    with pytest.raises(SignatureError, match="not a JSON object"):
        _verify(Envelope(TYPE, payload, (genuine,)))


def test_envelope_without_a_signature_cannot_be_made() -> None:
    with pytest.raises(FormatError, match="0 signatures"):
        sign_envelope(TYPE, PAYLOAD, [])


def test_a_log_signature_over_a_note_is_no_envelope_signature() -> None:
    text = Checkpoint("a.example", 0, bytes(32)).to_text().encode()
    moved = Envelope(TYPE, PAYLOAD, (EnvelopeSignature(LOG.key_id, LOG.sign(text)),))
    with pytest.raises(SignatureError, match="does not fit"):
        _verify(moved, KeyRole.LOG)


@pytest.mark.parametrize("key", [HOST, OMS])
def test_keys_neither_show_nor_travel(key: SigningKey | P256Key) -> None:
    assert repr(key) == f"{type(key).__name__}({key.key_id[:12]})"
    with pytest.raises(TypeError):
        pickle.dumps(key)
    with pytest.raises(TypeError):
        copy.deepcopy(key)


def test_every_signature_is_verified_and_its_key_returned() -> None:
    one = _verify(ENVELOPE)
    assert (one.payload, one.payload_type, one.key) == (PAYLOAD, TYPE, KEYS[0])
    two = _verify(sign_envelope(TYPE, PAYLOAD, [AUDITOR, HOST]), KeyRole.HOST, KeyRole.AUDITOR)
    assert two.keys == (KEYS[1], KEYS[0])
    assert _verify(sign_envelope(TYPE, PAYLOAD, [OMS]), KeyRole.OMS).key.role is KeyRole.OMS


def test_envelopes_are_verified_by_securesystemslib() -> None:
    dsse = pytest.importorskip("securesystemslib.dsse", reason="oracle missing: securesystemslib")
    signer = pytest.importorskip(
        "securesystemslib.signer", reason="oracle missing: securesystemslib"
    )
    key = signer.SSlibKey(HOST.key_id, "ed25519", "ed25519", {"public": HOST.public_raw.hex()})
    theirs = dsse.Envelope.from_dict(json.loads(ENVELOPE.to_bytes()))
    assert list(theirs.verify([key], 1)) == [HOST.key_id]


def test_envelopes_of_securesystemslib_are_verified() -> None:
    dsse = pytest.importorskip("securesystemslib.dsse", reason="oracle missing: securesystemslib")
    signer = pytest.importorskip(
        "securesystemslib.signer", reason="oracle missing: securesystemslib"
    )
    key = signer.SSlibKey(HOST.key_id, "ed25519", "ed25519", {"public": HOST.public_raw.hex()})
    theirs = dsse.Envelope(PAYLOAD, TYPE, {})
    theirs.sign(signer.CryptoSigner(HOST._private, key))
    assert _verify(Envelope.from_json(theirs.to_dict())).payload == PAYLOAD
