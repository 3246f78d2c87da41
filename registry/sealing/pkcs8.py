"""Private keys as PKCS#8 PEM; with a passphrase as PBES2 of scrypt and AES-256-CBC.

Spec: RFC 5958 (PKCS#8), RFC 8018 (PBES2), RFC 7914 section 7 (scrypt in it). `cryptography` reads that form
and writes only PBKDF2 of 2,048 rounds, which a graphics card tries by the million; so the few bytes
of structure are written here. `openssl pkey -in FILE` reads either form.
"""

from __future__ import annotations

import secrets
from typing import TypeAlias

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from cryptography.hazmat.primitives.padding import PKCS7
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from registry.errors import CannotDecryptError, FormatError
from registry.formats.base64_text import encode_base64

PrivateKey: TypeAlias = Ed25519PrivateKey | EllipticCurvePrivateKey

# 16 MiB and about 0.1 s: the most that OpenSSL's own reader accepts is N=2**14, so p makes up for it.
_SCRYPT_N, _SCRYPT_R, _SCRYPT_P = 2**14, 8, 5
_SALT_BYTES = 16
_BLOCK_BYTES = 16
_KEY_BYTES = 32
_BLOCK_BITS = 128
_PEM_COLUMNS = 64

_SEQUENCE, _INTEGER, _OCTETS, _OBJECT = 0x30, 0x02, 0x04, 0x06
_PBES2 = bytes.fromhex("2a864886f70d01050d")  # 1.2.840.113549.1.5.13
_SCRYPT = bytes.fromhex("2b06010401da47040b")  # 1.3.6.1.4.1.11591.4.11
_AES256_CBC = bytes.fromhex("60864801650304012a")  # 2.16.840.1.101.3.4.1.42


def dump_private_key(key: PrivateKey, passphrase: bytes | None = None) -> bytes:
    """Return `key` as PKCS#8 PEM, encrypted if there is a passphrase.

    Raises:
        ValueError: the passphrase is empty; that is a mistake, not a wish for no encryption.
    """
    if passphrase is None:
        return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    if not passphrase:
        raise ValueError("passphrase is empty")
    plain = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    return _pem("ENCRYPTED PRIVATE KEY", _encrypted(plain, passphrase))


def load_private_key(data: bytes, passphrase: bytes | None, *, what: str) -> PrivateKey:
    """Return the Ed25519 or elliptic-curve key in PEM `data`. `what` names it in messages.

    Raises:
        CannotDecryptError: it is encrypted and the passphrase is missing or wrong.
        FormatError: no PKCS#8 PEM, or a key of another kind.
    """
    encrypted = b"-----BEGIN ENCRYPTED PRIVATE KEY-----" in data
    if encrypted and passphrase is None:
        raise CannotDecryptError(
            f"{what} is protected by a passphrase", hint="give it with --passphrase-file"
        )
    try:
        key = load_pem_private_key(data, passphrase if encrypted else None)
    except (ValueError, TypeError, UnsupportedAlgorithm, OverflowError, MemoryError) as error:
        if encrypted:
            raise CannotDecryptError(
                f"{what} does not open with this passphrase, or is damaged"
            ) from error
        raise FormatError(f"{what} holds no private key in PKCS#8 PEM form") from error
    if not isinstance(key, Ed25519PrivateKey | EllipticCurvePrivateKey):
        raise FormatError(f"{what} holds a key of another kind than Ed25519 or elliptic curve")
    return key


def _encrypted(plain: bytes, passphrase: bytes) -> bytes:
    salt, start = secrets.token_bytes(_SALT_BYTES), secrets.token_bytes(_BLOCK_BYTES)
    key = Scrypt(salt, _KEY_BYTES, _SCRYPT_N, _SCRYPT_R, _SCRYPT_P).derive(passphrase)
    padder, cipher = PKCS7(_BLOCK_BITS).padder(), Cipher(AES256(key), CBC(start)).encryptor()
    sealed = cipher.update(padder.update(plain) + padder.finalize()) + cipher.finalize()
    costs = b"".join(_integer(value) for value in (_SCRYPT_N, _SCRYPT_R, _SCRYPT_P))
    derivation = _algorithm(_SCRYPT, _tlv(_SEQUENCE, _tlv(_OCTETS, salt) + costs))
    scheme = _algorithm(_AES256_CBC, _tlv(_OCTETS, start))
    return _tlv(
        _SEQUENCE,
        _algorithm(_PBES2, _tlv(_SEQUENCE, derivation + scheme)) + _tlv(_OCTETS, sealed),
    )


def _algorithm(identifier: bytes, parameters: bytes) -> bytes:
    return _tlv(_SEQUENCE, _tlv(_OBJECT, identifier) + parameters)


def _integer(value: int) -> bytes:
    # One byte more than the bits need keeps the sign bit clear.
    return _tlv(_INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def _tlv(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 0x80:  # noqa: PLR2004 - DER: the short form of a length
        return bytes([tag, size]) + content
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(octets)]) + octets + content


def _pem(label: str, content: bytes) -> bytes:
    text = encode_base64(content)
    rows = [text[start : start + _PEM_COLUMNS] for start in range(0, len(text), _PEM_COLUMNS)]
    body = "\n".join(rows)
    return f"-----BEGIN {label}-----\n{body}\n-----END {label}-----\n".encode("ascii")
