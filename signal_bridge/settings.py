"""Settings of channels: TOML tables `[channel.NAME]`, each with a `kind`; an unknown key is an error.

[channel.usb]
kind = "folder"
folder = "/media/outbox"

[channel.signal]
kind = "signal"
socket = "/run/loraseal-signal/socket"
outbox = "/var/lib/loraseal-signal/outbox"
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from registry.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
SETTINGS_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class FolderSettings:
    """An air-gap folder: `path` must exist (a mounted stick, a share)."""

    name: str
    path: Path


@dataclass(frozen=True, slots=True)
class SignalSettings:
    """A signal-cli daemon started with `-a` on a unix socket.

    `outbox` is a directory that the daemon can read and that lies outside its own `data` directory;
    `account` is only needed where the daemon serves several: what comes in for others is dropped.
    `attachments` is where it puts received files, None where it runs with --ignore-attachments.
    A send may take `send_seconds` plus one second for every `bytes_per_second` of its parcel.
    """

    name: str
    socket: Path
    outbox: Path
    account: str | None = field(default=None, repr=False)
    attachments: Path | None = None
    parcel_bytes: int = 95 * 1024 * 1024
    connect_seconds: int = 10
    call_seconds: int = 30
    send_seconds: int = 120
    bytes_per_second: int = 50_000


@dataclass(frozen=True, slots=True)
class PluginSettings:
    """A channel that another distribution supplies under the entry point `kind`."""

    name: str
    kind: str
    options: tuple[tuple[str, str | int | bool], ...]


ChannelSettings: TypeAlias = FolderSettings | SignalSettings | PluginSettings


def parse_channel(name: str, table: Mapping[str, object]) -> ChannelSettings:
    """Return the settings in one table `[channel.<name>]`.

    Raises:
        UsageError: a bad name, a missing or unknown key, a value of the wrong type.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(f"channel name {name!r} must be lower-case letters, digits and dashes")
    reader = _Reader(name, table)
    kind = reader.optional_text("kind") or name
    if kind == "folder":
        settings: ChannelSettings = FolderSettings(name, reader.path("path"))
    elif kind == "signal":
        settings = _parse_signal(name, reader)
    else:
        return PluginSettings(name, kind, reader.rest())
    reader.refuse_rest()
    return settings


def parse_channels(tables: Mapping[str, object]) -> tuple[ChannelSettings, ...]:
    """Return the settings of every table under `[channel]`, in the order of the file.

    Raises:
        UsageError: as `parse_channel`, or an entry that is no table.
    """
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise UsageError(f"[channel] holds {name!r}, which is not a table")
    return tuple(parse_channel(n, t) for n, t in tables.items() if isinstance(t, dict))


def load_channels(config: Path) -> tuple[ChannelSettings, ...]:
    """Return the channels that a settings file names.

    Raises:
        NotFoundError: there is no such file.
        UsageError: it is not TOML, or as `parse_channel`.
    """
    try:
        if config.stat().st_size > SETTINGS_BYTES:
            raise UsageError(f"{config} has more than {SETTINGS_BYTES} bytes")
        tables = tomllib.loads(config.read_text("utf-8")).get("channel", {})
    except FileNotFoundError as error:
        hint = "run `loraseal init`, or name the file with --config"
        raise NotFoundError(f"no settings file {config}", hint=hint) from error
    except ValueError as error:
        raise UsageError(f"{config} is not TOML: {error}") from error
    if not isinstance(tables, dict):
        raise UsageError("[channel] is not a table")
    return parse_channels(tables)


def _parse_signal(name: str, reader: _Reader) -> SignalSettings:
    standard = SignalSettings(name, reader.path("socket"), reader.path("outbox"))
    return SignalSettings(
        name,
        standard.socket,
        standard.outbox,
        account=reader.optional_text("account"),
        attachments=reader.optional_path("attachments"),
        parcel_bytes=reader.integer("parcel_bytes", standard.parcel_bytes),
        connect_seconds=reader.integer("connect_seconds", standard.connect_seconds),
        call_seconds=reader.integer("call_seconds", standard.call_seconds),
        send_seconds=reader.integer("send_seconds", standard.send_seconds),
        bytes_per_second=reader.integer("bytes_per_second", standard.bytes_per_second),
    )


class _Reader:
    """Takes keys out of one table; what is left at the end was not known."""

    def __init__(self, name: str, table: Mapping[str, object]) -> None:
        self._name = name
        self._left = dict(table)

    def text(self, key: str) -> str:
        value = self._left.pop(key, None)
        if not isinstance(value, str) or not value:
            raise UsageError(f"[channel.{self._name}] needs {key!r} as text")
        return value

    def path(self, key: str) -> Path:
        path = Path(self.text(key)).expanduser()
        if not path.is_absolute():
            raise UsageError(f"[channel.{self._name}] {key!r} must be an absolute path")
        return path

    def optional_text(self, key: str) -> str | None:
        return self.text(key) if key in self._left else None

    def optional_path(self, key: str) -> Path | None:
        return self.path(key) if key in self._left else None

    def integer(self, key: str, standard: int) -> int:
        value = self._left.pop(key, standard)
        if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
            raise UsageError(f"[channel.{self._name}] {key!r} must be a whole number above zero")
        return value

    def rest(self) -> tuple[tuple[str, str | int | bool], ...]:
        for key, value in self._left.items():
            if not isinstance(value, str | int | bool):
                raise UsageError(f"[channel.{self._name}] {key!r} must be text, number or boolean")
        return tuple((k, v) for k, v in self._left.items() if isinstance(v, str | int | bool))

    def refuse_rest(self) -> None:
        if self._left:
            unknown = ", ".join(sorted(self._left))
            raise UsageError(f"[channel.{self._name}] has unknown keys: {unknown}")
