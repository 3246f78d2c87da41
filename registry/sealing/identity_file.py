"""Identity files as `age -i` takes them: plain, or themselves an age file under a passphrase."""

from __future__ import annotations

from typing import TYPE_CHECKING

from registry.errors import CannotDecryptError, UsageError
from registry.formats.age_armor import ARMOR_BEGIN
from registry.formats.age_header import VERSION_LINE
from registry.limits import IDENTITY_FILE_BYTES
from registry.sealing.identities import Identity, ScryptIdentity, parse_identity_file
from registry.sealing.seal import open_bytes

if TYPE_CHECKING:
    from pathlib import Path


def load_identities(path: Path, *, passphrase: bytes | None = None) -> tuple[Identity, ...]:
    """Return the identities in the file at `path`; `passphrase` is used only if it is sealed.

    Raises:
        FormatError: no identity file, or too long.
        UsageError: the file is sealed with a passphrase and none is given.
        CannotDecryptError: the passphrase is wrong.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        data = file.read(IDENTITY_FILE_BYTES + 1)
    if not is_sealed_identity_file(data):
        return parse_identity_file(data)
    if passphrase is None:
        raise UsageError(
            f"identity file {path.name!r} is sealed with a passphrase",
            hint="give the passphrase in a file of its own (--passphrase-file)",
        )
    try:
        plain = open_bytes(data, [ScryptIdentity(passphrase)], max_bytes=IDENTITY_FILE_BYTES)
    except CannotDecryptError as error:
        raise CannotDecryptError(
            f"the passphrase does not open identity file {path.name!r}",
            hint="check the passphrase; without it the identity cannot be recovered",
        ) from error
    return parse_identity_file(plain)


def is_sealed_identity_file(data: bytes) -> bool:
    """Return whether `data` looks like an age file, binary or armored, rather than plain keys."""
    return data.lstrip().startswith((VERSION_LINE, ARMOR_BEGIN))


def parse_passphrase(data: bytes) -> bytes:
    """Return the passphrase that a file's content is: its first line, without the line feed.

    Raises:
        UsageError: it is empty, or more than one line follows.
    """
    line, _, rest = data.partition(b"\n")
    line = line.removesuffix(b"\r")
    if not line or rest.strip():
        raise UsageError(
            "passphrase file must hold exactly one line, not empty",
            hint="write the passphrase alone on the first line",
        )
    return line
