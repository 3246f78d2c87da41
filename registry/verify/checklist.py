"""The numbered steps of PROTOCOL section 4, and what became of each."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from registry.errors import LorasealError, StaleStatusError

if TYPE_CHECKING:
    from collections.abc import Iterator

TITLES = {
    1: "bundle",
    2: "keyset",
    3: "signatures",
    4: "agreement",
    5: "log",
    6: "audience",
    7: "sealed header",
    8: "content",
    9: "status",
    10: "kept",
}


class StepState(StrEnum):
    """What became of a step. `NOT_CHECKED` is a gap that the caller chose; `NOT_RUN` came too late."""

    PASSED = "passed"
    FAILED = "failed"
    UNKNOWN = "unknown"
    NOT_CHECKED = "not_checked"
    NOT_RUN = "not_run"


@dataclass(frozen=True, slots=True)
class StepResult:
    """One line of the answer; `detail` is for people and holds nothing secret."""

    number: int
    title: str
    state: StepState
    detail: str


class StepNote:
    """What a running step has to say for itself."""

    __slots__ = ("detail", "state")

    def __init__(self) -> None:
        self.state = StepState.PASSED
        self.detail = ""

    def passed(self, detail: str) -> None:
        """Say what was found right."""
        self.detail = detail

    def not_checked(self, why: str) -> None:
        """Say that this step proves nothing, and why."""
        self.state, self.detail = StepState.NOT_CHECKED, why


class Checklist:
    """Collects the result of each step while it runs."""

    def __init__(self) -> None:
        self._results: dict[int, StepResult] = {}

    @contextmanager
    def step(self, number: int) -> Iterator[StepNote]:
        """Run the block as step `number`; an error of ours is recorded and goes on its way."""
        note = StepNote()
        try:
            yield note
        except LorasealError as error:
            stale = isinstance(error, StaleStatusError)
            state = StepState.UNKNOWN if stale else StepState.FAILED
            self._results[number] = StepResult(number, TITLES[number], state, str(error))
            raise
        self._results[number] = StepResult(number, TITLES[number], note.state, note.detail)

    def results(self) -> tuple[StepResult, ...]:
        """Return all ten steps, those that were not reached as not run."""
        return tuple(
            self._results.get(number, StepResult(number, title, StepState.NOT_RUN, ""))
            for number, title in TITLES.items()
        )
