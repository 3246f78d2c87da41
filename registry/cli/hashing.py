"""`loraseal hash`: every exact name of a file or folder, from one pass over it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import click

from registry.cli.output import emit, followed, guarded, json_option

if TYPE_CHECKING:
    from registry.fingerprints.exact import ExactNames

SCHEMA = "loraseal/hash.v1"
_LABELS = (
    ("sha256", "SHA256"),
    ("autov1", "AutoV1"),
    ("autov2", "AutoV2"),
    ("autov3", "AutoV3"),
    ("body_sha256", "body sha256"),
    ("sshs_legacy_hash", "sshs legacy"),
    ("webui_legacy", "web UI short"),
    ("blake3", "BLAKE3"),
    ("crc32", "CRC32"),
    ("tensors", "tensors"),
)


@click.command("hash")
@click.argument("path", type=click.Path(path_type=Path, readable=False))
@json_option
@guarded
def hash_command(path: Path, as_json: bool) -> None:
    """Print every digest under which PATH is known.

    AutoV1, AutoV2, AutoV3, BLAKE3 and CRC32 as on Civitai, kohya's sshs hashes, the sha256, and the
    canonical tensor digest, which stays the same when the same tensors are saved again. The artifact id
    is what PATH would be called in a registry that took in exactly these files.
    """
    from registry.digest import sha256_of
    from registry.fingerprints.exact import manifest_of, name_file, name_path

    target = followed(path)
    names = tuple(name_path(target)) if target.is_dir() else (name_file(target, shown=path.name),)
    artifact_id = sha256_of(manifest_of(names).to_bytes()).value
    payload = {
        "schema": SCHEMA,
        "artifact": artifact_id,
        "files": [dataclasses.asdict(one) for one in names],
    }
    lines = [_shown(one) for one in names]
    emit(payload, as_json=as_json, human="\n".join([*lines, f"artifact id   {artifact_id}"]))


def _shown(names: ExactNames) -> str:
    values = dataclasses.asdict(names)
    rows = [f"{label:<13} {values[key]}" for key, label in _LABELS if values[key] is not None]
    note = f"\n  ({names.reason})" if names.reason else ""
    return f"{names.path}  {names.size} bytes{note}\n" + "\n".join(f"  {row}" for row in rows)
