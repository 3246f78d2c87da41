"""SSH signatures, so that a recipient can verify with `ssh-keygen -Y verify` alone.

Spec: OpenSSH PROTOCOL.sshsig, Ed25519 keys, SHA-512. What is signed begins with `SSHSIG` and binds the
namespace, so such a signature is good for nothing else.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from typing import TYPE_CHECKING

from registry.errors import FormatError, SignatureError
from registry.formats.base64_text import encode_base64
from registry.formats.keyset import KeyAlgorithm
from registry.formats.moments import parse_moment
from registry.limits import SSHSIG_CHARS
from registry.sealing.public_keys import verify_signature

if TYPE_CHECKING:
    from registry.formats.keyset import KeyEntry
    from registry.sealing.signing import SigningKey

NAMESPACE = "loraseal"

_MAGIC = b"SSHSIG"
_VERSION = 1
_KIND = b"ssh-ed25519"
_HASH = b"sha512"
_BEGIN, _END = "-----BEGIN SSH SIGNATURE-----\n", "-----END SSH SIGNATURE-----\n"
_COLUMNS = 70
_SSH_TIME = "%Y%m%d%H%M%SZ"  # in UTC, as allowed_signers writes it


def sign_sshsig(message: bytes, key: SigningKey, *, namespace: str = NAMESPACE) -> str:
    """Return the armored SSH signature of `message`, ending in a newline.

    Raises:
        ValueError: the namespace is empty, which ssh-keygen refuses.
    """
    if not namespace:
        raise ValueError("namespace is empty")
    signature = key.sign(_signed_bytes(message, namespace))
    return _armor(_blob(key.public_raw, signature, namespace))


def verify_sshsig(
    armored: str, message: bytes, public: bytes, *, namespace: str = NAMESPACE
) -> None:
    """Return if `armored` is the signature of `message` by the raw Ed25519 key; else raise.

    Exactly the one form that `sign_sshsig` writes is accepted: SHA-512, this key, this namespace,
    base64 in 70 columns. So nothing in it stands outside the signature.

    Raises:
        FormatError: not an armored SSH signature.
        SignatureError: another key or namespace, or it does not fit the message.
    """
    blob = _unarmor(armored)
    reader = _Reader(blob)
    reader.expect(_MAGIC + _VERSION.to_bytes(4, "big"), "an SSH signature of version 1")
    key_blob, found_namespace = reader.string(), reader.string()
    reserved, hash_name, signature_blob = reader.string(), reader.string(), reader.string()
    reader.end()
    if not hmac.compare_digest(key_blob, _key_blob(public)):
        raise SignatureError("SSH signature is by another key than the registry's")
    if found_namespace != namespace.encode("utf-8"):
        raise SignatureError(f"SSH signature is not of namespace {namespace!r}")
    if reserved or hash_name != _HASH:
        raise FormatError("SSH signature is not over SHA-512, or uses its reserved field")
    inner = _Reader(signature_blob)
    kind, signature = inner.string(), inner.string()
    inner.end()
    if kind != _KIND:
        raise FormatError("SSH signature is not of type ssh-ed25519")
    signed = _signed_bytes(message, namespace)
    verify_signature(KeyAlgorithm.ED25519, public, signature, signed)


def ssh_public_key(public: bytes) -> str:
    """Return a raw Ed25519 key as OpenSSH writes it, without a comment."""
    return f"{_KIND.decode()} {encode_base64(_key_blob(public))}"


def allowed_signers_line(
    principal: str, entry: KeyEntry, *, namespace: str = NAMESPACE, with_times: bool = True
) -> str:
    """Return the line for `ssh-keygen -Y verify -f allowed_signers -I PRINCIPAL -n NAMESPACE`.

    `with_times` adds the key's validity, which ssh-keygen understands since OpenSSH 9.1 (with Z).

    Raises:
        ValueError: a principal that the file format cannot hold, or a key that is not Ed25519.
    """
    if not principal or any(char.isspace() or char in '",*?!#' for char in principal):
        raise ValueError("principal must be one word without quotes, commas, wildcards or #")
    if entry.algorithm is not KeyAlgorithm.ED25519:
        raise ValueError("only ed25519 keys make SSH signatures here")
    options = [f'namespaces="{namespace}"']
    if with_times:
        options.append(f'valid-after="{parse_moment(entry.valid_from).strftime(_SSH_TIME)}"')
        if entry.valid_until is not None:
            options.append(f'valid-before="{parse_moment(entry.valid_until).strftime(_SSH_TIME)}"')
    return f"{principal} {','.join(options)} {ssh_public_key(entry.public)}\n"


class _Reader:
    """Reads SSH wire strings (RFC 4251 section 5) from bytes of bounded length."""

    __slots__ = ("_data", "_position")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def expect(self, literal: bytes, what: str) -> None:
        if not self._data.startswith(literal, self._position):
            raise FormatError(f"data is not {what}")
        self._position += len(literal)

    def string(self) -> bytes:
        size = int.from_bytes(self._take(4), "big")
        return self._take(size)

    def end(self) -> None:
        if self._position != len(self._data):
            raise FormatError("SSH signature has trailing bytes")

    def _take(self, count: int) -> bytes:
        part = self._data[self._position : self._position + count]
        if len(part) != count:
            raise FormatError("SSH signature is truncated")
        self._position += count
        return part


def _string(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def _key_blob(public: bytes) -> bytes:
    return _string(_KIND) + _string(public)


def _signed_bytes(message: bytes, namespace: str) -> bytes:
    digest = hashlib.sha512(message).digest()
    reserved = b""
    fields = (namespace.encode("utf-8"), reserved, _HASH, digest)
    return _MAGIC + b"".join(_string(field) for field in fields)


def _blob(public: bytes, signature: bytes, namespace: str) -> bytes:
    reserved = b""
    fields = (
        _key_blob(public),
        namespace.encode("utf-8"),
        reserved,
        _HASH,
        _string(_KIND) + _string(signature),
    )
    head = _MAGIC + _VERSION.to_bytes(4, "big")
    return head + b"".join(_string(field) for field in fields)


def _armor(blob: bytes) -> str:
    text = encode_base64(blob)
    rows = [text[start : start + _COLUMNS] for start in range(0, len(text), _COLUMNS)]
    return _BEGIN + "".join(f"{row}\n" for row in rows) + _END


def _unarmor(armored: str) -> bytes:
    if len(armored) > SSHSIG_CHARS:
        raise FormatError(f"SSH signature has {len(armored)} characters, more than {SSHSIG_CHARS}")
    if not armored.startswith(_BEGIN) or not armored.endswith(_END):
        raise FormatError("SSH signature has no BEGIN and END line")
    body = armored[len(_BEGIN) : -len(_END)]
    try:
        blob = base64.b64decode(body.replace("\n", "").encode("ascii"), validate=True)
    except (binascii.Error, ValueError) as error:
        raise FormatError("SSH signature is not base64") from error
    if _armor(blob) != armored:
        raise FormatError("SSH signature is not in its one canonical form")
    return blob
