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
    ("hf_lfs_oid", "HF LFS oid"),
    ("hf_git_blob", "HF git blob"),
    ("autov1", "AutoV1"),
    ("autov2", "AutoV2"),
    ("autov3", "AutoV3"),
    ("body_sha256", "body sha256"),
    ("sshs_model_hash", "sshs model"),
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

    AutoV1, AutoV2, AutoV3, BLAKE3 and CRC32 as on Civitai, kohya's sshs hashes, Hugging Face's names,
    the sha256, and the canonical tensor digest, which stays the same when the same tensors are saved
    again. The manifest root is that of OpenSSF Model Signing over all files. The artifact id is what PATH
    would be called in a registry that took in exactly these files.
    """
    from registry.digest import sha256_of
    from registry.fingerprints.exact import manifest_of, name_file, name_path
    from registry.sealing.oms import oms_root

    target = followed(path)
    names = tuple(name_path(target)) if target.is_dir() else (name_file(target, shown=path.name),)
    manifest = manifest_of(names)
    artifact_id, root = sha256_of(manifest.to_bytes()).value, oms_root(manifest)
    payload = {
        "schema": SCHEMA,
        "artifact": artifact_id,
        "manifest_root": root,
        "files": [dataclasses.asdict(one) for one in names],
    }
    lines = [_shown(one) for one in names]
    lines += [f"manifest root {root}", f"artifact id   {artifact_id}"]
    emit(payload, as_json=as_json, human="\n".join(lines))


def _shown(names: ExactNames) -> str:
    values = dataclasses.asdict(names)
    rows = [f"{label:<13} {values[key]}" for key, label in _LABELS if values[key] is not None]
    note = f"\n  ({names.reason})" if names.reason else ""
    return f"{names.path}  {names.size} bytes{note}\n" + "\n".join(f"  {row}" for row in rows)
