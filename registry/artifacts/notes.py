"""What one intake found out, and its sealed form: the notes beside a payload until the ledger has them.

Plaintext of a sidecar: length of the JSON as u64 little-endian, canonical JSON of schema
`loraseal/intake-notes.v1`, then the prefixes of all glimpses one after the other. It is always sealed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Self

from registry.artifacts.claims import BodyHashes
from registry.digest import sha256_of
from registry.errors import FormatError
from registry.formats.canonical import Json, dump_canonical, parse_canonical
from registry.formats.fields import Fields
from registry.formats.manifest import Manifest
from registry.limits import INTAKE_FILES, INTAKE_NOTES_BYTES, MAX_SAFE_INTEGER, SAFETENSORS_TENSORS

if TYPE_CHECKING:
    from registry.digest import Digest

SCHEMA = "loraseal/intake-notes.v1"
_LENGTH_BYTES = 8
_LEGACY_DIGITS = 8
_HASHES = INTAKE_FILES * 12


class PayloadForm(StrEnum):
    """What the plaintext of a payload is: the one file itself, or a deterministic tar of several."""

    RAW = "raw"
    TAR = "tar"


@dataclass(frozen=True, slots=True)
class Glimpse:
    """Those parts of one file that inspection needs, kept from the one pass.

    `prefix` is the whole header of a safetensors file (8 + N bytes), or all of a small side file;
    `scalars` are (offset in the file, bytes) of its tensors of at most 16 bytes, such as alpha; `hashes`
    what the pass computed of its weights, to hold the header's claims against.
    """

    path: str
    size: int
    prefix: bytes = field(repr=False)
    scalars: tuple[tuple[int, bytes], ...] = field(default=(), repr=False)
    hashes: BodyHashes | None = None

    def read_at(self, offset: int, size: int) -> bytes:
        """Return `size` bytes at `offset` of the file, if they were kept.

        Raises:
            FormatError: they lie outside of what was kept; only the sealed payload has them.
        """
        if offset + size <= len(self.prefix):
            return self.prefix[offset : offset + size]
        for start, data in self.scalars:
            if start <= offset and offset + size <= start + len(data):
                return data[offset - start : offset - start + size]
        raise FormatError(f"bytes {offset} to {offset + size} of {self.path!r} were not kept")


@dataclass(frozen=True, slots=True)
class IntakeResult:
    """One artifact, sealed in the vault, and everything that one pass over it told.

    `payload_digest` names the payload in the vault. `body_sha256` (AutoV3) is None unless exactly one
    file has weights; `tensors_digest` is None if none has. `hashes` are sorted (algorithm, value) pairs
    under which others know it: sha256 (also as hf_lfs_oid), hf_git_blob, blake3, crc32 (Civitai's order),
    autov1, autov3 (also as sshs_model_hash), sshs_legacy of every file, and of all together tensors and
    manifest_root; values in lower-case hex, full length where there is one. `leased` says whether the
    system stood guard against writers during the read.
    """

    manifest: Manifest
    payload_digest: Digest
    payload_bytes: int
    payload_form: PayloadForm
    body_sha256: str | None
    tensors_digest: Digest | None
    hashes: tuple[tuple[str, str], ...]
    glimpses: tuple[Glimpse, ...]
    leased: bool

    @property
    def artifact_id(self) -> str:
        """The artifact's id: sha256 of the canonical manifest, in hex."""
        return sha256_of(self.manifest.to_bytes()).value

    def to_notes(self) -> bytes:
        """Return the plaintext of the sidecar.

        Raises:
            FormatError: the headers are too long to be kept together.
        """
        body = dump_canonical(_to_json(self))
        prefixes = [glimpse.prefix for glimpse in self.glimpses]
        notes = b"".join((len(body).to_bytes(_LENGTH_BYTES, "little"), body, *prefixes))
        if len(notes) > INTAKE_NOTES_BYTES:
            raise FormatError(
                f"headers and notes take {len(notes)} bytes, more than {INTAKE_NOTES_BYTES}",
                hint="an adapter has far smaller headers; is this a folder of many models?",
            )
        return notes

    @classmethod
    def from_notes(cls, notes: bytes) -> Self:
        """Return the result in the plaintext of a sidecar.

        Raises:
            FormatError: not what `to_notes` writes.
        """
        length = int.from_bytes(notes[:_LENGTH_BYTES], "little")
        body, blob = notes[_LENGTH_BYTES:][:length], notes[_LENGTH_BYTES:][length:]
        value = parse_canonical(body, what="intake notes", max_bytes=INTAKE_NOTES_BYTES)
        fields = Fields.of(value, "intake notes")
        fields.schema(SCHEMA)
        return cls(
            manifest=Manifest.from_json(fields.member("manifest")),
            payload_digest=fields.digest("payload_digest"),
            payload_bytes=fields.integer("payload_bytes"),
            payload_form=PayloadForm(fields.choice("payload_form", tuple(PayloadForm))),
            body_sha256=fields.optional_hexadecimal("body_sha256"),
            tensors_digest=fields.optional_digest("tensors_digest"),
            hashes=tuple(_pair(row) for row in fields.items("hashes", most=_HASHES)),
            glimpses=_glimpses(fields.items("glimpses", most=INTAKE_FILES), blob),
            leased=fields.flag("leased"),
        )


def _to_json(result: IntakeResult) -> Json:
    tensors = result.tensors_digest
    return {
        "schema": SCHEMA,
        "manifest": result.manifest.to_json(),
        "payload_digest": str(result.payload_digest),
        "payload_bytes": result.payload_bytes,
        "payload_form": str(result.payload_form),
        "body_sha256": result.body_sha256,
        "tensors_digest": None if tensors is None else str(tensors),
        "hashes": [[algorithm, value] for algorithm, value in result.hashes],
        "glimpses": [_glimpse_to_json(glimpse) for glimpse in result.glimpses],
        "leased": result.leased,
    }


def _glimpse_to_json(glimpse: Glimpse) -> Json:
    return {
        "path": glimpse.path,
        "size": glimpse.size,
        "prefix_bytes": len(glimpse.prefix),
        "scalars": [[offset, data.hex()] for offset, data in glimpse.scalars],
        "hashes": _body_hashes_to_json(glimpse.hashes),
    }


def _body_hashes_to_json(hashes: BodyHashes | None) -> Json:
    if hashes is None:
        return None
    return {"sha256": hashes.sha256, "by_name": hashes.by_name, "legacy": hashes.legacy}


def _body_hashes(row: Json) -> BodyHashes | None:
    # Notes of earlier releases have none.
    value = row.get("hashes") if isinstance(row, dict) else None
    if value is None:
        return None
    fields = Fields.of(value, "hashes of a glimpse")
    return BodyHashes(
        sha256=fields.hexadecimal("sha256"),
        by_name=fields.optional_hexadecimal("by_name"),
        legacy=fields.optional_hexadecimal("legacy", digits=_LEGACY_DIGITS),
    )


def _glimpses(rows: list[Json], blob: bytes) -> tuple[Glimpse, ...]:
    glimpses = []
    position = 0
    for row in rows:
        fields = Fields.of(row, "glimpse")
        end = position + fields.integer("prefix_bytes")
        scalars = tuple(_scalar(item) for item in fields.items("scalars", most=SAFETENSORS_TENSORS))
        prefix, hashes = blob[position:end], _body_hashes(row)
        glimpses.append(
            Glimpse(fields.text("path"), fields.integer("size"), prefix, scalars, hashes)
        )
        position = end
    if position != len(blob):
        raise FormatError(f"intake notes have {len(blob)} bytes of prefixes, expected {position}")
    return tuple(glimpses)


def _scalar(row: Json) -> tuple[int, bytes]:
    match row:
        case [int(offset), str(text)] if 0 <= offset <= MAX_SAFE_INTEGER:
            try:
                return offset, bytes.fromhex(text)
            except ValueError as error:
                raise FormatError("scalar in intake notes is not hex") from error
        case _:
            raise FormatError("scalar in intake notes is not an offset and hex digits")


def _pair(row: Json) -> tuple[str, str]:
    match row:
        case [str(algorithm), str(value)]:
            return algorithm, value
        case _:
            raise FormatError("hash in intake notes is not a pair of strings")
