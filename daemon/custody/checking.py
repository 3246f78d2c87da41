"""`fsck`: vault, ledger and log agree, rows say what was signed, by a role that may sign it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from daemon.custody.comparing import compare_rows
from registry.digest import Digest
from registry.errors import LorasealError
from registry.formats.keyset import KeyRole
from registry.formats.predicates.delivery import Delivery
from registry.formats.predicates.enrolment import Enrolment
from registry.formats.predicates.intake import Intake
from registry.formats.predicates.order import Order
from registry.formats.predicates.release import DECIDED_BY_OPERATOR, Release
from registry.formats.predicates.revocation import Revocation
from registry.formats.predicates.verdict import VerdictStatement
from registry.provenance.artifacts import payload_digests
from registry.provenance.check import check_ledger
from registry.provenance.statements import StoredStatement, all_statements
from registry.verify.signed import verify_statement

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from daemon.custody.holder import Custody

_ROLES = {
    Intake.TYPE: (Intake, (KeyRole.HOST,)),
    VerdictStatement.TYPE: (VerdictStatement, (KeyRole.AUDITOR,)),
    Enrolment.TYPE: (Enrolment, (KeyRole.OPERATOR,)),
    Delivery.TYPE: (Delivery, (KeyRole.STATEMENT,)),
    Revocation.TYPE: (Revocation, (KeyRole.OPERATOR,)),
    Order.TYPE: (Order, (KeyRole.OPERATOR,)),
}


@dataclass(frozen=True, slots=True)
class Check:
    """One check: what was looked at, how much of it, and what is wrong (empty: nothing)."""

    name: str
    looked_at: str
    problems: tuple[str, ...] = ()


def check_all(custody: Custody, now: datetime) -> Iterator[Check]:
    """Run every check; one that fails does not stop the others."""
    yield _guarded("ledger", lambda: _ledger(custody))
    yield _guarded("signatures", lambda: _signatures(custody))
    yield _guarded("rows", lambda: _rows(custody))
    yield _guarded("log head", lambda: _head(custody, now))
    yield _guarded("status list", lambda: _status_list(custody))
    yield _guarded("vault", lambda: _vault(custody))
    yield _guarded("orphans", lambda: _orphans(custody))


def _guarded(name: str, check: Callable[[], Check]) -> Check:
    try:
        return check()
    except (LorasealError, OSError) as error:
        return Check(name, "stopped at the first fault", (str(error),))


def _ledger(custody: Custody) -> Check:
    with custody.ledger.reading() as reader:
        found = check_ledger(reader)
    return Check("ledger", f"{found.leaves} leaves, {found.statements} statements")


def _signatures(custody: Custody) -> Check:
    with custody.ledger.reading() as reader:
        rows = tuple(all_statements(reader))
    problems = []
    for row in rows:
        try:
            _verify(custody, row)
        except LorasealError as error:
            problems.append(f"statement {row.digest[:12]}: {error}")
    return Check("signatures", f"{len(rows)} statements", tuple(problems))


def _rows(custody: Custody) -> Check:
    with custody.ledger.reading() as reader:
        compared = compare_rows(reader)
    return Check("rows", f"{compared.rows} rows against what was signed", compared.faults)


def _verify(custody: Custody, row: StoredStatement) -> None:
    keyset = custody.keyring.keyset
    if row.kind == Release.TYPE:
        both = (KeyRole.STATEMENT, KeyRole.OPERATOR)
        release = verify_statement(row.envelope, Release, keyset, both)
        by_operator = release.predicate.decided_by == DECIDED_BY_OPERATOR
        if (release.key.role is KeyRole.OPERATOR) is not by_operator:
            raise LorasealError("signed by another role than decided")
        return
    known = _ROLES.get(row.kind)
    if known is None:
        raise LorasealError(f"unknown kind of statement {row.kind}")
    verify_statement(row.envelope, known[0], keyset, known[1])


def _head(custody: Custody, now: datetime) -> Check:
    with custody.ledger.reading() as reader:
        custody.head.check(reader, now)
    head = custody.head.read(now)
    return Check("log head", f"signed at {head.size if head else 0}")


def _status_list(custody: Custody) -> Check:
    newest = custody.status.read()
    return Check("status list", f"number {newest.counter}" if newest else "none yet")


def _vault(custody: Custody) -> Check:
    problems, count = [], 0
    for digest in _known(custody):
        count += 1
        try:
            custody.vault.check(Digest("blake3", digest))
        except (LorasealError, OSError) as error:
            problems.append(str(error))
    return Check("vault", f"{count} payloads read whole", tuple(problems))


def _orphans(custody: Custody) -> Check:
    """Say what the ledger does not know; an intake that was killed is taken up again, so no fault."""
    known = {Digest("blake3", digest) for digest in _known(custody)}
    left = len(tuple(custody.vault.orphans(known)))
    return Check("orphans", f"{left} payloads of intakes that are not recorded")


def _known(custody: Custody) -> tuple[str, ...]:
    with custody.ledger.reading() as reader:
        return payload_digests(reader)
