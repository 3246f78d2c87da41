"""`loraseal enrol`: a recipient's keys, and the file that makes them known."""

from __future__ import annotations

import os
from pathlib import Path

import click

from registry.cli.output import emit, guarded, json_option, say

SCHEMA = "loraseal/enrol.v1"


@click.command("enrol")
@click.option(
    "--name", default="recipient", show_default=True, help="What the sender may call you."
)
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Where to write the file.")
@click.option("--home", type=click.Path(path_type=Path), help="Your folder of keys.")
@click.option(
    "--passphrase-file",
    type=click.Path(path_type=Path),
    help="Protect new keys with the passphrase in this file.",
)
@json_option
@guarded
def enrol_command(
    name: str, out: Path | None, home: Path | None, passphrase_file: Path | None, as_json: bool
) -> None:
    """Make your keys, once, and the enrolment file to send to whoever delivers to you."""
    from datetime import UTC, datetime

    from registry.durable import refuse_existing
    from registry.settings import recipient_home
    from registry.verify.enrolments import is_enrolment
    from registry.verify.home import ENROLMENT_NAME, enrolment_file, ensure_keys, write_enrolment
    from registry.verify.inputs import read_passphrase

    if out is not None and not is_enrolment(out):
        refuse_existing(out)
    folder = home or recipient_home(os.environ)
    passphrase = read_passphrase(passphrase_file)
    now = datetime.now(UTC)
    keys = ensure_keys(folder, now, passphrase)
    data, words = enrolment_file(keys, name, now)
    target = out or folder / ENROLMENT_NAME
    write_enrolment(target, data)
    recipient = str(keys.identity.recipient())
    say(
        f"{'made new keys' if keys.made else 'found your keys'} in {folder}; keep them, send neither"
    )
    emit(
        {
            "schema": SCHEMA,
            "file": str(target),
            "home": str(folder),
            "recipient": recipient,
            "signing_key_id": keys.signing.key_id,
            "words": words,
            "made": keys.made,
        },
        as_json=as_json,
        human=f"enrolment file  {target}\nrecipient       {recipient}\nsix words       {words}\n"
        "send the file, and let the sender read the six words back to you over another way",
    )
