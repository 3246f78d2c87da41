"""Delivery: the registry says what it sends, under which header, to a committed audience."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

from registry.errors import FormatError
from registry.formats.fields import ID_DIGITS, Fields
from registry.formats.manifest import Manifest, ManifestEntry
from registry.formats.predicates.predicate import PREFIX, artifact_subject
from registry.formats.statement import Subject

if TYPE_CHECKING:
    from registry.digest import Digest
    from registry.formats.canonical import Json

FORM_RAW = "raw"
FORM_TAR = "tar"
KEY_CLASSES = ("x25519", "scrypt", "mlkem768x25519")


@dataclass(frozen=True, slots=True)
class Attachments:
    """sha256 in hex of the parts of a bundle that no signature covers otherwise; None if absent."""

    sealed_part: str
    sshsig: str | None = None
    oms: str | None = None


@dataclass(frozen=True, slots=True)
class Delivery:
    """One rendition to one recipient.

    `form` is `raw` if the payload is the one file itself, else `tar`. `header_digest` is the sha256 of
    the age header bytes as delivered; `audience` commits to the recipient's keys under a salt that
    only the sealed part holds. `nonce` comes back in the receipt.
    """

    TYPE: ClassVar[str] = PREFIX + "delivery:v1"

    registry: str
    delivery_id: str
    artifact_id: str
    rendition: str
    form: str
    files: tuple[ManifestEntry, ...]
    payload_digest: Digest
    header_digest: str
    audience: str
    key_class: str
    release_digest: str
    created: str
    acknowledge_by: str
    nonce: str
    status_id: str
    log_origin: str
    statement_key_id: str
    attachments: Attachments
    supersedes: str | None = None

    @property
    def moment(self) -> str:
        """When it was made."""
        return self.created

    @property
    def manifest(self) -> Manifest:
        """The files as a manifest."""
        return Manifest(self.files)

    def subjects(self) -> tuple[Subject, ...]:
        """Return the artifact, then each file as delivered."""
        files = (Subject(entry.path, (("sha256", entry.sha256),)) for entry in self.files)
        return (artifact_subject(self.artifact_id), *files)

    def to_json(self) -> dict[str, Json]:
        """Return its members."""
        return {
            "registry": self.registry,
            "delivery_id": self.delivery_id,
            "artifact_id": self.artifact_id,
            "rendition": self.rendition,
            "form": self.form,
            "files": self.manifest.to_json(),
            "payload_digest": str(self.payload_digest),
            "header_digest": self.header_digest,
            "audience": self.audience,
            "key_class": self.key_class,
            "release_digest": self.release_digest,
            "created": self.created,
            "acknowledge_by": self.acknowledge_by,
            "nonce": self.nonce,
            "status_id": self.status_id,
            "log_origin": self.log_origin,
            "statement_key_id": self.statement_key_id,
            "attachments": {
                "sealed_part": self.attachments.sealed_part,
                "sshsig": self.attachments.sshsig,
                "oms": self.attachments.oms,
            },
            "supersedes": self.supersedes,
        }

    @classmethod
    def from_json(cls, fields: Fields) -> Self:
        """Return the delivery in `fields`.

        Raises:
            FormatError: a member is missing or malformed, or a raw payload holds several files.
        """
        files = Manifest.from_json(fields.member("files")).entries
        form = fields.choice("form", (FORM_RAW, FORM_TAR))
        # A plain file name: a raw payload is written under it, and nowhere else.
        if form == FORM_RAW and (len(files) != 1 or "/" in files[0].path):
            raise FormatError("delivery: a raw payload must be exactly one file without a folder")
        return cls(
            registry=fields.text("registry"),
            delivery_id=fields.hexadecimal("delivery_id", ID_DIGITS),
            artifact_id=fields.hexadecimal("artifact_id"),
            rendition=fields.text("rendition"),
            form=form,
            files=files,
            payload_digest=fields.digest("payload_digest"),
            header_digest=fields.hexadecimal("header_digest"),
            audience=fields.hexadecimal("audience"),
            key_class=fields.choice("key_class", KEY_CLASSES),
            release_digest=fields.hexadecimal("release_digest"),
            created=fields.moment("created"),
            acknowledge_by=fields.moment("acknowledge_by"),
            nonce=fields.hexadecimal("nonce"),
            status_id=fields.hexadecimal("status_id", ID_DIGITS),
            log_origin=fields.text("log_origin"),
            statement_key_id=fields.hexadecimal("statement_key_id"),
            attachments=_attachments_from(fields),
            supersedes=fields.optional_hexadecimal("supersedes", ID_DIGITS),
        )


def _attachments_from(fields: Fields) -> Attachments:
    inner = Fields.of(fields.member("attachments"), "delivery attachments")
    return Attachments(
        inner.hexadecimal("sealed_part"),
        inner.optional_hexadecimal("sshsig"),
        inner.optional_hexadecimal("oms"),
    )
