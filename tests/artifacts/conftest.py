"""Folders of the tests of intake."""

from __future__ import annotations

from pathlib import Path

import pytest

from registry.artifacts.vault import Vault


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    vault = Vault(tmp_path / "vault")
    vault.create()
    return vault


@pytest.fixture
def watched(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder
