"""Whose mark does a leaked file bear? The originals come from the vault, the comparison runs in a child."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from registry.cli.queries import vault_identity

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from registry.artifacts.notes import PayloadForm
    from registry.artifacts.vault import Vault
    from registry.audits.marking import Ears
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
            found.append(_weigh(reader, ears, suspect, original, orders))
    return tuple(found)


def _weigh(
    reader: Reader,
    ears: Ears,
    suspect: AuditTask,
    original: tuple[int, PayloadForm],
    orders: tuple[MarkOrder, ...],
) -> MarkView:
    from registry.audits.marking import Evidence, weigh_suspect
    from registry.fingerprints.marks.accuse import accuse
    from registry.provenance.marks import mark_seed
    from registry.provenance.recipients import name_of_recipient
    from registry.provenance.views import MarkedFor, MarkView

    source_id = orders[0].source_id
    ids = [order.recipient_id for order in orders]
    seeds = tuple(mark_seed(reader, source_id, each) for each in ids)
    evidence = Evidence(
        suspect.payload, original[0], suspect.form, original[1], suspect.name, seeds
    )
    found = weigh_suspect(ears, evidence)
    scores = {each: score.z for each, score in zip(ids, found.scores, strict=True)}
    verdict = accuse(scores, tests=found.tests)
    return MarkView(
        artifact_id=source_id,
        recipients=len(ids),
        modules=found.modules,
        modules_of=found.of,
        threshold=f"{verdict.threshold:.2f}",
        false_accusation=f"{verdict.alpha:g}",
        named=tuple(
            MarkedFor(one.recipient, name_of_recipient(reader, one.recipient), f"{one.z:.1f}")
            for one in verdict.named
        ),
        words=verdict.words(),
    )


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
