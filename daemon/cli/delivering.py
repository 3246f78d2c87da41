"""`loraseal deliver`: plan a delivery by hand; the daemon carries it out."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from registry.cli.output import emit, guarded, json_option

if TYPE_CHECKING:
    from daemon.custody.holder import Custody
    from registry.provenance.deliveries import NewDelivery
    from registry.sealing.signing import SigningKey


@click.command("deliver")
@click.argument("reference")
@click.option("--to", "name", required=True, help="Name of an enrolled recipient.")
@click.option("--by", "channel", required=True, help="Channel, as the settings name it.")
@click.option("--again", is_flag=True, help="A repeat, although it was delivered before.")
@click.option("--dry-run", is_flag=True, help="Say what would happen, change nothing.")
@click.option(
    "--passphrase-file", type=click.Path(path_type=Path), help="Passphrase of the operator's key."
)
@click.option("--config", type=click.Path(path_type=Path), help="Settings file.")
@json_option
@guarded
def deliver_command(
    reference: str,
    name: str,
    channel: str,
    again: bool,
    dry_run: bool,
    passphrase_file: Path | None,
    config: Path | None,
    as_json: bool,
) -> None:
    """Deliver a released artifact to one recipient; the order is signed by the operator's key."""
    from daemon.cli.deciding import read_operator
    from daemon.custody.holder import open_custody
    from daemon.settings import load_settings
    from registry.errors import UsageError

    settings, paths = load_settings(config)
    if channel not in settings.channel:
        raise UsageError(f"no channel {channel!r} in the settings", hint="add a [channel] block")
    with open_custody(paths) as custody:
        new = _wish(custody, reference, (name, channel), again=again)
        if not dry_run:
            _plan(custody, new, read_operator(paths, passphrase_file))
    payload = {
        "schema": "loraseal/delivery.v1",
        "delivery": None if dry_run else new.id,
        "artifact": new.artifact_id,
        "channel": channel,
        "done": not dry_run,
    }
    verb = "would be planned" if dry_run else f"planned ({new.id[:12]}); the daemon sends it"
    emit(payload, as_json=as_json, human=f"delivery to {name} by {channel} {verb}")


def _wish(custody: Custody, reference: str, to: tuple[str, str], *, again: bool) -> NewDelivery:
    from registry.errors import DeniedError, UsageError
    from registry.provenance.artifacts import get_artifact
    from registry.provenance.deliveries import NewDelivery, deliveries_of
    from registry.provenance.find import find_artifact
    from registry.provenance.recipients import find_recipient
    from registry.provenance.states import ArtifactState

    name, channel = to
    with custody.ledger.reading() as reader:
        artifact = get_artifact(reader, find_artifact(reader, reference))
        person = find_recipient(reader, name)
        wanted = (person.id, channel)
        rows = deliveries_of(reader, artifact.id)
    before = [row for row in rows if (row.recipient_id, row.channel) == wanted]
    if artifact.state is not ArtifactState.RELEASED:
        raise DeniedError(
            f"artifact {artifact.id[:12]} is {artifact.state.value}, expected released",
            hint="release it first: loraseal release ID --reason ..."
            if artifact.state is ArtifactState.HELD
            else "what was rejected, revoked or set aside is not delivered; let it be taken in anew",
        )
    if before and not again:
        raise UsageError(
            f"delivery {before[-1].id[:12]} of it is {before[-1].state.value} already",
            hint="add --again to deliver it once more",
        )
    return NewDelivery(
        id=secrets.token_hex(16),
        artifact_id=artifact.id,
        recipient_id=person.id,
        channel=channel,
        ordinal=len(before) + 1,
    )


def _plan(custody: Custody, new: NewDelivery, operator: SigningKey) -> None:
    from daemon.custody.orders import record_order
    from daemon.engine import Job, Outbox
    from daemon.jobs import DELIVER, QUEUES
    from registry.provenance.deliveries import plan_delivery

    now, jobs = datetime.now(UTC), Outbox(custody.ledger.engine, QUEUES)
    try:
        with custody.ledger.transaction() as tx:
            record_order(tx, new, operator, now)
            plan_delivery(tx, new, now)
            jobs.enqueue_in(tx.session, Job(DELIVER, new.id))
    finally:
        jobs.close()
