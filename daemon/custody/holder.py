"""What custody holds: keyring, ledger, vault and log head, opened together and closed together."""

from __future__ import annotations

import contextlib
import fcntl
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from daemon.custody.loghead import LogHead
from daemon.custody.status import NewestStatus
from daemon.keyring import Keyring, load_keyring
from registry.artifacts.vault import Vault
from registry.attest import attest
from registry.errors import VerificationError
from registry.formats.moments import parse_moment
from registry.provenance.columns import ColumnKeeper
from registry.provenance.database import open_database
from registry.provenance.ledger import Ledger
from registry.provenance.log import log_size
from registry.provenance.statements import NewStatement, append_statement, statement_count
from registry.provenance.subjects import confirm_index_key
from registry.transparency.commitment import new_salt

if TYPE_CHECKING:
    from collections.abc import Iterator

    from registry.formats.envelope import Envelope
    from registry.formats.predicates.predicate import Predicate
    from registry.provenance.ledger import Reader, Transaction
    from registry.sealing.signing import SigningKey
    from registry.settings import RegistryPaths


@dataclass(frozen=True, slots=True)
class Custody:
    """The keys and what they guard. One per process; safe to share between threads."""

    paths: RegistryPaths
    keyring: Keyring
    ledger: Ledger
    vault: Vault
    head: LogHead
    status: NewestStatus
    _signing: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Sign heads and status lists one after the other, here and in every other process.

        Two at once would race for the files outside the database, and leave the older one there.
        """
        with self._signing, self.paths.signing_lock.open("ab") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            yield

    def check(self, reader: Reader, now: datetime) -> None:
        """Refuse a ledger that custody must not sign for: an older one, or one that lost statements.

        Raises:
            VerificationError: the log does not continue its last signed head, or a leaf has no
                statement: whoever removes a revocation removes one.
        """
        self.head.check(reader, now)
        if statement_count(reader) != log_size(reader):
            raise VerificationError(
                "a leaf of the log has lost its statement: a revocation may be missing",
                hint="the database was changed by hand: keep it, run loraseal fsck, restore a backup",
            )


@dataclass(frozen=True, slots=True)
class About:
    """What a statement is about, for the ledger's columns; see `NewStatement`."""

    artifact_id: str | None = None
    delivery_id: str | None = None
    recipient_id: str | None = None
    subject_id: str | None = None


@contextlib.contextmanager
def open_custody(paths: RegistryPaths, *, to_look: bool = False) -> Iterator[Custody]:
    """Yield the custody of the registry at `paths`; the database is closed at the end.

    `to_look` is for checks that sign nothing: they must run on an old database too.

    Raises:
        NotFoundError: no ledger or a key is missing.
        FormatError, LorasealError: a key file is damaged, or others can read it.
        UsageError: the index key is not the one that the ledger was made with.
        VerificationError: the log does not continue its last signed head (not with `to_look`).
    """
    keyring = load_keyring(paths)
    keeper = ColumnKeeper(keyring.vault.recipient(), keyring.index, [keyring.vault])
    engine = open_database(paths.database)
    vault = Vault(paths.vault)
    try:
        ledger = Ledger(engine, keeper)
        with ledger.transaction() as tx:
            confirm_index_key(tx)
        vault.create()
        head, status = LogHead(paths.log_head, keyring), NewestStatus(paths.status_list, keyring)
        custody = Custody(paths, keyring, ledger, vault, head, status)
        if not to_look:
            with ledger.reading() as reader:
                custody.check(reader, datetime.now(UTC))
        yield custody
    finally:
        engine.dispose()


def log_statement(tx: Transaction, predicate: Predicate, key: SigningKey, about: About) -> Envelope:
    """Sign `predicate`, append it to ledger and log in the caller's transaction, and return it."""
    envelope = attest(predicate, key)
    keep_statement(tx, envelope, type(predicate).TYPE, parse_moment(predicate.moment), about)
    return envelope


def keep_statement(
    tx: Transaction, envelope: Envelope, kind: str, at: datetime, about: About
) -> None:
    """Append a signed statement to ledger and log, under a fresh salt."""
    new = NewStatement(
        envelope=envelope,
        salt=new_salt(),
        kind=kind,
        at=at,
        artifact_id=about.artifact_id,
        delivery_id=about.delivery_id,
        recipient_id=about.recipient_id,
        subject_id=about.subject_id,
    )
    append_statement(tx, new)
