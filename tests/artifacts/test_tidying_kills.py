"""A process that ends in the midst of tidying: nothing is lost, and the next run ends it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from registry import durable
from registry.artifacts.byproducts import removal, sealed_beside, tidying
from registry.artifacts.byproducts.sealed_beside import SealKeys
from tests.artifacts.tidy_rig import KEYS, PUBLIC, REDACTING, opened, tidied
from tests.artifacts.trainer_folders import loss_database, write_folder

SEAMS: tuple[tuple[object, str], ...] = (
    (durable.PendingFile, "commit"),
    (durable.PendingFile, "settle"),
    (sealed_beside, "atomic_write"),
    (sealed_beside, "remove_durably"),
    (tidying, "remove_exactly"),
    (removal.os, "unlink"),
    (removal.os, "fsync"),
    (removal.os, "rename"),
)


def killed_at(run: Path, call: int, keys: SealKeys) -> bool:
    """Tidy in a process that ends at the n-th dangerous instant; return whether it came to that."""
    child = os.fork()
    if child == 0:
        left = iter(range(call))

        def deadly(real: Callable[..., object]) -> Callable[..., object]:
            def wrapped(*arguments: object, **named: object) -> object:
                if next(left, None) is None:
                    os._exit(9)
                result = real(*arguments, **named)
                if next(left, None) is None:
                    os._exit(9)
                return result

            return wrapped

        try:
            for owner, name in SEAMS:
                setattr(owner, name, deadly(getattr(owner, name)))
            tidied(run, REDACTING, keys)
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status) == 9


@pytest.mark.parametrize("keys", [KEYS, PUBLIC])
def test_kill_at_any_instant_loses_nothing_and_the_next_run_ends_it(
    tmp_path: Path, keys: SealKeys
) -> None:
    log = loss_database(16)
    instants = 0
    while True:
        run = tmp_path / str(instants)
        write_folder(run, {"loss_log.db": (log, None)})
        struck = killed_at(run, instants, keys)
        plain, copies = run / "loss_log.db", list(run.glob("*.age"))
        held = [path for path in copies if opened(path) == log]
        assert (plain.exists() and plain.read_bytes() == log) or held, instants
        assert len(held) == len(copies), instants
        tidied(run, REDACTING, keys)
        assert not plain.exists()
        assert opened(run / "loss_log.db.age") == log
        assert (run / "loss_log.db.trend.json").is_file()
        if keys.identity is not None:
            names = sorted(path.name for path in run.iterdir())
            assert names == ["loss_log.db.age", "loss_log.db.trend.json"], instants
        if not struck:
            break
        instants += 1
    assert instants > 15
