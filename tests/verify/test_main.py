"""`python -m registry.verify`, and the same words through the functions behind it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from registry.errors import FormatError, NotFoundError, UsageError
from registry.verify.__main__ import main
from registry.verify.inputs import Inputs, prepare, read_bounded, read_identities
from tests.verify.world import Delivered, World


class Kit:
    """What a recipient has on the disk."""

    def __init__(self, world: World, made: Delivered, folder: Path) -> None:
        self.folder = folder
        self.sealed, self.bundle = made.write(folder)
        self.identity = folder / "identity.txt"
        self.identity.write_text(made.recipient.identity.to_text() + "\n")
        self.key = folder / "keyset.json"
        self.key.write_bytes(world.keyset_envelope.to_bytes())

    def arguments(self, *more: str) -> list[str]:
        base = [str(self.sealed), "--bundle", str(self.bundle), "--key", str(self.key)]
        return [*base, "-i", str(self.identity), *more]


@pytest.fixture
def fresh() -> World:
    """A registry whose status lists are valid at the time of the test, whenever that is."""
    world = World.make()
    now = datetime.now(UTC)
    return _at(world, now)


def _at(world: World, now: datetime) -> World:
    from dataclasses import replace

    return replace(world, now=now)


@pytest.fixture
def kit(fresh: World, tmp_path: Path) -> Kit:
    return Kit(fresh, fresh.deliver(), tmp_path)


def test_missing_key_is_a_usage_error(kit: Kit) -> None:
    with pytest.raises(SystemExit) as caught:
        main([str(kit.sealed), "--bundle", str(kit.bundle)])
    assert caught.value.code == 2


def test_bad_input_is_said_on_stderr_with_what_to_do(
    kit: Kit, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = [str(kit.sealed), "--bundle", str(kit.bundle), "--key", "nonsense"]
    assert main(wrong) == 2
    captured = capsys.readouterr()
    assert "loraseal: --key 'nonsense' is no file" in captured.err
    assert "what to do:" in captured.err
    assert captured.out == ""
    assert main([*wrong, "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["schema"] == "loraseal/error.v1"
    assert main([str(kit.sealed), "--bundle", "/none", "--key", str(kit.key)]) == 3


def test_tampered_file_has_its_exit_code_and_nothing_is_written(
    kit: Kit, capsys: pytest.CaptureFixture[str]
) -> None:
    data = bytearray(kit.sealed.read_bytes())
    data[-1] ^= 1
    kit.sealed.write_bytes(data)
    assert main(kit.arguments("-o", str(kit.folder / "out"))) == 4
    assert "CHANGED OR DAMAGED: do not use it" in capsys.readouterr().out
    assert not (kit.folder / "out").exists()


def test_good_delivery_is_opened_and_remembered(
    kit: Kit, capsys: pytest.CaptureFixture[str]
) -> None:
    home = kit.folder / "home"
    assert main(kit.arguments("-o", str(kit.folder / "out"), "--home", str(home))) == 0
    assert "GENUINE AND UNCHANGED" in capsys.readouterr().out
    assert len(list((home / "memory").iterdir())) == 1
    assert main(kit.arguments("--json", "--home", str(home), "--strict")) == 0
    assert json.loads(capsys.readouterr().out)["delivery"]["log"]["continues_stored"] is True


def test_fresh_status_list_is_read_from_a_file(
    fresh: World, kit: Kit, capsys: pytest.CaptureFixture[str]
) -> None:
    (kit.folder / "status.json").write_bytes(fresh.signed_status())
    assert main(kit.arguments("--status", str(kit.folder / "status.json"), "--json")) == 0
    assert json.loads(capsys.readouterr().out)["status"]["counter"] == 2


def test_files_that_are_too_long_or_not_there_are_refused(tmp_path: Path) -> None:
    (tmp_path / "long").write_bytes(bytes(11))
    with pytest.raises(FormatError, match="more than 10"):
        read_bounded(tmp_path / "long", 10, what="thing")
    with pytest.raises(NotFoundError):
        read_bounded(tmp_path / "none", 10, what="thing")


def test_passphrase_alone_is_an_identity(tmp_path: Path) -> None:
    (tmp_path / "pass").write_text("correct horse\n")
    assert len(read_identities((), tmp_path / "pass")) == 1
    assert read_identities((), None) == ()
    (tmp_path / "pass").write_text("\n")
    with pytest.raises(UsageError):
        read_identities((), tmp_path / "pass")


def test_inputs_become_a_task(kit: Kit) -> None:
    now = datetime(2026, 11, 21, tzinfo=UTC)
    task = prepare(Inputs(kit.sealed, kit.bundle, str(kit.key), home=kit.folder), now)
    assert task.given.pin.version == 1
    assert task.memory is not None
    assert task.memory.name == f"{task.given.pin.name}.json"
