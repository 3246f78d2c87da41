"""`loraseal channel`: list the channels, check them, help where a channel needs a person."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from registry.cli.output import emit, guarded, json_option
from registry.errors import HumanNeededError, LorasealError, NotFoundError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from signal_bridge.channel import Channel, ChannelStatus
    from signal_bridge.settings import ChannelSettings
    from signal_bridge.signal_cli import SignalChannel

config_option = click.option(
    "--config", type=click.Path(path_type=Path), help="Settings file (else the usual places)."
)


@click.group()
def channel() -> None:
    """Look at the channels."""


@channel.command("list")
@config_option
@json_option
@guarded
def list_command(config: Path | None, as_json: bool) -> None:
    """List the channels that the settings name."""
    from signal_bridge.catalog import kind_of, supplier_of

    rows = [(item.name, kind_of(item), supplier_of(item)) for item in _settings(config)[0]]
    listed = [{"name": name, "kind": kind, "supplier": supplier} for name, kind, supplier in rows]
    human = "\n".join(f"{name:16} {kind:10} {supplier}" for name, kind, supplier in rows)
    emit(
        {"schema": "loraseal/channels.v1", "channels": listed},
        as_json=as_json,
        human=human
        or "no channel is set: add [channel.folder] or [channel.signal] to the settings",
    )


@channel.command("status")
@config_option
@json_option
@guarded
def status_command(config: Path | None, as_json: bool) -> None:
    """Check every channel and say how it stands; always exits 0."""
    statuses = []
    for settings in _settings(config)[0]:
        with _opened(config, settings.name) as opened:
            statuses.append(opened.check())
    emit(
        {"schema": "loraseal/channel-status.v1", "channels": [_row(item) for item in statuses]},
        as_json=as_json,
        human="\n".join(_line(item) for item in statuses) or "no channel is set",
    )


@channel.command("check")
@click.argument("name")
@config_option
@json_option
@guarded
def check_command(name: str, config: Path | None, as_json: bool) -> None:
    """Check one channel; exits 15 if it needs a person, 1 if it does not answer."""
    from signal_bridge.channel import Health

    with _opened(config, name) as opened:
        status = opened.check()
    if status.health is Health.NEEDS_PERSON:
        raise HumanNeededError(f"{name}: {status.message}", hint=status.what_to_do)
    if not status.ok:
        raise LorasealError(f"{name}: {status.message}", hint=status.what_to_do)
    emit(
        {"schema": "loraseal/channel-check.v1", **_row(status)},
        as_json=as_json,
        human=_line(status),
    )


@channel.command("contact")
@click.argument("name")
@click.option("--who", prompt="Phone number or account id", help="Asked for if left out.")
@config_option
@json_option
@guarded
def contact_command(name: str, who: str, config: Path | None, as_json: bool) -> None:
    """Show a Signal contact's account id and safety number, to compare and to pin."""
    with _signal(config, name) as opened:
        found = opened.find_contact(who)
    if found is None:
        raise NotFoundError(
            "signal-cli knows no identity key of that contact",
            hint="write them a first message in Signal, or let them write to you",
        )
    number = found.safety_number
    groups = " ".join(number[at : at + 5] for at in range(0, len(number), 5))
    body = {"account_id": found.uuid, "safety_number": number, "fingerprint": found.fingerprint}
    emit(
        {"schema": "loraseal/signal-contact.v1", **body, "trust": found.trust},
        as_json=as_json,
        human=f"account id     {found.uuid}\nsafety number  {groups}\ntrust          {found.trust}",
    )


@channel.command("challenge")
@click.argument("name")
@click.option("--captcha", prompt="Solved captcha (signalcaptcha://...)", hide_input=True)
@config_option
@json_option
@guarded
def challenge_command(name: str, captcha: str, config: Path | None, as_json: bool) -> None:
    """Hand in the captcha that Signal asked this account for."""
    with _signal(config, name) as opened:
        opened.answer_challenge(captcha)
    emit(
        {"schema": "loraseal/channel-challenge.v1", "channel": name, "solved": True},
        as_json=as_json,
        human="solved: the account may send again",
    )


def _settings(config: Path | None) -> tuple[tuple[ChannelSettings, ...], Path]:
    """Return what the settings file says of channels, and the directory of their states."""
    from registry.settings import load_paths
    from signal_bridge.settings import load_channels

    paths = load_paths(config)
    return load_channels(paths.settings), paths.state / "channels"


@contextlib.contextmanager
def _opened(config: Path | None, name: str) -> Iterator[Channel]:
    from signal_bridge.catalog import open_channel

    known, states = _settings(config)
    chosen = next((item for item in known if item.name == name), None)
    if chosen is None:
        names = ", ".join(item.name for item in known) or "none"
        raise NotFoundError(f"no channel {name!r} in the settings (there are: {names})")
    opened = open_channel(chosen, state=states / name, clock=lambda: datetime.now(UTC))
    with contextlib.closing(opened):
        yield opened


@contextlib.contextmanager
def _signal(config: Path | None, name: str) -> Iterator[SignalChannel]:
    from signal_bridge.signal_cli import SignalChannel

    with _opened(config, name) as opened:
        if not isinstance(opened, SignalChannel):
            raise UsageError(f"channel {name!r} is not a Signal channel")
        yield opened


def _row(status: ChannelStatus) -> dict[str, object]:
    return {
        "channel": status.channel,
        "health": status.health.value,
        "message": status.message,
        "what_to_do": status.what_to_do,
        "facts": dict(status.facts),
    }


def _line(status: ChannelStatus) -> str:
    advice = f"\n  what to do: {status.what_to_do}" if status.what_to_do else ""
    return f"{status.channel:16} {status.health.value:13} {status.message}{advice}"
