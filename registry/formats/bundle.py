"""The bundle `*.loraseal`: all that a recipient needs to judge one delivery without a network.

Canonical JSON, schema `loraseal/bundle.v1`. The bundle itself is not signed: each part is signed, or
named by digest in a signed part, or proves itself. Unknown fields are ignored; every known one must
stand there (null where there is nothing), so that damage to a name is not read as absence.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from registry.errors import FormatError
from registry.formats.base64_text import decode_base64, encode_base64
from registry.formats.canonical import Json, dump_canonical, parse_canonical
from registry.formats.envelope import Envelope
from registry.formats.fields import Fields
from registry.limits import (
    BUNDLE_BYTES,
    BUNDLE_CONSISTENCY_PROOFS,
    BUNDLE_VERDICTS,
    PROOF_BYTES,
    PROOF_HASHES,
    SEALED_PART_BYTES,
    SIGNATURE_FILE_BYTES,
)

SCHEMA = "loraseal/bundle.v1"
SALT_BYTES = 32
_HASH_BYTES = 32


@dataclass(frozen=True, slots=True)
class LoggedStatement:
    """A signed statement with what shows it to be in the log.

    `salt` (32 bytes) and the envelope give the leaf; `proof` is a tlog-proof@v1 file as text.
    """

    envelope: Envelope
    salt: bytes
    proof: str

    def to_json(self) -> dict[str, Json]:
        """Return its members."""
        return {
            "envelope": self.envelope.to_json(),
            "salt": encode_base64(self.salt),
            "proof": self.proof,
        }

    @classmethod
    def from_json(cls, value: Json, *, what: str) -> Self:
        """Return the logged statement in `value`; raises `FormatError`."""
        fields = Fields.of(value, what)
        return cls(
            Envelope.from_json(fields.member("envelope"), what=f"{what} envelope"),
            decode_base64(fields.text("salt"), what=f"{what} salt", size=SALT_BYTES),
            fields.text("proof", max_chars=PROOF_BYTES),
        )


@dataclass(frozen=True, slots=True)
class ConsistencyLink:
    """An older checkpoint of the log (a signed note as text), and that this one only adds to it."""

    old_checkpoint: str
    hashes: tuple[bytes, ...]

    def to_json(self) -> dict[str, Json]:
        """Return its members."""
        hashes: list[Json] = [encode_base64(item) for item in self.hashes]
        return {"old_checkpoint": self.old_checkpoint, "hashes": hashes}

    @classmethod
    def from_json(cls, value: Json) -> Self:
        """Return the link in `value`; raises `FormatError`."""
        fields = Fields.of(value, "consistency proof")
        rows = fields.items("hashes", most=PROOF_HASHES)
        return cls(
            fields.text("old_checkpoint", max_chars=PROOF_BYTES), tuple(_hash(row) for row in rows)
        )


@dataclass(frozen=True, slots=True)
class Bundle:
    """One delivery's evidence. Nothing in it is verified yet.

    `sealed_part` is an age file to the recipient; `sshsig` an armored SSH signature over the delivery's
    SHA256SUMS; `oms` an OpenSSF Model Signing bundle (JSON text). `verdicts` stand in the order of the
    release's digests.
    """

    keyset: Envelope
    intake: LoggedStatement
    verdicts: tuple[LoggedStatement, ...]
    release: LoggedStatement
    delivery: LoggedStatement
    status: Envelope
    sealed_part: bytes
    consistency: tuple[ConsistencyLink, ...] = ()
    sshsig: str | None = None
    oms: str | None = None

    @property
    def statements(self) -> tuple[LoggedStatement, ...]:
        """Every statement that must be in the log."""
        return (self.intake, *self.verdicts, self.release, self.delivery)

    def to_bytes(self) -> bytes:
        """Return the canonical bytes of the file."""
        return dump_canonical(
            {
                "schema": SCHEMA,
                "keyset": self.keyset.to_json(),
                "intake": self.intake.to_json(),
                "verdicts": [item.to_json() for item in self.verdicts],
                "release": self.release.to_json(),
                "delivery": self.delivery.to_json(),
                "status": self.status.to_json(),
                "sealed_part": encode_base64(self.sealed_part),
                "consistency": [link.to_json() for link in self.consistency],
                "sshsig": self.sshsig,
                "oms": self.oms,
            }
        )


def parse_bundle(data: bytes) -> Bundle:
    """Return the bundle in `data`.

    Raises:
        FormatError: too long, not canonical JSON, wrong schema, a part is missing or malformed.
    """
    fields = Fields.of(parse_canonical(data, what="bundle", max_bytes=BUNDLE_BYTES), "bundle")
    fields.schema(SCHEMA)
    verdicts = fields.items("verdicts", most=BUNDLE_VERDICTS)
    links = fields.items("consistency", most=BUNDLE_CONSISTENCY_PROOFS)
    return Bundle(
        keyset=Envelope.from_json(fields.member("keyset"), what="keyset envelope"),
        intake=LoggedStatement.from_json(fields.member("intake"), what="intake"),
        verdicts=tuple(LoggedStatement.from_json(row, what="verdict") for row in verdicts),
        release=LoggedStatement.from_json(fields.member("release"), what="release"),
        delivery=LoggedStatement.from_json(fields.member("delivery"), what="delivery"),
        status=Envelope.from_json(fields.member("status"), what="status list envelope"),
        sealed_part=fields.encoded("sealed_part", max_chars=2 * SEALED_PART_BYTES),
        consistency=tuple(ConsistencyLink.from_json(row) for row in links),
        sshsig=_optional(fields, "sshsig"),
        oms=_optional(fields, "oms"),
    )


def _optional(fields: Fields, name: str) -> str | None:
    if fields.member(name) is None:
        return None
    return fields.text(name, max_chars=SIGNATURE_FILE_BYTES)


def _hash(row: Json) -> bytes:
    if not isinstance(row, str):
        raise FormatError("consistency proof has a hash that is not text")
    return decode_base64(row, what="consistency proof hash", size=_HASH_BYTES)
