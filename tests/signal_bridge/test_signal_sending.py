"""Every answer of signal-cli to a send, and every way to get none."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from registry.errors import HumanNeededError, NotFoundError
from signal_bridge.channel import (
    Accepted,
    Fate,
    Health,
    Refused,
    Retry,
    Unknown,
)
from signal_bridge.settings import SignalSettings
from signal_bridge.signal_cli import SignalChannel
from tests.conformance.channel import DELIVERY, OTHER, Rig
from tests.signal_bridge.signal_rig import Clock, first, sends
from tests.simulators.signal_world import Cut, Script, World

# Every answer of the daemon.

LATER, HUMAN, NEVER = Retry.LATER, Retry.HUMAN, Retry.NEVER
UPLOAD = "Failed to send message: {} (UnexpectedErrorException)"


@pytest.mark.parametrize(
    ("script", "retry", "seconds"),
    [
        (Script(results=("IDENTITY_FAILURE",)), HUMAN, None),
        (Script(results=("UNREGISTERED_FAILURE",)), LATER, 21_600),
        (Script(results=("INVALID_PRE_KEY_FAILURE",)), LATER, 21_600),
        (Script(results=("RATE_LIMIT_FAILURE",)), LATER, 60),
        (
            Script(results=({"type": "RATE_LIMIT_FAILURE", "retryAfterSeconds": 77},)),
            LATER,
            77,
        ),
        (Script(results=({"type": "RATE_LIMIT_FAILURE", "retryAfterSeconds": -1},)), LATER, 60),
        (Script(results=()), LATER, 60),
        (Script(error=(-1, "No recipients given")), NEVER, None),
        (Script(error=(-4, "Failed to send message due to untrusted identities")), HUMAN, None),
        (Script(error=(-5, "Failed to send message due to rate limiting")), LATER, 60),
        (Script(error=(-6, "captcha")), HUMAN, None),
        (Script(error=(-32602, "Specified account does not exist")), HUMAN, None),
        (Script(error=(-32601, "Method not implemented")), NEVER, None),
        (Script(error=(-32603, UPLOAD.format("/x: [413] Bad response (Y)"))), NEVER, None),
        (Script(error=(-32603, UPLOAD.format("Response{code=413, h2} (Z)"))), NEVER, None),
        (Script(error=(-32603, UPLOAD.format("[429] (RateLimitException)"))), LATER, 60),
        (
            Script(error=(-32603, UPLOAD.format("No prekeys available! (IOException), maybe"))),
            LATER,
            21_600,
        ),
        (
            Script(error=(-32603, UPLOAD.format("Connection reset (IOException)"))),
            LATER,
            30,
        ),
        (
            Script(error=(-32603, UPLOAD.format("java.net.SocketTimeoutException: timeout (P)"))),
            LATER,
            30,
        ),
        (
            Script(error=(-32603, UPLOAD.format("/a: /a (No such file or directory) (A)"))),
            HUMAN,
            None,
        ),
        (Script(error=(-32603, "x cannot be cast to y (ClassCastException)")), NEVER, None),
        (Script(error=(-32603, UPLOAD.format("[401] Authorization failed! (A)"))), HUMAN, None),
    ],
)
def test_answers_that_mean_not_sent(
    rig: Rig, world: World, script: Script, retry: Retry, seconds: int | None
) -> None:
    world.script("send", script)
    outcome = first(rig)
    assert isinstance(outcome, Refused), outcome
    assert (outcome.retry, outcome.retry_after_s) == (retry, seconds)
    assert outcome.what_to_do
    assert rig.channel.reconcile(DELIVERY, 1) is Fate.NOT_SENT
    if script.error is None or script.error[0] != -6:
        rig.send(rig.parcels()[0])


@pytest.mark.parametrize(
    "script",
    [
        Script(results=("NETWORK_FAILURE",)),
        Script(results=("SOMETHING_NEW",)),
        Script(error=(-32603, "null (PyExceptionProxy)")),
        Script(error=(-2, "what")),
        Script(error=(-3, "io")),
        Script(cut=Cut.BEFORE_EFFECT),
        Script(cut=Cut.AFTER_EFFECT),
        Script(cut=Cut.HALF_ANSWER),
        Script(cut=Cut.NULL_ID),
        Script(cut=Cut.GARBAGE),
    ],
)
def test_answers_that_leave_it_open_are_unknown(rig: Rig, world: World, script: Script) -> None:
    world.script("send", script)
    assert isinstance(first(rig), Unknown)
    assert rig.channel.reconcile(DELIVERY, 1) is Fate.UNKNOWN


@pytest.mark.parametrize("cut", [Cut.HANG_BEFORE_EFFECT, Cut.HANG_AFTER_EFFECT])
def test_daemon_that_hangs_is_unknown_at_the_deadline(
    rig: Rig, settings: SignalSettings, clock: Clock, tmp_path: Path, world: World, cut: Cut
) -> None:
    rig.channel.close()
    hasty = SignalChannel(
        replace(settings, send_seconds=0, bytes_per_second=100),
        state=tmp_path / "state",
        clock=clock,
    )
    rig.channel = hasty
    world.script("send", Script(cut=cut))
    assert isinstance(first(rig), Unknown)
    assert hasty.reconcile(DELIVERY, 1) is Fate.UNKNOWN
    hasty.close()


def test_lost_answer_is_not_sent_again_while_the_daemon_may_be_at_it(
    rig: Rig, world: World, clock: Clock
) -> None:
    world.script("send", Script(cut=Cut.AFTER_EFFECT))
    outcome = first(rig)
    assert isinstance(outcome, Unknown)
    for _ in range(2):
        rig.channel = rig.reopen()
        again = rig.channel.send(rig.parcels()[0], rig.to)
        assert isinstance(again, Unknown)
        assert (sends(world), again.settle_s) == (1, outcome.settle_s)
    clock.now += timedelta(seconds=outcome.settle_s)
    rig.send(rig.parcels()[0])
    assert sends(world) == 2


def test_offline_daemon_is_refused_before_anything_left(rig: Rig, world: World) -> None:
    world.offline = True
    outcome = first(rig)
    assert isinstance(outcome, Refused)
    assert outcome.retry is Retry.LATER
    assert rig.channel.check().health is Health.UNAVAILABLE


def test_answer_about_another_recipient_is_not_taken_for_success(rig: Rig, world: World) -> None:
    other = {"uuid": rig.stranger.value, "number": None, "username": None}
    world.script("send", Script(results=({"type": "SUCCESS", "recipientAddress": other},)))
    assert isinstance(first(rig), Unknown)


def test_contact_known_only_by_pni_is_taken_for_the_one_that_was_asked(
    rig: Rig, world: World
) -> None:
    nobody = {"uuid": None, "number": None, "username": None}
    world.script("send", Script(results=({"type": "SUCCESS", "recipientAddress": nobody},)))
    assert isinstance(first(rig), Accepted)


def test_answers_nobody_asked_for_are_ignored(rig: Rig, world: World) -> None:
    world.script("send", Script(noise=True))
    assert isinstance(first(rig), Accepted)


# Challenges.


def challenged(world: World, seconds: int = 86_400) -> None:
    limit = {"type": "RATE_LIMIT_FAILURE", "token": "challenge-token-0001"}
    world.script("send", Script(results=(limit | {"retryAfterSeconds": seconds},)))


def test_challenge_stops_the_account_until_it_is_answered(rig: Rig, world: World) -> None:
    challenged(world)
    outcome = first(rig)
    assert isinstance(outcome, Refused)
    assert outcome.retry is Retry.HUMAN
    assert "token-0001" not in repr(outcome)
    rig.channel = rig.reopen()
    assert isinstance(first(rig, OTHER), Refused)
    assert sends(world) == 1
    assert rig.channel.check().health is Health.NEEDS_PERSON

    assert isinstance(rig.channel, SignalChannel)
    rig.channel.answer_challenge("signalcaptcha://solved")
    assert world.captchas == [("challenge-token-0001", "signalcaptcha://solved")]
    assert rig.channel.check().ok
    rig.send(rig.parcels()[0])


def test_refused_captcha_keeps_the_account_stopped(rig: Rig, world: World) -> None:
    challenged(world)
    first(rig)
    assert isinstance(rig.channel, SignalChannel)
    world.script("submitRateLimitChallenge", Script(error=(-6, "Captcha rejected")))
    with pytest.raises(HumanNeededError):
        rig.channel.answer_challenge("old")
    assert rig.channel.check().health is Health.NEEDS_PERSON


def test_challenge_lapses_by_itself(rig: Rig, world: World, clock: Clock) -> None:
    challenged(world, seconds=3600)
    first(rig)
    clock.now += timedelta(seconds=3601)
    assert isinstance(rig.channel, SignalChannel)
    with pytest.raises(NotFoundError):
        rig.channel.answer_challenge("x")
    rig.send(rig.parcels()[0])
