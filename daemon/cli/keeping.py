"""`loraseal keys`: look at public keys and the status list, move the root key away."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from registry.cli.output import emit, guarded, json_option

_config = click.option("--config", type=click.Path(path_type=Path), help="Settings file.")


@click.group()
def keys() -> None:
    """Look at the registry's keys, and move the root key off this machine."""


@keys.command("show")
@_config
@json_option
@guarded
def show_command(config: Path | None, as_json: bool) -> None:
    """Print the root key that recipients pin, its six words, and the role of every key."""
    from daemon.keyring import ROOT_FILE, load_keyset
    from registry.formats.keyset import KeyRole
    from registry.formats.words import spoken
    from registry.settings import load_paths

    paths = load_paths(config)
    keyset = load_keyset(paths)
    root = keyset.with_role(KeyRole.ROOT)[0]
    words = spoken(bytes.fromhex(root.key_id))
    rows = [
        {"role": row.role.value, "key_id": row.key_id, "valid_until": row.valid_until}
        for row in keyset.keys
    ]
    payload = {
        "schema": "loraseal/keys.v1",
        "registry": keyset.registry,
        "root": root.public.hex(),
        "words": words,
        "root_on_this_machine": (paths.keys / ROOT_FILE).exists(),
        "keys": rows,
    }
    lines = [
        f"root key   {root.public.hex()}",
        f"six words  {words}",
        "recipients give the root key to --key; compare the words with them by voice",
        *(f"{row.role.value:<10} {row.key_id[:16]}" for row in keyset.keys),
    ]
    emit(payload, as_json=as_json, human="\n".join(lines))


@keys.command("status-list")
@click.option("--refresh", is_flag=True, help="Sign a fresh list first.")
@_config
@json_option
@guarded
def status_list_command(refresh: bool, config: Path | None, as_json: bool) -> None:
    """Print where the newest status list is, for recipients, and until when it holds."""
    from daemon.custody.holder import open_custody
    from daemon.custody.status import publish_status
    from daemon.settings import load_settings
    from registry.errors import NotFoundError

    settings, paths = load_settings(config)
    with open_custody(paths) as custody:
        if refresh:
            valid_for = timedelta(days=settings.delivery.status_valid_days)
            publish_status(custody, datetime.now(UTC), valid_for)
        newest = custody.status.read()
    if newest is None:
        raise NotFoundError(
            "no status list was made yet", hint="make one: loraseal keys status-list --refresh"
        )
    payload = {
        "schema": "loraseal/status-list.v1",
        "path": str(paths.status_list),
        "number": newest.counter,
        "issued": newest.issued,
        "valid_until": newest.valid_until,
    }
    human = f"{paths.status_list}\nnumber {newest.counter}, valid until {newest.valid_until}"
    emit(payload, as_json=as_json, human=human)


@keys.command("export-root")
@click.argument("target", type=click.Path(path_type=Path))
@_config
@json_option
@guarded
def export_root_command(target: Path, config: Path | None, as_json: bool) -> None:
    """Move the root key to TARGET, a file on a stick that you put away."""
    from daemon.keyring import export_root
    from registry.settings import load_paths

    export_root(load_paths(config), target)
    human = f"the root key is at {target} and no longer here; put that stick away, and make a copy"
    emit({"schema": "loraseal/keys.v1", "exported": str(target)}, as_json=as_json, human=human)
