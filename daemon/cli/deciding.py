"""`loraseal release / reject / revoke`: what only a person may do, signed by the operator's key."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from registry.cli.output import emit, guarded, json_option, say

if TYPE_CHECKING:
    from daemon.custody.holder import Custody
    from daemon.settings import Settings
    from registry.formats.findings import Outcome
    from registry.sealing.signing import SigningKey
    from registry.settings import RegistryPaths

_config = click.option("--config", type=click.Path(path_type=Path), help="Settings file.")
_passphrase = click.option(
    "--passphrase-file", type=click.Path(path_type=Path), help="Passphrase of the operator's key."
)
_dry_run = click.option("--dry-run", is_flag=True, help="Say what would happen, change nothing.")


@click.command("release")
@click.argument("reference")
@click.option("--reason", required=True, help="Why it may go; signed and kept.")
@_config
@_passphrase
@_dry_run
@json_option
@guarded
def release_command(
    reference: str,
    reason: str,
    config: Path | None,
    passphrase_file: Path | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Release an artifact that policy held. Its deliveries start at once."""
    from registry.formats.findings import Outcome

    _rule(Outcome.RELEASED, reference, (reason, dry_run, as_json), (config, passphrase_file))


@click.command("reject")
@click.argument("reference")
@click.option("--reason", required=True, help="Why it must not go; signed and kept.")
@_config
@_passphrase
@_dry_run
@json_option
@guarded
def reject_command(
    reference: str,
    reason: str,
    config: Path | None,
    passphrase_file: Path | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Reject an artifact that policy held, for good."""
    from registry.formats.findings import Outcome

    _rule(Outcome.REJECTED, reference, (reason, dry_run, as_json), (config, passphrase_file))


def _rule(
    outcome: Outcome,
    reference: str,
    what: tuple[str, bool, bool],
    where: tuple[Path | None, Path | None],
) -> None:
    from daemon.custody.holder import open_custody
    from daemon.settings import load_settings
    from registry.errors import DeniedError
    from registry.provenance.artifacts import get_artifact
    from registry.provenance.find import find_artifact
    from registry.provenance.states import ArtifactState

    reason, dry_run, as_json = what
    config, passphrase_file = where
    settings, paths = load_settings(config)
    planned = 0
    with open_custody(paths) as custody:
        with custody.ledger.reading() as reader:
            artifact = get_artifact(reader, find_artifact(reader, reference))
        if artifact.state is not ArtifactState.HELD:
            raise DeniedError(
                f"artifact {artifact.id[:12]} is {artifact.state.value}, expected held",
                hint="only what policy held for review is for a person to decide",
            )
        if not dry_run:
            operator = read_operator(paths, passphrase_file)
            planned = _decide(custody, settings, artifact.id, (outcome, reason, operator))
    verb = "would be " if dry_run else ""
    then = f"; {planned} deliveries planned, the daemon sends them" if planned else ""
    payload = {
        "schema": "loraseal/decision.v1",
        "artifact": artifact.id,
        "outcome": outcome.value,
        "done": not dry_run,
    }
    emit(payload, as_json=as_json, human=f"{artifact.id[:12]} {verb}{outcome.value}{then}")


def _decide(
    custody: Custody,
    settings: Settings,
    artifact_id: str,
    ruling: tuple[Outcome, str, SigningKey],
) -> int:
    """Sign and record the ruling; return how many deliveries that planned."""
    from daemon.custody.decisions import decide_by_operator
    from daemon.engine import Outbox
    from daemon.jobs import QUEUES
    from daemon.pipeline.decide_step import plan_routes_in
    from daemon.settings import load_policy
    from registry.formats.findings import Outcome

    outcome, reason, operator = ruling
    policy = load_policy(settings, custody.paths)
    now = datetime.now(UTC)
    jobs = Outbox(custody.ledger.engine, QUEUES)
    try:
        with custody.ledger.transaction() as tx:
            decide_by_operator(custody, tx, artifact_id, (outcome, reason, policy), (operator, now))
            if outcome is Outcome.RELEASED:
                return plan_routes_in(settings, jobs, tx, artifact_id, now)
            return 0
    finally:
        jobs.close()


@click.command("revoke")
@click.argument("reference")
@click.option("--reason", "code", default="withdrawn", show_default=True, help="A short code.")
@click.option("--delivery", "is_delivery", is_flag=True, help="REFERENCE is one delivery's id.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@_config
@_passphrase
@_dry_run
@json_option
@guarded
def revoke_command(
    reference: str,
    code: str,
    is_delivery: bool,
    yes: bool,
    config: Path | None,
    passphrase_file: Path | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Withdraw an artifact, or one delivery: no further delivery, and `withdrawn` on status lists."""
    from daemon.custody.holder import open_custody
    from daemon.custody.status import publish_status
    from daemon.settings import load_settings
    from registry.errors import UsageError
    from registry.formats.predicates.revocation import REASON_CODE

    if not REASON_CODE.fullmatch(code):
        raise UsageError(
            f"reason {code!r} is no code: lower-case letters, digits and hyphens",
            hint="for example consent-withdrawn; it may be shown to others, so no names and no prose",
        )
    settings, paths = load_settings(config)
    kind = "delivery" if is_delivery else "artifact"
    with open_custody(paths) as custody:
        target, reached = _target(custody, reference, is_delivery=is_delivery)
        say(f"revokes {kind} {target[:12]}, {reached} deliveries; this cannot be undone")
        say("it does not take back what recipients have opened: ask them to delete it")
        if not is_delivery:
            _say_copies(custody, target)
        if not dry_run:
            _confirm(yes=yes)
            operator = read_operator(paths, passphrase_file)
            # Before anything is signed: a revocation that no list can carry reaches nobody.
            custody.status.read()
            news = _withdraw(custody, target, code, operator, is_delivery=is_delivery)
            valid_for = timedelta(days=settings.delivery.status_valid_days)
            publish_status(custody, datetime.now(UTC), valid_for)
    verb = "would be revoked" if dry_run else "revoked; hand the new list to recipients:"
    verb += "" if dry_run else f" {paths.status_list}"
    payload = {
        "schema": "loraseal/revocation.v1",
        kind: target,
        "status_ids": 0 if dry_run else news,
        "status_list": str(paths.status_list),
        "done": not dry_run,
    }
    emit(payload, as_json=as_json, human=f"{kind} {target[:12]} {verb}")


def _target(custody: Custody, reference: str, *, is_delivery: bool) -> tuple[str, int]:
    from registry.provenance.deliveries import deliveries_of, find_delivery
    from registry.provenance.find import find_artifact
    from registry.provenance.marks import made_of

    with custody.ledger.reading() as reader:
        if is_delivery:
            return find_delivery(reader, reference).id, 1
        target = find_artifact(reader, reference)
        everything = (target, *made_of(reader, target))
        return target, sum(len(deliveries_of(reader, each)) for each in everything)


def _say_copies(custody: Custody, artifact_id: str) -> None:
    from registry.provenance.copies import copies_of
    from registry.provenance.marks import made_of
    from registry.provenance.states import ArtifactState

    with custody.ledger.reading() as reader:
        copies, going = copies_of(reader, artifact_id), made_of(reader, artifact_id)
    for made in going:
        say(f"with it goes artifact {made[:12]}, which was made of it")
    for copy in copies:
        if copy.state is not ArtifactState.REVOKED and copy.id not in going:
            say(
                f"the same content is also artifact {copy.id[:12]} ({copy.state.value}): revoke it too"
            )


def _confirm(*, yes: bool) -> None:
    from registry.errors import UsageError

    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError("revocation is final", hint="add --yes to do it in a script")
    click.confirm("revoke", abort=True, err=True)


def _withdraw(
    custody: Custody, target: str, code: str, operator: SigningKey, *, is_delivery: bool
) -> int:
    from daemon.custody.revoking import withdraw_artifact, withdraw_delivery

    now = datetime.now(UTC)
    if is_delivery:
        return int(withdraw_delivery(custody, target, code, operator, now))
    return len(withdraw_artifact(custody, target, code, operator, now))


def read_operator(paths: RegistryPaths, passphrase_file: Path | None) -> SigningKey:
    """Return the operator's key, opened with the passphrase in a file if it has one.

    Raises:
        CannotDecryptError: it has a passphrase, and none or another one was given.
    """
    from daemon.keyring import load_operator
    from registry.verify.inputs import read_passphrase

    return load_operator(paths, read_passphrase(passphrase_file))
