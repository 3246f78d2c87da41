"""The opcodes of a pickle, taken apart without a meaning (Python's `pickletools` describes them all).

Only what torch.save writes in protocols 2 to 5 is taken apart; the text opcodes of protocols 0 and 1,
INST, OBJ, NEWOBJ, the extension registry, buffers and the like end the reading where they stand.
"""

from __future__ import annotations

import pickletools
import struct
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from registry.conversion.refusals import PickleRefusedError, Reason
from registry.limits import (
    CONVERSION_INTEGER_BYTES,
    CONVERSION_OPCODES,
    CONVERSION_PICKLE_BYTES,
    CONVERSION_TEXT_BYTES,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Argument: TypeAlias = "int | float | str | tuple[str, str] | None"
_PROTOCOLS = range(2, 6)


class Opcode(NamedTuple):
    """One opcode: where it stands, its name as in `pickletools`, its argument."""

    position: int
    name: str
    argument: Argument


class _Cursor:
    """Bytes read one after the other, none beyond the end."""

    def __init__(self, data: memoryview, position: int) -> None:
        self._data = data
        self.position = position
        self.end = min(len(data), position + CONVERSION_PICKLE_BYTES)

    def take(self, count: int) -> bytes:
        """Return the next `count` bytes."""
        stop = self.position + count
        if stop > self.end:
            raise _malformed(self.position, "it is cut off, or too long")
        part = bytes(self._data[self.position : stop])
        self.position = stop
        return part

    def line(self) -> str:
        """Return the text up to the next line feed, which is taken as well."""
        window = bytes(self._data[self.position : min(self.end, self.position + _LINE_BYTES)])
        length = window.find(b"\n")
        if length < 0:
            raise _malformed(self.position, "a name in it does not end")
        self.position += length + 1
        return _text(window[:length], self.position)


_LINE_BYTES = 512


def read_opcodes(data: memoryview, start: int) -> Iterator[Opcode]:
    """Yield the opcodes of one pickle from `start` on, STOP the last; frames are checked and left out.

    Raises:
        PickleRefusedError: cut off, malformed, over a limit, or an opcode that weights do not need.
    """
    cursor = _Cursor(data, start)
    frame_end: int | None = None
    for number in range(CONVERSION_OPCODES):
        position = cursor.position
        if frame_end is not None and position >= frame_end:
            frame_end = None
        opcode = _read_one(cursor)
        if number == 0:
            _check_start(opcode)
        elif opcode.name == "PROTO":
            raise _malformed(position, "it begins twice")
        if frame_end is not None and cursor.position > frame_end:
            # Two readers would go on at two different places.
            raise _malformed(position, "an opcode reaches out of its frame")
        if opcode.name == "FRAME":
            frame_end = _frame_end(cursor, opcode, frame_end)
            continue
        yield opcode
        if opcode.name == "STOP":
            if frame_end not in (None, cursor.position):
                raise _malformed(position, "its last frame goes on behind its end")
            return
    raise PickleRefusedError(Reason.LIMIT, f"pickle has more than {CONVERSION_OPCODES} opcodes")


def _read_one(cursor: _Cursor) -> Opcode:
    position = cursor.position
    code = cursor.take(1)[0]
    known = _OPCODES.get(code)
    if known is None:
        raise PickleRefusedError(
            Reason.OPCODE,
            f"pickle uses {_name_of(code)} at byte {position}, which weights do not need",
        )
    name, read = known
    return Opcode(position, name, None if read is None else read(cursor))


def _name_of(code: int) -> str:
    names = [each.name for each in pickletools.opcodes if each.code == chr(code)]
    return f"the opcode {names[0]}" if names else f"the unknown opcode 0x{code:02x}"


def _check_start(opcode: Opcode) -> None:
    if opcode.name != "PROTO" or opcode.argument not in _PROTOCOLS:
        raise _malformed(opcode.position, "it does not begin with a protocol from 2 to 5")


def _frame_end(cursor: _Cursor, opcode: Opcode, current: int | None) -> int:
    if current is not None or not isinstance(opcode.argument, int):
        raise _malformed(opcode.position, "a frame begins inside another")
    end = cursor.position + opcode.argument
    if end > cursor.end:
        raise _malformed(opcode.position, "a frame is longer than the rest")
    return end


def _number(layout: str) -> Callable[[_Cursor], int | float]:
    form = struct.Struct(layout)

    def read(cursor: _Cursor) -> int | float:
        value: int | float = form.unpack(cursor.take(form.size))[0]
        return value

    return read


def _counted(layout: str) -> Callable[[_Cursor], str]:
    form = struct.Struct(layout)

    def read(cursor: _Cursor) -> str:
        position = cursor.position
        (length,) = form.unpack(cursor.take(form.size))
        if length > CONVERSION_TEXT_BYTES:
            raise PickleRefusedError(
                Reason.LIMIT,
                f"pickle has a text of {length} bytes at byte {position}, "
                f"more than {CONVERSION_TEXT_BYTES}",
            )
        return _text(cursor.take(length), position)

    return read


def _long(cursor: _Cursor) -> int:
    position = cursor.position
    length = cursor.take(1)[0]
    if length > CONVERSION_INTEGER_BYTES:
        raise _malformed(position, f"a number in it has {length} bytes")
    return int.from_bytes(cursor.take(length), "little", signed=True)


def _global(cursor: _Cursor) -> tuple[str, str]:
    return cursor.line(), cursor.line()


def _text(data: bytes, position: int) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _malformed(position, "a text in it is not UTF-8") from error


def _malformed(position: int, what: str) -> PickleRefusedError:
    return PickleRefusedError(Reason.OPCODE, f"pickle refused at byte {position}: {what}")


_READERS: dict[str, Callable[[_Cursor], Argument] | None] = {
    "PROTO": _number("<B"),
    "FRAME": _number("<Q"),
    "STOP": None,
    "MARK": None,
    "NONE": None,
    "NEWTRUE": None,
    "NEWFALSE": None,
    "BININT": _number("<i"),
    "BININT1": _number("<B"),
    "BININT2": _number("<H"),
    "LONG1": _long,
    "BINFLOAT": _number(">d"),
    "BINUNICODE": _counted("<I"),
    "SHORT_BINUNICODE": _counted("<B"),
    "EMPTY_DICT": None,
    "EMPTY_LIST": None,
    "EMPTY_TUPLE": None,
    "TUPLE": None,
    "TUPLE1": None,
    "TUPLE2": None,
    "TUPLE3": None,
    "SETITEM": None,
    "SETITEMS": None,
    "APPEND": None,
    "APPENDS": None,
    "BINGET": _number("<B"),
    "LONG_BINGET": _number("<I"),
    "BINPUT": _number("<B"),
    "LONG_BINPUT": _number("<I"),
    "MEMOIZE": None,
    "GLOBAL": _global,
    "STACK_GLOBAL": None,
    "REDUCE": None,
    "BUILD": None,
    "BINPERSID": None,
}
_OPCODES = {
    ord(each.code): (each.name, _READERS[each.name])
    for each in pickletools.opcodes
    if each.name in _READERS
}
