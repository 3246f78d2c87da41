"""Recipients and identities of age v1: who may open, and who can (C2SP age.md, "Recipient stanzas").

`wrap` makes a stanza from a file key; `unwrap` finds the stanza that is its own and returns the file
key, or None for "not mine, try the next". Messages never quote what was parsed: people paste secret
keys where recipients are asked for.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, Self, TypeVar

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from registry.digest import sha256_of
from registry.errors import FormatError, UsageError
from registry.formats.age_header import Stanza, decode_base64, encode_base64
from registry.formats.bech32 import decode_bech32, encode_bech32
from registry.limits import AGE_SCRYPT_MAX_LOG_N, IDENTITY_FILE_BYTES
from registry.sealing.file_key import FILE_KEY_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

X25519 = "x25519"
SCRYPT = "scrypt"

_X25519_KIND = "X25519"
_X25519_LABEL = b"age-encryption.org/v1/X25519"
_SCRYPT_KIND = "scrypt"
_SCRYPT_LABEL = b"age-encryption.org/v1/scrypt"
_RECIPIENT_PREFIX = "age"
_IDENTITY_PREFIX = "AGE-SECRET-KEY-"
_KEY_BYTES = 32
_BODY_BYTES = FILE_KEY_BYTES + 16
_SALT_BYTES = 16
# Each wrapping key encrypts once: it depends on a fresh share or salt. So the nonce may be fixed.
_ZERO_NONCE = bytes(12)
_LOG_N = re.compile(r"[1-9][0-9]?")
_DEFAULT_LOG_N = 18  # what age writes: 256 MiB and about half a second

T = TypeVar("T")


class Recipient(Protocol):
    """Someone to seal for."""

    @property
    def key_class(self) -> str:
        """What kind of key it is; one header holds one class only."""
        ...

    def wrap(self, file_key: bytes) -> Stanza:
        """Return a stanza that only this recipient's identity unwraps."""
        ...


class Identity(Protocol):
    """Someone who can open."""

    def unwrap(self, stanzas: Sequence[Stanza]) -> bytes | None:
        """Return the file key from the stanza that is mine, or None if none is.

        Raises:
            FormatError: a stanza of my kind is malformed.
        """
        ...


@dataclass(frozen=True, slots=True)
class X25519Recipient:
    """An `age1…` recipient: the 32 bytes of a public key. Low-order points are refused."""

    public: bytes

    def __post_init__(self) -> None:
        _exchange(X25519PrivateKey.generate(), self.public, what="recipient")

    def __str__(self) -> str:
        return encode_bech32(_RECIPIENT_PREFIX, self.public)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the recipient written as `age1…`.

        Raises:
            FormatError: not bech32, another kind of key, wrong length, low-order point.
        """
        prefix, public = decode_bech32(text)
        if prefix != _RECIPIENT_PREFIX:
            raise FormatError("not an X25519 recipient: it does not begin with 'age1'")
        return cls(public)

    @property
    def key_class(self) -> str:
        """Always `x25519`."""
        return X25519

    @property
    def key_id(self) -> str:
        """The sha256 of the public key, in hex."""
        return sha256_of(self.public).value

    def wrap(self, file_key: bytes) -> Stanza:
        """Return an `X25519` stanza under a fresh ephemeral share."""
        ephemeral = X25519PrivateKey.generate()
        share = ephemeral.public_key().public_bytes_raw()
        shared = _exchange(ephemeral, self.public, what="recipient")
        key = _x25519_wrapping_key(shared, share, self.public)
        body = ChaCha20Poly1305(key).encrypt(_ZERO_NONCE, file_key, None)
        return Stanza(_X25519_KIND, (encode_base64(share),), body)


@dataclass(frozen=True, slots=True, eq=False)
class X25519Identity:
    """An `AGE-SECRET-KEY-1…` identity. Its text is a secret: `to_text` says so, `repr` hides it."""

    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.secret) != _KEY_BYTES:
            raise FormatError(f"identity has {len(self.secret)} bytes, expected {_KEY_BYTES}")

    @classmethod
    def generate(cls) -> Self:
        """Return a fresh random identity."""
        return cls(X25519PrivateKey.generate().private_bytes_raw())

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the identity written as `AGE-SECRET-KEY-1…`.

        Raises:
            FormatError: not bech32, another kind of key, wrong length. The text is not quoted.
        """
        prefix, secret = decode_bech32(text)
        if prefix != _IDENTITY_PREFIX:
            raise FormatError("not an X25519 identity: it does not begin with 'AGE-SECRET-KEY-1'")
        return cls(secret)

    def to_text(self) -> str:
        """Return the secret text, for a file of mode 0600 and nothing else."""
        return encode_bech32(_IDENTITY_PREFIX, self.secret)

    def recipient(self) -> X25519Recipient:
        """Return the public half."""
        return X25519Recipient(self._private().public_key().public_bytes_raw())

    def unwrap(self, stanzas: Sequence[Stanza]) -> bytes | None:
        """Return the file key from the first `X25519` stanza that this identity opens, or None.

        Raises:
            FormatError: an `X25519` stanza is malformed or its share is a low-order point.
        """
        shares = [(_x25519_share(s), s.body) for s in stanzas if s.kind == _X25519_KIND]
        public = self._private().public_key().public_bytes_raw()
        for share, body in shares:
            shared = _exchange(self._private(), share, what="age stanza's share")
            file_key = _unwrap(_x25519_wrapping_key(shared, share, public), body)
            if file_key is not None:
                return file_key
        return None

    def _private(self) -> X25519PrivateKey:
        return X25519PrivateKey.from_private_bytes(self.secret)


@dataclass(frozen=True, slots=True, eq=False)
class ScryptRecipient:
    """A passphrase to seal under. `log_n` 18 costs 256 MiB and about half a second per use."""

    passphrase: bytes = field(repr=False)
    log_n: int = _DEFAULT_LOG_N

    def __post_init__(self) -> None:
        if not self.passphrase:
            raise UsageError("the passphrase is empty")
        if not 0 < self.log_n <= AGE_SCRYPT_MAX_LOG_N:
            raise ValueError(f"log_n must be 1 to {AGE_SCRYPT_MAX_LOG_N}")

    @property
    def key_class(self) -> str:
        """Always `scrypt`."""
        return SCRYPT

    def wrap(self, file_key: bytes) -> Stanza:
        """Return a `scrypt` stanza under a fresh salt; it must stand alone in its header."""
        salt = secrets.token_bytes(_SALT_BYTES)
        key = _scrypt_wrapping_key(self.passphrase, salt, self.log_n)
        body = ChaCha20Poly1305(key).encrypt(_ZERO_NONCE, file_key, None)
        return Stanza(_SCRYPT_KIND, (encode_base64(salt), str(self.log_n)), body)


@dataclass(frozen=True, slots=True, eq=False)
class ScryptIdentity:
    """A passphrase to open with. A stanza that asks for more than `max_log_n` is refused."""

    passphrase: bytes = field(repr=False)
    max_log_n: int = AGE_SCRYPT_MAX_LOG_N

    def unwrap(self, stanzas: Sequence[Stanza]) -> bytes | None:
        """Return the file key if the header is this passphrase's, else None.

        Raises:
            FormatError: the `scrypt` stanza is malformed, too costly, or not alone.
        """
        mine = [stanza for stanza in stanzas if stanza.kind == _SCRYPT_KIND]
        if not mine:
            return None
        check_scrypt_alone(stanzas)
        salt, log_n = _scrypt_parameters(mine[0], self.max_log_n)
        return _unwrap(_scrypt_wrapping_key(self.passphrase, salt, log_n), mine[0].body)


def check_scrypt_alone(stanzas: Sequence[Stanza]) -> None:
    """Refuse a passphrase beside anything else.

    Else someone who knows one recipient's file could pass it off as made by who knows the passphrase.

    Raises:
        FormatError: a `scrypt` stanza is not the only one.
    """
    if len(stanzas) > 1 and any(stanza.kind == _SCRYPT_KIND for stanza in stanzas):
        raise FormatError("age header has a scrypt stanza beside others; it must stand alone")


def key_classes(stanzas: Sequence[Stanza]) -> frozenset[str]:
    """Return the classes of the known stanzas: the weakest of them is what guards the file key."""
    known = {_X25519_KIND: X25519, _SCRYPT_KIND: SCRYPT}
    return frozenset(known[stanza.kind] for stanza in stanzas if stanza.kind in known)


def parse_recipient(text: str) -> Recipient:
    """Return the recipient that `text` names.

    Raises:
        FormatError: malformed, or of a kind that this version does not seal to. Nothing is quoted.
    """
    word = text.strip()
    if word.upper().startswith("AGE-SECRET-KEY-"):
        raise FormatError(
            "that is a secret identity, not a recipient",
            hint="give the public 'age1…' line; if the secret was shown to anyone, make a new one",
        )
    if word.startswith("ssh-"):
        raise FormatError(
            "SSH keys are not recipients here", hint="ask for an 'age1…' recipient (loraseal enrol)"
        )
    try:
        prefix, _ = decode_bech32(word)
    except FormatError as error:
        raise FormatError(
            f"not an age recipient: {error}", hint="copy the whole line that begins with 'age1'"
        ) from error
    if prefix != _RECIPIENT_PREFIX:
        raise FormatError(
            "recipient is not of the kind 'age1…' (X25519); post-quantum and plug-in recipients"
            " are not supported",
            hint="ask for an 'age1…' recipient (loraseal enrol, or age-keygen)",
        )
    return X25519Recipient.parse(word)


def parse_recipients_file(data: bytes) -> tuple[Recipient, ...]:
    """Return the recipients in `data`: one a line; empty lines and `#` comments are skipped.

    Raises:
        FormatError: too long, not text, a line that is no recipient (its number is named), none.
    """
    return tuple(_parse_lines(data, "recipients file", parse_recipient))


def parse_identity_file(data: bytes) -> tuple[Identity, ...]:
    """Return the identities in `data`, written as age-keygen does: one a line, `#` comments.

    A file that is itself sealed with a passphrase is for `identity_file.load_identities`.

    Raises:
        FormatError: too long, not text, a line that is no identity (its number is named), none.
    """
    return tuple(_parse_lines(data, "identity file", _parse_identity))


def _parse_identity(word: str) -> Identity:
    if word.startswith("age1"):
        raise FormatError(
            "that is a public recipient, not an identity",
            hint="give the file that holds the line 'AGE-SECRET-KEY-1…'",
        )
    if word.startswith(("AGE-SECRET-KEY-PQ-1", "AGE-PLUGIN-")):
        raise FormatError("post-quantum and plug-in identities are not supported")
    return X25519Identity.parse(word)


def _parse_lines(data: bytes, what: str, parse: Callable[[str], T]) -> Iterator[T]:
    if len(data) > IDENTITY_FILE_BYTES:
        raise FormatError(f"{what} has {len(data)} bytes, more than {IDENTITY_FILE_BYTES}")
    try:
        lines = data.decode("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise FormatError(
            f"{what} is not text: byte {error.start} is not UTF-8, expected one key a line",
            hint="give the text file with the line that begins AGE-SECRET-KEY-1 (yours) or age1 (theirs)",
        ) from error
    empty = True
    for number, line in enumerate(lines, start=1):
        word = line.strip()
        if not word or word.startswith("#"):
            continue
        empty = False
        try:
            yield parse(word)
        except FormatError as error:
            raise FormatError(f"{what}, line {number}: {error}", hint=error.hint) from error
    if empty:
        raise FormatError(f"{what} holds no key")


def _x25519_share(stanza: Stanza) -> bytes:
    if len(stanza.arguments) != 1:
        raise FormatError(f"X25519 stanza has {len(stanza.arguments)} arguments, expected 1")
    share = decode_base64(stanza.arguments[0], what="X25519 share")
    if len(share) != _KEY_BYTES:
        raise FormatError(f"X25519 share has {len(share)} bytes, expected {_KEY_BYTES}")
    _check_body(stanza)
    return share


def _scrypt_parameters(stanza: Stanza, max_log_n: int) -> tuple[bytes, int]:
    if len(stanza.arguments) != 2:  # noqa: PLR2004 - salt and work factor
        raise FormatError(f"scrypt stanza has {len(stanza.arguments)} arguments, expected 2")
    salt = decode_base64(stanza.arguments[0], what="scrypt salt")
    if len(salt) != _SALT_BYTES:
        raise FormatError(f"scrypt salt has {len(salt)} bytes, expected {_SALT_BYTES}")
    if not _LOG_N.fullmatch(stanza.arguments[1]):
        raise FormatError("scrypt work factor is not a plain decimal number")
    log_n = int(stanza.arguments[1])
    if log_n > max_log_n:
        # Memory and time double with each step: a hostile file must not choose them.
        raise FormatError(f"scrypt work factor is {log_n}, more than {max_log_n}")
    _check_body(stanza)
    return salt, log_n


def _check_body(stanza: Stanza) -> None:
    # Length before decryption: a longer file key would allow partitioning oracles (C2SP age.md).
    if len(stanza.body) != _BODY_BYTES:
        raise FormatError(
            f"{stanza.kind} stanza body has {len(stanza.body)} bytes, expected {_BODY_BYTES}"
        )


def _unwrap(key: bytes, body: bytes) -> bytes | None:
    try:
        return ChaCha20Poly1305(key).decrypt(_ZERO_NONCE, body, None)
    except InvalidTag:
        return None


def _exchange(private: X25519PrivateKey, public: bytes, *, what: str) -> bytes:
    if len(public) != _KEY_BYTES:
        raise FormatError(f"{what} has {len(public)} bytes, expected {_KEY_BYTES}")
    try:
        return private.exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError as error:
        # The all-zero secret of a low-order point would let anyone open the file.
        raise FormatError(f"{what} is a low-order point") from error


def _x25519_wrapping_key(shared: bytes, share: bytes, public: bytes) -> bytes:
    return HKDF(SHA256(), _KEY_BYTES, salt=share + public, info=_X25519_LABEL).derive(shared)


def _scrypt_wrapping_key(passphrase: bytes, salt: bytes, log_n: int) -> bytes:
    return Scrypt(_SCRYPT_LABEL + salt, _KEY_BYTES, n=1 << log_n, r=8, p=1).derive(passphrase)
