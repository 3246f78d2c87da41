"""Sketches of artifacts and the pages of their codes; what a code means is not known here.

A sketch is sealed under its artifact's subject and goes with its keys. Its code stays in its page, like
every keyed index: it finds the artifact and tells nothing of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from registry.errors import NotFoundError
from registry.fingerprints.code_pages import CODE_BYTES, PAGE_CODES, place_code
from registry.provenance.columns import Cell
from registry.provenance.models import ArtifactRow
from registry.provenance.models_fingerprint import FeaturesRow, SketchPageRow, SketchRow
from registry.provenance.moves import add_row
from registry.provenance.subjects import open_column, require_keeper, seal_column

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from registry.provenance.ledger import Reader, Transaction

_KEY_FIELD = "key/sketch/v1"


@dataclass(frozen=True, slots=True)
class NewSketch:
    """A sketch as its bytes, and its code of `CODE_BYTES`; "" of a sketch that holds nothing."""

    sketch: bytes = field(repr=False)
    code: bytes = field(repr=False)


def sketch_key(reader: Reader) -> bytes:
    """Return the registry's key for sketches, 32 bytes, derived from its index key.

    Raises:
        UsageError: the keys are not at hand.
    """
    return require_keeper(reader).index(_KEY_FIELD, b"")


def keep_sketch(tx: Transaction, artifact_id: str, new: NewSketch, now: datetime) -> None:
    """Keep the sketch of an artifact, once; a second one takes the place of the first.

    Raises:
        NotFoundError: no such artifact, or it was erased.
        ValueError: a code of another length.
    """
    if len(new.code) != CODE_BYTES:
        raise ValueError(f"a code has {CODE_BYTES} bytes, not {len(new.code)}")
    artifact = tx.session.get(ArtifactRow, artifact_id)
    if artifact is None:
        raise NotFoundError(f"no artifact {artifact_id[:12]}")
    sealed = seal_column(tx, artifact.subject_id, _cell(artifact_id), new.sketch)
    row = tx.session.get(SketchRow, artifact_id)
    if row is None:
        slot = _next_slot(tx)
        add_row(
            tx, SketchRow(artifact_id=artifact_id, slot=slot, sealed_sketch=sealed, made_at=now)
        )
    else:
        slot, row.sealed_sketch, row.made_at = row.slot, sealed, now
    _place(tx, slot, new.code)


def read_sketch(reader: Reader, artifact_id: str) -> bytes | None:
    """Return the bytes of an artifact's sketch; None if there is none, it was erased, or no key is at hand."""
    row = reader.session.get(SketchRow, artifact_id)
    return None if row is None else open_column(reader, _cell(artifact_id), row.sealed_sketch)


def code_pages(reader: Reader) -> Iterator[bytes]:
    """Yield the codes of all sketches in the order of their slots, a page at a time."""
    yield from reader.session.scalars(select(SketchPageRow.codes).order_by(SketchPageRow.page))


def sketched_artifacts(reader: Reader, slots: Sequence[int]) -> dict[int, str]:
    """Return which artifact has each of these slots of the index."""
    rows = reader.session.execute(
        select(SketchRow.slot, SketchRow.artifact_id).where(SketchRow.slot.in_(slots))
    )
    return {row.slot: row.artifact_id for row in rows}


def sketch_count(reader: Reader) -> int:
    """Return how many artifacts have a sketch."""
    return reader.session.scalar(select(func.count()).select_from(SketchRow)) or 0


def forget_fingerprint(tx: Transaction, artifact_id: str) -> None:
    """Delete sketch, code and features of an artifact; its slot stays vacant."""
    row = tx.session.get(SketchRow, artifact_id)
    if row is not None:
        _place(tx, row.slot, bytes(CODE_BYTES))
        tx.session.delete(row)
    features = tx.session.get(FeaturesRow, artifact_id)
    if features is not None:
        tx.session.delete(features)
    tx.session.flush()


def _next_slot(tx: Transaction) -> int:
    # By the pages, since the last row may have been erased: a slot is never given twice.
    page = tx.session.scalar(select(SketchPageRow).order_by(SketchPageRow.page.desc()).limit(1))
    return 0 if page is None else page.page * PAGE_CODES + len(page.codes) // CODE_BYTES


def _place(tx: Transaction, slot: int, code: bytes) -> None:
    number, place = divmod(slot, PAGE_CODES)
    row = tx.session.get(SketchPageRow, number)
    codes = place_code(row.codes if row is not None else b"", place, code)
    if row is None:
        add_row(tx, SketchPageRow(page=number, codes=codes))
    else:
        row.codes = codes
        tx.session.flush()


def _cell(artifact_id: str) -> Cell:
    return Cell(SketchRow.__tablename__, artifact_id, "sketch")
