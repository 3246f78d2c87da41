"""`loraseal base`: caches of base models, for audits that compare an adapter with what it changes."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from registry.cli.output import emit, followed, guarded, json_option, plain, say

if TYPE_CHECKING:
    from collections.abc import Callable

    from registry.audits.bases.building import BuiltBase
    from registry.audits.bases.store import StoredBase

ADD_SCHEMA = "loraseal/base-add.v1"
LIST_SCHEMA = "loraseal/base-list.v1"
REMOVE_SCHEMA = "loraseal/base-remove.v1"
_TELL_SECONDS = 10.0
_MEBIBYTE = 2**20
_config_option = click.option("--config", type=click.Path(path_type=Path), help="Settings file.")


@click.group("base")
def base() -> None:
    """Keep base models that audits compare with."""


@base.command("add")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path, readable=False))
@click.option("--name", required=True, help="What to call it, like sd15.")
@click.option("--device", default="cpu", show_default=True, help="Torch device for the work.")
@click.option("--replace", is_flag=True, help="Make a base of this name anew.")
@_config_option
@json_option
@guarded
def add_command(
    paths: tuple[Path, ...],
    name: str,
    device: str,
    replace: bool,
    config: Path | None,
    as_json: bool,
) -> None:
    """Make the cache of the base model in PATHS: its file, all its files, or its folder.

    The files are read and nothing else; the cache holds at most twice a model in half precision. It
    takes minutes on a CPU for a small model and hours for a large one; an interrupted run leaves nothing
    and is done again.
    """
    from registry.audits.bases.building import build_base_cache, find_base_files
    from registry.audits.bases.store import base_path
    from registry.durable import ensure_directory
    from registry.settings import load_paths

    folder = load_paths(config).bases
    out = base_path(folder, name)
    if not replace:
        _refuse_existing(out, name)
    files = [file for path in paths for file in find_base_files(followed(path))]
    ensure_directory(folder)
    started = time.monotonic()
    built = build_base_cache(files, out, device=device, tell=_teller())
    seconds = time.monotonic() - started
    payload = {**_added(built), "name": name, "seconds": round(seconds, 1)}
    emit(payload, as_json=as_json, human=_added_text(name, built, seconds))


def _refuse_existing(out: Path, name: str) -> None:
    from registry.errors import UsageError

    if out.exists():
        raise UsageError(
            f"there is a base called {name!r} already",
            hint="add --replace to make it anew, or choose another name",
        )


@base.command("list")
@_config_option
@json_option
@guarded
def list_command(config: Path | None, as_json: bool) -> None:
    """List the base models that there are caches of."""
    from registry.audits.bases.store import list_bases
    from registry.settings import load_paths

    found = list_bases(load_paths(config).bases)
    payload = {"schema": LIST_SCHEMA, "bases": [_listed(one) for one in found]}
    text = "\n".join(_line(one) for one in found)
    emit(payload, as_json=as_json, human=text or "no base yet: loraseal base add FILE --name NAME")


@base.command("remove")
@click.argument("name")
@_config_option
@json_option
@guarded
def remove_command(name: str, config: Path | None, as_json: bool) -> None:
    """Remove the cache called NAME. The base model's own files are not touched."""
    from registry.audits.bases.store import remove_base
    from registry.settings import load_paths

    size = remove_base(load_paths(config).bases, name)
    payload = {"schema": REMOVE_SCHEMA, "name": name, "bytes": size}
    emit(payload, as_json=as_json, human=f"removed the cache {name} ({_mebibytes(size)})")


def _teller() -> Callable[[int, int], None]:
    """Return what says on stderr how far it is, now and then."""
    last = time.monotonic()

    def tell(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _TELL_SECONDS:
            last = now
            say(f"{done} of {total} weights")

    return tell


def _added(built: BuiltBase) -> dict[str, object]:
    facts = built.facts
    return {
        "schema": ADD_SCHEMA,
        "parts": facts.parts,
        "skipped": facts.skipped,
        "bytes": built.size,
        "base_bytes": built.base_size,
        "files": [{"sha256": digest, "size": size} for digest, size in facts.files],
    }


def _added_text(name: str, built: BuiltBase, seconds: float) -> str:
    lines = [
        f"base {name}: {built.facts.parts} weights in {seconds:.1f} s, {_mebibytes(built.size)} "
        f"({built.size / built.base_size:.2f} times the base)"
    ]
    if built.facts.skipped:
        lines.append(f"  {built.facts.skipped} weights are too large and were left out")
    return "\n".join(lines)


def _listed(stored: StoredBase) -> dict[str, object]:
    facts = stored.facts
    known = None
    if facts is not None:
        files = [{"sha256": digest, "size": size} for digest, size in facts.files]
        known = {"naming": facts.naming, "parts": facts.parts, "files": files}
    return {"name": stored.name, "bytes": stored.size, "cache": known}


def _line(stored: StoredBase) -> str:
    name = plain(stored.name)
    if stored.facts is None:
        return f"{name:<20} {_mebibytes(stored.size):>12}  unreadable: add it again with --replace"
    digests = ", ".join(digest[:16] for digest, _ in stored.facts.files)
    size = _mebibytes(stored.size)
    return f"{name:<20} {size:>12}  {stored.facts.parts} weights of sha256 {digests}"


def _mebibytes(size: int) -> str:
    return f"{size / _MEBIBYTE:.1f} MiB"
