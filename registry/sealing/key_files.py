"""Files that hold secrets: written once with mode 0600, refused when others could read them."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from registry.durable import create, finish, fsync_directory, temporary_beside, write_all
from registry.errors import FormatError, LorasealError, NotFoundError
from registry.limits import KEY_FILE_BYTES

if TYPE_CHECKING:
    from pathlib import Path

_OTHERS = 0o077
_RAW_BYTES = 32
_RESTORE = "restore it from a backup; without it the registry's own records cannot be read"


def write_key_file(path: Path, data: bytes) -> None:
    """Write a new secret file, mode 0600, so that it survives a power cut or is not there at all.

    Raises:
        LorasealError: something has that name already; a key is never overwritten.
        OSError: the folder is missing or not writable, the disk is full; nothing is left behind.
    """
    part = temporary_beside(path)
    try:
        with create(part) as stream:
            write_all(stream, data)
            finish(stream)
        # link, not rename: it fails where a key has the name already, so no key is ever lost.
        os.link(part, path, follow_symlinks=False)
        fsync_directory(path.parent)
    except FileExistsError as error:
        raise LorasealError(
            f"{str(path)!r} exists already",
            hint="move the old key away first, or name another file",
        ) from error
    finally:
        part.unlink(missing_ok=True)


def read_key_file(path: Path) -> bytes:
    """Return the content of a secret file that only its owner can read.

    Raises:
        NotFoundError: no such file.
        LorasealError: a link, not a plain file, or readable or writable by group or others.
        FormatError: longer than any key.
        OSError: this user may not read it.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError as error:
        raise NotFoundError(f"there is no key file {str(path)!r}") from error
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise LorasealError(f"key file {str(path)!r} is a symbolic link") from error
        raise
    try:
        _check(os.fstat(descriptor), path)
        with os.fdopen(descriptor, "rb", closefd=False) as stream:
            data = stream.read(KEY_FILE_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(data) > KEY_FILE_BYTES:
        raise FormatError(f"key file {str(path)!r} has more than {KEY_FILE_BYTES} bytes")
    return data


def _check(status: os.stat_result, path: Path) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise LorasealError(f"key file {str(path)!r} is not a plain file")
    # Owner root is allowed: that is how a service manager hands over credentials.
    if status.st_uid not in (os.geteuid(), 0):
        raise LorasealError(
            f"key file {str(path)!r} belongs to another user (uid {status.st_uid})",
            hint="whoever owns the file can replace the key: make it with the user who runs this",
        )
    if status.st_mode & _OTHERS:
        raise LorasealError(
            f"key file {str(path)!r} has mode {stat.S_IMODE(status.st_mode):04o}, expected 0600: "
            "others may have read it",
            hint=f"run chmod 600 {path}, and replace the key if the machine has other users",
        )


def read_raw_key(path: Path) -> bytes:
    """Return the 32 bytes that a key file holds in hex.

    Raises:
        FormatError: it holds something else. As `read_key_file` besides.
    """
    text = read_key_file(path).strip()
    try:
        value = bytes.fromhex(text.decode("ascii"))
    except ValueError as error:
        raise FormatError(f"{path} does not hold a key in hex", hint=_RESTORE) from error
    if len(value) != _RAW_BYTES:
        raise FormatError(f"{path} holds {len(value)} bytes, expected {_RAW_BYTES}", hint=_RESTORE)
    return value
