"""`loraseal fsck`: check vault, ledger and log. Reads everything, changes nothing."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

import click

from registry.cli.output import emit, guarded, json_option


@click.command("fsck")
@click.option("--config", type=click.Path(path_type=Path), help="Settings file.")
@json_option
@guarded
def fsck_command(config: Path | None, as_json: bool) -> None:
    """Check vault, ledger and log; exit 4 when something is wrong."""
    from daemon.custody.checking import check_all
    from daemon.custody.holder import open_custody
    from registry.settings import load_paths

    with open_custody(load_paths(config), to_look=True) as custody:
        checks = list(check_all(custody, datetime.now(UTC)))
    lines = []
    for check in checks:
        glyph = "FAIL" if check.problems else "ok"
        lines.append(f"{glyph:<4}  {check.name:<11} {check.looked_at}")
        lines += [f"        {problem}" for problem in check.problems]
    rows = [
        {"name": row.name, "looked_at": row.looked_at, "problems": list(row.problems)}
        for row in checks
    ]
    broken = any(check.problems for check in checks)
    payload = {"schema": "loraseal/fsck.v1", "ok": not broken, "checks": rows}
    emit(payload, as_json=as_json, human="\n".join(lines))
    if broken:
        sys.exit(4)
