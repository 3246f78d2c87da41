"""`loraseal up` and `loraseal status`: run the daemon, and say how it stands."""

from __future__ import annotations

import logging
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from registry.cli.output import emit, guarded, json_option, say

if TYPE_CHECKING:
    from daemon.probes.answers import Answer
    from daemon.service import Service
    from registry.provenance.ledger import Reader
    from registry.settings import RegistryPaths

config_option = click.option("--config", type=click.Path(path_type=Path), help="Settings file.")
# With --verbose: watchdog logs every path that it sees, the others what they do with rows and jobs.
_OLD_LEDGER = (
    "the ledger is older than the last signed head: what is listed below may be outdated",
    "put the newest database back, then loraseal fsck (docs/operations.md)",
)
_TALKATIVE = ("watchdog", "alembic", "dbos", "sqlalchemy")


@click.command("up")
@config_option
@click.option("--once", is_flag=True, help="Do what there is to do now, then end.")
@click.option("--quiet", is_flag=True, help="Show nothing while running.")
@click.option("--verbose", is_flag=True, help="Log more on stderr.")
@guarded
def up_command(config: Path | None, once: bool, quiet: bool, verbose: bool) -> None:
    """Watch, audit, seal, record and deliver."""
    from daemon.keyring import load_keyset
    from daemon.service import open_service
    from daemon.settings import load_settings

    level = logging.DEBUG if verbose else logging.WARNING
    logging.basicConfig(level=level, format="%(levelname)s %(name)s %(message)s", stream=sys.stderr)
    hush_libraries()
    settings, paths = load_settings(config)
    # Without keys there is no registry yet: that says so, and what to run.
    load_keyset(paths)
    with open_service(settings, paths) as service:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: service.stop())
        if not quiet:
            say(_greeting(service, paths))
        _run(service, once=once, quiet=quiet)


def hush_libraries() -> None:
    """Keep libraries from logging what we would not: watched paths, statements, arguments of jobs."""
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)


def _greeting(service: Service, paths: RegistryPaths) -> str:
    watched = ", ".join(_root(watcher.root) for watcher in service.watchers) or "nothing"
    return f"loraseal: registry {paths.registry}, watching {watched}"


def _root(path: Path) -> str:
    return str(path) if path.is_dir() else f"{path} (missing: it is watched once it is there)"


def _run(service: Service, *, once: bool, quiet: bool) -> None:
    from daemon.cli.screen import Screen

    if quiet:
        service.run_once() if once else service.run()
        return
    with Screen(service.shop.ledger) as screen:
        screen.start()
        if once:
            service.run_once()
        else:
            service.run()


@click.command("status")
@config_option
@json_option
@guarded
def status_command(config: Path | None, as_json: bool) -> None:
    """Say how it stands and, last, what needs a person."""
    from daemon.engine import is_locked
    from daemon.keyring import ROOT_FILE
    from registry.cli.queries import open_ledger, status_lines
    from registry.provenance.status import ledger_status
    from registry.provenance.views import as_json as as_data

    with open_ledger(config) as (ledger, paths):
        with ledger.reading() as reader:
            status = ledger_status(reader)
            running = is_locked(paths.lock)
            troubles = _troubles(config, paths, reader, running=running)
        root_here = (paths.keys / ROOT_FILE).exists()
    payload = {
        "schema": "loraseal/status.v1",
        "registry": paths.registry,
        "daemon": "running" if running else "stopped",
        "root_key_exported": not root_here,
        "watch": [{"found": row.found, "what_to_do": row.advice} for row in troubles],
        "ledger": as_data(status),
    }
    lines = [f"registry {paths.registry}, daemon {'running' if running else 'stopped'}"]
    lines += status_lines(status)
    for row in troubles:
        lines += [f"! {row.probe}: {row.found}", f"    -> {row.advice}"]
    needs = [line for line in lines if line.startswith("!")]
    if root_here:
        lines.append("! the root key is still on this machine: loraseal keys export-root FILE")
    if not running:
        lines.append("! the daemon is stopped: loraseal up")
    if not needs and running and not root_here:
        lines.append("nothing needs you")
    emit(payload, as_json=as_json, human="\n".join(lines))


def _troubles(
    config: Path | None, paths: RegistryPaths, reader: Reader, *, running: bool
) -> tuple[Answer, ...]:
    from daemon.probes.answers import Answer, Level
    from daemon.probes.doctor import probe_routes
    from daemon.probes.watching import watch_troubles
    from daemon.settings import load_settings
    from registry.errors import UsageError
    from registry.provenance.log import log_size

    old = [_OLD_LEDGER] if log_size(reader) < _signed_size(paths) else []
    behind = tuple(Answer("log head", Level.PROBLEM, found, advice) for found, advice in old)
    try:
        settings, _ = load_settings(config)
    except UsageError as error:
        # What the ledger says is worth showing all the same.
        wrong = Answer("settings", Level.PROBLEM, str(error), error.hint or "correct the file")
        return (*behind, wrong)
    return (
        *behind,
        *watch_troubles(settings, paths, reader, running=running),
        *(answer for answer in probe_routes(settings, paths) if answer.level is Level.PROBLEM),
    )


def _signed_size(paths: RegistryPaths) -> int:
    """Return the size that the last head names, unverified: enough to say that something is wrong."""
    from registry.errors import LorasealError
    from registry.formats.checkpoint import Checkpoint, parse_note

    try:
        return Checkpoint.from_text(parse_note(paths.log_head.read_bytes()).text).size
    except (OSError, LorasealError):
        return 0
