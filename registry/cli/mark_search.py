"""Whose mark does a leaked file bear? The originals come from the vault, the comparison runs in a child."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from registry.cli.queries import vault_identity

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from registry.artifacts.notes import PayloadForm
    from registry.artifacts.vault import Vault
    from registry.audits.marking import Ears, SuspectScores
    from registry.audits.task import AuditTask
    from registry.provenance.ledger import Reader
    from registry.provenance.marks import MarkOrder
    from registry.provenance.views import MarkView
    from registry.sealing.identities import X25519Identity
    from registry.settings import RegistryPaths

_ORIGINALS = 4


def find_marked(
    reader: Reader, paths: RegistryPaths, ears: Ears, suspect: AuditTask, alike: Iterable[str]
) -> tuple[MarkView, ...]:
    """Return what the marks of every artifact of `alike` say of the suspect, none where none were made.

    `alike` are artifacts that it resembles, originals or marked copies; the first few originals count.

    Raises:
        FormatError, LorasealError: the comparison could not be made.
    """
    from registry.artifacts.vault import Vault
    from registry.provenance.marks import mark_of, marks_made_of

    sources: dict[str, tuple[MarkOrder, ...]] = {}
    for artifact_id in alike:
        mark = mark_of(reader, artifact_id)
        source_id = artifact_id if mark is None else mark.source_id
        if source_id not in sources and (made := marks_made_of(reader, source_id)):
            sources[source_id] = made
    identity = vault_identity(paths) if sources else None
    if identity is None:
        return ()
    found = []
    for source_id, orders in list(sources.items())[:_ORIGINALS]:
        with _original(reader, Vault(paths.vault), identity, source_id) as original:
            found.append((orders, _weigh(reader, ears, suspect, original, orders)))
    return _judged(reader, found)


def _weigh(
    reader: Reader,
    ears: Ears,
    suspect: AuditTask,
    original: tuple[int, PayloadForm],
    orders: tuple[MarkOrder, ...],
) -> SuspectScores:
    from registry.audits.marking import Evidence, weigh_suspect
    from registry.provenance.marks import mark_seed

    seeds = tuple(mark_seed(reader, order.source_id, order.recipient_id) for order in orders)
    return weigh_suspect(
        ears,
        Evidence(suspect.payload, original[0], suspect.form, original[1], suspect.name, seeds),
    )


def _judged(
    reader: Reader, found: Sequence[tuple[tuple[MarkOrder, ...], SuspectScores]]
) -> tuple[MarkView, ...]:
    """Return a view for each original; the bound is for all recipients of all of them together."""
    from registry.fingerprints.marks.accuse import accuse
    from registry.provenance.recipients import name_of_recipient
    from registry.provenance.views import MarkedFor, MarkView

    everyone = sum(len(orders) for orders, _ in found)
    tests = max((scores.tests for _, scores in found), default=1)
    views = []
    for orders, scores in found:
        z = {
            order.recipient_id: score.z for order, score in zip(orders, scores.scores, strict=True)
        }
        verdict = accuse(z, recipients=everyone, tests=tests)
        named = tuple(
            MarkedFor(one.recipient, name_of_recipient(reader, one.recipient), f"{one.z:.1f}")
            for one in verdict.named
        )
        views.append(
            MarkView(
                artifact_id=orders[0].source_id,
                recipients=everyone,
                modules=scores.modules,
                modules_of=scores.of,
                threshold=f"{verdict.threshold:.2f}",
                false_accusation=f"{verdict.alpha:g}",
                named=named,
                words=verdict.words(),
            )
        )
    return tuple(views)


@contextlib.contextmanager
def _original(
    reader: Reader, vault: Vault, identity: X25519Identity, artifact_id: str
) -> Iterator[tuple[int, PayloadForm]]:
    """Yield the opened payload of an artifact in sealed memory, and its form."""
    from registry.artifacts.notes import PayloadForm
    from registry.audits.sealed_memory import seal_memory
    from registry.digest import Digest
    from registry.errors import NotFoundError
    from registry.provenance.artifacts import find_payload
    from registry.sealing.seal import open_sealed

    payload = find_payload(reader, artifact_id)
    if payload is None:
        raise NotFoundError(f"artifact {artifact_id[:12]} has no payload in the vault")
    with vault.open(Digest("blake3", payload.digest)) as sealed:
        descriptor = seal_memory(open_sealed(sealed, [identity]).batches)
    try:
        yield descriptor, PayloadForm(payload.form)
    finally:
        os.close(descriptor)
