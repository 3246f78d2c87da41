"""The command table: every command is listed, loads, helps, and speaks JSON also when it fails."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from daemon.cli.root import COMMANDS, SECTIONS, loraseal
from registry.sealing.identities import X25519Identity

HEAVY = ("torch", "numpy", "sqlalchemy", "alembic", "dbos", "pydantic", "watchdog", "rich", "nacl")


def commands() -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yield every command, those of groups too, with the words that call it."""
    context = click.Context(loraseal)
    open_ones = [((name,), loraseal.get_command(context, name)) for name in COMMANDS]
    while open_ones:
        path, command = open_ones.pop(0)
        assert command is not None
        yield path, command
        if isinstance(command, click.Group):
            open_ones += [((*path, name), sub) for name, sub in command.commands.items()]


ALL = {" ".join(path): command for path, command in commands()}
LEAVES = {name: command for name, command in ALL.items() if not isinstance(command, click.Group)}
WITH_JSON = {
    name: command
    for name, command in LEAVES.items()
    if any("--json" in parameter.opts for parameter in command.params)
}


def test_help_lists_every_command_in_a_section() -> None:
    result = CliRunner().invoke(loraseal, ["--help"])
    assert result.exit_code == 0
    for title, table in SECTIONS.items():
        assert f"{title}:" in result.stdout
        for name, (_, words) in table.items():
            assert f"  {name}" in result.stdout
            assert words in result.stdout


def test_daily_commands_of_the_design_are_there() -> None:
    daily = (
        "init up status ls show trace verify open release revoke deliver log doctor enrol receipt"
    )
    assert set(daily.split()) <= set(COMMANDS)


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom daemon.cli.root import loraseal\n"
        "try:\n    loraseal(['--help'], prog_name='loraseal')\nexcept SystemExit as end:\n"
        "    assert end.code == 0\n"
        f"print(sorted(set({HEAVY!r}) & set(sys.modules)), file=sys.stderr)"
    )
    root = Path(__file__).resolve().parents[2]
    ended = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=root
    )
    assert ended.stderr.strip() == "[]"


@pytest.mark.parametrize("name", sorted(ALL))
def test_every_command_loads_and_helps(name: str) -> None:
    result = CliRunner().invoke(loraseal, [*name.split(), "--help"])
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("Usage: ")
    assert ALL[name].help


@pytest.mark.parametrize("name", sorted(set(LEAVES) - {"up"}))
def test_every_command_but_the_daemon_speaks_json(name: str) -> None:
    assert name in WITH_JSON


def failing(name: str, tmp_path: Path) -> list[str]:
    """Return a call of `name` whose required values are all given and none of them is good."""
    command, words = WITH_JSON[name], [*name.split(), "--json"]
    for parameter in command.params:
        if isinstance(parameter, click.Argument):
            words.append(str(tmp_path / "nothing-here"))
        elif "--config" in parameter.opts:
            words += ["--config", str(tmp_path / "none.toml")]
        elif parameter.required or parameter.prompt:  # type: ignore[attr-defined] # an option's
            words += [parameter.opts[-1], "x"]
    return words


# What makes something of nothing: it cannot fail on a missing settings file.
_MAKES = {"init", "enrol"}


@pytest.mark.parametrize("name", sorted(set(WITH_JSON) - _MAKES))
def test_error_is_one_json_object_with_its_exit_code(name: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(loraseal, failing(name, tmp_path))
    answer = json.loads(result.stdout)
    assert answer["schema"] in {"loraseal/error.v1", "loraseal/verify.v1"}, result.stdout
    assert result.exit_code == answer["exit"] != 0
    assert "Traceback" not in result.output
    assert result.stderr.startswith("loraseal: ")


@pytest.mark.parametrize(
    "line", [["release", "--json"], ["nonsense", "--json"], ["ls", "--json", "--odd"]]
)
def test_usage_error_is_json_too(line: list[str]) -> None:
    result = CliRunner().invoke(loraseal, line)
    assert result.exit_code == 2
    answer = json.loads(result.stdout)
    assert (answer["schema"], answer["exit"]) == ("loraseal/error.v1", 2)
    assert "Usage:" in result.stderr


def test_usage_error_without_json_leaves_stdout_empty() -> None:
    result = CliRunner().invoke(loraseal, ["release"])
    assert (result.exit_code, result.stdout) == (2, "")


@pytest.mark.parametrize("name", ["ls", "up", "status"])
def test_missing_package_of_an_extra_is_a_hint_and_no_traceback(name: str) -> None:
    """As on a base install: SQLAlchemy and the settings library are not there."""
    code = (
        "import sys\nfor name in ('sqlalchemy', 'pydantic', 'pydantic_settings'):\n"
        "    sys.modules[name] = None\nfrom daemon.cli.root import loraseal\n"
        f"loraseal([{name!r}], prog_name='loraseal')"
    )
    root = Path(__file__).resolve().parents[2]
    ended = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, cwd=root
    )
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    assert "loraseal[host]" in ended.stderr


def test_version_of_a_checkout_that_is_not_installed_is_unknown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def none_installed(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("daemon.cli.root.metadata.version", none_installed)
    answer = CliRunner().invoke(loraseal, ["--version"])
    assert (answer.exit_code, answer.stdout) == (0, "loraseal, version unknown\n")


def test_ended_by_a_signal_leaves_nothing_half_written(tmp_path: Path) -> None:
    """SIGTERM comes from service managers and closed sessions, in the midst of a file."""
    script = (
        "import os, signal, sys\n"
        "from daemon.cli import main\n"
        "from registry.durable import PendingFile\n"
        "PendingFile.settle = lambda self: os.kill(os.getpid(), signal.SIGTERM)\n"
        "main()\n"
    )
    plain, recipient = tmp_path / "a", str(X25519Identity.generate().recipient())
    plain.write_bytes(b"weights")
    command = ("seal", plain, "-r", recipient, "-o", tmp_path / "a.age")
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, command)], check=False, capture_output=True
    )
    assert done.returncode == 128 + signal.SIGTERM, done.stderr
    assert list(tmp_path.iterdir()) == [plain]
