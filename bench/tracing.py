"""`trace` by any hash among N artifacts: fills a ledger, then asks in random order; p50, p95, worst.

Target (DESIGN section 8): p95 <= 50 ms among 10^6 artifacts on SQLite. Each answer is complete: the
artifact with its opened name, decisions, deliveries, lineage and log leaves. Each is asked with a new
keeper, as a command line would: subject keys are unwrapped every time.

    python -m bench.tracing --artifacts 1000000 [--database FILE]   # FILE is kept, and reused if it is there
"""

from __future__ import annotations

import argparse
import hashlib
import json
import secrets
import statistics
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import insert, select, text
from sqlalchemy.orm import Session

from registry.provenance.artifacts import ENTRY_FIELD, NAME_FIELD, STEM_FIELD, entry_cell
from registry.provenance.columns import Cell, ColumnKeeper, WrappedKey
from registry.provenance.database import create_database
from registry.provenance.ledger import Ledger
from registry.provenance.migration import upgrade
from registry.provenance.models import (
    ArtifactRow,
    HashRow,
    ManifestEntryRow,
    MetaRow,
    PayloadRow,
    RenditionRow,
    SubjectKeyRow,
    SubjectRow,
)
from registry.provenance.models_delivery import DeliveryRow, RecipientRow
from registry.provenance.models_log import LeafRow, StatementRow
from registry.provenance.tracing import trace
from registry.sealing.identities import X25519Identity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

START = datetime(2026, 1, 1, tzinfo=UTC)
BATCH = 20_000
RECIPIENTS = 100
ARTIFACTS_PER_SUBJECT = 1_000
ALGORITHMS = {
    "sha256": 64, "blake3": 64, "autov3": 64, "tensors": 64,
    "autov1": 8, "autov2": 10, "crc32": 8, "sshs_legacy": 8,
}  # fmt: skip


def digest(kind: str, number: int) -> str:
    return hashlib.sha256(f"{kind}/{number}".encode()).hexdigest()


def fill(ledger: Ledger, count: int) -> None:
    """Insert what intake and delivery would have recorded, by the bulk."""
    keeper = ledger.keeper
    assert keeper is not None  # noqa: S101 - made below
    with Session(ledger.engine) as session:
        session.execute(text("PRAGMA synchronous=OFF"))
        keys = _add_subjects(session, keeper, 1 + count // ARTIFACTS_PER_SUBJECT)
        _add_recipients(session, keeper, keys[0])
        for first in range(0, count, BATCH):
            _add_batch(session, keeper, keys, range(first, min(first + BATCH, count)))
            session.commit()
        session.execute(insert(MetaRow), [{"key": "count/artifacts", "value": b"%d" % count}])
        session.commit()
        session.execute(text("ANALYZE"))
        session.execute(text("PRAGMA wal_checkpoint(TRUNCATE)"))


def _add_subjects(session: Session, keeper: ColumnKeeper, count: int) -> list[WrappedKey]:
    keys = [keeper.new_key() for _ in range(count)]
    subjects = [{"id": key.key_id, "kind": "artifact", "created_at": START} for key in keys]
    session.execute(insert(SubjectRow), subjects)
    rows = [
        {"id": key.key_id, "subject_id": key.key_id, "wrapped": key.wrapped, "created_at": START}
        for key in keys
    ]
    session.execute(insert(SubjectKeyRow), rows)
    return keys


def _add_recipients(session: Session, keeper: ColumnKeeper, key: WrappedKey) -> None:
    session.execute(insert(LeafRow), [{"index": 0, "data": bytes(32), "at": START}])
    _add_statement_rows(session, [(0, digest("enrolment", 0), None, key)])
    rows = []
    for number in range(RECIPIENTS):
        recipient = digest("recipient", number)[:32]
        seal = keeper.seal(key, Cell("reg_recipient", recipient, "name"), b"recipient %d" % number)
        rows.append({
            "id": recipient, "subject_id": key.key_id, "sealed_name": seal,
            "name_index": keeper.index("recipient.name", str(number)), "sealed_age_recipient": seal,
            "sealed_signing_key": seal, "key_index": keeper.index("key", str(number)),
            "key_class": "x25519", "confirmed_how": "bench", "at": START,
            "enrolment_digest": digest("enrolment", 0), "status_id": digest("rs", number)[:32],
        })  # fmt: skip
    session.execute(insert(RecipientRow), rows)


def _add_statement_rows(
    session: Session, rows: list[tuple[int, str, str | None, WrappedKey]]
) -> None:
    session.execute(insert(StatementRow), [
        {"digest": value, "kind": "urn:bench", "artifact_id": artifact, "subject_id": key.key_id,
         "sealed_envelope": bytes(900), "sealed_salt": bytes(61), "leaf_index": index, "at": START}
        for index, value, artifact, key in rows
    ])  # fmt: skip


def _add_batch(
    session: Session, keeper: ColumnKeeper, keys: list[WrappedKey], numbers: range
) -> None:
    owned = [(number, keys[number // ARTIFACTS_PER_SUBJECT]) for number in numbers]
    session.execute(insert(ArtifactRow), [_artifact(keeper, key, n) for n, key in owned])
    session.execute(insert(ManifestEntryRow), [_entry(keeper, key, n) for n, key in owned])
    session.execute(insert(PayloadRow), [
        {"digest": digest("payload", n), "form": "raw", "size": 10**8, "key_classes": "x25519",
         "made_at": START} for n in numbers
    ])  # fmt: skip
    session.execute(insert(RenditionRow), [
        {"artifact_id": digest("id", n), "name": "original", "made_at": START,
         "payload_digest": digest("payload", n)} for n in numbers
    ])  # fmt: skip
    # In the order of the index: a bulk of random inserts would measure the filling, not the asking.
    session.execute(insert(HashRow), sorted((
        {"value": digest(algorithm, n)[:digits], "algorithm": algorithm,
         "artifact_id": digest("id", n)}
        for n in numbers for algorithm, digits in ALGORITHMS.items()
    ), key=lambda row: row["value"]))  # fmt: skip
    leaves = [{"index": n + 1, "data": bytes(49), "at": START} for n in numbers]
    session.execute(insert(LeafRow), leaves)
    _add_statement_rows(
        session, [(n + 1, digest("statement", n), digest("id", n), key) for n, key in owned]
    )
    session.execute(insert(DeliveryRow), [_delivery(n) for n in numbers])


def _artifact(keeper: ColumnKeeper, key: WrappedKey, number: int) -> dict[str, object]:
    artifact, name = digest("id", number), f"adapter_{number}.safetensors"
    return {
        "id": artifact, "subject_id": key.key_id, "state": "released", "kind": "adapter",
        "sealed_name": keeper.seal(key, Cell("reg_artifact", artifact, "name"), name.encode()),
        "name_index": keeper.index(NAME_FIELD, name), "files": 1, "size": 10**8, "host": "bench",
        "stem_index": keeper.index(STEM_FIELD, name.removesuffix(".safetensors")),
        "dialect": "kohya", "method": "lora", "family": "sdxl", "rank": 16, "alpha": "8.0",
        "modules": 722, "tensors": 2166, "taken_at": START + timedelta(seconds=number),
        "moved_at": START, "audit_deaths": 0,
    }  # fmt: skip


def _entry(keeper: ColumnKeeper, key: WrappedKey, number: int) -> dict[str, object]:
    artifact, name = digest("id", number), f"adapter_{number}.safetensors"
    return {
        "artifact_id": artifact, "ordinal": 0, "size": 10**8, "sha256": digest("sha256", number),
        "sealed_path": keeper.seal(key, entry_cell(artifact, 0), name.encode()),
        "path_index": keeper.index(ENTRY_FIELD, name),
    }  # fmt: skip


def _delivery(number: int) -> dict[str, object]:
    return {
        "id": digest("delivery", number)[:32], "artifact_id": digest("id", number), "attempts": 1,
        "rendition": "original", "recipient_id": digest("recipient", number % RECIPIENTS)[:32],
        "channel": "folder", "ordinal": 1, "state": "acknowledged", "planned_at": START,
        "moved_at": START, "header": bytes(200), "header_digest": digest("header", number),
        "bundle_digest": digest("bundle", number), "status_id": digest("status", number)[:32],
    }  # fmt: skip


def questions(count: int, asks: int) -> Iterator[tuple[str, str, bool]]:
    """Yield (kind, evidence, whether it is known), kinds in turn, artifacts at random."""
    kinds: dict[str, Callable[[int], str]] = {
        "sha256": lambda n: digest("sha256", n),
        "AutoV2, 10 upper": lambda n: digest("sha256", n)[:10].upper(),
        "AutoV3, 12 upper": lambda n: digest("autov3", n)[:12].upper(),
        "AutoV1, 8": lambda n: digest("autov1", n)[:8],
        "tensors": lambda n: digest("tensors", n),
        "payload": lambda n: digest("payload", n),
        "header of a delivery": lambda n: digest("header", n),
        "beginning of an id": lambda n: digest("id", n)[:12],
        "name": lambda n: f"ADAPTER_{n}",
        "unknown sha256": lambda n: digest("unknown", n),
    }
    for _ in range(asks):
        for kind, ask in kinds.items():
            yield kind, ask(secrets.randbelow(count)), kind != "unknown sha256"


def measure(ledger: Ledger, path: Path, count: int, asks: int) -> dict[str, list[float]]:
    """Return milliseconds of each answer by kind; a wrong answer ends the run."""
    times: dict[str, list[float]] = {}
    for kind, evidence, is_known in questions(count, asks):
        fresh = Ledger(ledger.engine, keeper_of(path))
        begin = time.perf_counter()
        with fresh.reading() as reader:
            answer = trace(reader, [evidence])
        times.setdefault(kind, []).append((time.perf_counter() - begin) * 1e3)
        if bool(answer.matches) != is_known or answer.artifacts_searched != count:
            raise SystemExit(f"wrong answer to {kind}")
        if is_known and answer.matches[0].artifact.name is None:
            raise SystemExit("the name was not opened")
    return times


def table(times: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """Print a table and return it."""
    rows = {**times, "all": [value for values in times.values() for value in values]}
    found = {}
    print("| evidence | p50 ms | p95 ms | worst ms |\n|---|---|---|---|")
    for kind, values in rows.items():
        p95 = statistics.quantiles(values, n=20)[-1]
        found[kind] = {
            "p50_ms": round(statistics.median(values), 2),
            "p95_ms": round(p95, 2),
            "worst_ms": round(max(values), 2),
        }
        print(f"| {kind} | " + " | ".join(str(value) for value in found[kind].values()) + " |")
    return found


def keeper_of(path: Path) -> ColumnKeeper:
    """Return a new keeper; the throw-away keys of a database lie beside it."""
    keys = path.with_suffix(".keys.json")
    if not keys.exists():
        made = {"identity": X25519Identity.generate().to_text(), "index": secrets.token_hex(32)}
        keys.write_text(json.dumps(made))
    texts = json.loads(keys.read_text())
    identity = X25519Identity.parse(texts["identity"])
    return ColumnKeeper(identity.recipient(), bytes.fromhex(texts["index"]), [identity])


def _ledger(path: Path) -> Ledger:
    engine = create_database(path)
    upgrade(engine)
    return Ledger(engine, keeper_of(path))


def run(path: Path, count: int, asks: int) -> None:
    ledger = _ledger(path)
    with ledger.reading() as reader:
        is_filled = reader.session.scalar(select(ArtifactRow.id).limit(1)) is not None
    begin = time.perf_counter()
    if not is_filled:
        fill(ledger, count)
    filled = time.perf_counter() - begin
    size = path.stat().st_size
    print(f"{count} artifacts, {size / 2**20:.0f} MiB, filled in {filled:.0f} s")
    found = table(measure(ledger, path, count, asks))
    print(json.dumps({"bench": "trace", "artifacts": count, "bytes": size, "times": found}))
    ledger.engine.dispose()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--artifacts", type=int, default=100_000)
    parser.add_argument("--asks", type=int, default=100, help="of each kind")
    parser.add_argument("--database", type=Path)
    options = parser.parse_args()
    if options.database is not None:
        run(options.database, options.artifacts, options.asks)
        return
    with tempfile.TemporaryDirectory() as folder:
        run(Path(folder) / "bench.sqlite", options.artifacts, options.asks)


if __name__ == "__main__":
    main()
