from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.errors import SignatureError
from registry.formats.envelope import pae
from registry.formats.keyset import KeyAlgorithm, key_id_of
from registry.sealing.public_keys import refuse_small_order, short_key_id, verify_signature

# RFC 8032 section 7.1, TEST 3.
PUBLIC = bytes.fromhex("fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025")
MESSAGE = bytes.fromhex("af82")
SIGNATURE = bytes.fromhex(
    "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
    "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"
)
# The sum of S and the group order L: the same equation holds, so only S < L makes it unique.
ORDER = 2**252 + 27742317777372353535851937790883648493
SMALL_ORDER = [
    "00" * 32,
    "00" * 31 + "80",
    "01" + "00" * 31,
    "01" + "00" * 30 + "80",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    "ec" + "ff" * 30 + "7f",
    "ec" + "ff" * 31,
    "ed" + "ff" * 30 + "7f",
    "ee" + "ff" * 30 + "7f",
]


@pytest.mark.parametrize("bit", range(0, 512, 7))
def test_one_flipped_bit_of_a_signature_is_refused(bit: int) -> None:
    damaged = bytearray(SIGNATURE)
    damaged[bit // 8] ^= 1 << bit % 8
    with pytest.raises(SignatureError):
        verify_signature(KeyAlgorithm.ED25519, PUBLIC, bytes(damaged), MESSAGE)


def test_the_second_form_of_an_ed25519_signature_is_refused() -> None:
    scalar = int.from_bytes(SIGNATURE[32:], "little") + ORDER
    second = SIGNATURE[:32] + scalar.to_bytes(32, "little")
    with pytest.raises(SignatureError):
        verify_signature(KeyAlgorithm.ED25519, PUBLIC, second, MESSAGE)


@pytest.mark.parametrize("point", SMALL_ORDER)
def test_key_of_small_order_is_refused(point: str) -> None:
    with pytest.raises(SignatureError, match="small order"):
        refuse_small_order(bytes.fromhex(point))


def test_a_signature_that_nobody_made_is_refused() -> None:
    # With the neutral point as the key, R = neutral and S = 0 satisfy the equation for any message:
    # this is what the check is for, so show that the library alone lets it through.
    neutral = bytes.fromhex(SMALL_ORDER[2])
    forged = neutral + bytes(32)
    Ed25519PublicKey.from_public_bytes(neutral).verify(forged, b"anything")
    with pytest.raises(SignatureError, match="small order"):
        verify_signature(KeyAlgorithm.ED25519, neutral, forged, b"anything")


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_key_or_signature_of_another_length_is_refused(size: int) -> None:
    with pytest.raises(SignatureError):
        verify_signature(KeyAlgorithm.ED25519, bytes(size), SIGNATURE, MESSAGE)
    with pytest.raises(SignatureError):
        verify_signature(KeyAlgorithm.ED25519, PUBLIC, bytes(size), MESSAGE)


@pytest.mark.parametrize("public", [b"", bytes(65), b"\x04" + bytes(64), b"\x02" + bytes(32)])
def test_bytes_that_are_no_point_of_p256_are_refused(public: bytes) -> None:
    with pytest.raises(SignatureError, match=r"not (a valid one|an uncompressed)"):
        verify_signature(KeyAlgorithm.ECDSA_P256, public, b"0", b"m")


def test_receipt_key_signs_nothing() -> None:
    with pytest.raises(SignatureError, match="signs nothing"):
        verify_signature(KeyAlgorithm.X25519, bytes(32), SIGNATURE, MESSAGE)


@settings(max_examples=60)
@given(st.sampled_from(KeyAlgorithm), st.binary(max_size=70), st.binary(max_size=80))
def test_invented_signatures_raise_only_signature_error(
    algorithm: KeyAlgorithm, public: bytes, signature: bytes
) -> None:
    with pytest.raises(SignatureError):
        verify_signature(algorithm, public, signature, b"message")


def test_vector_of_rfc_8032_holds() -> None:
    verify_signature(KeyAlgorithm.ED25519, PUBLIC, SIGNATURE, MESSAGE)
    assert short_key_id(key_id_of(PUBLIC)) == key_id_of(PUBLIC)[:12]


def test_vector_of_the_dsse_specification_holds() -> None:
    # dsse v1.0.0, protocol.md, "Test vectors": ECDSA P-256, written as raw r and s there.
    x = 46950820868899156662930047687818585632848591499744589407958293238635476079160
    y = 5640078356564379163099075877009565129882514886557779369047442380624545832820
    raw = base64.b64decode(
        "A3JqsQGtVsJ2O2xqrI5IcnXip5GToJ3F+FnZ+O88SjtR6rDAajabZKciJTfUiHqJPcIAriEGAHTVeCUjW2JIZA=="
    )
    r, s = int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big")
    public = b"\x04" + x.to_bytes(32, "big") + y.to_bytes(32, "big")
    message = pae("http://example.com/HelloWorld", b"hello world")
    verify_signature(KeyAlgorithm.ECDSA_P256, public, encode_dss_signature(r, s), message)
