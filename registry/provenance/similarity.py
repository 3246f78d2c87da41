"""Which artifacts resemble a content, from sketches: an estimate with an error rate, never an identity.

Codes of the index choose candidates; what is answered is computed from whole sketches. Needs numpy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from registry.errors import FormatError
from registry.provenance import show
from registry.provenance.sketches import (
    code_pages,
    read_sketch,
    sketch_count,
    sketched_artifacts,
)
from registry.provenance.views import MergePart, MergeView, SimilarMatch

if TYPE_CHECKING:
    from registry.fingerprints.match import Match
    from registry.fingerprints.merges import Candidate, Decomposition
    from registry.fingerprints.sketch import Sketch
    from registry.provenance.ledger import Reader

# How many of the nearest codes are looked at whole, and how many matches are shown.
_CANDIDATES = 64
_SHOWN = 10
# A match that chance would bring more often than this, over all comparisons made, is not shown.
_FALSE_MATCHES = 1e-3


@dataclass(frozen=True, slots=True)
class Resemblance:
    """What resembles a content: artifacts, nearest first, and of which ones it is a merge, if it is.

    `searched` is the number of sketches that it was compared with.
    """

    similar: tuple[SimilarMatch, ...]
    merge: MergeView | None
    searched: int


def find_similar(reader: Reader, sketch: bytes) -> Resemblance:
    """Return what resembles the content with this sketch.

    Raises:
        FormatError: no sketch of this version.
    """
    from registry.fingerprints.sketch import parse_sketch

    target = parse_sketch(sketch)
    search = _Search(reader)
    alike = search.alike(target)
    similar = tuple(_similar(reader, *one) for one in alike[:_SHOWN])
    return Resemblance(similar, search.merge(target, alike), search.searched)


class _Search:
    """One snapshot of the index, asked with a content and with what is left of it."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._pages = list(code_pages(reader))
        self._known: dict[str, Sketch | None] = {}
        self.searched = sketch_count(reader)

    def candidates(self, sketch: Sketch) -> list[Candidate]:
        """Return the artifacts whose codes are nearest to that of `sketch`, with their sketches."""
        from registry.fingerprints.index import code_of, search

        hits = search(self._pages, code_of(sketch), _CANDIDATES)
        ids = sketched_artifacts(self._reader, [hit.slot for hit in hits])
        found = []
        for hit in hits:
            artifact_id = ids.get(hit.slot)
            own = None if artifact_id is None else self._sketch(artifact_id)
            if artifact_id is not None and own is not None and own.is_comparable(sketch):
                found.append((artifact_id, own))
        return found

    def alike(self, target: Sketch) -> list[tuple[str, Match]]:
        """Return the artifacts that resemble `target` by more than chance, nearest first."""
        from registry.fingerprints.match import Kinship, compare

        found = [
            (artifact_id, compare(target, own, comparisons=max(1, self.searched)))
            for artifact_id, own in self.candidates(target)
        ]
        kept = [
            (artifact_id, match)
            for artifact_id, match in found
            if match.kinship is not Kinship.UNRELATED and match.false_match_rate <= _FALSE_MATCHES
        ]
        return sorted(kept, key=lambda one: -abs(one[1].overall.cosine))

    def merge(self, target: Sketch, alike: list[tuple[str, Match]]) -> MergeView | None:
        """Return of which artifacts `target` is made; None where one of them is all of it, or none is."""
        from registry.fingerprints.match import Kinship
        from registry.fingerprints.merges import decompose

        whole = {Kinship.SAME_FUNCTION, Kinship.RE_ENCODED}
        if not self.searched or any(match.kinship in whole for _, match in alike):
            return None
        made_of = decompose(target, self.candidates, compared=self.searched)
        return _merge(self._reader, made_of) if made_of.components else None

    def _sketch(self, artifact_id: str) -> Sketch | None:
        from registry.fingerprints.sketch import parse_sketch

        if artifact_id not in self._known:
            data = read_sketch(self._reader, artifact_id)
            try:
                self._known[artifact_id] = None if data is None else parse_sketch(data)
            except FormatError:  # of another version, until it is audited again
                self._known[artifact_id] = None
        return self._known[artifact_id]


def _similar(reader: Reader, artifact_id: str, match: Match) -> SimilarMatch:
    return SimilarMatch(
        artifact=show.summarise(reader, artifact_id),
        kinship=match.kinship.value,
        score=f"{match.overall.cosine:.5f}",
        score_shared=f"{match.shared.cosine:.5f}",
        layers=match.overall.layers,
        layers_here=match.overall.layers_first,
        layers_there=match.overall.layers_second,
        is_negated=match.is_negated,
        # Too small for a float is not zero.
        false_match_rate=f"{match.false_match_rate:.1e}" if match.false_match_rate else "1e-300",
        not_compared="; ".join(match.not_compared),
        deliveries=show.delivery_views(reader, artifact_id),
    )


def _merge(reader: Reader, made_of: Decomposition) -> MergeView:
    parts = tuple(
        MergePart(
            artifact=show.summarise(reader, part.artifact_id),
            weight=f"{part.weight:.4f}",
            error=f"{part.error:.4f}",
            share=f"{part.share:.3f}",
        )
        for part in made_of.components
    )
    return MergeView(parts, unexplained=f"{made_of.residual:.3f}")
