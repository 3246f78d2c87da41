"""`loraseal up`: what it needs, and what it may log."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from click.testing import CliRunner

from daemon.cli.root import loraseal
from daemon.cli.running import hush_libraries


@pytest.mark.parametrize(
    "name", ["watchdog.observers.inotify_buffer", "alembic.runtime.migration", "dbos", "sqlalchemy"]
)
def test_libraries_do_not_log_paths_or_rows_whatever_the_level(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    top = logging.getLogger(name.partition(".")[0])
    monkeypatch.setattr(top, "level", logging.NOTSET)
    monkeypatch.setattr(logging.getLogger(), "level", logging.DEBUG)
    hush_libraries()
    assert not logging.getLogger(name).isEnabledFor(logging.INFO)


def test_up_before_init_says_what_to_run(tmp_path: Path) -> None:
    settings = tmp_path / "loraseal.toml"
    settings.write_text(f'registry = "test.studio"\nstate = "{tmp_path}/state"\n')
    answer = CliRunner().invoke(loraseal, ["up", "--config", str(settings)])
    assert answer.exit_code == 3
    assert "what to do: run: loraseal init" in answer.stderr
