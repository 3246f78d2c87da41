"""One registry and one delivery, shared by tests that only read them."""

from __future__ import annotations

import pytest

from tests.verify.world import TAR_FILES, Delivered, World


@pytest.fixture(scope="session")
def world() -> World:
    return World.make()


@pytest.fixture(scope="session")
def delivered(world: World) -> Delivered:
    return world.deliver()


@pytest.fixture(scope="session")
def archive(world: World) -> Delivered:
    return world.deliver(TAR_FILES)
