"""Raw public keys: one signature by one of them, judged."""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256

from registry.errors import SignatureError
from registry.formats.keyset import KeyAlgorithm, key_id_of

_SHOWN_DIGITS = 12
_UNCOMPRESSED = b"\x04"

# The points of order 1, 2, 4 and 8 with the sign bit cleared, and their unreduced forms. Such a "key"
# verifies signatures that nobody made (RFC 8032 section 8.9 and others leave the check to us).
_SMALL_ORDER = frozenset(
    bytes.fromhex(text)
    for text in (
        "00" * 32,
        "01" + "00" * 31,
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "ec" + "ff" * 30 + "7f",
        "ed" + "ff" * 30 + "7f",
        "ee" + "ff" * 30 + "7f",
    )
)


def verify_signature(
    algorithm: KeyAlgorithm, public: bytes, signature: bytes, message: bytes
) -> None:
    """Return if `signature` of `message` was made with the raw public key; else raise.

    P-256 signatures are ECDSA over SHA-256 in DER; each has a second valid form, so a signature
    must never serve as an identifier.

    Raises:
        SignatureError: it was not, the key is no valid point, or the algorithm signs nothing.
    """
    try:
        match algorithm:
            case KeyAlgorithm.ED25519:
                key = Ed25519PublicKey.from_public_bytes(public)
                refuse_small_order(public)
                key.verify(signature, message)
            case KeyAlgorithm.ECDSA_P256:
                # One key, one spelling: the compressed form would have another key id.
                if not public.startswith(_UNCOMPRESSED):
                    raise SignatureError("public ecdsa-p256 key is not an uncompressed point")
                point = EllipticCurvePublicKey.from_encoded_point(SECP256R1(), public)
                point.verify(signature, message, ECDSA(SHA256()))
            case KeyAlgorithm.X25519:
                raise SignatureError("an x25519 key opens receipts and signs nothing")
    except InvalidSignature as error:
        raise SignatureError(
            f"signature by key {short_key_id(key_id_of(public))} does not fit what it stands under",
            hint="content or signature was changed after signing: ask the sender for it again",
        ) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise SignatureError(f"public {algorithm} key is not a valid one") from error


def refuse_small_order(public: bytes) -> None:
    """Refuse a raw Ed25519 key (32 bytes) that anyone can sign for.

    Raises:
        SignatureError: the point has small order.
    """
    if public[:-1] + bytes([public[-1] & 0x7F]) in _SMALL_ORDER:
        raise SignatureError("public ed25519 key is a point of small order: anyone can sign for it")


def short_key_id(key_id: str) -> str:
    """Return the part of a key id that messages show."""
    return key_id[:_SHOWN_DIGITS]
