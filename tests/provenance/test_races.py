from __future__ import annotations

import os
import signal as stop_signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from registry.errors import LostRaceError
from registry.provenance.artifacts import get_artifact, move_artifact
from registry.provenance.check import check_ledger
from registry.provenance.columns import ColumnKeeper
from registry.provenance.database import open_database
from registry.provenance.deliveries import NewDelivery, begin_attempt, plan_delivery
from registry.provenance.ledger import Ledger
from registry.provenance.log import log_size
from registry.provenance.moves import Move
from registry.provenance.states import ArtifactState, DeliveryState
from tests.provenance.world import NOW, World, id_of

RACERS = 6


def race(database: Path, keeper: ColumnKeeper, run: Callable[[Ledger, int], None]) -> list[str]:
    """Let several threads, each with an engine of its own, run at once; return how each ended."""
    gate, ends = threading.Barrier(RACERS), [""] * RACERS

    def racer(number: int) -> None:
        engine = open_database(database)
        gate.wait(timeout=30)
        try:
            run(Ledger(engine, keeper), number)
            ends[number] = "won"
        except LostRaceError:
            ends[number] = "lost"
        finally:
            engine.dispose()

    threads = [threading.Thread(target=racer, args=(number,)) for number in range(RACERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    return sorted(ends)


def test_one_of_many_moves_an_artifact(world: World, database: Path, keeper: ColumnKeeper) -> None:
    artifact = world.artifact("kiki.safetensors")
    move = Move((ArtifactState.SEALED,), ArtifactState.AUDITED, NOW)

    def run(ledger: Ledger, _number: int) -> None:
        with ledger.transaction() as tx:
            move_artifact(tx, artifact, move)

    assert race(database, keeper, run) == ["lost"] * (RACERS - 1) + ["won"]


def test_one_of_many_begins_an_attempt(world: World, database: Path, keeper: ColumnKeeper) -> None:
    delivery = world.prepared(world.artifact("kiki.safetensors"), world.recipient("Li"))
    move = Move((DeliveryState.PREPARED,), DeliveryState.SENDING, NOW)

    def run(ledger: Ledger, _number: int) -> None:
        with ledger.transaction() as tx:
            begin_attempt(tx, delivery, 1, move)

    assert race(database, keeper, run) == ["lost"] * (RACERS - 1) + ["won"]


def test_many_wishes_are_one_delivery(world: World, database: Path, keeper: ColumnKeeper) -> None:
    artifact, recipient = world.artifact("kiki.safetensors"), world.recipient("Li")
    ids: set[str] = set()

    def run(ledger: Ledger, number: int) -> None:
        with ledger.transaction() as tx:
            wish = NewDelivery(id_of("wish", number), artifact, recipient, "folder")
            ids.add(plan_delivery(tx, wish, NOW).id)

    assert race(database, keeper, run) == ["won"] * RACERS
    assert len(ids) == 1


def test_many_writers_append_one_log(world: World, database: Path, keeper: ColumnKeeper) -> None:
    artifact = world.artifact("kiki.safetensors")

    def run(ledger: Ledger, number: int) -> None:
        for part in range(5):
            with ledger.transaction() as tx:
                World(ledger).statement_in(tx, f"{number}/{part}", artifact_id=artifact)

    assert race(database, keeper, run) == ["won"] * RACERS
    with world.ledger.reading() as reader:
        assert log_size(reader) == RACERS * 5
        assert check_ledger(reader).statements == RACERS * 5


_VICTIM = """
import sys
from registry.provenance.database import open_database
from registry.provenance.ledger import Ledger
from registry.provenance.log import append_leaf
from tests.provenance.world import NOW
ledger, number = Ledger(open_database(sys.argv[1])), 0
while True:
    with ledger.transaction() as tx:
        for _ in range(3):
            append_leaf(tx, b"leaf %d" % number, NOW)
            number += 1
            if number == int(sys.argv[2]):
                print("now", flush=True)
                sys.stdin.read()
"""


def test_writer_killed_inside_a_transaction_leaves_whole_transactions(
    database: Path, world: World
) -> None:
    root = Path(__file__).resolve().parents[2]
    for stop_at in (1, 5, 9):
        before = _size(world)
        victim = subprocess.Popen(
            [sys.executable, "-c", _VICTIM, str(database), str(stop_at)],
            cwd=root,
            env={**os.environ, "PYTHONPATH": str(root)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        with victim:
            assert victim.stdout is not None
            assert victim.stdout.readline() == b"now\n"
            victim.send_signal(stop_signal.SIGKILL)
        assert _size(world) == before + (stop_at - 1) // 3 * 3
    artifact = world.artifact("kiki.safetensors")
    world.statement("the log goes on", artifact_id=artifact)


def _size(world: World) -> int:
    with world.ledger.reading() as reader:
        return log_size(reader)


def test_artifact_is_read_as_it_is_now_not_as_it_was_loaded(world: World) -> None:
    artifact = world.artifact("kiki.safetensors")
    move = Move((ArtifactState.SEALED,), ArtifactState.AUDITED, NOW)
    with world.ledger.transaction() as tx:
        assert get_artifact(tx, artifact).state is ArtifactState.SEALED
        move_artifact(tx, artifact, move)
        assert get_artifact(tx, artifact).state is ArtifactState.AUDITED
