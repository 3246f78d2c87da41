"""Step 9: withdrawn, overtaken, stale; and the whole list of steps."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from registry.attest import issue_status_list
from registry.errors import (
    FormatError,
    RevokedError,
    SignatureError,
    StaleStatusError,
    VerificationError,
)
from registry.formats.envelope import Envelope, EnvelopeSignature, parse_envelope
from registry.formats.moments import to_text
from registry.formats.status_list import StatusEntry, StatusState
from registry.verify.checklist import Checklist, StepState
from registry.verify.memory import Memory
from registry.verify.steps import VerifiedDelivery, remember, verify_bundle, verify_status
from tests.verify.world import NOW, Delivered, Script, World

AT = to_text(NOW)


def _memory(verified: VerifiedDelivery, memory: Memory | None = None) -> Memory:
    return remember(verified, memory)


def _revoked(status_id: str) -> tuple[StatusEntry, ...]:
    return (StatusEntry(status_id, StatusState.REVOKED, AT),)


@pytest.mark.parametrize("which", [0, 1])
def test_revoked_delivery_or_release_is_refused(world: World, which: int) -> None:
    script = Script(entries=lambda *ids: _revoked(ids[which]), valid_for=timedelta(seconds=1))
    made = world.deliver(script=script)
    verified = verify_bundle(world.given(made))
    # Revoked before stale: this list has ended too.
    with pytest.raises(RevokedError, match="withdrawn"):
        verify_status(verified, NOW + timedelta(days=1))


def test_list_that_ended_is_stale(world: World, delivered: Delivered) -> None:
    verified = verify_bundle(world.given(delivered))
    verify_status(verified, NOW + timedelta(days=7, seconds=-1))
    with pytest.raises(StaleStatusError, match="status unknown since"):
        verify_status(verified, NOW + timedelta(days=7))


def test_list_from_the_future_is_stale(world: World, delivered: Delivered) -> None:
    verified = verify_bundle(world.given(delivered))
    verify_status(verified, NOW - timedelta(minutes=4))
    with pytest.raises(StaleStatusError, match="future"):
        verify_status(verified, NOW - timedelta(minutes=6))


def test_list_that_has_not_seen_the_delivery_is_stale() -> None:
    world = World.make()
    before = world.status_list()
    made = world.deliver()
    early = replace(made.bundle, status=issue_status_list(before, world.statement))
    verified = verify_bundle(world.given(made, bundle=early.to_bytes()))
    with pytest.raises(StaleStatusError, match="before this delivery"):
        verify_status(verified, NOW)


def test_older_list_does_not_hide_a_revocation_that_was_seen() -> None:
    world = World.make()
    made = world.deliver()
    verified = verify_bundle(world.given(made))
    fresh = world.signed_status(_revoked(verified.statement.status_id))
    memory = _memory(verify_bundle(world.given(made, status=fresh)))
    again = verify_bundle(world.given(made, memory=memory))
    with pytest.raises(RevokedError):
        verify_status(again, NOW)


def test_fresh_list_ends_staleness() -> None:
    world = World.make()
    made = world.deliver(script=Script(valid_for=timedelta(seconds=1)))
    world.now = NOW + timedelta(days=1)
    with pytest.raises(StaleStatusError):
        verify_status(verify_bundle(world.given(made)), world.now)
    verified = verify_bundle(world.given(made, status=world.signed_status()))
    assert verify_status(verified, world.now).source.counter == 2


def test_two_lists_with_one_counter_are_refused() -> None:
    world = World.make()
    made = world.deliver()
    twin = issue_status_list(
        replace(made.status, entries=_revoked("ab" * 16)), world.statement
    ).to_bytes()
    verified = verify_bundle(world.given(made, status=twin))
    with pytest.raises(VerificationError, match="counter"):
        verify_status(verified, NOW)


def test_superseded_delivery_stands_and_says_so(world: World) -> None:
    def entries(delivery: str, _release: str) -> tuple[StatusEntry, ...]:
        return (StatusEntry(delivery, StatusState.SUPERSEDED, AT, "ab" * 16),)

    verified = verify_bundle(world.given(world.deliver(script=Script(entries=entries))))
    answer = verify_status(verified, NOW)
    assert answer.superseded is not None
    assert answer.superseded.superseded_by == "ab" * 16


def test_status_file_that_is_none_is_a_format_error(world: World, delivered: Delivered) -> None:
    with pytest.raises(FormatError) as caught:
        verify_bundle(world.given(delivered, status=b"{}"))
    assert "--status" in str(caught.value.hint)


def test_good_delivery_passes_every_step(world: World, delivered: Delivered) -> None:
    steps = Checklist()
    verified = verify_bundle(world.given(delivered), steps)
    verify_status(verified, NOW, steps)
    states = [result.state for result in steps.results()]
    assert states == [StepState.PASSED] * 6 + [StepState.NOT_RUN] * 2 + [
        StepState.PASSED,
        StepState.NOT_RUN,
    ]


def test_failed_step_is_recorded_and_later_ones_are_not_run(
    world: World, delivered: Delivered
) -> None:
    steps = Checklist()
    broken = Envelope(
        delivered.bundle.keyset.payload_type,
        delivered.bundle.keyset.payload,
        (EnvelopeSignature(world.root.key_id, bytes(64)),),
    )
    bundle = replace(delivered.bundle, keyset=broken).to_bytes()
    with pytest.raises(SignatureError):
        verify_bundle(world.given(delivered, bundle=bundle), steps)
    states = [result.state for result in steps.results()]
    assert states == [StepState.PASSED, StepState.FAILED] + [StepState.NOT_RUN] * 8


def test_envelopes_survive_being_kept(delivered: Delivered) -> None:
    assert parse_envelope(delivered.bundle.status.to_bytes()) == delivered.bundle.status
