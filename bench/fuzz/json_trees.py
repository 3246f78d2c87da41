"""Edits of JSON that keep it JSON, more or less: repeated keys, other types, odd numbers, escapes, depth.

A tree is made of `Members` (an object with its keys in order, repeated ones too), lists, and `Raw`, a
literal as it is written; so what no JSON writer would write can be written.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from bench.fuzz.dice import Dice


@dataclass(slots=True)
class Raw:
    """A literal: number, string with its quotes, true, false, null, or something that is none."""

    text: str


@dataclass(slots=True)
class Members:
    """An object: (key with its quotes, value) in order."""

    pairs: list[tuple[str, Tree]]


Tree: TypeAlias = "Raw | Members | list[Tree]"

_NUMBERS = (
    *("-0", "0", "1", "-1", "2", "7", "1.0", "1e3", "1E400", "-1e-5", "0x10", "01", "+1", ".5"),
    *("2147483648", "9007199254740993", "1152921504606846976", "1152921504606846977"),
    *("9223372036854775807", "9223372036854775808", "18446744073709551616", "9" * 5000),
    *("NaN", "Infinity", "-Infinity"),
)
_TEXTS = (
    *(
        '""',
        '"a"',
        '"\\u0061"',
        '"\\ud800"',
        '"\\udc00\\ud800"',
        '"\\u0000"',
        '"\\u202e"',
        '"\\u200b"',
    ),
    *('"../../x"', '"/etc/passwd"', '"e\u0301"', '"\u732b"', '"\U0001f600"', '"\ufeff"', '"\\/"'),
    *(
        '"__metadata__"',
        '"F4"',
        '"F16"',
        '"F8_E4M3"',
        '"BOOL"',
        '"dtype"',
        '"LORA"',
        '"os"',
        '"a.b"',
    ),
    *('"' + "x" * 513 + '"', '"' + "x" * 20_000 + '"', '"\\x41"', '"a', "'a'"),
)
_OTHERS = ("true", "false", "null", "[]", "{}", "[[]]", '{"a":{}}', "", ",", "[" * 2000, "//")
_ODD = (*_NUMBERS, *_TEXTS, *_OTHERS)
_WRITTEN = ((",", ":"), (",", ":"), (",", ":"), (", ", ": "), (",\n", ":\t"), (" , ", " : "))


def read_tree(text: str) -> Tree:
    """Return the tree of `text`.

    Raises:
        ValueError, RecursionError: no JSON.
    """
    return _tree(json.loads(text, object_pairs_hook=_Pairs, parse_float=_Number, parse_int=_Number))


class _Pairs(list[tuple[str, object]]):
    """Members of an object, told from a list by their type."""


class _Number(str):
    """A number as it is written."""

    __slots__ = ()


def _tree(value: object) -> Tree:
    if isinstance(value, _Pairs):
        return Members([(_quoted(key), _tree(item)) for key, item in value])
    if isinstance(value, list):
        return [_tree(item) for item in value]
    return Raw(str(value) if isinstance(value, _Number) else _quoted(value))


def _quoted(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def write_tree(tree: Tree, dice: Dice) -> str:
    """Return the tree as text, mostly compact."""
    comma, colon = dice.pick(_WRITTEN)
    return _write(tree, comma, colon)


def _write(tree: Tree, comma: str, colon: str) -> str:
    if isinstance(tree, Raw):
        return tree.text
    if isinstance(tree, list):
        return "[" + comma.join(_write(item, comma, colon) for item in tree) + "]"
    pairs = (f"{key}{colon}{_write(item, comma, colon)}" for key, item in tree.pairs)
    return "{" + comma.join(pairs) + "}"


def edit_tree(tree: Tree, dice: Dice) -> Tree:
    """Change `tree` in one to three places and return it (the top may become another)."""
    for _ in range(1 + dice.below(3)):
        holders = list(_holders(tree))
        if not holders:
            return Raw(dice.pick(_ODD))
        _EDITS[dice.below(len(_EDITS))](dice.pick(holders), dice)
    return tree


def _holders(tree: Tree) -> list[Members | list[Tree]]:
    """Return every object and list of the tree that holds something."""
    found: list[Members | list[Tree]] = []
    waiting = [tree]
    while waiting:
        one = waiting.pop()
        if isinstance(one, Members) and one.pairs:
            found.append(one)
            waiting += [item for _, item in one.pairs]
        elif isinstance(one, list) and one:
            found.append(one)
            waiting += one
    return found


def _count(holder: Members | list[Tree]) -> int:
    return len(holder.pairs) if isinstance(holder, Members) else len(holder)


def _get(holder: Members | list[Tree], place: int) -> Tree:
    return holder.pairs[place][1] if isinstance(holder, Members) else holder[place]


def _set(holder: Members | list[Tree], place: int, value: Tree) -> None:
    if isinstance(holder, Members):
        holder.pairs[place] = (holder.pairs[place][0], value)
    else:
        holder[place] = value


def _replace(holder: Members | list[Tree], dice: Dice) -> None:
    _set(holder, dice.below(_count(holder)), Raw(dice.pick(_ODD)))


def _nudge(holder: Members | list[Tree], dice: Dice) -> None:
    place = dice.below(_count(holder))
    value = _get(holder, place)
    if isinstance(value, Raw) and value.text.isdigit() and len(value.text) < 20:
        change = dice.pick((-8, -4, -1, 1, 2, 4, 8))
        _set(holder, place, Raw(str(int(value.text) + change)))
    else:
        _replace(holder, dice)


def _swap(holder: Members | list[Tree], dice: Dice) -> None:
    first, second = dice.below(_count(holder)), dice.below(_count(holder))
    one, other = _get(holder, first), _get(holder, second)
    _set(holder, first, other)
    _set(holder, second, one)


def _reorder(holder: Members | list[Tree], dice: Dice) -> None:
    items = holder.pairs if isinstance(holder, Members) else holder
    items.append(items.pop(dice.below(len(items))))  # type: ignore[arg-type]


def _double(holder: Members | list[Tree], dice: Dice) -> None:
    items = holder.pairs if isinstance(holder, Members) else holder
    items.insert(dice.below(len(items) + 1), dice.pick(items))  # type: ignore[arg-type]


def _drop(holder: Members | list[Tree], dice: Dice) -> None:
    items = holder.pairs if isinstance(holder, Members) else holder
    items.pop(dice.below(len(items)))


def _add(holder: Members | list[Tree], dice: Dice) -> None:
    if isinstance(holder, Members):
        holder.pairs.append((dice.pick(_TEXTS), Raw(dice.pick(_ODD))))
    else:
        holder += [Raw(dice.pick(_ODD)) for _ in range(1 + dice.below(12))]


def _rename(holder: Members | list[Tree], dice: Dice) -> None:
    if not isinstance(holder, Members):
        return _add(holder, dice)
    place = dice.below(len(holder.pairs))
    key, value = holder.pairs[place]
    ways = (dice.pick(_TEXTS), dice.pick(holder.pairs)[0], _escaped(key), key[:-1] + 'x"')
    holder.pairs[place] = (dice.pick(ways), value)
    return None


def _escaped(key: str) -> str:
    # The same name to a reader that looks, and another to one that compares letters.
    return f'"\\u{ord(key[1]):04x}{key[2:]}' if len(key) > 2 and key[1].isalnum() else key


def _wrap(holder: Members | list[Tree], dice: Dice) -> None:
    place = dice.below(_count(holder))
    value = _get(holder, place)
    for _ in range(dice.pick((1, 1, 2, 40))):
        value = [value] if dice.one_in(2) else Members([(dice.pick(_TEXTS), value)])
    _set(holder, place, value)


_EDITS = (
    *(_replace, _replace, _nudge, _nudge, _swap, _reorder, _double, _drop, _add, _rename, _wrap),
)
