"""Fixtures that every room shares."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[1].parent / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of common vectors beside the checkout; the test is skipped where it is absent."""
    if not (SHARED / "data").is_dir():
        pytest.skip("needs the vectors in ../shared, which are not beside this checkout")
    return SHARED


@pytest.fixture(scope="session")
def oracle() -> Callable[[str], str]:
    """Return the path of another implementation's program, or skip: `oracle("age")`."""

    def find(program: str) -> str:
        path = shutil.which(program)
        if path is None:
            pytest.skip(f"oracle missing: {program}")
        return path

    return find


# What a skip says when another implementation, or the writer or reader that is compared with, is missing.
_ORACLE_WORDS = ("oracle missing", "could not import", "needs the official", "audits need torch")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run that must have every oracle (CI) if a test was skipped for want of one."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or not os.environ.get("LORASEAL_REQUIRE_ORACLES"):
        return
    missing = {
        str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr)
        for report in reporter.stats.get("skipped", [])
    }
    missing = {reason for reason in missing if any(words in reason for words in _ORACLE_WORDS)}
    if missing:
        reporter.write_line(f"oracles are required here: {'; '.join(sorted(missing))}", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
