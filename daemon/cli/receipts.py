"""`loraseal receipt`: recipients make them, the registry imports them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from registry.cli.output import emit, guarded, json_option
from registry.cli.verifying import receipt_make_command


@click.group()
def receipt() -> None:
    """Make a delivery receipt, or import one that came back."""


receipt.add_command(receipt_make_command)


@receipt.command("import")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--config", type=click.Path(path_type=Path), help="Settings file.")
@json_option
@guarded
def import_command(files: tuple[Path, ...], config: Path | None, as_json: bool) -> None:
    """Judge sealed receipts and mark their deliveries acknowledged."""
    from daemon.custody.holder import open_custody
    from daemon.custody.receipts import accept_receipt
    from registry.errors import naming
    from registry.limits import RECEIPT_BYTES
    from registry.settings import load_paths

    accepted = []
    with open_custody(load_paths(config)) as custody:
        for path in files:
            with naming(path), path.open("rb") as stream:
                sealed = stream.read(2 * RECEIPT_BYTES + 1)
                accepted.append(accept_receipt(custody, sealed, datetime.now(UTC)))
    rows = [
        {
            "delivery": row.delivery_id,
            "artifact": row.artifact_id,
            "level": row.level,
            "new": row.is_new,
        }
        for row in accepted
    ]
    lines = [
        f"delivery {row.delivery_id[:12]} {row.level}" + ("" if row.is_new else " (known already)")
        for row in accepted
    ]
    payload = {"schema": "loraseal/receipts.v1", "receipts": rows}
    emit(payload, as_json=as_json, human="\n".join(lines))
