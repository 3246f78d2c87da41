"""Which channels there are: a literal table, and plug-ins only where the settings name them."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import TYPE_CHECKING, assert_never

from registry.errors import UsageError
from signal_bridge.channel import Channel
from signal_bridge.folder import FolderChannel
from signal_bridge.settings import FolderSettings, PluginSettings, SignalSettings
from signal_bridge.signal_cli import SignalChannel

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path

    from signal_bridge.settings import ChannelSettings

PLUGIN_GROUP = "loraseal.channels"
BUILT_IN_KINDS = ("folder", "signal")


def kind_of(settings: ChannelSettings) -> str:
    """Return the kind of channel that settings describe."""
    match settings:
        case FolderSettings():
            return "folder"
        case SignalSettings():
            return "signal"
        case PluginSettings():
            return settings.kind
        case _:
            assert_never(settings)


def open_channel(
    settings: ChannelSettings, *, state: Path, clock: Callable[[], datetime]
) -> Channel:
    """Return the channel that settings describe, with its own directory `state`. Connects to nothing.

    A plug-in's entry point is called with the same arguments and must return a `Channel`.

    Raises:
        UsageError: no such plug-in, or it gives no `Channel`.
        FormatError, OSError: the channel's journal in `state` is damaged or cannot be used.
    """
    match settings:
        case FolderSettings():
            return FolderChannel(settings, state=state, clock=clock)
        case SignalSettings():
            return SignalChannel(settings, state=state, clock=clock)
        case PluginSettings():
            return _open_plugin(settings, state, clock)
        case _:
            assert_never(settings)


def supplier_of(settings: ChannelSettings) -> str:
    """Return the distribution that a channel comes from, with its version, for reports.

    Raises:
        UsageError: no installed distribution supplies that kind.
    """
    if not isinstance(settings, PluginSettings):
        return "loraseal"
    found = entry_points(group=PLUGIN_GROUP, name=settings.kind)
    if not found:
        raise _unknown(settings.kind)
    distribution = next(iter(found)).dist
    return "unknown" if distribution is None else f"{distribution.name} {distribution.version}"


def _open_plugin(settings: PluginSettings, state: Path, clock: Callable[[], datetime]) -> Channel:
    found = entry_points(group=PLUGIN_GROUP, name=settings.kind)
    if len(found) != 1:
        raise _unknown(settings.kind)
    channel = next(iter(found)).load()(settings, state=state, clock=clock)
    if not isinstance(channel, Channel):
        raise UsageError(f"the plug-in {settings.kind!r} gives no channel", hint="ask its makers")
    return channel


def _unknown(kind: str) -> UsageError:
    return UsageError(
        f"no channel kind {kind!r}: built in are {', '.join(BUILT_IN_KINDS)}",
        hint=f"install exactly one distribution with an entry point {kind!r} in {PLUGIN_GROUP}",
    )
