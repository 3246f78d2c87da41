"""Headers as they were before they were scrubbed, sealed under their artifact's subject.

A header and the body that it belongs to make the original file again, byte for byte; the body is in the
scrubbed file, so nothing is lost. Whoever is erased takes these with them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sqlalchemy import select

from registry.errors import ContentMismatchError, NotFoundError
from registry.provenance.columns import Cell
from registry.provenance.events import NewEvent, note_event
from registry.provenance.models import ArtifactRow, EdgeRow, HashRow, HeaderRow
from registry.provenance.moves import add_row
from registry.provenance.renditions import RENDITION_OF
from registry.provenance.subjects import create_subject, is_erased, open_column, seal_column

if TYPE_CHECKING:
    from datetime import datetime

    from registry.provenance.ledger import Reader, Transaction

_SHA256 = "sha256"


@dataclass(frozen=True, slots=True)
class NewHeader:
    """A header (length field and JSON) and the sha256, in hex, of its file and of its body."""

    header: bytes = field(repr=False)
    file_sha256: str
    body_sha256: str


@dataclass(frozen=True, slots=True)
class KeptHeader:
    """A header that was kept. `artifact_id` is None if its file never was in custody."""

    header: bytes = field(repr=False)
    file_sha256: str
    body_sha256: str
    artifact_id: str | None
    kept_at: datetime


def keep_header(
    tx: Transaction, new: NewHeader, now: datetime, *, artifact_id: str | None = None
) -> None:
    """Keep the original header of a file, once for each file.

    If an artifact holds that file (or `artifact_id` says which it belongs to), it is sealed under the
    artifact's subject, else under one of its own.
    """
    known = tx.session.get(HeaderRow, new.file_sha256)
    if known is not None:
        if _is_readable(tx, known, new):
            return
        # Erased with its subject, or put there by somebody: what was promised to be kept is kept anew.
        tx.session.delete(known)
        tx.session.flush()
    artifact_id, subject_id = _owner(tx, new.file_sha256, artifact_id, now)
    cell = _cell(new.file_sha256)
    row = HeaderRow(
        file_sha256=new.file_sha256,
        body_sha256=new.body_sha256,
        subject_id=subject_id,
        artifact_id=artifact_id,
        sealed_header=seal_column(tx, subject_id, cell, new.header),
        kept_at=now,
    )
    add_row(tx, row)
    note_event(tx, NewEvent("header kept", now, artifact_id))


def _is_readable(tx: Transaction, row: HeaderRow, new: NewHeader) -> bool:
    try:
        kept = open_column(tx, _cell(row.file_sha256), row.sealed_header)
    except ContentMismatchError:
        return False
    return kept == new.header and row.body_sha256 == new.body_sha256


def find_headers(reader: Reader, body_sha256: str) -> tuple[KeptHeader, ...]:
    """Return the headers that were kept for a body, oldest first; erased ones are left out.

    Raises:
        ContentMismatchError: a sealed column was changed or moved.
    """
    rows = reader.session.scalars(
        select(HeaderRow)
        .where(HeaderRow.body_sha256 == body_sha256)
        .order_by(HeaderRow.kept_at, HeaderRow.file_sha256)
    ).all()
    found = ((row, open_column(reader, _cell(row.file_sha256), row.sealed_header)) for row in rows)
    return tuple(
        KeptHeader(header, row.file_sha256, row.body_sha256, row.artifact_id, row.kept_at)
        for row, header in found
        if header is not None
    )


def choose_header(
    reader: Reader, body_sha256: str, digits: str | None = None, *, scrubbed: str = ""
) -> KeptHeader:
    """Return the one header of a body; `digits` begin the sha256 of the file that it made.

    Without them, the sha256 of the scrubbed file tells, if the ledger knows what it was made from.

    Raises:
        NotFoundError: none is kept, or several and nothing chooses one.
    """
    found = find_headers(reader, body_sha256)
    fitting = [one for one in found if one.file_sha256.startswith((digits or "").lower())]
    if len(fitting) > 1 and digits is None:
        sources = _sources_of(reader, scrubbed)
        fitting = [one for one in fitting if one.artifact_id in sources] or fitting
    if len(fitting) == 1:
        return fitting[0]
    if not found:
        raise NotFoundError(
            "no original header is kept for these weights",
            hint="it is kept where `loraseal scrub` ran; the weights must be unchanged",
        )
    shown = ", ".join(one.file_sha256[:12] for one in found)
    raise NotFoundError(
        f"{len(found)} original headers are kept for these weights: {shown}",
        hint="choose one by the sha256 that the file had: --sha256 DIGITS",
    )


def _sources_of(reader: Reader, file_sha256: str) -> frozenset[str | None]:
    """Return the artifacts that a file of this sha256 was made from as a rendition."""
    rows = reader.session.scalars(
        select(EdgeRow.parent)
        .join(HashRow, HashRow.artifact_id == EdgeRow.child_id)
        .where(
            HashRow.value == file_sha256,
            HashRow.algorithm == _SHA256,
            EdgeRow.relation == RENDITION_OF,
        )
    )
    return frozenset(rows.all())


def _owner(
    tx: Transaction, file_sha256: str, artifact_id: str | None, now: datetime
) -> tuple[str | None, str]:
    if artifact_id is not None:
        row = tx.session.get(ArtifactRow, artifact_id)
    else:
        row = tx.session.scalar(
            select(ArtifactRow)
            .join(HashRow, HashRow.artifact_id == ArtifactRow.id)
            .where(HashRow.value == file_sha256, HashRow.algorithm == _SHA256)
            .order_by(ArtifactRow.taken_at, ArtifactRow.id)
            .limit(1)
        )
    if row is not None and not is_erased(tx, row.subject_id):
        return row.id, row.subject_id
    return None, create_subject(tx, "artifact", now)


def _cell(file_sha256: str) -> Cell:
    return Cell(HeaderRow.__tablename__, file_sha256, "header")
