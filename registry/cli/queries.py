"""`loraseal ls / show / log`: read the ledger. It is never changed here."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from registry.cli.output import emit, guarded, json_option, plain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from registry.provenance.columns import ColumnKeeper
    from registry.provenance.ledger import Ledger
    from registry.provenance.views import (
        ArtifactDetail,
        ArtifactSummary,
        LedgerStatus,
    )
    from registry.sealing.identities import X25519Identity
    from registry.settings import RegistryPaths

_LIMIT = click.IntRange(1, 1_000_000)
config_option = click.option("--config", type=click.Path(path_type=Path), help="Settings file.")
_SEALED = "(sealed)"


@contextlib.contextmanager
def open_ledger(config: Path | None) -> Iterator[tuple[Ledger, RegistryPaths]]:
    """Yield the ledger of the settings at hand; personal columns open where the keys are readable.

    Raises:
        NotFoundError: no settings, no ledger.
    """
    from registry.provenance.database import open_database
    from registry.provenance.ledger import Ledger
    from registry.settings import load_paths

    paths = load_paths(config)
    engine = open_database(paths.database)
    try:
        yield Ledger(engine, column_keeper(paths)), paths
    finally:
        engine.dispose()


def column_keeper(paths: RegistryPaths) -> ColumnKeeper | None:
    """Return what opens personal columns, None for a user who may not read the keys."""
    from registry.provenance.columns import ColumnKeeper
    from registry.sealing.key_files import read_raw_key

    try:
        identity = vault_identity(paths)
        index = read_raw_key(paths.keys / "index.key")
    except PermissionError:
        return None
    return None if identity is None else ColumnKeeper(identity.recipient(), index, [identity])


def vault_identity(paths: RegistryPaths) -> X25519Identity | None:
    """Return the identity that opens the vault, None where it is kept elsewhere.

    Raises:
        PermissionError: this user may not read it.
    """
    from registry.sealing.identities import X25519Identity, parse_identity_file
    from registry.sealing.key_files import read_key_file

    identity = parse_identity_file(read_key_file(paths.keys / "vault-identity.txt"))[0]
    return identity if isinstance(identity, X25519Identity) else None


@click.command("ls")
@config_option
@click.option("--state", "states", multiple=True, help="Only this state; may be repeated.")
@click.option(
    "--limit", type=_LIMIT, default=100, show_default=True, help="At most so many, newest first."
)
@json_option
@guarded
def ls_command(config: Path | None, states: tuple[str, ...], limit: int, as_json: bool) -> None:
    """List artifacts, newest first."""
    from registry.errors import UsageError
    from registry.provenance.show import ArtifactQuery, list_artifacts
    from registry.provenance.states import ArtifactState
    from registry.provenance.views import as_json as as_data

    known = {state.value for state in ArtifactState}
    if set(states) - known:
        unknown = sorted(set(states) - known)[0]
        raise UsageError(f"no state {unknown!r}", hint=f"one of: {', '.join(sorted(known))}")
    query = ArtifactQuery(states=tuple(ArtifactState(state) for state in states), limit=limit)
    with open_ledger(config) as (ledger, _), ledger.reading() as reader:
        rows = list_artifacts(reader, query)
    payload = {"schema": "loraseal/ls.v1", "artifacts": as_data(rows)}
    emit(
        payload, as_json=as_json, human="\n".join(_line(row) for row in rows) or "no artifacts yet"
    )


@click.command("show")
@click.argument("reference")
@config_option
@json_option
@guarded
def show_command(reference: str, config: Path | None, as_json: bool) -> None:
    """Show one artifact: by id prefix, name, path or any known hash."""
    from registry.provenance.find import find_artifact
    from registry.provenance.show import read_inspection, show_artifact
    from registry.provenance.views import as_json as as_data

    with open_ledger(config) as (ledger, _), ledger.reading() as reader:
        detail = show_artifact(reader, find_artifact(reader, reference))
        inspected = json.loads(read_inspection(reader, detail.summary.id) or "null")
    payload = {
        "schema": "loraseal/show.v1",
        "artifact": as_data(detail),
        "inspection": inspected,
    }
    human = "\n".join([_detail_text(detail), *_claim_lines(inspected or {})])
    emit(payload, as_json=as_json, human=human)


@click.command("log")
@config_option
@click.option(
    "--limit", type=_LIMIT, default=50, show_default=True, help="At most so many entries, newest."
)
@json_option
@guarded
def log_command(config: Path | None, limit: int, as_json: bool) -> None:
    """Read the log's newest entries, its last signed head, and the events."""
    from registry.provenance.events import EventQuery, recent_events
    from registry.provenance.log import latest_checkpoint, log_root, log_size
    from registry.provenance.views import as_json as as_data

    with open_ledger(config) as (ledger, _), ledger.reading() as reader:
        size = log_size(reader)
        head = latest_checkpoint(reader)
        events = recent_events(reader, EventQuery(limit=limit))
        root = log_root(reader, size).hex()
    signed = head.size if head else 0
    payload = {
        "schema": "loraseal/log.v1",
        "size": size,
        "root": root,
        "signed_size": signed,
        "checkpoint": head.note.decode("utf-8") if head else None,
        "events": as_data(events),
    }
    lines = [
        f"{event.at}  {(event.artifact_id or event.delivery_id or '')[:12]:<12}  {event.kind}"
        + (f": {event.detail}" if event.detail else "")
        for event in events
    ]
    lines.append(f"log: {size} entries, root {root[:16]}, head signed at {signed}")
    emit(payload, as_json=as_json, human="\n".join(lines))


def status_lines(status: LedgerStatus) -> list[str]:
    """Return the ledger's part of `status`: counts, the log, and what needs a person (`!` first)."""
    lines = []
    for what, counts in (
        ("candidates", status.candidates),
        ("artifacts", status.artifacts),
        ("copies", status.marked_copies),
        ("deliveries", status.deliveries),
    ):
        words = ", ".join(f"{row.count} {row.state}" for row in counts) or "none"
        if counts or what != "copies":  # most registries mark nothing
            lines.append(f"{what:<11} {words}")
    lines.append(f"{'recipients':<11} {status.recipients}")
    lines.append(f"{'log':<11} {status.log_size} entries, head signed at {status.checkpoint_size}")
    for need in status.needs:
        name = f" {plain(need.name)}" if need.name else ""
        lines.append(f"! {need.kind} {need.id[:12]}{name}: {need.reason}")
        lines.append(f"    -> {need.what_to_do}")
    return lines


def _line(row: ArtifactSummary) -> str:
    what = " ".join(word for word in (row.family, row.method, row.dialect) if word)
    return f"{row.id[:12]}  {row.state:<10} {row.name or _SEALED:<36} {what}"


def _detail_text(detail: ArtifactDetail) -> str:
    summary = detail.summary
    lines = [
        f"artifact  {summary.id}",
        f"name      {summary.name or _SEALED}",
        f"form      {summary.rendition}",
        f"state     {summary.state}" + (f": {summary.reason}" if summary.reason else ""),
        f"what      {summary.kind}, {summary.family or 'family unknown'}, {summary.method or '-'}, "
        f"rank {summary.rank or 'mixed or none'}, alpha {summary.alpha or '-'}, "
        f"{summary.modules} modules, {summary.tensors} tensors",
    ]
    lines += [
        f"file      {row.path or _SEALED}  {row.size} bytes  {row.sha256}" for row in detail.files
    ]
    lines += [f"hash      {row.algorithm:<12} {row.value}" for row in detail.hashes]
    lines += [
        f"audit     {row.rule:<14} {row.verdict:<14} {row.summary or ''}" for row in detail.audits
    ]
    lines += [
        f"decision  {row.outcome} by {row.decided_by}"
        + ("" if row.privacy_audited else ", privacy not audited")
        for row in detail.decisions
    ]
    lines += [
        f"lineage   {row.child_id[:12]} {row.relation} {row.parent[:12]} ({row.grade})"
        for row in detail.edges
    ]
    lines += [
        f"delivery  {row.id[:12]} to {row.recipient or _SEALED} by {row.channel}: {row.state}"
        for row in detail.deliveries
    ]
    lines += [
        f"log       entry {row.leaf_index}  {_short_kind(row.kind)}" for row in detail.statements
    ]
    return "\n".join(lines)


def _claim_lines(inspected: dict[str, list[dict[str, str]]]) -> list[str]:
    """Return what its header says and is not so; what merely is not known is left to `--json`."""
    return [
        f"claim     {plain(claim['field'])} {claim['status']}: {claim['note']}"
        for claim in inspected.get("claims", ())
        if claim["status"] in ("false", "disagrees")
    ]


def _short_kind(kind: str) -> str:
    """Return `intake` for `urn:loraseal:predicate:intake:v1`."""
    return kind.removeprefix("urn:loraseal:predicate:").partition(":")[0]
