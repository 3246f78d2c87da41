"""In which cohort an artifact may be compared, its spectral features, and those of its peers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import select

from registry.formats.canonical import dump_canonical
from registry.formats.predicates.intake import Rendition
from registry.limits import AUDIT_PEERS
from registry.provenance.models import ArtifactRow
from registry.provenance.models_fingerprint import FeaturesRow
from registry.provenance.moves import add_row
from registry.provenance.states import ArtifactState
from registry.provenance.subjects import require_keeper

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from registry.provenance.ledger import Reader, Transaction

_FIELD = "artifact.cohort"
# What policy or a person turned down is nobody's peer: else whoever can add files shifts the middle.
_UNFIT = (ArtifactState.REJECTED.value, ArtifactState.REVOKED.value, ArtifactState.SET_ASIDE.value)


@dataclass(frozen=True, slots=True)
class Peers:
    """What others of a cohort measured: `label` in words, features of each by name."""

    label: str
    features: tuple[dict[str, float], ...]


def note_cohort(tx: Transaction, artifact_id: str, label: str, digest: str, now: datetime) -> None:
    """Note in which cohort an artifact counts, once."""
    if tx.session.get(FeaturesRow, artifact_id) is None:
        index = require_keeper(tx).index(_FIELD, digest)
        row = FeaturesRow(artifact_id=artifact_id, cohort_index=index, label=label, noted_at=now)
        add_row(tx, row)


def keep_features(tx: Transaction, artifact_id: str, features: Sequence[tuple[str, str]]) -> None:
    """Keep the features of an artifact whose cohort was noted; later ones replace earlier ones."""
    row = tx.session.get(FeaturesRow, artifact_id)
    if row is not None and features:
        row.features = dump_canonical(dict(features))
        tx.session.flush()


def peers_of(reader: Reader, artifact_id: str) -> Peers | None:
    """Return the peers of an artifact; None where its cohort was never noted."""
    row = reader.session.get(FeaturesRow, artifact_id)
    return None if row is None else _peers(reader, row.cohort_index, row.label, artifact_id)


def peers_in(reader: Reader, label: str, digest: str) -> Peers:
    """Return the peers of something that is no artifact here, by the digest of its cohort."""
    return _peers(reader, require_keeper(reader).index(_FIELD, digest), label, "")


def _peers(reader: Reader, index: bytes, label: str, but: str) -> Peers:
    # Originals only: a public form or a marked copy is its original once more.
    rows = reader.session.scalars(
        select(FeaturesRow.features)
        .join(ArtifactRow, ArtifactRow.id == FeaturesRow.artifact_id)
        .where(
            FeaturesRow.cohort_index == index,
            FeaturesRow.features.is_not(None),
            FeaturesRow.artifact_id != but,
            ArtifactRow.rendition == Rendition.ORIGINAL.value,
            ArtifactRow.state.not_in(_UNFIT),
        )
        .order_by(FeaturesRow.noted_at.desc(), FeaturesRow.artifact_id)
        .limit(AUDIT_PEERS)
    )
    return Peers(label, tuple(_numbers(row) for row in rows if row is not None))


def _numbers(features: bytes) -> dict[str, float]:
    return {name: float(value) for name, value in json.loads(features).items()}
