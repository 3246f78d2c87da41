"""Damage with an eye for the structure: a reader that does not refuse must still be right.

The same mutants on every run: choices come from SHAKE-256 over a number. `mutants` is made for longer
runs as well (a benchmark can ask for a million).
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import itertools
import pickletools
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.conversion.archive import read_archive
from registry.conversion.checking import digest_tensors
from registry.conversion.gathering import check_gathering, row_major
from registry.conversion.machine import read_pickle
from registry.conversion.opcodes import read_opcodes
from registry.conversion.refusals import PickleRefusedError
from registry.conversion.symbols import ALLOWED
from registry.conversion.torch_file import read_torch_file
from tests.conversion import evasions_pickles, evasions_symbols
from tests.conversion.building import (
    BENIGN,
    HOOKS,
    Entry,
    archive,
    entries_of,
    legacy,
    number,
    program,
    proto4,
    short,
    symbol,
    tensor,
    text,
    torch_zip,
)
from tests.mutants import mutants as damaged

COUNT = 5_000


class Dice:
    """Choices that are the same for the same seed."""

    def __init__(self, seed: int) -> None:
        stream = hashlib.shake_256(seed.to_bytes(8, "little")).digest(256)
        self._words = itertools.cycle(struct.unpack("<64I", stream))

    def below(self, limit: int) -> int:
        return next(self._words) % max(limit, 1)

    def one_of(self, choices):
        return choices[self.below(len(choices))]


_FULL = program(
    HOOKS + b"q\x00(" + text("a") + tensor((3, 2), (1, 3)) + text("b") + tensor((), (), offset=b"K\x05")
    + b"u}" + text("_metadata") + b"}" + text("") + b"}ssb"
)  # fmt: skip
_FOUR = program(
    b"}\x94(" + short("w") + proto4("torch._utils", "_rebuild_tensor_v2")
    + tensor().removeprefix(symbol("torch._utils", "_rebuild_tensor_v2")) + b"u",
    4,
)  # fmt: skip
_PICKLES = (
    BENIGN,
    _FULL,
    _FOUR,
    *evasions_symbols.PICKLES.values(),
    *evasions_pickles.PICKLES.values(),
)
_PIECES = (
    text("storage"), text("0"), number(-1), number(2**31 - 1), b"K\x06", b"(", b"t", b"R", b"Q", b"b",
    b"u", b"s", b"0", b"2", b"1", b".", b"N", b"\x88", b")", b"}", b"]", b"a", b"e", b"q\x00", b"h\x00",
    b"\x94", b"\x93", HOOKS, tensor(), symbol("os", "system"), symbol("torch", "HalfStorage"),
    short("system"), b"\x80\x02", b"\x95" + bytes(8), b"i" + b"os\nsystem\n", b"\x82\x01", b"\x81",
)  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """A damaged file, and where it came from."""

    seed: int
    data: bytes


@functools.cache
def _cuts(pickle: bytes) -> tuple[int, ...]:
    """Where the opcodes of a pickle begin, as far as our reader gets."""
    places: list[int] = []
    with contextlib.suppress(PickleRefusedError):
        places.extend(opcode.position for opcode in read_opcodes(memoryview(pickle), 0))
    return tuple(places) or (0, len(pickle))


def _in_pickle(dice: Dice) -> bytes:
    pickle = dice.one_of(_PICKLES if dice.below(3) else _PICKLES[:3])
    for _ in range(1 + dice.below(3)):
        cuts = _cuts(pickle)
        start, stop = sorted((dice.one_of(cuts), dice.one_of(cuts)))
        stop = min(stop, start + 40)
        piece = dice.one_of(_PIECES)
        other = dice.one_of(_PICKLES)
        pickle = (
            pickle[:start] + pickle[stop:],
            pickle[:start] + piece + pickle[start:],
            pickle[:start] + piece + pickle[stop:],
            pickle[:stop] + pickle[start:],
            pickle[:start] + other[2:-1] + pickle[start:],
            pickle[:start] + bytes([dice.below(256)]) + pickle[start + 1 :],
        )[dice.below(6)]
    return torch_zip(pickle) if dice.below(4) else legacy(pickle)


_FIELDS = (
    "crc",
    "size",
    "packed",
    "flags",
    "method",
    "name",
    "extra",
    "comment",
    "magic",
    "offset",
)
_NUMBERS = (0, 1, 2, 8, 22, 24, 0x800, 0x808, 0xFFFF, 2**31, 2**32 - 1)
_TEXTS = (
    b"",
    b"archive/data.pkl",
    b"archive/data/0",
    b"../x",
    b"FB\x00\x00",
    b"\x01\x00\x04\x00zzzz",
)


def _in_archive(dice: Dice) -> bytes:
    entries = entries_of(dice.one_of(_PICKLES[:3]))
    for _ in range(1 + dice.below(2)):
        place = dice.below(len(entries))
        entry, name = entries[place], dice.one_of(_FIELDS)
        value = (
            dice.one_of(_TEXTS) if name in ("name", "extra", "comment") else dice.one_of(_NUMBERS)
        )
        if name == "magic":
            value = b"PK\x03\x04"
        if name in ("flags", "method"):
            value = int(value) & 0xFFFF
        sides = {"local": {name: value}, "central": {name: value}}
        for side in ("local", "central"):
            if not dice.below(3):
                del sides[side]
        entries[place] = Entry(
            entry.name,
            entry.data,
            **{"local": entry.local, "central": entry.central, **sides},
            in_body=bool(dice.below(20)),
            in_directory=bool(dice.below(20)),
        )
        if not dice.below(5):
            entries.append(dice.one_of(entries))
    return archive(entries)


def _in_bytes(dice: Dice) -> bytes:
    whole = dice.one_of((torch_zip(), torch_zip(_FULL), legacy(), legacy(_FULL)))
    start = dice.below(len(whole))
    stop = start + 1 + dice.below(8)
    flipped = bytes([whole[start] ^ 1 << dice.below(8)])
    return (
        whole[:start] + flipped + whole[start + 1 :],
        whole[:start] + whole[stop:],
        whole[:stop] + whole[start:],
        whole[:start],
        whole + whole[start:stop],
        whole[start:],
    )[dice.below(6)]


_KINDS: tuple[Callable[[Dice], bytes], ...] = (_in_pickle, _in_pickle, _in_archive, _in_bytes)


def mutants(count: int, *, first: int = 0) -> Iterator[Mutant]:
    """Yield `count` damaged files, always the same."""
    for seed in range(first, first + count):
        yield Mutant(seed, _KINDS[seed % len(_KINDS)](Dice(seed)))


def accepted(data: bytes) -> bool:
    """Return whether the reader takes the file; what it takes must be coherent.

    Raises:
        AssertionError: both ways out of the storages disagree.
        Exception: anything that is not a refusal of ours.
    """
    try:
        weights = read_torch_file(memoryview(data))
        check_gathering(weights.tensors)
    except PickleRefusedError:
        return False
    if sum(each.size for each in weights.tensors) > 1024 * 1024:
        return True  # stretched: the writer refuses it by its size
    digest_tensors(weights.tensors)
    for each in weights.tensors:
        assert len(row_major(each)) == each.size
    if weights.form == "zip":
        _check_independently(read_archive(memoryview(data)).pickle)
    return True


_WORDS = {f"{each.module} {each.name}" for each in ALLOWED}
_CALLERS = {"INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4", "PERSID", "POP", "DUP"}


def _check_independently(pickle: bytes) -> None:
    """Compare with what the standard library finds in the stream, which is another reader of it."""
    found = list(pickletools.genops(pickle))
    assert {str(word) for code, word, _ in found if code.name == "GLOBAL"} <= _WORDS
    assert not {code.name for code, _, _ in found} & _CALLERS
    assert found[-1][2] == len(pickle) - 1


def test_damaged_files_are_refused_or_right() -> None:
    taken = 0
    for mutant in mutants(COUNT):
        try:
            taken += accepted(mutant.data)
        except Exception as error:
            raise AssertionError(f"mutant {mutant.seed}: {type(error).__name__}") from error
    # Some damage is none (another name, another value); most of it must be seen.
    assert 0 < taken < COUNT // 10, taken


@given(damaged(BENIGN, _FULL, _FOUR))
def test_damaged_pickles_raise_only_refusals(data: bytes) -> None:
    with contextlib.suppress(PickleRefusedError):
        read_pickle(memoryview(data))


@given(st.binary(max_size=300))
def test_any_bytes_raise_only_refusals(data: bytes) -> None:
    for read in (read_torch_file, read_archive, read_pickle):
        with pytest.raises(PickleRefusedError):
            read(memoryview(b"\xff" + data))
    with contextlib.suppress(PickleRefusedError):
        read_pickle(memoryview(b"\x80\x02" + data))
