"""In which cohort an artifact may be compared, its spectral features, and those of its peers.

Only what was released is anybody's peer: else whoever can add files shifts the middle.
"""

from __future__ import annotations

import json
import math
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import select

from registry.formats.canonical import dump_canonical
from registry.limits import AUDIT_PEERS
from registry.provenance.copies import copies_of
from registry.provenance.marks import content_sources
from registry.provenance.models import ArtifactRow
from registry.provenance.models_fingerprint import FeaturesRow
from registry.provenance.moves import add_row
from registry.provenance.states import ArtifactState
from registry.provenance.subjects import require_keeper

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime

    from registry.provenance.ledger import Reader, Transaction

_FIELD = "artifact.cohort"
_KEY_FIELD = "key/features/v1"
_NONCE_BYTES = 12


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
        nonce = secrets.token_bytes(_NONCE_BYTES)
        data = dump_canonical(dict(features))
        row.sealed_features = nonce + _cipher(tx).encrypt(nonce, data, artifact_id.encode())
        tx.session.flush()


def peers_of(reader: Reader, artifact_id: str) -> Peers | None:
    """Return the peers of an artifact; None where its cohort was never noted."""
    row = reader.session.get(FeaturesRow, artifact_id)
    return (
        None
        if row is None
        else _peers(reader, row.cohort_index, row.label, _same_content(reader, artifact_id))
    )


def _same_content(reader: Reader, artifact_id: str) -> list[str]:
    copies = [copy.id for copy in copies_of(reader, artifact_id)]
    return [artifact_id, *copies, *content_sources(reader, artifact_id)]


def peers_in(reader: Reader, label: str, digest: str, but: Collection[str] = ()) -> Peers:
    """Return the peers of a content by the digest of its cohort; `but` are artifacts that hold it."""
    return _peers(reader, require_keeper(reader).index(_FIELD, digest), label, but)


def _peers(reader: Reader, index: bytes, label: str, but: Collection[str]) -> Peers:
    rows = reader.session.execute(
        select(FeaturesRow.artifact_id, FeaturesRow.sealed_features)
        .join(ArtifactRow, ArtifactRow.id == FeaturesRow.artifact_id)
        .where(
            FeaturesRow.cohort_index == index,
            FeaturesRow.sealed_features.is_not(None),
            FeaturesRow.artifact_id.not_in(but),
            ArtifactRow.state == ArtifactState.RELEASED.value,
        )
        .order_by(FeaturesRow.noted_at.desc(), FeaturesRow.artifact_id)
        .limit(AUDIT_PEERS)
    )
    cipher = _cipher(reader)
    opened = (_opened(cipher, row.artifact_id, row.sealed_features) for row in rows)
    # One content under two names is one peer.
    distinct = {tuple(sorted(found.items())): found for found in opened if found}
    return Peers(label, tuple(distinct.values()))


def _cipher(reader: Reader) -> AESGCM:
    return AESGCM(require_keeper(reader).index(_KEY_FIELD, b""))


def _opened(cipher: AESGCM, artifact_id: str, sealed: bytes) -> dict[str, float]:
    """Return the features in a cell; {} where it was changed by hand or holds what is no number."""
    nonce, data = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
    try:
        features = json.loads(cipher.decrypt(nonce, data, artifact_id.encode()))
        numbers = {name: float(value) for name, value in features.items()}
    except (InvalidTag, ValueError):
        return {}
    return numbers if all(map(math.isfinite, numbers.values())) else {}
