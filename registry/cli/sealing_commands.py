"""`loraseal seal`: make an age v1 file of one file or folder, with no registry at all."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from registry.cli.output import emit, followed, guarded, json_option
from registry.errors import UsageError, naming
from registry.limits import IDENTITY_FILE_BYTES

if TYPE_CHECKING:
    from registry.artifacts.seal_path import SealedPath
    from registry.sealing.identities import Recipient

SCHEMA = "loraseal/seal.v1"
_FILE = click.Path(path_type=Path, readable=False)


@click.command(name="seal")
@click.argument("path", type=_FILE)
@click.option("-r", "--recipient", "names", multiple=True, help="An age1… recipient.")
@click.option(
    "-R", "--recipients-file", "lists", multiple=True, type=_FILE, help="A file with one a line."
)
@click.option("--passphrase-file", type=_FILE, help="A file whose only line is a passphrase.")
@click.option("-o", "--output", required=True, type=_FILE, help="The sealed file to write.")
@click.option("-a", "--armor", is_flag=True, help="Write text (PEM) instead of binary.")
@json_option
@guarded
def seal_command(
    path: Path,
    names: tuple[str, ...],
    lists: tuple[Path, ...],
    passphrase_file: Path | None,
    output: Path,
    armor: bool,
    as_json: bool,
) -> None:
    """Seal PATH, a file or a folder, so that only the recipients can open it.

    The result is an age v1 file: `loraseal open` and the plain `age` tool open it; a folder becomes a
    tar. It appears only once it is complete, and then replaces what has its name. Sealing hides
    content; it proves nothing about who sealed it.
    """
    from registry.artifacts.seal_path import seal_path

    recipients = _recipients(names, lists) + _passphrase(passphrase_file)
    # A link that a person names is followed; links inside a folder are not.
    sealed = seal_path(followed(path), output, recipients, armor=armor)
    payload = {**_to_json(sealed), "recipients": len(recipients)}
    emit(payload, as_json=as_json, human=_to_text(sealed, len(recipients)))


def _recipients(names: tuple[str, ...], lists: tuple[Path, ...]) -> tuple[Recipient, ...]:
    from registry.sealing.identities import parse_recipient, parse_recipients_file

    found = [parse_recipient(name) for name in names]
    for path in lists:
        with naming(path):
            found += parse_recipients_file(_read(path))
    return tuple(found)


def _passphrase(path: Path | None) -> tuple[Recipient, ...]:
    from registry.sealing.identities import ScryptRecipient
    from registry.sealing.identity_file import parse_passphrase

    return () if path is None else (ScryptRecipient(parse_passphrase(_read(path))),)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(IDENTITY_FILE_BYTES + 1)
    except FileNotFoundError as error:
        raise UsageError(f"there is no file {str(path)!r}") from error


def _to_json(sealed: SealedPath) -> dict[str, object]:
    files = [{"path": f.path, "size": f.size, "sha256": f.sha256} for f in sealed.files]
    return {
        "schema": SCHEMA,
        "output": str(sealed.output),
        "form": sealed.form,
        "files": files,
        "payload": sealed.payload,
        "bytes": sealed.sealed_bytes,
    }


def _to_text(sealed: SealedPath, recipients: int) -> str:
    lines = [f"{file.sha256}  {file.path}" for file in sealed.files]
    plural = "" if recipients == 1 else "s"
    lines += [
        f"sealed   {sealed.output} ({sealed.sealed_bytes} bytes, {sealed.form})",
        f"payload  {sealed.payload}",
        f"opens for {recipients} recipient{plural}; who sealed it is not proved",
    ]
    return "\n".join(lines)
