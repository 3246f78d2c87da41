"""`loraseal init` and `loraseal service`: from nothing to a registry, and to a service."""

from __future__ import annotations

import getpass
import json
import os
import re
import shutil
import socket
import sys
from pathlib import Path

import click

from registry.cli.output import emit, guarded, json_option, say
from registry.durable import atomic_write
from registry.errors import UsageError
from registry.settings import (
    REGISTRY_NAME,
    SYSTEM_SETTINGS,
    SYSTEM_STATE,
    RegistryPaths,
    default_settings,
    default_state,
)

_USER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}")
_SETTINGS = """\
# LoRASeal settings. An unknown key is an error; `loraseal doctor` checks the rest.
registry = {registry}
state = {state}
# policy = "policy.toml"    # default: docs/policy.md
scan_seconds = 30
{watch}{channel}
# Who gets what is released. Enrol them first: loraseal recipient add NAME FILE
# [[route]]
# to = "alice"
# channel = "folder"
"""
_WATCH = """
[[watch]]
path = {path}
settle_seconds = 2.0
intermediates = "none"      # saves on the way are not taken; "last" takes keep_last = N of them, "every" all
"""
_FOLDER = """
[channel.folder]
kind = "folder"
path = {path}
"""


@click.command("init")
@click.option("--registry", help="Name of this registry, like studio.example.")
@click.option("--state", type=click.Path(path_type=Path), help="State directory (0700).")
@click.option(
    "--watch", "watched", type=click.Path(path_type=Path), multiple=True, help="Trainer's output."
)
@click.option("--folder", type=click.Path(path_type=Path), help="Folder for air-gapped deliveries.")
@click.option("--config", type=click.Path(path_type=Path), help="Settings file to write.")
@click.option("--yes", is_flag=True, help="Take every default, ask nothing.")
@click.option("--dry-run", is_flag=True, help="Say what would be made, make nothing.")
@json_option
@guarded
def init_command(
    registry: str | None,
    state: Path | None,
    watched: tuple[Path, ...],
    folder: Path | None,
    config: Path | None,
    yes: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Make settings, keys and the ledger of a new registry."""
    ask = not yes and sys.stdin.isatty()
    standard_settings, standard_state = _standard_places()
    settings = (config or standard_settings).absolute()
    if settings.exists():
        raise UsageError(
            f"settings {settings} exist already",
            hint="edit them, or name another file with --config",
        )
    registry = registry or _answer(ask, "Name of this registry", _host_name())
    if not REGISTRY_NAME.fullmatch(registry):
        raise UsageError(f"registry name {registry!r} is not like studio.example (a-z 0-9 . -)")
    state = Path(state or _answer(ask, "State directory", str(standard_state)))
    if not watched:
        answer = _answer(ask, "Folder that your trainer writes to (empty: later)", "")
        watched = (Path(answer),) if answer else ()
    if folder is None:
        answer = _answer(ask, "Folder for deliveries, e.g. a stick (empty: later)", "")
        folder = Path(answer) if answer else None
    text = settings_text(registry, state.absolute(), watched, folder)
    if not dry_run:
        _make(RegistryPaths(settings, registry, state.absolute()), text)
    _tell(settings, state.absolute(), dry_run=dry_run, as_json=as_json)


def settings_text(
    registry: str, state: Path, watched: tuple[Path, ...], folder: Path | None
) -> str:
    """Return a settings file with these values. JSON strings are valid TOML basic strings."""
    return _SETTINGS.format(
        registry=json.dumps(registry),
        state=json.dumps(str(state)),
        watch="".join(_WATCH.format(path=json.dumps(str(path.absolute()))) for path in watched),
        channel=_FOLDER.format(path=json.dumps(str(folder.absolute()))) if folder else "",
    )


def _make(paths: RegistryPaths, text: str) -> None:
    from daemon.keyring import create_keyring
    from registry.provenance.database import create_database
    from registry.provenance.migration import upgrade

    paths.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not _has_keys(paths):
        create_keyring(paths)
    database = create_database(paths.database)
    upgrade(database)
    database.dispose()
    # Last: whatever broke before leaves no settings, so that init can be run again.
    paths.settings.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(paths.settings, text.encode("utf-8"), mode=0o640)


def _has_keys(paths: RegistryPaths) -> bool:
    """Say whether an earlier run, killed before it wrote the settings, made this registry's keys.

    Raises:
        UsageError: the keys there are those of another registry.
    """
    from daemon.keyring import load_keyset
    from registry.errors import NotFoundError

    try:
        keyset = load_keyset(paths)
    except NotFoundError:
        return False
    if keyset.registry != paths.registry:
        raise UsageError(
            f"{paths.keys} holds the keys of registry {keyset.registry!r}, expected {paths.registry!r}",
            hint=f"go on with --registry {keyset.registry}, or name another directory with --state",
        )
    return True


def _tell(settings: Path, state: Path, *, dry_run: bool, as_json: bool) -> None:
    payload = {
        "schema": "loraseal/init.v1",
        "settings": str(settings),
        "state": str(state),
        "made": not dry_run,
    }
    verb = "would be made" if dry_run else "made"
    human = (
        f"{verb}: settings {settings}\n{verb}: keys and ledger in {state} (0700)\n"
        "next: loraseal doctor, then: loraseal up\n"
        "soon: move the root key off this machine with: loraseal keys export-root FILE"
    )
    emit(payload, as_json=as_json, human=human)


def _answer(ask: bool, question: str, default: str) -> str:
    if not ask:
        return default
    return str(click.prompt(question, default=default, show_default=bool(default), err=True))


def _standard_places() -> tuple[Path, Path]:
    """Return settings file and state: the system's for root, else the user's own."""
    if os.geteuid() == 0 and not os.environ.get("XDG_STATE_HOME"):
        return SYSTEM_SETTINGS, SYSTEM_STATE
    return default_settings(os.environ), default_state(os.environ)


def _host_name() -> str:
    name = socket.gethostname().lower().strip(".-")
    return name if REGISTRY_NAME.fullmatch(name) else "loraseal"


@click.group()
def service() -> None:
    """Run LoRASeal as a systemd service."""


@service.command("install")
@click.option("--config", type=click.Path(path_type=Path), help="Settings the service runs with.")
@click.option("--user", default="loraseal", show_default=True, help="User it runs as.")
@click.option(
    "--unit-dir",
    type=click.Path(path_type=Path),
    default=Path("/etc/systemd/system"),
    show_default=True,
)
@click.option(
    "--sysusers-dir",
    type=click.Path(path_type=Path),
    default=Path("/etc/sysusers.d"),
    show_default=True,
)
@click.option("--dry-run", is_flag=True, help="Print the unit, write nothing.")
@json_option
@guarded
def service_install(
    config: Path | None,
    user: str,
    unit_dir: Path,
    sysusers_dir: Path,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Write the systemd unit and its user, and say how to start it."""
    from daemon.settings import load_settings
    from daemon.systemd import SYSUSERS_NAME, UNIT_NAME, UnitValues, sysusers_text, unit_text
    from signal_bridge.settings import FolderSettings, SignalSettings

    if not _USER.fullmatch(user):
        raise UsageError(f"{user!a} is no name of a user", hint="letters, digits, '_', '.', '-'")
    settings, paths = load_settings(config)
    writable = [paths.state]
    for channel in settings.channels:
        if isinstance(channel, FolderSettings):
            writable.append(channel.path)
        elif isinstance(channel, SignalSettings):
            writable.append(channel.outbox)
    values = UnitValues(
        registry=paths.registry,
        program=_program(),
        settings=paths.settings.absolute(),
        user=user,
        writable=tuple(writable),
        watched=tuple(watch.path for watch in settings.watch),
    )
    text = unit_text(values)
    if dry_run:
        emit(
            {"schema": "loraseal/service.v1", "unit": text, "written": []},
            as_json=as_json,
            human=text,
        )
        return
    written = [unit_dir / UNIT_NAME, sysusers_dir / SYSUSERS_NAME]
    for path, content in zip(written, (text, sysusers_text(user)), strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, content.encode("utf-8"), mode=0o644)
    _tell_service(written, user, (values.settings, paths.state), as_json=as_json)


def _tell_service(
    written: list[Path], user: str, places: tuple[Path, Path], *, as_json: bool
) -> None:
    settings, state = places
    start = "systemd-sysusers && systemctl daemon-reload && systemctl enable --now loraseal"
    payload = {
        "schema": "loraseal/service.v1",
        "written": [str(path) for path in written],
        "start": start,
    }
    lines = [f"wrote {path}" for path in written]
    lines.append(f"start it: {start}")
    lines.append("watch it: systemctl status loraseal, journalctl -u loraseal -f")
    emit(payload, as_json=as_json, human="\n".join(lines))
    if getpass.getuser() != user:
        say(f"note: {state} and the settings must be {user}'s: chown -R {user}: {state} {settings}")
        say(
            "note: safetensors 0.8 writes files that only the trainer's user can read (mode 0600, and "
            "an ACL does not help): run the service as that user with --user"
        )


def _program() -> Path:
    beside = Path(sys.executable).parent / "loraseal"
    if beside.exists():
        return beside
    found = shutil.which("loraseal")
    if found is None:
        raise UsageError("the program loraseal is not on PATH", hint="install it first")
    return Path(found)
