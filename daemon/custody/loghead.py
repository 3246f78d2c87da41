"""The log's last signed head, kept outside the database, and the one place that signs a new one.

Restoring an old database would make the log sign a second history for sizes that were signed before.
So custody compares the log with the head on disk first, and signs nothing while the log is behind it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from registry.durable import atomic_write
from registry.errors import VerificationError
from registry.formats.checkpoint import Checkpoint
from registry.provenance import log
from registry.sealing.notes import sign_checkpoint, verify_checkpoint

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from daemon.keyring import Keyring
    from registry.provenance.ledger import Ledger, Reader

HEAD_BYTES = 64 * 1024


class LogHead:
    """The head at `path` of the log of one registry; `keyring` signs and verifies it."""

    def __init__(self, path: Path, keyring: Keyring) -> None:
        self._path = path
        self._keyring = keyring

    def read(self, now: datetime) -> Checkpoint | None:
        """Return the last signed head, verified; None before the first.

        Raises:
            FormatError, SignatureError: the file was changed.
        """
        try:
            note = self._path.read_bytes()
        except FileNotFoundError:
            return None
        keyset = self._keyring.keyset
        return verify_checkpoint(note[:HEAD_BYTES], keyset.keys, origin=keyset.log_origin, at=now)

    def check(self, reader: Reader, now: datetime) -> None:
        """Refuse a log that does not continue the last signed head.

        Raises:
            VerificationError: it is shorter, or another history.
        """
        head = self.read(now)
        if head is None:
            return
        size = log.log_size(reader)
        if size < head.size:
            raise VerificationError(
                f"the log has {size} entries, and a head of {head.size} was signed: "
                "an older database was put in place",
                hint="restore the newest database; custody signs nothing until then (docs/operations.md)",
            )
        if log.log_root(reader, head.size) != head.root:
            raise VerificationError(
                f"the first {head.size} entries of the log are not those that were signed",
                hint="the database was changed by hand: keep it, and restore a backup",
            )

    def advance(self, ledger: Ledger, now: datetime) -> log.Checkpoint:
        """Sign the log as it is committed, keep the head here first, then in the ledger.

        Raises:
            VerificationError: the log does not continue the last signed head.
        """
        with ledger.reading() as reader:
            self.check(reader, now)
            size = log.log_size(reader)
            root = log.log_root(reader, size)
            known = log.latest_checkpoint(reader)
        if known is not None and (known.size, known.root) == (size, root):
            return known
        note = sign_checkpoint(
            Checkpoint(self._keyring.keyset.log_origin, size, root), self._keyring.log
        )
        # Outside first: after a kill here the ledger lacks a checkpoint, which is made again.
        atomic_write(self._path, note)
        signed = log.Checkpoint(size, root, note, now)
        with ledger.transaction() as tx:
            log.save_checkpoint(tx, signed)
        return signed
