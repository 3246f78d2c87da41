"""What answers to an id, a hash, a name or a path. Equality only; similarity is another room's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import select

from registry.artifacts.ecosystem import ALIASES
from registry.errors import NotFoundError
from registry.provenance.artifacts import ENTRY_FIELD, NAME_FIELD, STEM_FIELD, folded
from registry.provenance.candidates import PATH_FIELD
from registry.provenance.models import (
    ArtifactRow,
    CandidateRow,
    HashRow,
    ManifestEntryRow,
    RenditionRow,
)
from registry.provenance.models_delivery import DeliveryRow, ParcelRow
from registry.provenance.renditions import source_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Select

    from registry.provenance.ledger import Reader

SHORTEST_ID_DIGITS = 4
# An AutoV1 and a CRC32 have eight digits; below that a hash is a lottery ticket.
SHORTEST_HASH_DIGITS = 8
MATCHES_SHOWN = 20

_HEX_DIGITS = frozenset("0123456789abcdef")


@dataclass(frozen=True, slots=True)
class Match:
    """An artifact and what it matched by: `id`, `name`, `path`, or the algorithm of a hash."""

    artifact_id: str
    matched_by: str


def find_artifact(reader: Reader, reference: str) -> str:
    """Return the id of the one artifact that answers to `reference`.

    Tried in this order, and the first that matches anything counts: beginning of an id, any known
    hash (any case), name with or without suffix (any case), path. Of an original and its renditions it
    is the original.

    Raises:
        NotFoundError: nothing, or more than one; the ids of all candidates are in the message.
    """
    found: list[str] = []
    for match in find_matches(reader, reference):
        if match.artifact_id not in found:
            found.append(match.artifact_id)
    # A name is its original's, not that of a rendition that was made of it.
    originals = [each for each in found if source_of(reader, each) not in found]
    if len(originals) == 1:
        return originals[0]
    if not found:
        raise NotFoundError(
            "no artifact answers to that id, hash, name or path", hint="see `loraseal ls`"
        )
    shown = ", ".join(artifact_id[:12] for artifact_id in found[:MATCHES_SHOWN])
    raise NotFoundError(
        f"{len(found)} artifacts answer to that: {shown}", hint="give more digits of one id"
    )


def find_matches(reader: Reader, reference: str) -> tuple[Match, ...]:
    """Return all that answers by the first way that finds anything, in `find_artifact`'s order.

    At most `MATCHES_SHOWN` for each kind of hash.
    """
    for matches in (_by_id(reader, reference), by_hash(reader, reference)):
        if matches:
            return matches
    return _by_name(reader, reference)


def by_hash(reader: Reader, value: str) -> tuple[Match, ...]:
    """Return artifacts known by this hash, or by one that begins with it, in any case.

    An `algorithm:` before it is allowed and ignored: values do not collide across algorithms.
    """
    digits = value.rpartition(":")[2].lower()
    if not _is_hex(digits, SHORTEST_HASH_DIGITS):
        return ()
    return tuple(dict.fromkeys(_hash_matches(reader, digits)))


def _hash_matches(reader: Reader, digits: str) -> Iterator[Match]:
    # A range on the index: LIKE would not use it, and 'g' sorts behind every hex digit.
    after = digits + "g"
    rows = reader.session.execute(
        select(HashRow.artifact_id, HashRow.algorithm)
        .where(HashRow.value >= digits, HashRow.value < after)
        # Each has the value of another row: it would only take the place of other artifacts.
        .where(HashRow.algorithm.not_in(ALIASES))
        .limit(MATCHES_SHOWN)
    )
    yield from (Match(artifact_id, algorithm) for artifact_id, algorithm in rows.all())
    for statement, matched_by in _other_hashes(digits, after):
        rows = reader.session.execute(statement.limit(MATCHES_SHOWN))
        yield from (Match(row[0], matched_by) for row in rows.all())


def _other_hashes(digits: str, after: str) -> tuple[tuple[Select[str], str], ...]:
    entry, rendition, delivery, parcel = ManifestEntryRow, RenditionRow, DeliveryRow, ParcelRow
    return (
        (
            select(entry.artifact_id).where(entry.sha256 >= digits, entry.sha256 < after),
            "sha256",
        ),
        (
            select(rendition.artifact_id).where(
                rendition.payload_digest >= digits, rendition.payload_digest < after
            ),
            "payload",
        ),
        (
            select(delivery.artifact_id).where(
                delivery.header_digest >= digits, delivery.header_digest < after
            ),
            "header",
        ),
        (
            select(delivery.artifact_id).where(
                delivery.bundle_digest >= digits, delivery.bundle_digest < after
            ),
            "bundle",
        ),
        (
            select(delivery.artifact_id)
            .join(parcel, parcel.delivery_id == delivery.id)
            .where(parcel.sha256 >= digits, parcel.sha256 < after),
            "parcel",
        ),
    )


def _by_id(reader: Reader, reference: str) -> tuple[Match, ...]:
    digits = reference.lower()
    if not _is_hex(digits, SHORTEST_ID_DIGITS):
        return ()
    rows = reader.session.scalars(
        select(ArtifactRow.id)
        .where(ArtifactRow.id >= digits, ArtifactRow.id < digits + "g")
        .limit(MATCHES_SHOWN)
    )
    return tuple(Match(artifact_id, "id") for artifact_id in rows)


def _by_name(reader: Reader, reference: str) -> tuple[Match, ...]:
    keeper = reader.keeper
    if keeper is None:
        return ()
    name = folded(reference)
    ways = (
        (select(ArtifactRow.id).where(ArtifactRow.name_index == keeper.index(NAME_FIELD, name)), "name"),
        (select(ArtifactRow.id).where(ArtifactRow.stem_index == keeper.index(STEM_FIELD, name)), "name"),
        (
            select(ManifestEntryRow.artifact_id).where(
                ManifestEntryRow.path_index == keeper.index(ENTRY_FIELD, name)
            ),
            "path",
        ),
        (
            select(CandidateRow.artifact_id).where(
                CandidateRow.path_index == keeper.index(PATH_FIELD, reference)
            ),
            "path",
        ),
    )  # fmt: skip
    found = (
        Match(artifact_id, matched_by)
        for statement, matched_by in ways
        for artifact_id in reader.session.scalars(statement.limit(MATCHES_SHOWN)).all()
        if artifact_id is not None
    )
    return tuple(dict.fromkeys(found))


def _is_hex(digits: str, shortest: int) -> bool:
    return len(digits) >= shortest and _HEX_DIGITS.issuperset(digits)
