"""SIGKILL at sixty random instants of a run of a hundred artifacts: nothing is lost, nothing comes twice."""

from __future__ import annotations

import json
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from registry.settings import load_paths
from tests.crash.daemon_process import Daemon
from tests.crash.end_state import (
    check_all_final,
    check_deliveries,
    check_nothing_left,
    check_opened,
    check_secrecy,
    check_vault,
    digest_of,
    read_account,
)
from tests.crash.instants import kill_often, lives, seeded
from tests.crash.trainer import Work, train
from tests.daemon.registry_on_disk import Registry, make_registry

ARTIFACTS = 100
KILLS = 60

pytestmark = [pytest.mark.crash, pytest.mark.xdist_group("crash-folder")]


@dataclass
class Feeder:
    """Trains while daemons run: a few adapters in each life, so that there is work until the end."""

    registry: Registry
    random: np.random.Generator
    artifacts: int
    kills: int
    works: list[Work] = field(default_factory=list)
    seen: dict[str, tuple[int, int, str]] = field(default_factory=dict)
    _life: int = 0

    def __call__(self, seconds: float) -> None:
        self._life += 1
        due = min(self.artifacts, -(-self.artifacts * self._life // (self.kills * 4 // 5)))
        for number in range(len(self.works), due):
            time.sleep(float(self.random.uniform(0, seconds / 3)))
            self.train(number)
        self.look()

    def train(self, number: int) -> None:
        self.works.append(train(number, self.registry.home / "making", self.registry.watched))

    def look(self) -> None:
        """No file that a recipient may have carried away is ever written again."""
        for path in self.registry.stick.glob("*/*"):
            if path.suffix not in (".age", ".loraseal"):
                continue
            status = path.stat()
            now = (status.st_ino, status.st_mtime_ns, digest_of(path))
            assert self.seen.setdefault(path.name, now) == now, path.name


def test_sixty_kills_lose_nothing_and_deliver_nothing_twice(tmp_path: Path) -> None:
    random, registry = seeded(), make_registry(tmp_path / "registry")
    feeder = Feeder(registry, random, ARTIFACTS, KILLS)
    log = tmp_path / "daemon.log"
    kill_often(registry.settings, log, lives(random, KILLS), feeder)
    assert Daemon(registry.settings, log, "--once").end() == 0
    feeder.look()
    works = {work.name: work for work in feeder.works}
    account = read_account(registry)
    assert len(works) == ARTIFACTS
    check_all_final(account, works.values())
    check_deliveries(account)
    check_nothing_left(registry)
    check_vault(registry, account)
    check_secrecy(registry, works.values())
    _check_stick(registry, works)
    _check_channel(registry)
    again = Daemon(registry.settings, log, "--once")
    assert again.end() == 0
    assert read_account(registry) == account, "a run with nothing to do changed something"


def _check_stick(registry: Registry, works: dict[str, Work]) -> None:
    released = sorted(work.name for work in works.values() if work.outcome == "released")
    folder = registry.stick / "Alice"
    stems = {Path(name).stem if name.endswith(".safetensors") else name: name for name in released}
    assert sorted(path.stem for path in folder.glob("*.age")) == sorted(stems)
    assert sorted(path.stem for path in folder.glob("*.loraseal")) == sorted(stems)
    for stem, name in stems.items():
        sealed, bundle = folder / f"{stem}.age", folder / f"{stem}.loraseal"
        check_opened(registry, works[name], sealed, bundle, registry.alice)


def _check_channel(registry: Registry) -> None:
    """The channel's own journal speaks of exactly the messages that the ledger counts."""
    journal = load_paths(registry.settings).state / "channels" / "folder" / "journal.jsonl"
    lines = [json.loads(line) for line in journal.read_bytes().splitlines()]
    sent = Counter((row["delivery"], row["number"]) for row in lines if row["kind"] == "sent")
    recorded = Counter(
        (row.delivery.id, parcel.key.number)
        for row in read_account(registry).shipped
        for parcel in row.parcels
    )
    assert set(sent.values()) == {1}
    assert sent == recorded
