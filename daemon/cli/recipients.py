"""`loraseal recipient`: enrol people, after comparing six words with them."""

from __future__ import annotations

import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from registry.cli.output import emit, guarded, json_option, say

if TYPE_CHECKING:
    from registry.provenance.recipients import Address

_config = click.option("--config", type=click.Path(path_type=Path), help="Settings file.")


@click.group()
def recipient() -> None:
    """Enrol recipients, list them, and say where channels reach them."""


@recipient.command("add")
@click.argument("name")
@click.argument("enrolment_file", type=click.Path(path_type=Path))
@click.option("--words", help="The six words, as the recipient told them to you.")
@click.option("--how", default="in person", show_default=True, help="How you compared the words.")
@click.option("--folder-address", help="Folder name on air-gap channels (default: from NAME).")
@click.option("--signal", "signal_uuid", help="Their Signal account (UUID).")
@click.option("--safety-number", help="Safety number that you compared in Signal.")
@click.option("--yes", is_flag=True, help="The words were compared already; do not ask.")
@click.option("--passphrase-file", type=click.Path(path_type=Path))
@_config
@json_option
@guarded
def add_command(
    name: str,
    enrolment_file: Path,
    words: str | None,
    how: str,
    folder_address: str | None,
    signal_uuid: str | None,
    safety_number: str | None,
    yes: bool,
    passphrase_file: Path | None,
    config: Path | None,
    as_json: bool,
) -> None:
    """Pin the keys in ENROLMENT_FILE under NAME, signed by the operator's key."""
    from daemon.cli.deciding import read_operator
    from daemon.custody.enrolment import Confirmation, enrol_recipient
    from daemon.custody.holder import open_custody
    from registry.errors import UsageError, naming
    from registry.limits import ENROLMENT_BYTES
    from registry.settings import load_paths
    from registry.verify.enrolments import read_enrolment

    with naming(enrolment_file), enrolment_file.open("rb") as stream:
        read = read_enrolment(stream.read(ENROLMENT_BYTES + 1))
    if not name.isprintable():
        raise UsageError(f"the name {name!a} holds characters that do not print")
    paths = load_paths(config)
    _refuse_taken(config, name)
    _compare(read.words, words, yes=yes)
    addresses = addresses_for(name, folder_address, signal_uuid, safety_number)
    with open_custody(paths) as custody:
        operator = read_operator(paths, passphrase_file)
        confirmed = Confirmation(name, how, operator, addresses)
        recipient_id = enrol_recipient(custody, read.request, confirmed, datetime.now(UTC))
    payload = {
        "schema": "loraseal/recipient.v1",
        "id": recipient_id,
        "name": name,
        "words": read.words,
    }
    emit(
        payload, as_json=as_json, human=f"enrolled {name} ({recipient_id[:12]}), words {read.words}"
    )


def _refuse_taken(config: Path | None, name: str) -> None:
    """Refuse before anybody compares words; the ledger refuses once more as it records."""
    from registry.cli.queries import open_ledger
    from registry.errors import UsageError
    from registry.provenance.recipients import list_recipients

    with open_ledger(config) as (ledger, _), ledger.reading() as reader:
        known = {(row.name or "").casefold() for row in list_recipients(reader)}
    if name.casefold() in known:
        raise UsageError(
            f"there is a recipient {name!r} already", hint="choose another name for the new one"
        )


def _compare(words: str, said: str | None, *, yes: bool) -> None:
    from registry.errors import UsageError, VerificationError

    say(f"six words of this enrolment: {words}")
    if said is not None:
        if _plain(said) != _plain(words):
            raise VerificationError(
                "the words are not those of this file: somebody may have exchanged it",
                hint="ask the recipient for the file again, over another way",
            )
        return
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError(
            "nobody confirmed the six words", hint="give them with --words, or add --yes"
        )
    click.confirm("does the recipient read out the same words", abort=True, err=True)


def _plain(words: str) -> str:
    return "-".join(re.split(r"[\s-]+", words.strip().lower()))


def addresses_for(
    name: str, folder: str | None, signal_uuid: str | None, safety_number: str | None
) -> tuple[Address, ...]:
    """Return where channels reach a recipient; the folder's name is the operator's own word for them."""
    from registry.provenance.recipients import Address
    from signal_bridge.parcels import clean_name

    found = [Address("folder", folder or clean_name(name, fallback="recipient"))]
    if signal_uuid is not None:
        found.append(Address("signal", signal_uuid, safety_number))
    return tuple(found)


@recipient.command("list")
@_config
@json_option
@guarded
def list_command(config: Path | None, as_json: bool) -> None:
    """List who is enrolled."""
    from registry.cli.queries import open_ledger
    from registry.provenance.recipients import list_recipients

    with open_ledger(config) as (ledger, _), ledger.reading() as reader:
        rows = list_recipients(reader)
    people = [
        {"id": row.id, "name": row.name, "channels": [item.channel for item in row.addresses]}
        for row in rows
    ]
    lines = [f"{row.id[:12]}  {row.name}" for row in rows]
    payload = {"schema": "loraseal/recipients.v1", "recipients": people}
    emit(payload, as_json=as_json, human="\n".join(lines) or "nobody is enrolled yet")
