"""The house as it is declared is the house as it stands."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_every_package_is_in_the_wheel() -> None:
    declared = set(
        tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    )
    found = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for top in ("registry", "signal_bridge", "daemon")
        for path in (ROOT / top).rglob("__init__.py")
    }
    migrations = {"registry.provenance.migrations", "registry.provenance.migrations.versions"}
    assert declared == found | migrations


def test_alembic_folder_never_hides_the_library() -> None:
    assert not (ROOT / "alembic" / "__init__.py").exists()


def test_no_file_names_this_workplace() -> None:
    words = ("/" + "work/", "/" + "farm/")
    skipped = {".venv", ".git", ".demo"}
    for path in ROOT.rglob("*"):
        if skipped & set(path.relative_to(ROOT).parts) or path.suffix not in {
            ".py",
            ".md",
            ".toml",
        }:
            continue
        text = path.read_text("utf-8", errors="replace")
        assert not any(word in text for word in words), path
