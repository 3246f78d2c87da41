"""What someone who can write the database file does, by SQL, to a registry that has lived a little."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from datetime import timedelta

from daemon.custody.holder import About, keep_statement
from daemon.custody.revoking import withdraw_artifact
from daemon.custody.status import publish_status
from daemon.keyring import load_operator
from daemon.pipeline.deliver_step import deliver
from registry.attest import ReleaseTerms, attest_release, new_id
from registry.formats.findings import Decision, Outcome
from registry.formats.predicates.release import Release
from registry.sealing.signing import SigningKey
from tests.daemon.registry_on_disk import Registry
from tests.daemon.rig import Rig, artifact_named, database_of, sql

DELIVERY = "dead" * 8


def plan(rig: Rig, name: str, to: str = "Bob", delivery: str = DELIVERY) -> None:
    """Insert a planned delivery by SQL and its job as the daemon would find it."""
    (recipient,) = rig.one(
        "select id from reg_recipient order by at, rowid limit 1 offset ?", to == "Bob"
    )
    moment = "2026-01-01 00:00:00.000000"
    sql(
        rig.registry,
        "insert into reg_delivery (id, artifact_id, rendition, recipient_id, channel, ordinal, state, "
        "attempts, planned_at, moved_at) values (?, ?, 'original', ?, 'folder', 1, 'planned', 0, ?, ?)",
        *(delivery, artifact_named(rig.registry, name), recipient, moment, moment),
    )


def outcome(rig: Rig, delivery: str = DELIVERY) -> tuple[str, str]:
    """Run the delivery; return its state and the reason that it was given."""
    deliver(rig.shop, delivery)
    state, reason = rig.one("select state, reason from reg_delivery where id=?", delivery)
    return str(state), str(reason)


def pretend_released(rig: Rig, name: str) -> str:
    artifact = artifact_named(rig.registry, name)
    sql(rig.registry, "update reg_artifact set state='released', reason=null where id=?", artifact)
    return artifact


def statement(rig: Rig, artifact: str, kind: str) -> str:
    (digest,) = rig.one(
        "select digest from reg_statement where artifact_id=? and kind like ? order by leaf_index desc limit 1",
        *(artifact, f"%{kind}%"),
    )
    return str(digest)


@contextlib.contextmanager
def without_triggers(registry: Registry) -> Iterator[sqlite3.Connection]:
    """A writer of the file drops triggers and foreign keys first."""
    with contextlib.closing(sqlite3.connect(database_of(registry), timeout=30)) as base:
        base.execute("pragma foreign_keys=off")
        names = base.execute("select name from sqlite_master where type='trigger'").fetchall()
        for (name,) in names:
            base.execute(f"drop trigger {name}")
        yield base
        base.commit()


def revoke(rig: Rig, artifact: str) -> None:
    """Revoke as the command line does: rows and statement, then head and list."""
    custody = rig.shop.custody
    withdraw_artifact(custody, artifact, "withdrawn", load_operator(custody.paths), rig.clock())
    publish_status(custody, rig.clock(), timedelta(days=1))


def plant_release(rig: Rig, artifact: str, key: SigningKey, *, reason: str | None) -> None:
    """Append a release of `artifact` over its own verdicts, signed by `key`, to ledger and log."""
    from daemon.custody.decisions import signed_verdicts

    custody = rig.shop.custody
    with rig.shop.ledger.transaction() as tx:
        verdicts = signed_verdicts(custody, tx, artifact)
        rules = tuple(item.signed.predicate.rule for item in verdicts)
        decision = Decision(Outcome.RELEASED, ("forged",), rules, privacy_audited=False)
        envelopes = tuple(item.envelope for item in verdicts)
        terms = ReleaseTerms(
            artifact, rig.shop.policy.digest.value, envelopes, decision, new_id(), reason=reason
        )
        envelope = attest_release(terms, key, rig.clock())
        keep_statement(tx, envelope, Release.TYPE, rig.clock(), About(artifact_id=artifact))
    sql(rig.registry, "update reg_artifact set state='released' where id=?", artifact)


def database_files(registry: Registry) -> list:
    base = database_of(registry)
    return [path for path in base.parent.glob(base.name + "*") if path.is_file()]
