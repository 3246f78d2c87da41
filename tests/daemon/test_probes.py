"""`doctor`'s probes: each one's good answer and its bad ones, and every bad one says what to do."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.engine import daemon_lock
from daemon.mounts import Hearing
from daemon.probes import doctor, watching
from daemon.probes.answers import Answer, Level
from daemon.probes.doctor import PROBES, probe_all
from daemon.settings import Settings, WatchSettings, load_settings
from registry.settings import RegistryPaths
from tests.daemon.registry_on_disk import Registry, write_adapter

pytestmark = pytest.mark.xdist_group("lived")
BY_NAME = dict(PROBES)


@pytest.fixture
def loaded(fresh: Registry) -> tuple[Settings, RegistryPaths]:
    return load_settings(fresh.settings)


def answers(name: str, settings: Settings, paths: RegistryPaths) -> list[Answer]:
    return list(BY_NAME[name](settings, paths))


def levels(name: str, settings: Settings, paths: RegistryPaths) -> list[Level]:
    found = answers(name, settings, paths)
    assert all(answer.advice for answer in found if answer.level is not Level.OK), found
    return [answer.level for answer in found]


def test_there_are_ten_probes_at_least() -> None:
    assert len(PROBES) >= 10


def test_fresh_registry_has_nothing_to_fix(loaded: tuple[Settings, RegistryPaths]) -> None:
    found = list(probe_all(*loaded))
    assert {answer.probe for answer in found if answer.level is Level.PROBLEM} <= {"disk"}
    assert {"root key", "daemon"} <= {
        answer.probe for answer in found if answer.level is Level.WARNING
    }


def test_probe_that_breaks_says_so_and_the_others_go_on(
    loaded: tuple[Settings, RegistryPaths], monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(_settings: Settings, _paths: RegistryPaths) -> Iterator[Answer]:
        raise PermissionError(13, "Permission denied", "/somewhere")

    monkeypatch.setattr(doctor, "PROBES", (("first", breaks), *PROBES))
    found = list(probe_all(*loaded))
    assert (found[0].probe, found[0].level) == ("first", Level.PROBLEM)
    assert found[0].advice
    assert len(found) > len(PROBES) - 1


def test_settings_that_watch_nothing(loaded: tuple[Settings, RegistryPaths]) -> None:
    settings, paths = loaded
    assert levels("settings", settings, paths) == [Level.OK]
    nothing = settings.model_copy(update={"watch": ()})
    assert levels("settings", nothing, paths) == [Level.WARNING]


def test_packages_old_or_missing(
    loaded: tuple[Settings, RegistryPaths], monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.metadata
    import importlib.util

    pytest.importorskip("torch")
    assert levels("packages", *loaded) == [Level.OK, Level.OK]
    monkeypatch.setattr(importlib.metadata, "version", lambda _name: "43.0.1")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    assert levels("packages", *loaded) == [Level.PROBLEM, Level.PROBLEM]


def test_state_missing_or_open_to_others(loaded: tuple[Settings, RegistryPaths]) -> None:
    settings, paths = loaded
    assert levels("state", settings, paths) == [Level.OK]
    paths.state.chmod(0o750)
    assert levels("state", settings, paths) == [Level.PROBLEM]
    shutil.rmtree(paths.state)
    assert levels("state", settings, paths) == [Level.PROBLEM]


@pytest.mark.parametrize(
    ("gibibytes", "level"), [(1, Level.PROBLEM), (10, Level.WARNING), (100, Level.OK)]
)
def test_disk_with_little_room(
    loaded: tuple[Settings, RegistryPaths],
    monkeypatch: pytest.MonkeyPatch,
    gibibytes: int,
    level: Level,
) -> None:
    usage = shutil.disk_usage("/")._replace(free=gibibytes * 1024**3)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage)
    assert levels("disk", *loaded) == [level]


def test_keys_missing_loose_and_root_exported(loaded: tuple[Settings, RegistryPaths]) -> None:
    settings, paths = loaded
    assert levels("keys", settings, paths) == [Level.OK, Level.WARNING]
    (paths.keys / "root.pem").unlink()
    assert levels("keys", settings, paths) == [Level.OK, Level.OK]
    (paths.keys / "host.pem").chmod(0o644)
    assert levels("keys", settings, paths) == [Level.PROBLEM, Level.OK]
    (paths.keys / "host.pem").unlink()
    assert levels("keys", settings, paths) == [Level.PROBLEM]


def test_root_key_that_others_can_read_is_a_problem(
    loaded: tuple[Settings, RegistryPaths],
) -> None:
    settings, paths = loaded
    (paths.keys / "root.pem").chmod(0o644)
    assert Level.PROBLEM in levels("keys", settings, paths)


def test_ledger_missing_damaged_or_old(loaded: tuple[Settings, RegistryPaths]) -> None:
    from registry.provenance.database import open_database
    from registry.provenance.migration import downgrade

    settings, paths = loaded
    assert levels("ledger", settings, paths) == [Level.OK]
    base = open_database(paths.database)
    downgrade(base, "0001")
    base.dispose()
    assert levels("ledger", settings, paths) == [Level.WARNING]
    paths.database.unlink()
    assert levels("ledger", settings, paths) == [Level.PROBLEM]


def test_ledger_that_is_no_database(loaded: tuple[Settings, RegistryPaths]) -> None:
    _, paths = loaded
    for path in paths.state.glob("registry.sqlite*"):
        path.write_bytes(b"no database at all, " * 500)
    found = [answer for answer in probe_all(*loaded) if answer.probe == "ledger"]
    assert [answer.level for answer in found] == [Level.PROBLEM]
    assert found[0].advice


def test_watched_folder_missing_or_a_file(
    loaded: tuple[Settings, RegistryPaths], tmp_path: Path
) -> None:
    settings, paths = loaded
    assert Level.PROBLEM not in levels("watch", settings, paths)
    (tmp_path / "file").write_text("x")
    bad = (WatchSettings(path=tmp_path / "none"), WatchSettings(path=tmp_path / "file"))
    wrong = settings.model_copy(update={"watch": bad})
    assert levels("watch", wrong, paths) == [Level.PROBLEM, Level.PROBLEM]


def test_watched_folder_that_this_user_cannot_read(
    loaded: tuple[Settings, RegistryPaths], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda _path, _mode: False)
    (answer,) = answers("watch", *loaded)
    assert answer.level is Level.PROBLEM
    assert "trainer's user" in answer.advice


def test_watched_folder_that_tells_of_no_changes(
    loaded: tuple[Settings, RegistryPaths], monkeypatch: pytest.MonkeyPatch
) -> None:
    for hearing, level in ((Hearing.NONE, Level.WARNING), (Hearing.PARTIAL, Level.WARNING)):
        monkeypatch.setattr(watching, "hearing_of", lambda _path, found=hearing: (found, "nfs4"))
        assert levels("watch", *loaded) == [level]
    monkeypatch.setattr(watching, "hearing_of", lambda _path: (Hearing.FULL, "ext4"))
    assert levels("watch", *loaded) == [Level.OK]


@pytest.mark.parametrize(
    ("watches", "running", "expected"),
    [
        ("524288\n", False, [Level.OK, Level.OK]),
        ("2", False, [Level.OK, Level.WARNING]),
        ("0", True, [Level.OK, Level.WARNING]),
        ("many", False, [Level.OK]),
        (None, False, [Level.OK]),
    ],
)
def test_inotify_limits(
    loaded: tuple[Settings, RegistryPaths],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    watches: str | None,
    running: bool,
    expected: list[Level],
) -> None:
    settings, paths = loaded
    sysctls = tmp_path / "proc" / "sys" / "fs" / "inotify"
    sysctls.mkdir(parents=True)
    (sysctls / "max_user_instances").write_text("128\n")
    if watches is not None:
        (sysctls / "max_user_watches").write_text(watches)
    for name in ("a", "b", "a/c"):
        (settings.watch[0].path / name).mkdir()
    monkeypatch.setattr(watching, "PROC", tmp_path / "proc")
    monkeypatch.setattr(watching, "hearing_of", lambda _path: (Hearing.FULL, "ext4"))
    with daemon_lock(paths.lock) if running else contextlib.nullcontext():
        assert levels("inotify", *loaded) == expected
        found = answers("inotify", *loaded)
    for answer in found:
        if answer.level is Level.WARNING:
            assert "4 needed" in answer.found
            assert "sysctl fs.inotify.max_user_watches=524288" in answer.advice


def test_inotify_limits_unknown(
    loaded: tuple[Settings, RegistryPaths], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "PROC", tmp_path)
    assert levels("inotify", *loaded) == [Level.WARNING]


def test_daemon_running_or_not(loaded: tuple[Settings, RegistryPaths]) -> None:
    _, paths = loaded
    assert levels("daemon", *loaded) == [Level.WARNING]
    with daemon_lock(paths.lock):
        assert levels("daemon", *loaded) == [Level.OK]


def test_channels_absent_ready_or_gone(
    loaded: tuple[Settings, RegistryPaths], fresh: Registry
) -> None:
    settings, paths = loaded
    assert levels("channels", settings, paths) == [Level.OK]
    fresh.stick.rename(fresh.home / "pulled-out")
    assert levels("channels", settings, paths) == [Level.PROBLEM]
    none = settings.model_copy(update={"channel": {}})
    assert levels("channels", none, paths) == [Level.WARNING]


def test_routes_to_nobody_or_by_no_channel(loaded: tuple[Settings, RegistryPaths]) -> None:
    settings, paths = loaded
    assert levels("routes", settings, paths) == [Level.OK]
    assert levels("routes", settings.model_copy(update={"route": ()}), paths) == [Level.WARNING]
    (route,) = settings.route
    for change in ({"to": "Nobody"}, {"channel": "pigeon"}):
        wrong = settings.model_copy(update={"route": (route.model_copy(update=change),)})
        assert levels("routes", wrong, paths) == [Level.PROBLEM], change


def test_route_finds_its_recipient_whatever_the_case(
    loaded: tuple[Settings, RegistryPaths],
) -> None:
    """As the pipeline does."""
    settings, paths = loaded
    (route,) = settings.route
    lower = settings.model_copy(update={"route": (route.model_copy(update={"to": "alice"}),)})
    assert levels("routes", lower, paths) == [Level.OK]


def test_no_probe_changes_anything(loaded: tuple[Settings, RegistryPaths]) -> None:
    _, paths = loaded

    def contents() -> dict[str, bytes]:
        found = {}
        for path in sorted(paths.state.rglob("*")):
            with contextlib.suppress(OSError):
                if path.is_file() and not path.name.startswith("registry.sqlite"):
                    found[str(path)] = path.read_bytes()
        return found

    list(probe_all(*loaded))  # the channel makes its mark on first use
    before = contents()
    list(probe_all(*loaded))
    assert contents() == before


def test_trainer_that_writes_no_result_is_named_with_what_to_set(lived: Registry) -> None:
    folder = lived.watched / "checkpoint-100"
    folder.mkdir()
    write_adapter(folder / "lora.safetensors")
    found = lived.run("status", "--config", lived.settings).output
    assert "1 intermediate saves" in found
    assert 'intermediates = "last"' in found
    text = lived.settings.read_text()
    lived.settings.write_text(text.replace('intermediates = "none"', 'intermediates = "last"'))
    assert "intermediate saves" not in lived.run("status", "--config", lived.settings).output
