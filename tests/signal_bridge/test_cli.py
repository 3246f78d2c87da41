"""`loraseal channel`: what it prints and the exit codes it ends with."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from signal_bridge.cli import channel
from tests.simulators.signal_cli import SignalSimulator
from tests.simulators.signal_world import World


@pytest.fixture
def simulator(tmp_path: Path) -> Iterator[SignalSimulator]:
    with SignalSimulator(tmp_path / "socket", world=World()) as running:
        yield running


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "stick").mkdir()
    path = tmp_path / "loraseal.toml"
    path.write_text(
        f'registry = "studio.example"\nstate = "{tmp_path}/state"\n'
        f'[channel.folder]\npath = "{tmp_path}/stick"\n'
        f'[channel.signal]\nsocket = "{tmp_path}/socket"\noutbox = "{tmp_path}/outbox"\n'
    )
    return path


def run(config: Path, *words: str, asked: str | None = None) -> Result:
    return CliRunner().invoke(channel, [*words, "--config", str(config)], input=asked)


def body(result: Result) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return found


def test_channel_that_is_not_set_is_not_found(config: Path) -> None:
    result = run(config, "check", "pigeon")
    assert result.exit_code == 3
    assert "folder, signal" in result.stderr


def test_dead_daemon_fails_the_check_with_what_to_do(config: Path) -> None:
    result = run(config, "check", "signal", "--json")
    assert result.exit_code == 1
    assert body(result)["hint"]


def test_old_release_needs_a_person(config: Path, simulator: SignalSimulator) -> None:
    simulator.world.version = "0.13.0"
    result = run(config, "check", "signal")
    assert result.exit_code == 15
    assert "upgrade" in result.stderr


def test_contact_of_a_folder_is_a_usage_error(config: Path) -> None:
    assert run(config, "contact", "folder", "--who", "x").exit_code == 2


def test_unknown_contact_is_not_found(config: Path, simulator: SignalSimulator) -> None:
    assert run(config, "contact", "signal", "--who", "+15559999").exit_code == 3


def test_challenge_that_nobody_asked_for_is_not_found(
    config: Path, simulator: SignalSimulator
) -> None:
    result = run(config, "challenge", "signal", "--captcha", "x")
    assert result.exit_code == 3
    assert simulator.world.captchas == []


def test_list_names_every_channel(config: Path) -> None:
    listed = body(run(config, "list", "--json"))
    assert listed["schema"] == "loraseal/channels.v1"
    assert [(c["name"], c["kind"]) for c in listed["channels"]] == [
        ("folder", "folder"),
        ("signal", "signal"),
    ]
    assert "signal" in run(config, "list").stdout


def test_status_tells_of_each_and_exits_0(config: Path, simulator: SignalSimulator) -> None:
    states = {c["channel"]: c["health"] for c in body(run(config, "status", "--json"))["channels"]}
    assert states == {"folder": "ready", "signal": "ready"}
    simulator.stop()
    result = run(config, "status")
    assert result.exit_code == 0
    assert "what to do" in result.stdout


def test_check_says_which_release_answered(config: Path, simulator: SignalSimulator) -> None:
    assert body(run(config, "check", "signal", "--json"))["facts"] == {"signal-cli": "0.14.7"}


def test_contact_shows_what_to_compare(config: Path, simulator: SignalSimulator) -> None:
    contact = simulator.world.contacts[0]
    result = run(config, "contact", "signal", "--json", asked=f"{contact.number}\n")
    found = body(result)
    assert found["account_id"] == contact.uuid
    assert found["safety_number"] == contact.safety_number
