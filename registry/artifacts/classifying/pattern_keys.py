r"""Keys of PEFT's `rank_pattern` and `alpha_pattern`, matched as PEFT matches them, in bounded time.

PEFT 0.21 takes each key for a regular expression: `re.match(rf"(.*\.)?({key})$", module)`, the first
key that matches counts (`peft.utils.other.get_pattern_key`). A config comes with the adapter, so a
hostile key could keep `re` busy for years. Here a key is a set of states that move along the name
once (Thompson's construction): time grows with key times name and never faster. What this leaves
out (look-around, back references, flags) is not evaluated, and that is said.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_PLAIN = re.compile(r"[A-Za-z0-9_\-.]+")
# A repeat such as {500} is written out, so the number of states is bounded.
_MOST_STATES = 2000
_MOST_NESTED = 32
_MOST_PAIRS = 1_000_000
_MOST_STEPS = 4_000_000
_DIGITS = frozenset("0123456789")
_SPACES = frozenset(" \t\n\r\f\v")
_BRACKET_ENDS = 2

_IsOne: TypeAlias = "Callable[[str], bool]"


class UnevaluatedPatternError(ValueError):
    """A key that is no plain expression, or more work than a header is worth."""


@dataclass(slots=True)
class _State:
    """One state: takes a character by `test`, or moves on at once to every one of `then`."""

    test: _IsOne | None = None
    then: list[int] = field(default_factory=list)
    anchor: str = ""


@dataclass(frozen=True, slots=True)
class PatternKeys:
    """Keys with their values, in the order of the config, ready to be asked for module names."""

    keys: tuple[str, ...]

    def first_match(self, names: Sequence[str]) -> tuple[int | None, ...]:
        """Return for each of `names` the position of the first key that matches it, or None.

        Raises:
            UnevaluatedPatternError: a key outside of plain expressions, or too many keys and names.
        """
        if len(names) * len(self.keys) > _MOST_PAIRS:
            raise UnevaluatedPatternError("too many keys and modules")
        matchers = [_matcher(key) for key in self.keys]
        work = _Work()
        return tuple(
            next((n for n, matches in enumerate(matchers) if matches(name, work)), None)
            for name in names
        )


@dataclass(slots=True)
class _Work:
    steps: int = 0

    def spend(self, steps: int) -> None:
        self.steps += steps
        if self.steps > _MOST_STEPS:
            raise UnevaluatedPatternError("the expressions take too long")


def _matcher(key: str) -> Callable[[str, _Work], bool]:
    if _PLAIN.fullmatch(key):
        # Of fixed length, so `re` cannot go astray in it. A dot stands for any character, as in PEFT.
        plain = re.compile(rf"(?:.*\.)?(?:{key})$")
        return lambda name, _work: plain.match(name) is not None
    program = _Compiler(key).program()
    return functools.partial(_runs, program)


def _runs(program: Sequence[_State], name: str, work: _Work) -> bool:
    """Return whether the program takes the rest of `name` from its start, or from behind a dot."""
    live: set[int] = set()
    for position in range(len(name) + 1):
        if position == 0 or name[position - 1] == ".":
            live.add(0)
        live = _settle(program, live, (position == 0, position == len(name)))
        work.spend(len(live) + 1)
        if position == len(name):
            return len(program) - 1 in live
        char = name[position]
        live = {
            target
            for state in live
            if (test := program[state].test) is not None and test(char)
            for target in program[state].then
        }
    return False


def _settle(program: Sequence[_State], live: set[int], edges: tuple[bool, bool]) -> set[int]:
    """Return `live` with every state that is reached without taking a character."""
    found = set(live)
    waiting = list(live)
    at_start, at_end = edges
    while waiting:
        state = program[waiting.pop()]
        blocked = (state.anchor == "^" and not at_start) or (state.anchor == "$" and not at_end)
        if state.test is not None or blocked:
            continue
        for target in state.then:
            if target not in found:
                found.add(target)
                waiting.append(target)
    return found


class _Compiler:
    """From the text of a key to states: state 0 is the start, the last one the end."""

    def __init__(self, key: str) -> None:
        self._key = key
        self._at = 0
        self._depth = 0
        self._states: list[_State] = [_State()]

    def program(self) -> tuple[_State, ...]:
        start, end = self._either()
        if self._at != len(self._key):
            raise self._unknown()
        self._states[0].then.append(start)
        last = self._new()
        self._states[end].then.append(last)
        return tuple(self._states)

    def _new(self, test: _IsOne | None = None, anchor: str = "") -> int:
        if len(self._states) >= _MOST_STATES:
            raise UnevaluatedPatternError("an expression is too large")
        self._states.append(_State(test, [], anchor))
        return len(self._states) - 1

    def _unknown(self) -> UnevaluatedPatternError:
        return UnevaluatedPatternError(f"a key is no plain expression at character {self._at}")

    def _peek(self) -> str:
        return self._key[self._at : self._at + 1]

    def _take(self) -> str:
        char = self._peek()
        if not char:
            raise self._unknown()
        self._at += 1
        return char

    def _either(self) -> tuple[int, int]:
        start, end = self._new(), self._new()
        while True:
            first, last = self._row()
            self._states[start].then.append(first)
            self._states[last].then.append(end)
            if self._peek() != "|":
                return start, end
            self._at += 1

    def _row(self) -> tuple[int, int]:
        start = end = self._new()
        while self._peek() and self._peek() not in "|)":
            first, last = self._repeated()
            self._states[end].then.append(first)
            end = last
        return start, end

    def _repeated(self) -> tuple[int, int]:
        begin = self._at
        first, last = self._one()
        least, most = self._counts()
        if (least, most) == (1, 1):
            return first, last
        if self._states[first].anchor:
            raise self._unknown()
        after = self._at
        start = end = self._new()
        for number in range(max(least, most or 1)):
            self._at = begin
            first, last = self._one() if number else (first, last)
            if number >= least:
                self._states[end].then.append(self._skip(last))
            self._states[end].then.append(first)
            end = self._skip(last)
        if most is None:
            self._states[last].then.append(first)
        if most == 0:
            self._states[start].then.clear()
            end = start
        self._at = after
        return start, end

    def _skip(self, last: int) -> int:
        """Return the state behind `last`: what may be left out leads there directly."""
        if not self._states[last].then:
            self._states[last].then.append(self._new())
        return self._states[last].then[0]

    def _counts(self) -> tuple[int, int | None]:
        char = self._peek()
        if char not in ("*", "+", "?", "{"):
            return 1, 1
        self._at += 1
        counts: tuple[int, int | None] = {"*": (0, None), "+": (1, None), "?": (0, 1)}.get(
            char, (1, 1)
        )
        if char == "{":
            counts = self._braces()
        if self._peek() == "?":  # lazy: takes the same texts
            self._at += 1
        if self._peek() in ("*", "+", "?", "{"):
            raise self._unknown()
        return counts

    def _braces(self) -> tuple[int, int | None]:
        found = re.compile(r"([0-9]{1,4})(,([0-9]{1,4})?)?\}").match(self._key, self._at)
        if found is None:
            raise self._unknown()
        self._at = found.end()
        least = int(found[1])
        most = least if found[2] is None else (int(found[3]) if found[3] else None)
        if most is not None and most < least:
            raise self._unknown()
        return least, most

    def _one(self) -> tuple[int, int]:
        char = self._take()
        if char == "(":
            return self._group()
        if char in "^$":
            state = self._new(anchor=char)
            return state, state
        if char in "*+?{)|":
            self._at -= 1
            raise self._unknown()
        state, after = self._new(self._test(char)), self._new()
        self._states[state].then.append(after)
        return state, after

    def _group(self) -> tuple[int, int]:
        if self._peek() == "?":
            self._at += 1
            if self._take() != ":":
                raise self._unknown()
        self._depth += 1
        if self._depth > _MOST_NESTED:
            raise self._unknown()
        found = self._either()
        self._depth -= 1
        if self._take() != ")":
            raise self._unknown()
        return found

    def _test(self, char: str) -> _IsOne:
        if char == ".":
            return lambda given: given != "\n"
        if char == "\\":
            return self._escape(self._take())
        if char == "[":
            return self._bracket()
        return lambda given: given == char

    def _escape(self, char: str) -> _IsOne:
        known = _CLASSES.get(char.lower())
        if known is not None:
            return known if char.islower() else lambda given: not known(given)
        if char.isalnum():
            raise self._unknown()
        return lambda given: given == char

    def _bracket(self) -> _IsOne:
        inverted = self._peek() == "^"
        self._at += inverted
        tests: list[_IsOne] = []
        while self._peek() != "]" or not tests:
            tests.append(self._bracket_item())
        self._at += 1
        return lambda given: any(test(given) for test in tests) != inverted

    def _bracket_item(self) -> _IsOne:
        char = self._take()
        if char in "[&~|" or (char == "]"):
            # `re` warns that these may get another meaning, and a leading ] is too easy to misread.
            raise self._unknown()
        if char == "\\":
            return self._escape(self._take())
        if self._peek() == "-" and self._key[self._at + 1 : self._at + _BRACKET_ENDS] != "]":
            self._at += 1
            last = self._take()
            if last in "\\[" or last < char:
                raise self._unknown()
            return lambda given: char <= given <= last
        return lambda given: given == char


_CLASSES: Final[dict[str, _IsOne]] = {
    "d": lambda given: given in _DIGITS if given.isascii() else given.isdecimal(),
    "w": lambda given: given == "_" or given.isalnum(),
    "s": lambda given: given in _SPACES if given.isascii() else given.isspace(),
}
