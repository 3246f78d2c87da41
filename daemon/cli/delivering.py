"""`loraseal deliver`: plan a delivery by hand; the daemon carries it out."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from registry.cli.output import emit, guarded, json_option, say

if TYPE_CHECKING:
    from daemon.custody.holder import Custody
    from registry.provenance.deliveries import NewDelivery
    from registry.provenance.ledger import Reader
    from registry.provenance.marks import MarkOrder
    from registry.sealing.signing import SigningKey


@dataclass(frozen=True, slots=True)
class Wish:
    """What the command line asks for."""

    reference: str
    name: str
    channel: str
    again: bool
    unmarked: bool


@click.command("deliver")
@click.argument("reference")
@click.option("--to", "name", required=True, help="Name of an enrolled recipient.")
@click.option("--by", "channel", required=True, help="Channel, as the settings name it.")
@click.option("--again", is_flag=True, help="A repeat, although it was delivered before.")
@click.option(
    "--unmarked", is_flag=True, help="Without a mark, to one whose routes send marked copies only."
)
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
    unmarked: bool,
    dry_run: bool,
    passphrase_file: Path | None,
    config: Path | None,
    as_json: bool,
) -> None:
    """Deliver a released artifact to one recipient; the order is signed by the operator's key."""
    from daemon.cli.deciding import read_operator
    from daemon.custody.holder import open_custody
    from daemon.routes import gets_marked
    from daemon.settings import load_settings
    from registry.errors import UsageError

    settings, paths = load_settings(config)
    if channel not in settings.channel:
        raise UsageError(f"no channel {channel!r} in the settings", hint="add a [channel] block")
    with open_custody(paths) as custody:
        with custody.ledger.reading() as reader:
            unmarked = unmarked or not gets_marked(settings, reader, name)
        wish = Wish(reference, name, channel, again, unmarked)
        if dry_run:
            with custody.ledger.reading() as reader:
                new, repeated = _wished(reader, wish), None
        else:
            new, repeated = plan_wish(custody, wish, read_operator(paths, passphrase_file))
    if repeated is not None:
        say(f"note: {name} got the same content before, as artifact {repeated[:12]}")
    payload = {
        "schema": "loraseal/delivery.v1",
        "delivery": None if dry_run else new.id,
        "artifact": new.artifact_id,
        "channel": channel,
        "done": not dry_run,
    }
    verb = "would be planned" if dry_run else f"planned ({new.id[:12]}); the daemon sends it"
    emit(payload, as_json=as_json, human=f"delivery to {name} by {channel} {verb}")


def _wished(reader: Reader, wish: Wish) -> NewDelivery:
    from registry.errors import DeniedError, UsageError
    from registry.provenance.artifacts import get_artifact
    from registry.provenance.deliveries import NewDelivery, deliveries_of
    from registry.provenance.find import find_artifact
    from registry.provenance.marks import mark_of
    from registry.provenance.recipients import find_recipient
    from registry.provenance.states import ArtifactState

    artifact = get_artifact(reader, find_artifact(reader, wish.reference))
    person = find_recipient(reader, wish.name)
    wanted, rows = (person.id, wish.channel), deliveries_of(reader, artifact.id)
    before = [row for row in rows if (row.recipient_id, row.channel) == wanted]
    if artifact.state is not ArtifactState.RELEASED:
        raise DeniedError(
            f"artifact {artifact.id[:12]} is {artifact.state.value}, expected released",
            hint="release it first: loraseal release ID --reason ..."
            if artifact.state is ArtifactState.HELD
            else "what was rejected, revoked or set aside is not delivered; let it be taken in anew",
        )
    _refuse_wrong_copy(mark_of(reader, artifact.id), person.id, wish)
    if before and not wish.again:
        raise UsageError(
            f"delivery {before[-1].id[:12]} of it is {before[-1].state.value} already",
            hint="add --again to deliver it once more",
        )
    return NewDelivery(
        id=secrets.token_hex(16),
        artifact_id=artifact.id,
        recipient_id=person.id,
        channel=wish.channel,
        ordinal=max((row.ordinal for row in before), default=0) + 1,
    )


def _refuse_wrong_copy(mark: MarkOrder | None, recipient_id: str, wish: Wish) -> None:
    from registry.errors import DeniedError, UsageError

    if mark is not None and mark.recipient_id != recipient_id:
        raise DeniedError(
            "this copy bears the mark of another recipient",
            hint=f"deliver artifact {mark.source_id[:12]}, which it was made of",
        )
    if mark is None and not wish.unmarked:
        raise UsageError(
            "their routes send marked copies only, and this is none",
            hint="find their copy with loraseal ls, or add --unmarked; whoever has both has the mark",
        )


def plan_wish(custody: Custody, wish: Wish, operator: SigningKey) -> tuple[NewDelivery, str | None]:
    """Order and plan it; return it, and the artifact whose content it repeats for this recipient."""
    from daemon.custody.copies import note_repeat
    from daemon.custody.orders import record_order
    from daemon.engine import Job, Outbox
    from daemon.jobs import DELIVER, QUEUES
    from registry.errors import LostRaceError
    from registry.provenance.deliveries import plan_delivery

    now, jobs = datetime.now(UTC), Outbox(custody.ledger.engine, QUEUES)
    try:
        # All under the write lock: a second command must see the first one's delivery.
        with custody.ledger.transaction() as tx:
            new = _wished(tx, wish)
            record_order(tx, new, operator, now)
            if not plan_delivery(tx, new, now).is_new:
                raise LostRaceError(f"delivery number {new.ordinal} of it is planned already")
            repeated = note_repeat(tx, new, now)
            jobs.enqueue_in(tx.session, Job(DELIVER, new.id))
            return new, repeated
    finally:
        jobs.close()


@click.command("render")
@click.argument("reference")
@click.option("--config", type=click.Path(path_type=Path), help="Settings file.")
@click.option("--dry-run", is_flag=True, help="Say what would happen, change nothing.")
@json_option
@guarded
def render_command(reference: str, config: Path | None, dry_run: bool, as_json: bool) -> None:
    """Make the public rendition of a released artifact: the same weights under a scrubbed header.

    The daemon makes it, audits it and decides on it as on any artifact; what the header keeps and states is
    in the settings, [public]. It is delivered where a route says rendition = "public", or by hand.
    """
    from daemon.custody.holder import open_custody
    from daemon.engine import Outbox
    from daemon.jobs import QUEUES
    from daemon.pipeline.decide_step import order_public
    from daemon.settings import load_settings

    _, paths = load_settings(config)
    with open_custody(paths) as custody:
        with custody.ledger.reading() as reader:
            artifact_id = _renderable(reader, reference)
        ordered = not dry_run
        jobs = Outbox(custody.ledger.engine, QUEUES)
        try:
            if ordered:
                with custody.ledger.transaction() as tx:
                    ordered = order_public(jobs, tx, artifact_id, datetime.now(UTC))
        finally:
            jobs.close()
    words = "would be made" if dry_run else "the daemon makes it" if ordered else "was made before"
    payload = {
        "schema": "loraseal/render.v1",
        "artifact": artifact_id,
        "rendition": "public",
        "ordered": ordered,
    }
    emit(payload, as_json=as_json, human=f"public rendition of {artifact_id[:12]}: {words}")


def _renderable(reader: Reader, reference: str) -> str:
    from registry.errors import DeniedError
    from registry.formats.predicates.intake import Rendition
    from registry.provenance.artifacts import get_artifact
    from registry.provenance.find import find_artifact
    from registry.provenance.states import ArtifactState

    artifact = get_artifact(reader, find_artifact(reader, reference))
    if artifact.rendition is Rendition.PUBLIC:
        raise DeniedError(f"artifact {artifact.id[:12]} is a public rendition itself")
    if artifact.rendition is Rendition.MARKED:
        raise DeniedError(
            f"artifact {artifact.id[:12]} is one recipient's marked copy",
            hint="render the artifact that it was made of",
        )
    if artifact.state is not ArtifactState.RELEASED:
        raise DeniedError(
            f"artifact {artifact.id[:12]} is {artifact.state.value}, expected released",
            hint="only what was released is made public; see loraseal status",
        )
    return artifact.id
