"""Intake: a host says which files it took in, and what it sealed them to."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar, Self, TypedDict

from registry.digest import Digest, sha256_of
from registry.errors import FormatError
from registry.formats.fields import Fields
from registry.formats.manifest import Manifest
from registry.formats.predicates.predicate import PREFIX, artifact_subject
from registry.formats.statement import Subject

if TYPE_CHECKING:
    from registry.formats.canonical import Json

_FACTS = 256


class Rendition(StrEnum):
    """Which form of an artifact it is: as its trainer wrote it, or made from that by the registry.

    `public`: header scrubbed; `marked`: with a recipient's mark; `converted`: from a pickle.
    """

    ORIGINAL = "original"
    PUBLIC = "public"
    MARKED = "marked"
    CONVERTED = "converted"


@dataclass(frozen=True, slots=True)
class Mark:
    """The mark that a copy bears. `commitment` is that of its seed (64 hex digits), made before delivery.

    `recipient` is a keyed tag, bound to this copy; `source` is the rendition that the copy was made of.
    """

    version: int
    commitment: str
    recipient: str
    source: Rendition

    def to_json(self) -> dict[str, Json]:
        """Return its members."""
        return {
            "version": self.version,
            "commitment": self.commitment,
            "recipient": self.recipient,
            "source": self.source.value,
        }

    @classmethod
    def from_json(cls, value: Json) -> Self:
        """Return the mark in `value`.

        Raises:
            FormatError: a member is missing, unknown or malformed.
        """
        fields = Fields.of(value, "mark")
        fields.exactly("version", "commitment", "recipient", "source")
        return cls(
            fields.integer("version"),
            fields.hexadecimal("commitment"),
            fields.hexadecimal("recipient"),
            Rendition(fields.choice("source", tuple(Rendition))),
        )


@dataclass(frozen=True, slots=True)
class Intake:
    """What one host read in one pass.

    `payload_digest` names the age payload in the vault (blake3 of nonce and chunks). `kind`, `dialect`,
    `method` and `family` are what the header alone showed, None where it showed nothing.
    `origin` is a keyed tag of the watched folder, bound to this artifact: custody holds a route's folder
    against it, and it tells nothing to anyone else. `trainer_facts` are observed files beside the
    artifact: (what, sha256 in hex). A derived `rendition` is an artifact of its own; `derived_from` is a
    keyed tag of the one that it was made from, and never its id: whoever guesses what was left out could
    confirm the guess by that digest. A `marked` one, and no other, says what its `mark` is.
    """

    TYPE: ClassVar[str] = PREFIX + "intake:v1"

    artifact_id: str
    manifest: Manifest
    payload_digest: Digest
    host: str
    taken_at: str
    tensors_digest: Digest | None = None
    body_sha256: str | None = None
    kind: str | None = None
    dialect: str | None = None
    method: str | None = None
    family: str | None = None
    trainer_facts: tuple[tuple[str, str], ...] = ()
    origin: str | None = None
    rendition: Rendition = Rendition.ORIGINAL
    derived_from: str | None = None
    mark: Mark | None = None

    @property
    def moment(self) -> str:
        """When the files were read."""
        return self.taken_at

    def subjects(self) -> tuple[Subject, ...]:
        """Return the artifact, then each file."""
        files = (
            Subject(entry.path, (("sha256", entry.sha256),)) for entry in self.manifest.entries
        )
        return (artifact_subject(self.artifact_id), *files)

    def to_json(self) -> dict[str, Json]:
        """Return its members."""
        facts: list[Json] = [
            {"name": name, "sha256": digest} for name, digest in self.trainer_facts
        ]
        mark: dict[str, Json] = {} if self.mark is None else {"mark": self.mark.to_json()}
        return {
            "artifact_id": self.artifact_id,
            "manifest": self.manifest.to_json(),
            "payload_digest": str(self.payload_digest),
            "host": self.host,
            "taken_at": self.taken_at,
            "tensors_digest": None if self.tensors_digest is None else str(self.tensors_digest),
            "body_sha256": self.body_sha256,
            "kind": self.kind,
            "dialect": self.dialect,
            "method": self.method,
            "family": self.family,
            "trainer_facts": facts,
            "origin": self.origin,
            "rendition": self.rendition.value,
            "derived_from": self.derived_from,
            **mark,
        }

    @classmethod
    def from_json(cls, fields: Fields) -> Self:
        """Return the intake in `fields`.

        Raises:
            FormatError: a member is missing or malformed, or the id is not the manifest's digest.
        """
        facts = [
            Fields.of(row, "trainer fact") for row in fields.items("trainer_facts", most=_FACTS)
        ]
        intake = cls(
            artifact_id=fields.hexadecimal("artifact_id"),
            manifest=Manifest.from_json(fields.member("manifest")),
            payload_digest=fields.digest("payload_digest"),
            host=fields.text("host"),
            taken_at=fields.moment("taken_at"),
            tensors_digest=fields.optional_digest("tensors_digest"),
            body_sha256=fields.optional_hexadecimal("body_sha256"),
            kind=fields.optional_text("kind"),
            dialect=fields.optional_text("dialect"),
            method=fields.optional_text("method"),
            family=fields.optional_text("family"),
            trainer_facts=tuple((fact.text("name"), fact.hexadecimal("sha256")) for fact in facts),
            origin=fields.optional_hexadecimal("origin"),
            **_form(fields),
        )
        if sha256_of(intake.manifest.to_bytes()).value != intake.artifact_id:
            raise FormatError("intake: artifact id is not the digest of its manifest")
        if (intake.mark is not None) is not (intake.rendition is Rendition.MARKED):
            raise FormatError("intake: a marked copy, and no other, needs a mark")
        return intake


class _Form(TypedDict):
    rendition: Rendition
    derived_from: str | None
    mark: Mark | None


def _form(fields: Fields) -> _Form:
    there = [fields.has(name) for name in ("rendition", "derived_from")]
    if not any(there):
        # Statements of the first release say neither: they knew nothing but originals.
        return {"rendition": Rendition.ORIGINAL, "derived_from": None, "mark": None}
    return {
        "rendition": Rendition(fields.choice("rendition", tuple(Rendition))),
        "derived_from": fields.optional_hexadecimal("derived_from"),
        "mark": Mark.from_json(fields.member("mark")) if fields.has("mark") else None,
    }
