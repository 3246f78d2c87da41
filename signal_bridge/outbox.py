"""The outbox: immutable copies of parcels that the signal-cli daemon may read, under clean names.

`<outbox>/<random>/<clean-name>`: the recipient sees the last part as the file's name. What lies here is
ciphertext; the group may read it, since the daemon usually runs as another user.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import shutil
from typing import TYPE_CHECKING

from registry.durable import write_whole
from signal_bridge.parcels import read_parcel

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from signal_bridge.channel import Parcel

_STAGED = re.compile(r"[0-9a-f]{32}")


class Outbox:
    """One directory, made 0750 if absent."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    @contextlib.contextmanager
    def staged(self, parcel: Parcel) -> Iterator[Path]:
        """Copy a parcel in, yield the copy's absolute path, and remove it afterwards.

        Raises:
            ContentMismatchError: the parcel is no longer what was offered.
            NotFoundError: the parcel cannot be read.
            OSError: the outbox does not take it.
        """
        self._directory.mkdir(mode=0o750, parents=True, exist_ok=True)
        place = self._directory / secrets.token_hex(16)
        place.mkdir(mode=0o700)
        try:
            copy = place.absolute() / parcel.clean_name
            write_whole(copy, read_parcel(parcel))
            # Whatever the umask: the daemon's group has to read it (the outbox's own group, by setgid).
            copy.chmod(0o640)
            place.chmod(0o750)
            yield copy
        finally:
            shutil.rmtree(place, ignore_errors=True)

    def sweep(self) -> int:
        """Remove what a killed process left behind; return how many copies. Call before the first send."""
        if not self._directory.is_dir():
            return 0
        left = [p for p in self._directory.iterdir() if _STAGED.fullmatch(p.name) and p.is_dir()]
        for place in left:
            shutil.rmtree(place, ignore_errors=True)
        return len(left)
