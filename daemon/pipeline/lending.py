"""What an audit is lent beside the payload, and what is kept of what it measured.

Peers, the base model's cache and the key for sketches: an audit that lacks one says so in its report, and
never holds an artifact for it.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from daemon.routes import is_on_the_way
from registry.audits.bases.store import find_base
from registry.audits.context import peer_group
from registry.audits.details import Wanted
from registry.audits.task import Lent
from registry.errors import LorasealError
from registry.formats.predicates.intake import Rendition
from registry.provenance.artifacts import get_artifact
from registry.provenance.cohorts import keep_features, peers_of
from registry.provenance.events import NewEvent, note_event
from registry.provenance.sketches import NewSketch, keep_sketch, sketch_key

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from daemon.pipeline.workshop import Workshop
    from registry.audits.context import PeerGroup
    from registry.audits.details import AuditDetails
    from registry.provenance.ledger import Reader, Transaction


_MADE_OF_OTHERS = frozenset({Rendition.PUBLIC, Rendition.MARKED})


def wanted_of(shop: Workshop, artifact_id: str) -> frozenset[Wanted]:
    """Return which numbers are to come back with the reports: of what is made of others, none."""
    with shop.ledger.reading() as reader:
        if get_artifact(reader, artifact_id).rendition in _MADE_OF_OTHERS:
            return frozenset()
    return frozenset({Wanted.FEATURES, Wanted.SKETCH})


@contextlib.contextmanager
def lend(shop: Workshop, artifact_id: str) -> Iterator[Lent]:
    """Yield what the audit of an artifact may use; descriptors in it are closed afterwards."""
    with shop.ledger.reading() as reader:
        peers = _peers(reader, artifact_id)
        key = sketch_key(reader)
        family = get_artifact(reader, artifact_id).family
    base = _open_base(shop, family)
    try:
        yield Lent(peers=peers, base=base, sketch_key=key)
    finally:
        if base is not None:
            os.close(base)


def keep_details(
    shop: Workshop, tx: Transaction, artifact_id: str, details: AuditDetails, now: datetime
) -> None:
    """Keep the features and the sketch of an artifact; without them it is found by its bytes only.

    Of a public form or a marked copy nothing is kept: it is its original once more, and likeness must
    not name the recipient of one copy where only a mark can.
    """
    if get_artifact(tx, artifact_id).rendition in _MADE_OF_OTHERS:
        return
    if not is_on_the_way(shop.settings, tx, artifact_id):
        # Fifty saves of one training are no cohort of fifty.
        keep_features(tx, artifact_id, details.features)
    if details.sketch:
        keep_sketch(tx, artifact_id, NewSketch(details.sketch, details.code), now)
    if details.absent:
        detail = f"no features and no sketch: {details.absent}"
        note_event(tx, NewEvent("not fingerprinted", now, artifact_id, detail=detail))


def _peers(reader: Reader, artifact_id: str) -> PeerGroup | None:
    found = peers_of(reader, artifact_id)
    return None if found is None else peer_group(found.label, found.features)


def _open_base(shop: Workshop, family: str | None) -> int | None:
    name = shop.settings.audit.bases.get(family or "")
    if name is None:
        return None
    try:
        path = find_base(shop.custody.paths.bases, name)
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except (LorasealError, OSError):  # doctor says that it is missing
        return None
