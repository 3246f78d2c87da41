"""What `loraseal audit` lends its audits beside the file: a base model's cache, peers of the registry."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from registry.audits.task import Lent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from registry.audits.context import PeerGroup
    from registry.audits.task import AuditTask

BASE_RULE, PEERS_RULE = "base_relation", "spectral_outlier"


@contextlib.contextmanager
def lending(
    path: Path, task: AuditTask, *, base: str | None, compare: bool, config: Path | None
) -> Iterator[Lent]:
    """Yield what the options ask for; `path` is what `task` holds.

    Raises:
        NotFoundError: no such base, no settings, no ledger.
        UsageError: a name that is no plain one, or the registry's keys are not at hand.
        FormatError: the base is no cache.
    """
    with contextlib.ExitStack() as stack:
        descriptor = None
        if base is not None:
            descriptor = _open_base(base, config)
            stack.callback(os.close, descriptor)
        peers = _peers(path, task, config) if compare else None
        yield Lent(peers=peers, base=descriptor)


def rules_for(rules: tuple[str, ...], *, base: str | None, compare: bool) -> tuple[str, ...]:
    """Return the audits to run: those asked for, else all that need no more than is lent."""
    from registry.audits.catalog import DEFAULT_RULES

    if rules:
        return rules
    more = [rule for rule, lent in ((PEERS_RULE, compare), (BASE_RULE, base is not None)) if lent]
    return (*DEFAULT_RULES, *more)


def _open_base(base: str, config: Path | None) -> int:
    from registry.audits.bases.store import SUFFIX, find_base, read_facts
    from registry.settings import load_paths

    is_file = os.sep in base or base.endswith(SUFFIX)
    path = Path(base) if is_file else find_base(load_paths(config).bases, base)
    read_facts(path)  # a file that is no cache is refused here, in words
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)


def _peers(path: Path, task: AuditTask, config: Path | None) -> PeerGroup:
    from registry.artifacts.inspection import inspect_path
    from registry.audits.cohorts.cohort import cohort_of, facts_of
    from registry.audits.context import peer_group
    from registry.audits.sealed_memory import map_memory
    from registry.cli.queries import open_ledger
    from registry.fingerprints.exact import search_values
    from registry.provenance.cohorts import peers_in
    from registry.provenance.tracing import trace
    from registry.updates.payload import read_payload

    files = read_payload(map_memory(task.payload), task.form, task.name).files
    headers = [file.header for file in files if file.header is not None]
    cohort = cohort_of(facts_of(inspect_path(path), headers))
    with open_ledger(config) as (ledger, _), ledger.reading() as reader:
        own = [match.artifact.id for match in trace(reader, search_values(path)).matches]
        found = peers_in(reader, cohort.label, cohort.digest, own)
    return peer_group(found.label, found.features)
