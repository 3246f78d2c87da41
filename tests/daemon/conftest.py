"""One audit worker for all tests of a process (torch is slow to import), and registries to copy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from registry.audits.runner import AuditWorker, WorkerOptions
from tests.daemon import rig as rigs
from tests.daemon.registry_on_disk import Registry
from tests.daemon.rig import Rig


@pytest.fixture(scope="session")
def audits() -> Iterator[AuditWorker]:
    pytest.importorskip("torch", reason="the audits need torch")
    worker = AuditWorker(WorkerOptions())
    yield worker
    worker.close()


@pytest.fixture(scope="session")
def lived_template(tmp_path_factory: pytest.TempPathFactory, audits: AuditWorker) -> Registry:
    return rigs.make_lived(tmp_path_factory.mktemp("template") / "lived", audits)


@pytest.fixture(scope="session")
def fresh_template(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    return rigs.make_fresh(tmp_path_factory.mktemp("template") / "fresh")


@pytest.fixture
def lived(lived_template: Registry, tmp_path: Path) -> Registry:
    return rigs.copy_of(lived_template, tmp_path / "lived")


@pytest.fixture
def fresh(fresh_template: Registry, tmp_path: Path) -> Registry:
    return rigs.copy_of(fresh_template, tmp_path / "fresh")


@pytest.fixture
def lived_rig(lived: Registry, audits: AuditWorker) -> Iterator[Rig]:
    with rigs.opened(lived, audits) as rig:
        yield rig


@pytest.fixture
def rig(fresh: Registry, audits: AuditWorker) -> Iterator[Rig]:
    with rigs.opened(fresh, audits) as rig:
        yield rig


@pytest.fixture
def forger(lived_rig: Rig) -> Iterator[Rig]:
    """A rig whose channel folder must not change, whatever the test does to rows."""
    before = lived_rig.carried()
    yield lived_rig
    assert lived_rig.carried() == before
