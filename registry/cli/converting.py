"""`loraseal convert`: a torch pickle to safetensors, in a cage, for people."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import click

from registry.cli.output import emit, followed, guarded, json_option, plain

if TYPE_CHECKING:
    from registry.conversion.converting import Conversion

SCHEMA = "loraseal/convert.v1"
_CAVEAT = "The weights are the same bits; whether they are an adapter, `loraseal inspect` says."


@click.command("convert")
@click.argument("path", type=click.Path(path_type=Path, readable=False))
@click.option(
    "-o",
    "--output",
    "out",
    type=click.Path(path_type=Path),
    required=True,
    help="The .safetensors file to write; it must not exist.",
)
@json_option
@guarded
def convert_command(path: Path, out: Path, as_json: bool) -> None:
    """Convert PATH, a file of torch.save (.pt, .bin, .ckpt), to safetensors.

    The pickle is never loaded: a process without network and files reads it as data, after picklescan
    has looked at it. Exits 4 for a file that is refused, with the reason.
    """
    from registry.artifacts.reading import open_source
    from registry.conversion.converting import convert
    from registry.durable import atomic_write, refuse_existing
    from registry.errors import naming

    refuse_existing(out)
    with naming(path), open_source(followed(path)) as source, convert(source) as converted:
        atomic_write(out, map(bytes, converted.content.batches()))
        facts = converted.facts
    payload = {"schema": SCHEMA, "path": str(path), "out": str(out), **dataclasses.asdict(facts)}
    payload["confinement"] = dict(facts.confinement)
    emit(payload, as_json=as_json, human=_as_text(out, facts))


def _as_text(out: Path, facts: Conversion) -> str:
    lines = [
        f"{plain(str(out))}: {facts.tensors} tensors, {facts.converted_bytes} bytes",
        f"  from     sha256:{facts.original_sha256}  {facts.original_bytes} bytes ({facts.form})",
        f"  to       sha256:{facts.converted_sha256}",
        f"  tensors  blake3:{facts.tensors_digest}, compared bit for bit",
    ]
    if facts.unwrapped is not None:
        lines.append(f"  taken from under the key {facts.unwrapped!r}")
    if facts.dropped:
        lines.append(f"  left out (bookkeeping of the training): {', '.join(facts.dropped)}")
    return "\n".join([*lines, _CAVEAT])
