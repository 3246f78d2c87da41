"""From what a person names on a command line to what a verification starts from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from registry.errors import FormatError, LorasealError, UsageError, naming
from registry.limits import BUNDLE_BYTES, ENVELOPE_BYTES, IDENTITY_FILE_BYTES, KEY_PIN_BYTES
from registry.sealing.identities import ScryptIdentity
from registry.sealing.identity_file import load_identities, parse_passphrase
from registry.verify.content import open_file
from registry.verify.memory import memory_path
from registry.verify.pin import KeyPin, parse_pin
from registry.verify.session import Task
from registry.verify.steps import Given

if TYPE_CHECKING:
    from datetime import datetime

    from registry.sealing.identities import Identity


@dataclass(frozen=True, slots=True)
class Inputs:
    """Paths and texts as they were given; `key` is a file's name or the key itself."""

    content: Path
    bundle: Path
    key: str
    identities: tuple[Path, ...] = ()
    passphrase_file: Path | None = None
    status: Path | None = None
    home: Path | None = None
    out: Path | None = None
    strict: bool = False


def prepare(inputs: Inputs, now: datetime) -> Task:
    """Return the task, all files read.

    Raises:
        NotFoundError: a file that is named is not there.
        FormatError: a key, identity or bundle file is none.
        CannotDecryptError: the passphrase does not open the identity file.
    """
    pin = load_pin(inputs.key)
    given = Given(
        bundle=read_bounded(inputs.bundle, BUNDLE_BYTES, what="bundle"),
        pin=pin,
        now=now,
        identities=read_identities(inputs.identities, inputs.passphrase_file),
        status=None
        if inputs.status is None
        else read_bounded(inputs.status, ENVELOPE_BYTES * 2, what="status list"),
    )
    memory = None if inputs.home is None else memory_path(inputs.home, pin.name)
    return Task(given, inputs.content, inputs.out, memory, inputs.strict)


def load_pin(key: str) -> KeyPin:
    """Return the pin that `--key` names: a file if there is one of that name, else the text itself.

    Raises:
        UsageError: neither a file nor a key.
        FormatError: the file is not a key.
    """
    try:
        is_file = Path(key).is_file()
    except (OSError, ValueError):
        is_file = False
    if is_file:
        return parse_pin(read_bounded(Path(key), KEY_PIN_BYTES, what="pinned key"))
    try:
        return parse_pin(key.encode("utf-8", "replace"))
    except LorasealError as error:
        raise UsageError(
            f"--key {key[:80]!r} is no file, and no key itself", hint=error.hint
        ) from error


def read_identities(paths: tuple[Path, ...], passphrase_file: Path | None) -> tuple[Identity, ...]:
    """Return all identities of the files; a passphrase without a file is itself the identity.

    Raises:
        FormatError, CannotDecryptError: as `load_identities`.
    """
    passphrase = read_passphrase(passphrase_file)
    if not paths:
        return () if passphrase is None else (ScryptIdentity(passphrase),)
    found: list[Identity] = []
    for path in paths:
        with open_file(path), naming(path):
            found.extend(load_identities(path, passphrase=passphrase))
    return tuple(found)


def read_passphrase(path: Path | None) -> bytes | None:
    """Return the passphrase in a file, None if no file is named.

    Raises:
        UsageError: the file is empty or has more than one line.
    """
    if path is None:
        return None
    return parse_passphrase(read_bounded(path, IDENTITY_FILE_BYTES, what="passphrase file"))


def read_bounded(path: Path, most: int, *, what: str) -> bytes:
    """Return the content of a file that has at most `most` bytes.

    Raises:
        NotFoundError, LorasealError: it is not there, or cannot be read.
        FormatError: longer.
    """
    with open_file(path) as stream:
        data = stream.read(most + 1)
    if len(data) > most:
        raise FormatError(f"{what} {path.name!r} has more than {most} bytes")
    return data
