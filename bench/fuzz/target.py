"""What a parser promises for any bytes, and how one input is held against it.

For each input: our own error or a value that keeps the target's promises; no other exception; memory
within a bound that grows with the input; work within a bound too, counted in calls and not in seconds.
"""

from __future__ import annotations

import contextlib
import re
import sys
import tracemalloc
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from registry.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.fuzz.dice import Dice

T = TypeVar("T")

ACCEPTED = "accepted"
_QUOTED = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"")
_NUMBER = re.compile(r"0x[0-9a-f]+|[-+]?\d[\d.e+]*")
_LIST = re.compile(r"(X)(, X)+")


class BrokenPromiseError(Exception):
    """A parser accepted, refused, allocated or worked as it must not."""


class WorkExceededError(BaseException):
    """More calls than an input of this length may cost; no parser may catch it."""


@dataclass(frozen=True, slots=True)
class Target(Generic[T]):
    """One parser: examples to damage, how to damage them, how to parse, and what must hold then.

    `parse` raises `FormatError` or returns a value, for which `check_accepted` must hold; `check_refused`
    gets the reason. Both raise `BrokenPromiseError`.
    """

    name: str
    examples: tuple[bytes, ...]
    edit: Callable[[bytes, Dice], bytes]
    parse: Callable[[bytes], T]
    check_accepted: Callable[[bytes, T], None]
    check_refused: Callable[[bytes, str], None] = lambda _data, _reason: None
    # Peak memory allowed: so many bytes, and so many for each byte of the input.
    memory_bytes: int = 256 * 1024
    memory_factor: int = 64
    # Calls allowed: so many, and so many for each byte of the input.
    calls: int = 1000
    calls_factor: float = 2.0

    def mutant(self, dice: Dice) -> bytes:
        """Return the input that `dice` makes."""
        return self.edit(dice.pick(self.examples), dice)

    def examine(self, data: bytes) -> str:
        """Return `ACCEPTED`, or why `data` was refused.

        Raises:
            BrokenPromiseError: it must not have been, or what it gave does not hold together.
            Exception: whatever else came out of the parser; that is a finding too.
        """
        return self._judge(data, self.parse)

    def examine_counted(self, data: bytes) -> tuple[str, int]:
        """Do as `examine`, and return the calls that the parser made, too.

        Raises:
            BrokenPromiseError: more calls than the target allows, too.
        """
        most = int(self.calls + self.calls_factor * len(data))
        meter = Meter(most)

        def parse(given: bytes) -> T:
            sys.setprofile(meter)
            try:
                return self.parse(given)
            except WorkExceededError:
                raise BrokenPromiseError(f"over {most} calls for {len(given)} bytes") from None
            finally:
                sys.setprofile(None)

        return self._judge(data, parse), most - meter.left

    def peak_of(self, data: bytes) -> int:
        """Parse `data` and return the most memory in bytes that this took at once.

        Raises:
            BrokenPromiseError: more than the target allows.
        """
        tracemalloc.start()
        try:
            with contextlib.suppress(FormatError):
                self.parse(data)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        if peak > self.memory_bytes + self.memory_factor * len(data):
            raise BrokenPromiseError(f"{peak} bytes of memory for {len(data)} bytes of input")
        return peak

    def _judge(self, data: bytes, parse: Callable[[bytes], T]) -> str:
        try:
            value = parse(data)
        except FormatError as error:
            reason = str(error)
            self.check_refused(data, reason)
            return reason
        self.check_accepted(data, value)
        return ACCEPTED


class Meter:
    """Counts calls while a parser runs, and stops it beyond a bound."""

    def __init__(self, most: int) -> None:
        self.left = most

    def __call__(self, _frame: object, _event: str, _argument: object) -> None:
        """Count one call or return; `sys.setprofile` calls this."""
        self.left -= 1
        if self.left < 0:
            sys.setprofile(None)
            raise WorkExceededError


def kind_of(reason: str) -> str:
    """Return a reason without the names and numbers of one input: `tensor X has N bytes`."""
    words = _LIST.sub("X, ...", _NUMBER.sub("N", _QUOTED.sub("X", reason)))
    return words[:120]


def promise(holds: object, words: str) -> None:
    """Raise `BrokenPromiseError` with `words` unless `holds`."""
    if not holds:
        raise BrokenPromiseError(words)
