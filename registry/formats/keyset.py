"""The keyset: which public key has which role, from when to when. Signed by the root key.

Schema `loraseal/keyset.v1`, canonical JSON, carried in a DSSE envelope. A role comes from here and from
nowhere else: what a signature says of itself is only a hint (PROTOCOL sections 1.5 and 2).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Self

from registry.digest import sha256_of
from registry.errors import FormatError
from registry.formats.base64_text import decode_base64, encode_base64
from registry.formats.canonical import Json, dump_canonical, parse_canonical
from registry.formats.checkpoint import check_origin
from registry.formats.fields import Fields
from registry.formats.moments import parse_moment, to_text
from registry.limits import KEYSET_BYTES, KEYSET_KEYS, MAX_SAFE_INTEGER

if TYPE_CHECKING:
    from datetime import datetime

SCHEMA = "loraseal/keyset.v1"
KEYSET_PAYLOAD_TYPE = "application/vnd.loraseal.keyset+json"
REGISTRY_NAME_CHARS = 128


class KeyRole(StrEnum):
    """What a key may do; one key has one role."""

    ROOT = "root"
    STATEMENT = "statement"
    LOG = "log"
    OMS = "oms"
    OPERATOR = "operator"
    HOST = "host"
    AUDITOR = "auditor"
    RECEIPT = "receipt"


class KeyAlgorithm(StrEnum):
    """The kinds of public key, as their raw bytes are written in a keyset."""

    ED25519 = "ed25519"
    ECDSA_P256 = "ecdsa-p256"
    X25519 = "x25519"


_RAW_BYTES = {KeyAlgorithm.ED25519: 32, KeyAlgorithm.ECDSA_P256: 65, KeyAlgorithm.X25519: 32}
_ALGORITHM_OF = {KeyRole.OMS: KeyAlgorithm.ECDSA_P256, KeyRole.RECEIPT: KeyAlgorithm.X25519}
_ROLES = {role.value for role in KeyRole}


def key_id_of(public: bytes) -> str:
    """Return the id of a raw public key: its sha256 in lower-case hex."""
    return sha256_of(public).value


def algorithm_for(role: KeyRole) -> KeyAlgorithm:
    """Return the one algorithm that keys of `role` have."""
    return _ALGORITHM_OF.get(role, KeyAlgorithm.ED25519)


@dataclass(frozen=True, slots=True)
class KeyEntry:
    """One public key with its role. `public` is raw: 32 bytes, or 65 (0x04, x, y) for P-256.

    Times are RFC 3339 UTC seconds; the key is valid from `valid_from`, and before `valid_until`.
    """

    key_id: str
    role: KeyRole
    algorithm: KeyAlgorithm
    public: bytes
    valid_from: str
    valid_until: str | None = None

    def __post_init__(self) -> None:
        if self.algorithm is not algorithm_for(self.role):
            raise FormatError(
                f"{self.role} key has algorithm {self.algorithm}, expected {algorithm_for(self.role)}"
            )
        if len(self.public) != _RAW_BYTES[self.algorithm]:
            raise FormatError(
                f"{self.role} key has {len(self.public)} bytes, "
                f"expected {_RAW_BYTES[self.algorithm]}"
            )
        if self.key_id != key_id_of(self.public):
            raise FormatError(f"{self.role} key has an id that is not the sha256 of its bytes")
        start = parse_moment(self.valid_from)
        if self.valid_until is not None and parse_moment(self.valid_until) <= start:
            raise FormatError(f"{self.role} key {self.key_id[:8]} ends before it begins")

    @classmethod
    def of(
        cls,
        role: KeyRole,
        public: bytes,
        *,
        valid_from: datetime,
        valid_until: datetime | None = None,
    ) -> Self:
        """Return the entry for a raw public key; id and algorithm follow from key and role.

        Raises:
            FormatError: the key does not have the length of its role's algorithm; empty interval.
        """
        until = None if valid_until is None else to_text(valid_until)
        return cls(key_id_of(public), role, algorithm_for(role), public, to_text(valid_from), until)

    def is_valid_at(self, at: datetime) -> bool:
        """Return whether `at` (aware) lies in the key's time."""
        if at < parse_moment(self.valid_from):
            return False
        return self.valid_until is None or at < parse_moment(self.valid_until)

    def to_json(self) -> Json:
        """Return the entry as JSON data."""
        return {
            "algorithm": self.algorithm.value,
            "key_id": self.key_id,
            "public": encode_base64(self.public),
            "role": self.role.value,
            "valid_from": self.valid_from,
            "valid_until": self.valid_until,
        }


@dataclass(frozen=True, slots=True)
class Keyset:
    """All keys of one registry. `version` counts up; an older one than a stored one is refused.

    A key stands once, so it has one role; a key that was withdrawn stays, with its `valid_until`.
    """

    registry: str
    version: int
    issued: str
    log_origin: str
    keys: tuple[KeyEntry, ...]

    def __post_init__(self) -> None:
        if not 0 < len(self.registry) <= REGISTRY_NAME_CHARS or not self.registry.isprintable():
            raise FormatError(
                f"keyset has a registry name that is not 1 to {REGISTRY_NAME_CHARS} "
                "printable characters"
            )
        if not 0 < self.version <= MAX_SAFE_INTEGER:
            raise FormatError("keyset version is not a positive number")
        parse_moment(self.issued)
        check_origin(self.log_origin)
        if not 0 < len(self.keys) <= KEYSET_KEYS:
            raise FormatError(f"keyset has {len(self.keys)} keys, expected 1 to {KEYSET_KEYS}")
        # Two roles for one key would let a signature made for one purpose serve another.
        if len({entry.public for entry in self.keys}) != len(self.keys):
            raise FormatError("keyset lists one key twice")

    def find(self, key_id: str) -> KeyEntry | None:
        """Return the entry with this id, or None."""
        return next((entry for entry in self.keys if entry.key_id == key_id), None)

    def with_role(self, role: KeyRole) -> tuple[KeyEntry, ...]:
        """Return the entries of `role`, in their order; validity in time is not judged."""
        return tuple(entry for entry in self.keys if entry.role is role)

    def to_json(self) -> Json:
        """Return the keyset as JSON data."""
        return {
            "issued": self.issued,
            "keys": [entry.to_json() for entry in self.keys],
            "log_origin": self.log_origin,
            "registry": self.registry,
            "schema": SCHEMA,
            "version": self.version,
        }

    def to_bytes(self) -> bytes:
        """Return the canonical bytes, which the root key signs."""
        return dump_canonical(self.to_json())


def parse_keyset(data: bytes) -> Keyset:
    """Return the keyset in `data`, the payload of an envelope; its signature is judged elsewhere.

    Unknown fields are ignored, and so are keys of roles that this version does not know: they can
    sign nothing here, and a registry may add a role without shutting out those who verify.

    Raises:
        FormatError: not canonical, wrong schema or types, key bytes that do not fit role or id.
    """
    value = parse_canonical(data, what="keyset", max_bytes=KEYSET_BYTES)
    fields = Fields.of(value, "keyset")
    fields.schema(SCHEMA)
    entries = (_entry_from(row) for row in fields.items("keys", most=KEYSET_KEYS))
    return Keyset(
        fields.text("registry"),
        fields.integer("version"),
        fields.text("issued"),
        fields.text("log_origin"),
        tuple(entry for entry in entries if entry is not None),
    )


def _entry_from(row: Json) -> KeyEntry | None:
    fields = Fields.of(row, "key of the keyset")
    role = fields.text("role")
    if role not in _ROLES:
        return None
    algorithm = algorithm_for(KeyRole(role))
    if fields.text("algorithm") != algorithm:
        raise FormatError(f"keyset has a {role} key that does not say algorithm {algorithm}")
    return KeyEntry(
        fields.text("key_id"),
        KeyRole(role),
        algorithm,
        decode_base64(fields.text("public"), what=f"public {role} key"),
        fields.text("valid_from"),
        fields.optional_text("valid_until"),
    )
