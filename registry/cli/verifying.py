"""`loraseal verify`, `loraseal open`, `loraseal receipt make`: what a recipient does."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from registry.cli.output import emit, guarded, json_option, say
from registry.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from registry.verify.inputs import Inputs
    from registry.verify.report import VerifyReport

OPEN_SCHEMA = "loraseal/open.v1"
RECEIPT_SCHEMA = "loraseal/receipt-file.v1"
# Not readable: whether and why a file cannot be read is said by our own messages.
_FILE = click.Path(path_type=Path, readable=False)


def _judging(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that every verification takes."""
    options = (
        click.option("--status", type=_FILE, help="A newer status list from the registry."),
        click.option("--home", type=_FILE, help="Your folder of keys and memory."),
        click.option("--no-memory", is_flag=True, help="Compare with nothing seen before."),
        click.option("--passphrase-file", type=_FILE, help="Passphrase, alone on its first line."),
        click.option(
            "-i", "--identity", "identities", type=_FILE, multiple=True, help="Your identity file."
        ),
        click.option("--key", help="The root key or keyset that you pinned: a file, or the key."),
        click.option("--bundle", type=_FILE, help="The bundle (*.loraseal) of this delivery."),
    )
    for option in options:
        command = option(command)
    return command


@click.command("verify")
@click.argument("content", metavar="FILE", type=_FILE)
@_judging
@click.option("--strict", is_flag=True, help="Files in the folder that nobody signed are an error.")
@json_option
@guarded
def verify_command(
    content: Path,
    bundle: Path | None,
    key: str | None,
    identities: tuple[Path, ...],
    passphrase_file: Path | None,
    status: Path | None,
    home: Path | None,
    no_memory: bool,
    strict: bool,
    as_json: bool,
) -> None:
    """Verify FILE offline: the sealed file, the opened file, or its folder.

    All that is needed is the bundle that came with it, and the key that you pinned.
    """
    from registry.verify.inputs import Inputs

    inputs = Inputs(
        content=content,
        bundle=_needed_bundle(bundle, content),
        key=_needed_key(key),
        identities=identities or _own_identity(home, no_memory=no_memory),
        passphrase_file=passphrase_file,
        status=status,
        home=None if no_memory else _home(home),
        strict=strict,
    )
    report = _run(inputs)
    _answer(report, report.to_json(), as_json=as_json)


@click.command("open")
@click.argument("sealed", metavar="SEALED", type=_FILE)
@_judging
@click.option(
    "-o", "--out", type=_FILE, required=True, help="Where the opened file or folder goes."
)
@json_option
@guarded
def open_command(
    sealed: Path,
    bundle: Path | None,
    key: str | None,
    identities: tuple[Path, ...],
    passphrase_file: Path | None,
    status: Path | None,
    home: Path | None,
    no_memory: bool,
    out: Path,
    as_json: bool,
) -> None:
    """Open SEALED with your identity, and verify it if its bundle is given.

    Nothing appears under its name before all of it is intact and, with a bundle, as it was signed.
    """
    from registry.durable import refuse_existing
    from registry.verify.inputs import Inputs

    identities = _identities(identities, passphrase_file, home)
    refuse_existing(out)
    if bundle is None and key is not None:
        bundle = _needed_bundle(None, sealed)
    if bundle is None:
        _open_unverified(sealed, out, identities, passphrase_file, as_json=as_json)
        return
    inputs = Inputs(
        content=sealed,
        bundle=bundle,
        key=_needed_key(key),
        identities=identities,
        passphrase_file=passphrase_file,
        status=status,
        home=None if no_memory else _home(home),
        out=out,
    )
    report = _run(inputs)
    _answer(report, {**report.to_json(), "schema": OPEN_SCHEMA}, as_json=as_json)


@click.group("receipt")
def receipt_command() -> None:
    """Receipts: a recipient's signed word that a delivery arrived."""


@receipt_command.command("make")
@click.argument("sealed", metavar="[SEALED]", type=_FILE, required=False)
@_judging
@click.option("--signing-key", type=_FILE, help="Your signing key, if not in your folder.")
@click.option(
    "--level",
    type=click.Choice(["verified", "opened", "deleted"]),
    default="verified",
    show_default=True,
    help="What you did; for 'deleted' SEALED may be gone.",
)
@click.option("-o", "--out", type=_FILE, required=True, help="Where to write the sealed receipt.")
@json_option
@guarded
def receipt_make_command(
    sealed: Path | None,
    bundle: Path | None,
    key: str | None,
    identities: tuple[Path, ...],
    passphrase_file: Path | None,
    status: Path | None,
    home: Path | None,
    no_memory: bool,
    signing_key: Path | None,
    level: str,
    out: Path,
    as_json: bool,
) -> None:
    """Verify SEALED once more and write a receipt for it, sealed to the registry, to send back."""
    from registry.durable import atomic_write
    from registry.verify.acknowledge import Acknowledgement, acknowledge
    from registry.verify.home import SIGNING_NAME
    from registry.verify.inputs import Inputs

    if bundle is None:
        raise UsageError("--bundle is missing: a receipt names the delivery that the bundle holds")
    inputs = Inputs(
        content=sealed or bundle,
        bundle=bundle,
        key=_needed_key(key),
        identities=_identities(identities, passphrase_file, home),
        passphrase_file=passphrase_file,
        status=status,
        home=None if no_memory else _home(home),
    )
    wish = Acknowledgement(
        inputs, signing_key or _home(home) / SIGNING_NAME, level, has_content=sealed is not None
    )
    made = acknowledge(wish, _now())
    if made.data is None:
        _answer(made.report, made.report.to_json(), as_json=as_json)
        return
    atomic_write(out, made.data)
    emit(
        {"schema": RECEIPT_SCHEMA, "file": str(out), "level": level, "exit": 0},
        as_json=as_json,
        human=f"receipt  {out} ({level}); send it back, only the registry can read it",
    )


def _run(inputs: Inputs) -> VerifyReport:
    from registry.verify.inputs import prepare
    from registry.verify.session import run_verification

    report, _ = run_verification(prepare(inputs, _now()))
    return report


def _answer(report: VerifyReport, payload: dict[str, object], *, as_json: bool) -> None:
    emit(payload, as_json=as_json, human=report.to_text())
    if report.error is not None:
        # On a terminal the report has said what is wrong; a script that reads JSON gets a line too.
        if as_json:
            say(f"loraseal: {report.error}")
        sys.exit(report.exit_code)


def _open_unverified(
    sealed: Path,
    out: Path,
    identities: tuple[Path, ...],
    passphrase_file: Path | None,
    *,
    as_json: bool,
) -> None:
    from registry.verify.inputs import read_identities
    from registry.verify.opener import open_unverified

    result = open_unverified(sealed, read_identities(identities, passphrase_file), out)
    what = "a tar: tar -xf it" if result.is_archive else f"{result.size} bytes"
    emit(
        {
            "schema": OPEN_SCHEMA,
            "verified": None,
            "exit": 0,
            "out": str(result.out),
            "bytes": result.size,
            "archive": result.is_archive,
        },
        as_json=as_json,
        human=f"NOT VERIFIED: opened to {result.out} ({what})",
    )
    beside = sealed.with_suffix(".loraseal")
    name = str(beside) if beside.is_file() else "NAME.loraseal"
    say("intact, but nobody vouches for who made it or whether it was withdrawn")
    say(f"  what to do: give --bundle {name} and --key with the key that you pinned")


def _needed_key(key: str | None) -> str:
    if key is None:
        raise UsageError(
            "--key is missing: without a pinned key anyone could have made this",
            hint="give the registry's root key or keyset, which you got over another way",
        )
    return key


def _needed_bundle(bundle: Path | None, content: Path) -> Path:
    beside = content.with_suffix(".loraseal")
    if bundle is None and not beside.is_file():
        raise UsageError(
            "--bundle is missing: nothing says what this file should be",
            hint="give the file NAME.loraseal that came with it",
        )
    return bundle or beside


def _own_identity(home: Path | None, *, no_memory: bool) -> tuple[Path, ...]:
    """Return the identity in the recipient's own folder, where there is one that needs no passphrase."""
    from registry.sealing.identity_file import is_sealed_identity_file
    from registry.verify.home import IDENTITY_NAME

    mine = _home(home) / IDENTITY_NAME
    if no_memory or not mine.is_file() or is_sealed_identity_file(mine.read_bytes()):
        return ()
    return (mine,)


def _identities(
    identities: tuple[Path, ...], passphrase_file: Path | None, home: Path | None
) -> tuple[Path, ...]:
    from registry.verify.home import IDENTITY_NAME

    if identities or passphrase_file is not None:
        return identities
    mine = _home(home) / IDENTITY_NAME
    if not mine.is_file():
        raise UsageError(
            "no identity to open it with",
            hint="give -i IDENTITY_FILE or --passphrase-file FILE (loraseal enrol makes an identity)",
        )
    return (mine,)


def _home(home: Path | None) -> Path:
    from registry.settings import recipient_home

    return home or recipient_home(os.environ)


def _now() -> datetime:
    from datetime import UTC, datetime

    return datetime.now(UTC)
