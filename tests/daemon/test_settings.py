"""Settings: an unknown key is an error that names the key and never a value; the environment wins."""

from __future__ import annotations

from pathlib import Path

import pytest

from daemon.settings import load_settings
from registry.errors import NotFoundError, UsageError

MARK = "s3cret-value"


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "loraseal.toml"
    path.write_text(f'registry = "test.studio"\nstate = "{tmp_path}/state"\n{text}')
    return path


@pytest.mark.parametrize(
    ("text", "key"),
    [
        (f'pasword = "{MARK}"', "pasword"),
        (f'[[watch]]\npath = "/x"\nsettle = "{MARK}"', "watch.0.settle"),
        (f'[audit]\ndevice = "{MARK}"', "audit.device"),
        (f'[[route]]\nto = "Alice"\nchannel = "folder"\nby = "{MARK}"', "route.0.by"),
        (f'[delivery]\nattempts = "{MARK}"', "delivery.attempts"),
        ("[delivery]\nattempts = 0", "delivery.attempts"),
        ("[audit]\nmemory_bytes = 5", "audit.memory_bytes"),
        ("[audit]\ngpu_memory_bytes = 5", "audit.gpu_memory_bytes"),
        ("[audit]\nthreads = 0", "audit.threads"),
        ('[audit]\ndevices = ["tpu"]', "audit.devices.0"),
        ('[audit]\ndevices = ["cpu", "cpu"]', "audit.devices"),
        ('[audit]\ndevices = ["cuda", "cuda:0"]', "audit.devices"),
        ("scan_seconds = -1", "scan_seconds"),
        ('[[watch]]\npath = "/x"\nintermediates = "some"', "watch.0.intermediates"),
        ('[[route]]\nto = "a\\nb"\nchannel = "folder"', "route.0.to"),
    ],
)
def test_wrong_setting_is_named_and_its_value_is_not_repeated(
    tmp_path: Path, text: str, key: str
) -> None:
    with pytest.raises(UsageError) as caught:
        load_settings(written(tmp_path, text))
    assert key in str(caught.value)
    assert MARK not in str(caught.value) + str(caught.value.hint)


@pytest.mark.parametrize(
    "text",
    [
        f'[channel.stick]\nkind = "folder"\npath = "/x"\npasword = "{MARK}"',
        '[channel."Not A Name"]\nkind = "folder"\npath = "/x"',
        '[channel.signal]\nkind = "signal"\nsocket = "/x"',
        '[channel.stick]\nkind = "folder"\npath = "relative"',
    ],
)
def test_wrong_channel_table_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_settings(written(tmp_path, text))
    assert MARK not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["registry = 5", "= nonsense", 'registry = "Not A Name"', "", "\x00"]
)
def test_file_that_is_no_settings_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "loraseal.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"loraseal\.toml"):
        load_settings(path)


def test_missing_settings_say_how_to_make_them(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError) as caught:
        load_settings(tmp_path / "nowhere.toml")
    assert "loraseal init" in str(caught.value.hint)


def test_defaults_are_those_of_the_documentation(tmp_path: Path) -> None:
    settings, paths = load_settings(written(tmp_path, ""))
    assert (settings.watch, settings.route, settings.channels) == ((), (), ())
    assert settings.audit.deaths_allowed == 3
    assert settings.delivery.attempts == 3
    assert paths.state == tmp_path / "state"


@pytest.mark.parametrize(
    ("text", "workers"),
    [
        ("", ("cpu",)),
        ('device = "cuda"', ("cuda",)),
        ('devices = ["cuda:0", "cuda:1", "cpu"]', ("cuda:0", "cuda:1", "cpu")),
        ('device = "cuda"\ndevices = ["cpu"]', ("cpu",)),
    ],
)
def test_every_device_has_one_worker(tmp_path: Path, text: str, workers: tuple[str, ...]) -> None:
    settings, _ = load_settings(written(tmp_path, f"[audit]\n{text}\n"))
    assert settings.audit.workers == workers


def test_environment_overrides_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, "[audit]\nwall_seconds = 900\ndeaths_allowed = 2\n")
    monkeypatch.setenv("LORASEAL_AUDIT__WALL_SECONDS", "60")
    monkeypatch.setenv("LORASEAL_SCAN_SECONDS", "5")
    settings, _ = load_settings(path)
    assert (settings.audit.wall_seconds, settings.audit.deaths_allowed) == (60.0, 2)
    assert settings.scan_seconds == 5.0


def test_wrong_value_in_the_environment_is_named_and_not_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LORASEAL_AUDIT__WALL_SECONDS", MARK)
    with pytest.raises(UsageError) as caught:
        load_settings(written(tmp_path, ""))
    assert "audit.wall_seconds" in str(caught.value)
    assert MARK not in str(caught.value)


def test_settings_do_not_show_what_a_channel_is_told(tmp_path: Path) -> None:
    text = f'[channel.signal]\nkind = "signal"\nsocket = "/x"\noutbox = "/y"\naccount = "{MARK}"'
    settings, _ = load_settings(written(tmp_path, text))
    assert MARK not in repr(settings)
    assert MARK not in repr(settings.channels)


def test_misspelt_setting_is_named_with_the_nearest_one(tmp_path: Path) -> None:
    path = tmp_path / "loraseal.toml"
    path.write_text('registry = "a.b"\n[[watch]]\npath = "/x"\nsettle_second = 3\n')
    with pytest.raises(UsageError, match=r"watch\.0\.settle_second: no such setting") as caught:
        load_settings(path)
    assert caught.value.hint == "did you mean 'settle_seconds'?"
