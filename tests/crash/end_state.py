"""What must hold when the last daemon has ended, however many were killed before it."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from daemon.custody.holder import open_custody
from daemon.engine import ACTIVE_STATES
from registry.provenance.artifacts import payload_digests
from registry.provenance.candidates import candidates_in
from registry.provenance.deliveries import Delivery, deliveries_of
from registry.provenance.parcels import ParcelRecord, parcels_of
from registry.provenance.show import ArtifactQuery, list_artifacts
from registry.provenance.states import CandidateState
from registry.settings import RegistryPaths, load_paths
from tests.crash.trainer import Work
from tests.daemon.registry_on_disk import Registry

_MANY = 100_000


@dataclass(frozen=True)
class Shipped:
    """One delivery as the ledger has it, with every message of every attempt."""

    artifact: str
    delivery: Delivery
    parcels: tuple[ParcelRecord, ...]


@dataclass(frozen=True)
class Account:
    """The ledger's account: states by artifact name, deliveries, payloads, candidates not taken."""

    states: dict[str, str]
    shipped: tuple[Shipped, ...]
    payloads: tuple[str, ...]
    candidates: Counter[CandidateState]


def read_account(registry: Registry) -> Account:
    with open_custody(load_paths(registry.settings)) as custody, custody.ledger.reading() as reader:
        rows = list_artifacts(reader, ArtifactQuery(limit=_MANY))
        assert len({row.name for row in rows}) == len(rows), "one name for two artifacts"
        shipped = [
            Shipped(row.name or "", delivery, parcels_of(reader, delivery.id))
            for row in rows
            for delivery in deliveries_of(reader, row.id)
        ]
        kinds = {state: len(candidates_in(reader, state, limit=_MANY)) for state in CandidateState}
        return Account(
            {row.name or "": row.state for row in rows},
            tuple(shipped),
            payload_digests(reader),
            Counter(kinds),
        )


def check_all_final(account: Account, works: Iterable[Work]) -> None:
    """Everything that was trained is there once, in the state that it deserves."""
    assert account.states == {work.name: work.outcome for work in works}
    others = {state: n for state, n in account.candidates.items() if n}
    assert others == {CandidateState.TAKEN: len(account.states)}


def check_deliveries(account: Account) -> None:
    """Each released artifact was sent once, by the ledger's own account, and nothing else was."""
    released = sorted(name for name, state in account.states.items() if state == "released")
    assert sorted(row.artifact for row in account.shipped) == released
    assert {row.delivery.state.value for row in account.shipped} <= {"sent", "acknowledged"}


def check_nothing_left(registry: Registry) -> None:
    """No job waits but for deadlines, and no half-written file lies anywhere."""
    paths = load_paths(registry.settings)
    with closing(sqlite3.connect(paths.database)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        marks = ",".join("?" * len(ACTIVE_STATES))
        query = f"SELECT name, status FROM workflow_status WHERE status IN ({marks})"  # noqa: S608 - marks only
        jobs = set(database.execute(query, ACTIVE_STATES))
        assert jobs <= {("deadline", "DELAYED")}
        odd = "SELECT name, status FROM workflow_status WHERE status NOT IN ('SUCCESS', 'DELAYED')"
        assert database.execute(odd).fetchall() == []
    parts = [path for place in (paths.state, registry.stick) for path in place.rglob("*.part")]
    assert parts == []
    assert list((paths.vault / "incoming").iterdir()) == []
    assert list((paths.vault / "sidecars").iterdir()) == []


def check_vault(registry: Registry, account: Account) -> None:
    """The vault holds what the ledger knows and nothing else; `fsck` finds no fault."""
    vault = load_paths(registry.settings).vault
    kept = sorted(path.stem for path in (vault / "payloads").rglob("*.age"))
    assert kept == sorted(account.payloads)
    report = json.loads(registry.run("fsck", "--json", "--config", registry.settings).stdout)
    assert report["ok"], report


def check_secrecy(registry: Registry, works: Iterable[Work]) -> None:
    """No plaintext of ours anywhere outside the trainer's folder; no name or path in the database."""
    works, paths = tuple(works), load_paths(registry.settings)
    for path in (*_files(paths.state), *_files(registry.stick)):
        data = path.read_bytes()
        assert not [work.name for work in works for plain in work.plain if plain in data], path
    for data in _database_bytes(paths):
        words = [work.name.partition(".")[0].encode() for work in works]
        words.append(bytes(registry.watched))
        assert not [word for word in words if word in data]


def check_opened(registry: Registry, work: Work, sealed: Path, bundle: Path, home: Path) -> None:
    """The recipient opens and verifies one delivery with what was pinned, and has the trained bytes."""
    out = registry.home / "opened" / work.name
    out.parent.mkdir(exist_ok=True)
    shown = registry.run("keys", "show", "--json", "--config", registry.settings).stdout
    pin = ("--key", json.loads(shown)["root"], "--home", home, "--no-memory")
    registry.run("verify", sealed, "--bundle", bundle, "-i", home / "identity.txt", *pin)
    registry.run("open", sealed, "--bundle", bundle, "-i", home / "identity.txt", *pin, "-o", out)
    found = {path.name: path for path in out.iterdir()} if out.is_dir() else {work.name: out}
    assert {name: path.read_bytes() for name, path in found.items()} == work.files


def digest_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


def _database_bytes(paths: RegistryPaths) -> Iterator[bytes]:
    for path in paths.state.glob(f"{paths.database.name}*"):
        yield path.read_bytes()
