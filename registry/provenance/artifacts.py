"""Artifacts in the vault: what was taken in, under which names and hashes, in which payload."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from sqlalchemy import select

from registry.digest import sha256_of
from registry.errors import FormatError, NotFoundError
from registry.formats.predicates.intake import Rendition
from registry.provenance.candidates import Noted
from registry.provenance.columns import Cell
from registry.provenance.counts import count_artifact
from registry.provenance.events import NewEvent, note_event
from registry.provenance.models import (
    ArtifactRow,
    CandidateRow,
    HashRow,
    ManifestEntryRow,
    PayloadRow,
    RenditionRow,
)
from registry.provenance.moves import Move, add_row, explain_row, move_row
from registry.provenance.states import ArtifactState, CandidateState
from registry.provenance.subjects import require_keeper, seal_column

if TYPE_CHECKING:
    from datetime import datetime

    from registry.formats.manifest import Manifest, ManifestEntry
    from registry.provenance.ledger import Reader, Transaction

NAME_FIELD = "artifact.name"
STEM_FIELD = "artifact.stem"
ENTRY_FIELD = "manifest.path"
_TABLE = ArtifactRow.__tablename__
_SHORTEST_HASH_DIGITS = 4


@dataclass(frozen=True, slots=True)
class NewPayload:
    """An age payload in the vault. `digest` is blake3 in hex; `size` counts its bytes."""

    digest: str
    form: str
    size: int
    key_classes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Traits:
    """What the header alone says; None is unknown, never a guess."""

    kind: str
    dialect: str | None = None
    method: str | None = None
    family: str | None = None
    base_model: str | None = None
    rank: int | None = None
    alpha: str | None = None
    modules: int = 0
    tensors: int = 0


@dataclass(frozen=True, slots=True)
class FromCandidate:
    """Taken in from a watched path: the candidate is marked taken."""

    id: str


@dataclass(frozen=True, slots=True)
class FromArtifact:
    """Made from an artifact, whose people it is about too: an erasure takes both."""

    id: str


@dataclass(frozen=True, slots=True)
class NewArtifact:
    """What intake learned, or what a rendition was made of. `hashes` are (algorithm, hex value) pairs, of the whole and of files.

    `inspection` is JSON text and is sealed, since header metadata names people and paths.
    """

    manifest: Manifest
    name: str = field(repr=False)
    source: FromCandidate | FromArtifact
    payload: NewPayload
    traits: Traits
    hashes: tuple[tuple[str, str], ...]
    host: str
    taken_at: datetime
    inspection: str | None = field(default=None, repr=False)
    rendition: Rendition = Rendition.ORIGINAL


@dataclass(frozen=True, slots=True)
class Payload:
    """The payload of one rendition; its name in the vault is its digest."""

    digest: str
    form: str
    size: int
    key_classes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Artifact:
    """The columns of an artifact that drive the pipeline; names are read by `views`."""

    id: str
    subject_id: str
    state: ArtifactState
    reason: str | None
    kind: str
    audit_deaths: int
    taken_at: datetime
    rendition: Rendition = Rendition.ORIGINAL
    family: str | None = None


def artifact_id_of(manifest: Manifest) -> str:
    """Return the id of an artifact: the hex sha256 of its manifest's canonical bytes."""
    return sha256_of(manifest.to_bytes()).value


def add_artifact(tx: Transaction, new: NewArtifact) -> Noted:
    """Record an artifact and mark its candidate, if any, taken; the same content again adds nothing else.

    When it was known already, `find_payload` names the payload that counts: the one just made is
    an orphan of the vault unless it is the same.

    Raises:
        NotFoundError: no such candidate, or no artifact that it could be made from.
        FormatError: a hash is not hex.
    """
    artifact_id = artifact_id_of(new.manifest)
    candidate, subject_id = _source(tx, new.source)
    is_new = tx.session.get(ArtifactRow, artifact_id) is None
    if is_new:
        add_row(tx, _artifact_row(tx, artifact_id, new, subject_id))
        _add_entries(tx, artifact_id, new.manifest.entries, subject_id)
        _add_payload(tx, artifact_id, new)
        _add_hashes(tx, artifact_id, new.hashes)
        count_artifact(tx)
        note_event(tx, NewEvent("artifact sealed", new.taken_at, artifact_id))
    if candidate is not None:
        candidate.artifact_id = artifact_id
        candidate.state, candidate.reason = CandidateState.TAKEN, None
        candidate.moved_at = new.taken_at
        tx.session.flush()
    return Noted(artifact_id, is_new=is_new)


def _source(
    tx: Transaction, source: FromCandidate | FromArtifact
) -> tuple[CandidateRow | None, str]:
    if isinstance(source, FromArtifact):
        return None, get_artifact(tx, source.id).subject_id
    candidate = tx.session.get(CandidateRow, source.id)
    if candidate is None:
        raise NotFoundError(f"no candidate {source.id[:12]}")
    return candidate, candidate.subject_id


def get_artifact(reader: Reader, artifact_id: str) -> Artifact:
    """Return an artifact by its full id.

    Raises:
        NotFoundError: no such id.
    """
    row = reader.session.get(ArtifactRow, artifact_id)
    if row is None:
        raise NotFoundError(f"no artifact {artifact_id[:12]}")
    return Artifact(
        id=row.id,
        subject_id=row.subject_id,
        state=ArtifactState(row.state),
        reason=row.reason,
        kind=row.kind,
        audit_deaths=row.audit_deaths,
        taken_at=row.taken_at,
        rendition=Rendition(row.rendition),
        family=row.family,
    )


def find_payload(reader: Reader, artifact_id: str) -> Payload | None:
    """Return the payload of an artifact, None if there is none."""
    row = reader.session.scalar(
        select(PayloadRow)
        .join(RenditionRow, RenditionRow.payload_digest == PayloadRow.digest)
        .where(RenditionRow.artifact_id == artifact_id)
        .order_by(RenditionRow.made_at)
        .limit(1)
    )
    if row is None:
        return None
    return Payload(row.digest, row.form, row.size, tuple(row.key_classes.split(",")))


def note_key_class(tx: Transaction, payload_digest: str, key_class: str) -> None:
    """Remember that a header of this class was issued for a payload.

    Raises:
        NotFoundError: no such payload.
    """
    row = tx.session.get(PayloadRow, payload_digest)
    if row is None:
        raise NotFoundError(f"no payload {payload_digest[:12]}")
    row.key_classes = ",".join(sorted({*row.key_classes.split(","), key_class}))
    tx.session.flush()


def payload_digests(reader: Reader) -> tuple[str, ...]:
    """Return the digests of all payloads that the vault must hold, sorted."""
    return tuple(reader.session.scalars(select(PayloadRow.digest).order_by(PayloadRow.digest)))


def artifact_ids(reader: Reader) -> tuple[str, ...]:
    """Return the ids of all artifacts, in the order they were taken in."""
    order = (ArtifactRow.taken_at, ArtifactRow.id)
    return tuple(reader.session.scalars(select(ArtifactRow.id).order_by(*order)))


def artifacts_in(
    reader: Reader, state: ArtifactState, *, limit: int = 1000
) -> tuple[Artifact, ...]:
    """Return artifacts in a state, oldest first: what a reconcile pass has to look after."""
    rows = reader.session.scalars(
        select(ArtifactRow.id)
        .where(ArtifactRow.state == state.value)
        .order_by(ArtifactRow.taken_at)
        .limit(limit)
    ).all()
    return tuple(get_artifact(reader, artifact_id) for artifact_id in rows)


def move_artifact(tx: Transaction, artifact_id: str, move: Move) -> None:
    """Move an artifact, compare-and-set, and note the event.

    Raises:
        LostRaceError: it is in none of the old states.
        NotFoundError: no such id.
    """
    move_row(tx, ArtifactRow, artifact_id, move)
    note_event(tx, NewEvent(f"artifact {move.new}", move.at, artifact_id, detail=move.reason or ""))


def explain_artifact(tx: Transaction, artifact_id: str, reason: str) -> None:
    """Say why an artifact is not audited or decided yet; without personal data."""
    states = (ArtifactState.SEALED, ArtifactState.AUDITED)
    explain_row(tx, ArtifactRow, artifact_id, (states, reason))


def count_audit_death(tx: Transaction, artifact_id: str, now: datetime) -> int:
    """Count one more death of the audit child on this artifact; return how many there were."""
    get_artifact(tx, artifact_id)
    row = tx.session.get_one(ArtifactRow, artifact_id)
    row.audit_deaths += 1
    tx.session.flush()
    note_event(
        tx, NewEvent("audit died", now, artifact_id, detail=f"{row.audit_deaths} times so far")
    )
    return row.audit_deaths


def _artifact_row(
    tx: Transaction, artifact_id: str, new: NewArtifact, subject_id: str
) -> ArtifactRow:
    keeper, traits, entries = require_keeper(tx), new.traits, new.manifest.entries
    cell = Cell(_TABLE, artifact_id, "inspection")
    return ArtifactRow(
        id=artifact_id,
        subject_id=subject_id,
        sealed_name=seal_column(tx, subject_id, Cell(_TABLE, artifact_id, "name"), new.name),
        name_index=keeper.index(NAME_FIELD, folded(new.name)),
        stem_index=keeper.index(STEM_FIELD, folded(PurePosixPath(new.name).stem)),
        sealed_inspection=None
        if new.inspection is None
        else seal_column(tx, subject_id, cell, new.inspection),
        state=ArtifactState.SEALED,
        kind=traits.kind,
        dialect=traits.dialect,
        method=traits.method,
        family=traits.family,
        base_model=traits.base_model,
        rank=traits.rank,
        alpha=traits.alpha,
        modules=traits.modules,
        tensors=traits.tensors,
        files=len(entries),
        size=sum(entry.size for entry in entries),
        host=new.host,
        rendition=new.rendition,
        taken_at=new.taken_at,
        moved_at=new.taken_at,
    )


def _add_entries(
    tx: Transaction, artifact_id: str, entries: tuple[ManifestEntry, ...], subject_id: str
) -> None:
    keeper = require_keeper(tx)
    for ordinal, entry in enumerate(entries):
        cell = entry_cell(artifact_id, ordinal)
        tx.session.add(
            ManifestEntryRow(
                artifact_id=artifact_id,
                ordinal=ordinal,
                sealed_path=seal_column(tx, subject_id, cell, entry.path),
                path_index=keeper.index(ENTRY_FIELD, folded(entry.path)),
                size=entry.size,
                sha256=entry.sha256,
            )
        )
    tx.session.flush()


def _add_payload(tx: Transaction, artifact_id: str, new: NewArtifact) -> None:
    payload = new.payload
    if tx.session.get(PayloadRow, payload.digest) is None:
        add_row(
            tx,
            PayloadRow(
                digest=payload.digest,
                form=payload.form,
                size=payload.size,
                key_classes=",".join(sorted(payload.key_classes)),
                made_at=new.taken_at,
            ),
        )
    add_row(
        tx,
        RenditionRow(
            artifact_id=artifact_id,
            name=new.rendition,
            payload_digest=payload.digest,
            made_at=new.taken_at,
        ),
    )


def _add_hashes(tx: Transaction, artifact_id: str, hashes: tuple[tuple[str, str], ...]) -> None:
    for algorithm, value in sorted({(name, value.lower()) for name, value in hashes}):
        if not is_hex(value):
            raise FormatError(f"{algorithm} hash of the artifact is not hex")
        tx.session.add(HashRow(value=value, algorithm=algorithm, artifact_id=artifact_id))
    tx.session.flush()


def entry_cell(artifact_id: str, ordinal: int) -> Cell:
    """Return the cell of a manifest entry's path."""
    return Cell(ManifestEntryRow.__tablename__, f"{artifact_id}/{ordinal}", "path")


def folded(name: str) -> str:
    """Return the form in which names are compared: case does not matter."""
    return name.casefold()


def is_hex(text: str) -> bool:
    """Say whether `text` can be a hash or its beginning: lower-case hex, four digits at least."""
    return len(text) >= _SHORTEST_HASH_DIGITS and not text.strip("0123456789abcdef")
