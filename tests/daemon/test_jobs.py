"""The table of moves: nothing unreachable, final states final, and every move of the code is in it."""

from __future__ import annotations

import pytest

from daemon.jobs import (
    ARTIFACT_FINAL,
    ARTIFACT_MOVES,
    CONCURRENCY,
    DELIVERY_MOVES,
    QUEUES,
    STATE_OF_OUTCOME,
    delivery_sources_of,
    sources_of,
)
from daemon.service import _STEPS
from registry.formats.findings import Outcome
from registry.provenance.states import ArtifactState, DeliveryState

A, D = ArtifactState, DeliveryState


def reached(moves: dict, start: object) -> set:
    seen, open_ones = {start}, [start]
    while open_ones:
        for target in moves[open_ones.pop()] - seen:
            seen.add(target)
            open_ones.append(target)
    return seen


def test_no_artifact_state_is_unreachable() -> None:
    assert reached(ARTIFACT_MOVES, A.SEALED) == set(A)


def test_no_delivery_state_is_unreachable() -> None:
    assert reached(DELIVERY_MOVES, D.PLANNED) == set(D)


def test_every_state_has_a_row() -> None:
    assert set(ARTIFACT_MOVES) == set(A)
    assert set(DELIVERY_MOVES) == set(D)


@pytest.mark.parametrize("state", [A.REJECTED, A.SET_ASIDE, A.REVOKED])
def test_rejected_set_aside_and_revoked_are_for_good(state: ArtifactState) -> None:
    assert ARTIFACT_MOVES[state] == frozenset()


def test_acknowledged_is_for_good_and_open_to_all_that_left() -> None:
    assert DELIVERY_MOVES[D.ACKNOWLEDGED] == frozenset()
    assert delivery_sources_of(D.ACKNOWLEDGED) == set(D) - {D.PLANNED, D.ACKNOWLEDGED}


def test_nothing_goes_back_to_an_unaudited_state() -> None:
    assert sources_of(A.SEALED) == frozenset()
    assert sources_of(A.AUDITED) == {A.SEALED}


def test_only_what_was_audited_or_held_is_released() -> None:
    assert sources_of(A.RELEASED) == {A.AUDITED, A.HELD}


def test_no_delivery_is_planned_twice_and_none_is_prepared_from_an_end() -> None:
    assert delivery_sources_of(D.PLANNED) == frozenset()
    assert delivery_sources_of(D.PREPARED) == {D.PLANNED, D.SENDING, D.SENT}


def test_unaudited_artifact_never_rests() -> None:
    assert set(A) - {A.SEALED, A.AUDITED} == ARTIFACT_FINAL


def test_nothing_moves_to_itself() -> None:
    for moves in (ARTIFACT_MOVES, DELIVERY_MOVES):
        assert all(state not in targets for state, targets in moves.items())


def test_every_outcome_has_a_state_that_an_audited_artifact_may_take() -> None:
    assert set(STATE_OF_OUTCOME) == set(Outcome)
    assert set(STATE_OF_OUTCOME.values()) <= ARTIFACT_MOVES[A.AUDITED]


def test_every_job_has_a_step_a_queue_and_a_limit() -> None:
    assert set(_STEPS) == set(QUEUES)
    assert set(QUEUES.values()) == set(CONCURRENCY)
