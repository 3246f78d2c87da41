"""Sealed personal columns: AES-256-GCM under a key per subject, and HMAC indexes for exact look-up.

A stolen database file tells little, a value moved to another cell does not open, and destroying a
subject's keys erases what they sealed. A subject's keys are wrapped to the vault's age recipient: a
host that holds only that public half seals under keys it makes itself, and cannot open later.

Sealed cell: 0x01, key id (16 bytes), nonce (12), ciphertext with tag. Associated data: table, row and
column. Lengths of values are not hidden.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from registry.errors import ContentMismatchError
from registry.limits import SUBJECT_KEYS_CACHED, WRAPPED_KEY_BYTES
from registry.sealing.seal import open_bytes, seal_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from registry.sealing.identities import Identity, Recipient

INDEX_KEY_BYTES = 32
_KEY_BYTES = 32
_KEY_ID_BYTES = 16
_NONCE_BYTES = 12
_VERSION = b"\x01"
_HEAD_BYTES = len(_VERSION) + _KEY_ID_BYTES + _NONCE_BYTES
_WRAP_LABEL = b"loraseal/subject-key/v1\n"
_CELL_LABEL = "loraseal/column/v1"


@dataclass(frozen=True, slots=True)
class Cell:
    """A place in the database; a sealed value opens only where it was sealed for."""

    table: str
    row: str
    column: str

    def associated_data(self) -> bytes:
        """Return what AES-GCM binds; no part can hold the separator."""
        return "\0".join((_CELL_LABEL, self.table, self.row, self.column)).encode()

    def __str__(self) -> str:
        return f"{self.table}.{self.column}"


@dataclass(frozen=True, slots=True)
class WrappedKey:
    """A subject key as the database holds it: its id (32 hex digits) and an age file."""

    key_id: str
    wrapped: bytes


def new_index_key() -> bytes:
    """Return a fresh key for the HMAC indexes; every host of a registry holds the same one."""
    return secrets.token_bytes(INDEX_KEY_BYTES)


class ColumnKeeper:
    """Seals and opens personal columns. Safe to share between threads; holds no rows.

    `index_key` is 32 bytes from `new_index_key`, kept as a key file beside the database, never in
    it. Without `identities` it seals under keys that it makes, and opens only what it sealed itself.
    """

    def __init__(
        self, recipient: Recipient, index_key: bytes, identities: Sequence[Identity] = ()
    ) -> None:
        if len(index_key) != INDEX_KEY_BYTES:
            raise ValueError(f"index key must have {INDEX_KEY_BYTES} bytes")
        self._recipient = recipient
        self._index_key = index_key
        self._identities = tuple(identities)
        self._keys: OrderedDict[str, AESGCM] = OrderedDict()
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"{type(self).__name__}(can_open={bool(self._identities)})"

    def index(self, field: str, value: str | bytes) -> bytes:
        """Return the 32-byte index of `value` in `field`: equal values, equal index, nothing more."""
        data = value.encode() if isinstance(value, str) else value
        return hmac.digest(self._index_key, field.encode() + b"\0" + data, hashlib.sha256)

    def new_key(self) -> WrappedKey:
        """Return a fresh subject key, wrapped; this keeper can use it at once."""
        key_id, key = secrets.token_bytes(_KEY_ID_BYTES), secrets.token_bytes(_KEY_BYTES)
        # The id is inside: a wrapped key put in another key's row is refused when it is opened.
        wrapped = seal_bytes(_WRAP_LABEL + key_id + key, [self._recipient])
        self._remember(key_id.hex(), AESGCM(key))
        return WrappedKey(key_id.hex(), wrapped)

    def holds(self, key: WrappedKey) -> bool:
        """Say whether `key` can be used here, now."""
        return bool(self._identities) or key.key_id in self._keys

    def seal(self, key: WrappedKey, cell: Cell, value: bytes) -> bytes:
        """Return `value` sealed for `cell`.

        Raises:
            ContentMismatchError: the wrapped key is not what its row says.
            CannotDecryptError: no identity at hand unwraps it.
        """
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = self._cipher(key).encrypt(nonce, value, cell.associated_data())
        return _VERSION + bytes.fromhex(key.key_id) + nonce + sealed

    def open(self, key: WrappedKey, cell: Cell, sealed: bytes) -> bytes:
        """Return the value of `cell`.

        Raises:
            ContentMismatchError: changed, or sealed for another row or column.
            CannotDecryptError: no identity at hand unwraps the key.
        """
        nonce = sealed[_HEAD_BYTES - _NONCE_BYTES : _HEAD_BYTES]
        try:
            return self._cipher(key).decrypt(nonce, sealed[_HEAD_BYTES:], cell.associated_data())
        except (InvalidTag, ValueError) as error:
            raise _moved(cell) from error

    def _cipher(self, key: WrappedKey) -> AESGCM:
        with self._lock:
            known = self._keys.get(key.key_id)
            if known is not None:
                self._keys.move_to_end(key.key_id)
                return known
        cipher = AESGCM(self._unwrap(key))
        self._remember(key.key_id, cipher)
        return cipher

    def _unwrap(self, key: WrappedKey) -> bytes:
        opened = open_bytes(key.wrapped, self._identities, max_bytes=WRAPPED_KEY_BYTES)
        head = _WRAP_LABEL + bytes.fromhex(key.key_id)
        if len(opened) != len(head) + _KEY_BYTES or not opened.startswith(head):
            raise ContentMismatchError(
                f"subject key {key.key_id[:8]} is not the one that its row names",
                hint="rows were changed by hand: run `loraseal fsck`, restore a backup",
            )
        return opened[len(head) :]

    def _remember(self, key_id: str, cipher: AESGCM) -> None:
        with self._lock:
            self._keys[key_id] = cipher
            while len(self._keys) > SUBJECT_KEYS_CACHED:
                self._keys.popitem(last=False)


def key_id_of(sealed: bytes, cell: Cell) -> str:
    """Return the id of the subject key that sealed a cell.

    Raises:
        ContentMismatchError: not a sealed cell.
    """
    if len(sealed) < _HEAD_BYTES or sealed[:1] != _VERSION:
        raise _moved(cell)
    return sealed[1 : 1 + _KEY_ID_BYTES].hex()


def _moved(cell: Cell) -> ContentMismatchError:
    return ContentMismatchError(
        f"sealed column {cell} was changed, or belongs to another row",
        hint="rows were changed by hand: run `loraseal fsck`, restore a backup",
    )
