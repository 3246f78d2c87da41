"""From nothing to a registry and to a service: init, doctor, service, keys, fsck."""

from __future__ import annotations

import json
import shutil
import stat
from pathlib import Path

import pytest

from daemon.settings import load_settings
from tests.daemon.registry_on_disk import Registry

pytestmark = pytest.mark.xdist_group("lived")


def init(home: Path, *more: object) -> tuple[object, ...]:
    return (
        *("init", "--yes", "--registry", "test.studio", "--state", home / "state"),
        *("--config", home / "etc" / "loraseal.toml", *more),
    )


def test_init_makes_settings_that_load_keys_and_ledger(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    watched, folder = tmp_path / 'out "odd" \\ name', tmp_path / "stick"
    answer = registry.run(*init(tmp_path, "--watch", watched, "--folder", folder, "--json"))
    body = json.loads(answer.stdout)
    assert (body["schema"], body["made"]) == ("loraseal/init.v1", True)
    settings, paths = load_settings(Path(body["settings"]))
    assert [item.path for item in settings.watch] == [watched]
    assert settings.channels[0].name == "folder"
    assert stat.S_IMODE(paths.state.stat().st_mode) == 0o700
    assert paths.database.exists()
    assert (paths.keys / "root.pem").exists()


def test_init_says_what_comes_next(tmp_path: Path) -> None:
    text = Registry(tmp_path).run(*init(tmp_path)).stdout
    assert "next: loraseal doctor, then: loraseal up" in text
    assert "export-root" in text


def test_dry_run_of_init_makes_nothing(tmp_path: Path) -> None:
    answer = Registry(tmp_path).run(*init(tmp_path, "--dry-run"))
    assert "would be made" in answer.stdout
    assert list(tmp_path.iterdir()) == []


def test_init_twice_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    registry.run(*init(tmp_path))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    answer = registry.run(*init(tmp_path), code=2)
    assert "exist already" in answer.stderr
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_init_over_the_keys_of_another_registry_leaves_no_settings(tmp_path: Path) -> None:
    """So that it can be run again with another state directory."""
    (tmp_path / "state" / "keys").mkdir(parents=True)
    answer = Registry(tmp_path).run(*init(tmp_path), code=2)
    assert "keys are made once" in answer.stderr
    assert not (tmp_path / "etc").exists()
    Registry(tmp_path).run(*init(tmp_path, "--state", tmp_path / "other"))


@pytest.mark.parametrize("name", ["Not Good", "x/y", "", "a" * 80])
def test_init_refuses_a_name_that_is_none(tmp_path: Path, name: str) -> None:
    command = ("init", "--yes", "--registry", name, "--state", tmp_path / "s")
    result = Registry(tmp_path).run(
        *command, "--config", tmp_path / "c.toml", code=2 if name else 0
    )
    if name:
        assert "studio.example" in result.stderr


def test_doctor_of_a_good_registry_exits_0_and_strictly_7(fresh: Registry) -> None:
    answer = fresh.run("doctor", "--config", fresh.settings, "--json")
    body = json.loads(answer.stdout)
    assert body["schema"] == "loraseal/doctor.v1"
    assert body["problems"] == 0
    assert body["warnings"] > 0
    assert len(body["probes"]) >= 10
    assert fresh.run("doctor", "--config", fresh.settings, "--strict", code=7)


def test_doctor_names_what_to_fix_and_exits_7(fresh: Registry) -> None:
    shutil.rmtree(fresh.watched)
    answer = fresh.run("doctor", "--config", fresh.settings, code=7)
    assert "FIX " in answer.stdout
    assert "-> create it or correct the settings" in answer.stdout


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program loraseal on PATH, as an installation has it."""
    import sys

    beside = Path(sys.executable).parent / "loraseal"
    if beside.exists():
        return beside
    found = tmp_path / "bin" / "loraseal"
    found.parent.mkdir()
    found.write_text("#!/bin/sh\n")
    found.chmod(0o755)
    monkeypatch.setenv("PATH", f"{found.parent}:/usr/bin:/bin")
    return found


def install(registry: Registry, target: Path, *more: object) -> tuple[object, ...]:
    return (
        *("service", "install", "--config", registry.settings, "--unit-dir", target / "system"),
        *("--sysusers-dir", target / "sysusers", *more),
    )


def test_dry_run_of_the_service_prints_the_unit_and_writes_nothing(
    fresh: Registry, tmp_path: Path, program: Path
) -> None:
    answer = fresh.run(*install(fresh, tmp_path / "etc", "--dry-run"))
    assert f"ExecStart={program} up --config {fresh.settings}" in answer.stdout
    assert f"ReadOnlyPaths=-{fresh.watched}" in answer.stdout
    assert not (tmp_path / "etc").exists()


@pytest.mark.usefixtures("program")
def test_service_is_written_and_says_how_to_start_it(fresh: Registry, tmp_path: Path) -> None:
    answer = fresh.run(*install(fresh, tmp_path / "etc"))
    unit = tmp_path / "etc" / "system" / "loraseal.service"
    assert "systemctl enable --now loraseal" in answer.stdout
    assert "chown" in answer.stderr
    writable = next(line for line in unit.read_text().splitlines() if line.startswith("ReadWrite"))
    assert str(fresh.home / "state") in writable
    assert str(fresh.stick) in writable
    assert (tmp_path / "etc" / "sysusers" / "loraseal.conf").read_text().startswith("#")


def test_keys_show_prints_what_recipients_pin_and_no_private_key(fresh: Registry) -> None:
    body = json.loads(fresh.run("keys", "show", "--config", fresh.settings, "--json").stdout)
    assert body["schema"] == "loraseal/keys.v1"
    assert len(bytes.fromhex(body["root"])) == 32
    assert len(body["words"].split("-")) == 6
    assert body["root_on_this_machine"] is True
    text = fresh.run("keys", "show", "--config", fresh.settings).stdout
    assert "PRIVATE" not in text


def test_keys_of_no_registry_say_what_to_run(fresh: Registry) -> None:
    shutil.rmtree(fresh.home / "state" / "keys")
    answer = fresh.run("keys", "show", "--config", fresh.settings, code=3)
    assert "what to do: run: loraseal init" in answer.stderr


def test_root_key_is_exported_once(fresh: Registry, tmp_path: Path) -> None:
    fresh.run("keys", "export-root", tmp_path / "root.pem", "--config", fresh.settings)
    answer = fresh.run("status", "--config", fresh.settings, "--json")
    assert json.loads(answer.stdout)["root_key_exported"] is True
    fresh.run("keys", "export-root", tmp_path / "x.pem", "--config", fresh.settings, code=3)


def test_fsck_of_a_good_registry_exits_0(lived: Registry) -> None:
    body = json.loads(lived.run("fsck", "--config", lived.settings, "--json").stdout)
    assert (body["schema"], body["ok"]) == ("loraseal/fsck.v1", True)
    assert all(not check["problems"] for check in body["checks"])


def test_fsck_finds_a_flipped_bit_in_the_vault_and_exits_4(lived: Registry) -> None:
    payload = next((lived.home / "state" / "vault").rglob("*.age"))
    data = payload.read_bytes()
    payload.chmod(0o600)
    payload.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    answer = lived.run("fsck", "--config", lived.settings, code=4)
    assert "FAIL  vault" in answer.stdout


def test_init_that_was_killed_before_its_settings_is_taken_up_again(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    registry.run(*init(tmp_path))
    keys = {path: path.read_bytes() for path in (tmp_path / "state" / "keys").iterdir()}
    settings = tmp_path / "etc" / "loraseal.toml"
    settings.unlink()
    (tmp_path / "state" / "registry.sqlite").unlink()
    registry.run(*init(tmp_path))
    assert settings.exists()
    assert {path: path.read_bytes() for path in (tmp_path / "state" / "keys").iterdir()} == keys
    registry.run("fsck", "--config", settings)


def test_init_does_not_take_over_the_keys_of_another_name(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    registry.run(*init(tmp_path))
    command = ("init", "--yes", "--registry", "other.studio", "--state", tmp_path / "state")
    answer = registry.run(*command, "--config", tmp_path / "new.toml", code=2)
    assert "holds the keys of registry 'test.studio'" in answer.stderr
    assert not (tmp_path / "new.toml").exists()
