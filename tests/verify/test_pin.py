"""What a recipient pinned."""

from __future__ import annotations

import base64
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from registry.errors import FormatError, LorasealError, SignatureError, UsageError
from registry.formats.keyset import KEYSET_PAYLOAD_TYPE, KeyRole
from registry.sealing.signing import sign_envelope
from registry.verify.inputs import load_pin
from registry.verify.pin import parse_pin
from tests.verify.world import World


def _pem(key: object) -> bytes:
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined,no-any-return]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"ab" * 31,
        b"zz" * 32,
        base64.b64encode(bytes(31)),
        base64.b64encode(bytes(33)),
        b"\xff\xfe",
        b"{}",
        b'{"a":1}',
        b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
        b"-----BEGIN CERTIFICATE-----",
        bytes(10_000_000),
    ],
)
def test_what_is_no_key_is_refused(data: bytes) -> None:
    with pytest.raises(LorasealError) as caught:
        parse_pin(data)
    assert caught.value.exit_code in (4, 5)


def test_key_of_another_kind_is_refused() -> None:
    with pytest.raises(FormatError, match="another kind"):
        parse_pin(_pem(generate_private_key(SECP256R1()).public_key()))


def test_keyset_that_its_root_did_not_sign_is_refused(world: World) -> None:
    forged = sign_envelope(KEYSET_PAYLOAD_TYPE, world.keyset_envelope.payload, [world.statement])
    with pytest.raises(SignatureError, match="root key that it names"):
        parse_pin(forged.to_bytes())
    changed = replace(world.keyset_envelope, payload=world.keyset_envelope.payload + b" ")
    with pytest.raises(LorasealError):
        parse_pin(changed.to_bytes())
    rootless = replace(
        world.keyset,
        keys=tuple(key for key in world.keyset.keys if key.role is not KeyRole.ROOT),
    )
    forged = sign_envelope(KEYSET_PAYLOAD_TYPE, rootless.to_bytes(), [world.root])
    with pytest.raises(FormatError, match="no root"):
        parse_pin(forged.to_bytes())


def test_every_form_pins_the_same_key(world: World) -> None:
    raw = world.root.public_raw
    forms = [
        raw.hex().encode(),
        raw.hex().upper().encode() + b"\n",
        base64.b64encode(raw),
        _pem(Ed25519PublicKey.from_public_bytes(raw)),
        world.keyset_envelope.to_bytes() + b"\n",
    ]
    pins = [parse_pin(form) for form in forms]
    assert {pin.roots for pin in pins} == {(raw,)}
    assert [pin.version for pin in pins] == [0, 0, 0, 0, 1]
    assert {pin.name for pin in pins} == {world.root.key_id}
    assert len(pins[0].words.split("-")) == 6


def test_argument_is_a_file_or_the_key(world: World, tmp_path: object) -> None:
    path = tmp_path / "root.pub"  # type: ignore[operator]
    path.write_text(world.root.public_raw.hex())
    assert load_pin(str(path)) == load_pin(world.root.public_raw.hex())
    with pytest.raises(UsageError, match="no file"):
        load_pin(str(path) + ".missing")
    with pytest.raises(UsageError, match="no file"):
        load_pin("x" * 100_000)
    with pytest.raises(UsageError, match="no file"):
        load_pin("a\0b")
