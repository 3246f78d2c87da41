"""Settings and catalog: unknown keys are errors, and nothing loads that the settings do not name."""

from __future__ import annotations

from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any

import pytest

from registry.errors import NotFoundError, UsageError
from signal_bridge import catalog
from signal_bridge.channel import Channel
from signal_bridge.folder import FolderChannel
from signal_bridge.settings import (
    FolderSettings,
    PluginSettings,
    SignalSettings,
    load_channels,
    parse_channel,
)
from tests.conformance.channel import NOW


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({}, "'path' as text"),
        ({"path": 5}, "'path' as text"),
        ({"path": "relative"}, "absolute"),
        ({"path": "/x", "typo": 1}, "unknown keys: typo"),
        ({"kind": "signal", "socket": "/s"}, "'outbox'"),
        ({"kind": "signal", "socket": "/s", "outbox": "/o", "parcel_bytes": 0}, "above zero"),
        ({"kind": "signal", "socket": "/s", "outbox": "/o", "send_seconds": True}, "above zero"),
        ({"kind": "signal", "socket": "/s", "outbox": "/o", "call_seconds": "5"}, "above zero"),
        ({"kind": "pigeon", "nested": {}}, "text, number or boolean"),
    ],
)
def test_bad_table_is_refused_with_its_name(table: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        parse_channel("folder", table)
    assert "channel.folder" in str(caught.value)


@pytest.mark.parametrize("name", ["", "A", "a b", "../x", "x" * 40, "-x"])
def test_bad_name_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="name"):
        parse_channel(name, {"kind": "folder", "path": "/x"})


@pytest.mark.parametrize("text", ["x", "[channel]\nfolder = 5", "channel = 5", "\x00"])
def test_bad_file_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "s.toml").write_text(text)
    with pytest.raises(UsageError):
        load_channels(tmp_path / "s.toml")


def test_missing_file_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        load_channels(tmp_path / "none.toml")


def test_tables_are_read_in_order(tmp_path: Path) -> None:
    text = '[channel.stick]\nkind = "folder"\npath = "/a"\n[channel.signal]\n'
    text += (
        'socket = "/s"\noutbox = "/o"\naccount = "+15550100"\n[channel.p]\nkind = "pigeon"\nn = 1\n'
    )
    (tmp_path / "s.toml").write_text(text)
    stick, signal, plugin = load_channels(tmp_path / "s.toml")
    assert stick == FolderSettings("stick", Path("/a"))
    assert isinstance(signal, SignalSettings)
    assert "+1555" not in repr(signal)
    assert plugin == PluginSettings("p", "pigeon", (("n", 1),))
    assert [catalog.kind_of(item) for item in (stick, signal, plugin)] == [
        *("folder", "signal", "pigeon")
    ]


def install(monkeypatch: pytest.MonkeyPatch, *values: str) -> list[str]:
    """Pretend that distributions supply `pigeon`; return what was asked for."""
    asked: list[str] = []

    def found(*, group: str, name: str) -> EntryPoints:
        asked.append(name)
        return EntryPoints(EntryPoint(name, value, group) for value in values)

    monkeypatch.setattr(catalog, "entry_points", found)
    return asked


def not_a_channel(*_: Any, **__: Any) -> object:
    return object()


def open_it(settings: Any, state: Path) -> Channel:
    return catalog.open_channel(settings, state=state, clock=lambda: NOW)


PIGEON = PluginSettings("p", "pigeon", ())


@pytest.mark.parametrize(
    "values", [(), ("a:b", "c:d"), ("tests.signal_bridge.test_settings:not_a_channel",)]
)
def test_plugin_that_is_missing_double_or_no_channel_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, values: tuple[str, ...]
) -> None:
    install(monkeypatch, *values)
    with pytest.raises(UsageError, match="pigeon"):
        open_it(PIGEON, tmp_path)


def test_built_in_channels_load_no_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = install(monkeypatch, "evil:channel")
    assert isinstance(open_it(FolderSettings("folder", tmp_path), tmp_path), FolderChannel)
    assert asked == []


class Pigeon(FolderChannel):
    """A channel that somebody else wrote."""

    def __init__(self, settings: PluginSettings, *, state: Path, clock: Any) -> None:
        super().__init__(FolderSettings(settings.name, state), state=state / "s", clock=clock)


def test_named_plugin_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = install(monkeypatch, f"{Pigeon.__module__}:Pigeon")
    opened = open_it(PIGEON, tmp_path)
    assert type(opened).__name__ == "Pigeon"
    assert set(asked) == {"pigeon"}
