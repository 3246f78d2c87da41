"""Status lists: issued by custody, and the newest kept outside the database, as the log's head is.

Revocations are rows and statements of the database. Whoever can write it could remove both and have
custody sign a list without them: so a list never says less than the one on disk, which is signed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from registry.attest import issue_status_list
from registry.durable import atomic_write
from registry.errors import LorasealError, VerificationError
from registry.formats.envelope import parse_envelope
from registry.formats.moments import parse_moment, to_text
from registry.formats.status_list import StatusEntry, StatusList
from registry.limits import ENVELOPE_BYTES
from registry.provenance.log import log_root
from registry.provenance.revocations import (
    StoredStatusList,
    next_status_counter,
    save_status_list,
    status_entries,
)
from registry.verify.signed import verify_status_list

if TYPE_CHECKING:
    from datetime import datetime, timedelta
    from pathlib import Path

    from daemon.custody.holder import Custody
    from daemon.keyring import Keyring
    from registry.formats.envelope import Envelope
    from registry.provenance.ledger import Transaction
    from registry.provenance.log import Checkpoint


class NewestStatus:
    """The newest signed status list of one registry, in the file at `path`."""

    def __init__(self, path: Path, keyring: Keyring) -> None:
        self._path = path
        self._keyring = keyring

    def read(self) -> StatusList | None:
        """Return it, verified; None before the first.

        Raises:
            LorasealError: the file was changed. No error that a step takes for a verdict on what it is
                about: a delivery must not fail for good because a file of ours is damaged.
        """
        try:
            with self._path.open("rb") as stream:
                data = stream.read(2 * ENVELOPE_BYTES)
        except FileNotFoundError:
            return None
        try:
            return verify_status_list(parse_envelope(data), self._keyring.keyset)
        except LorasealError as error:
            raise LorasealError(
                f"status list {str(self._path)!r}: {error}",
                hint="the newest signed list was damaged: put it back from a backup, or from a copy that"
                " you handed to a recipient",
            ) from error

    def keep(self, envelope: Envelope) -> None:
        """Keep a list that was committed to the ledger."""
        atomic_write(self._path, envelope.to_bytes())


def publish_status(custody: Custody, now: datetime, valid_for: timedelta) -> None:
    """Sign head and status list anew, so that what was just revoked stays so whatever becomes of rows.

    Raises:
        VerificationError: the log, or the counter of the lists, is behind what was signed before.
    """
    with custody.alone():
        head = custody.head.advance(custody.ledger, now)
        with custody.ledger.transaction() as tx:
            envelope = issue_status(custody, tx, head, (now, now + valid_for))
        custody.status.keep(envelope)


def renew_status(custody: Custody, now: datetime, valid_for: timedelta) -> bool:
    """Publish a fresh list when the newest has used a quarter of its time; return whether it did.

    Without deliveries none would be made, and recipients refuse what an expired list vouches for.
    Before the first list there is nothing to renew.

    Raises:
        VerificationError: this is a ledger that custody must not sign for.
    """
    newest = custody.status.read()
    if newest is None:
        return False
    issued, until = parse_moment(newest.issued), parse_moment(newest.valid_until)
    if now < issued + (until - issued) / 4:
        return False
    with custody.ledger.reading() as reader:
        custody.check(reader, now)
    publish_status(custody, now, valid_for)
    return True


def issue_status(
    custody: Custody, tx: Transaction, head: Checkpoint, times: tuple[datetime, datetime]
) -> Envelope:
    """Sign the next list, from now `times[0]` until `times[1]`; `keep` it after the commit.

    Raises:
        VerificationError: the ledger has forgotten lists that were signed.
    """
    now, until = times
    newest, counter = custody.status.read(), next_status_counter(tx)
    if newest is not None and newest.counter >= counter:
        raise VerificationError(
            f"the ledger's next status list has number {counter}, and {newest.counter} was signed: "
            "lists were removed, or an older database was put in place",
            hint="restore the newest database; custody signs nothing until then (docs/operations.md)",
        )
    status = StatusList(
        registry=custody.keyring.keyset.registry,
        counter=counter,
        issued=to_text(now),
        valid_until=to_text(until),
        log_size=head.size,
        log_root=log_root(tx, head.size).hex(),
        entries=_merged(newest, status_entries(tx)),
    )
    envelope = issue_status_list(status, custody.keyring.statement)
    stored = StoredStatusList(counter, now, until, head.size, envelope.to_bytes())
    save_status_list(tx, stored)
    return envelope


def _merged(newest: StatusList | None, entries: tuple[StatusEntry, ...]) -> tuple[StatusEntry, ...]:
    """Return what rows say and all that was signed before: nothing is ever un-revoked."""
    said = {entry.status_id: entry for entry in entries}
    said.update({entry.status_id: entry for entry in (newest.entries if newest else ())})
    return tuple(said[status_id] for status_id in sorted(said))
