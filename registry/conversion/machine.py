"""An interpreter of pickles that can only describe data: it imports, looks up and calls nothing.

It stands in the place of an unpickler with an allow-list, which would still be an unpickler: there is
no step here that turns a name from the file into an object of Python. Names are compared with
`symbols.ALLOWED`, and what REDUCE "calls" is `rebuilding.call`, pure arithmetic on descriptions.
Time and memory are linear in the pickle: every opcode does a bounded piece of work, and values are
shared, never copied.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, cast

from registry.conversion.opcodes import read_opcodes
from registry.conversion.rebuilding import call, storage_of
from registry.conversion.refusals import PickleRefusedError, Reason, shown
from registry.conversion.symbols import ALLOWED
from registry.conversion.values import StorageRef, Symbol, Table, Value
from registry.limits import CONVERSION_STACK

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from registry.conversion.opcodes import Argument

_PUTS = ("BINPUT", "LONG_BINPUT")
_METADATA_STATE = "_metadata"


class Read(NamedTuple):
    """One pickle, read: its value, the storages it refers to by key, the symbols, where it ended."""

    value: Value
    storages: dict[str, StorageRef]
    symbols: frozenset[Symbol]
    end: int


def read_pickle(data: memoryview, start: int = 0) -> Read:
    """Return what the pickle at `start` describes.

    Raises:
        PickleRefusedError: malformed, over a limit, or anything that weights do not need.
    """
    machine = _Machine()
    position = start
    for opcode in read_opcodes(data, start):
        position = opcode.position
        try:
            machine.step(opcode.name, opcode.argument)
        except PickleRefusedError as error:
            error.args = (f"{error} (byte {position})",)
            raise
    # STOP is one byte.
    symbols = frozenset(machine.symbols)
    return Read(machine.result(), machine.storages, symbols, position + 1)


class _Machine:
    """Stack, marks and memo of one pickle."""

    def __init__(self) -> None:
        self._stack: list[Value] = []
        self._marks: list[int] = []
        self._memo: list[Value] = []
        self.storages: dict[str, StorageRef] = {}
        self.symbols: set[Symbol] = set()

    def step(self, name: str, argument: Argument) -> None:
        """Carry out one opcode."""
        if name in _CONSTANTS:
            self._push(_CONSTANTS[name])
        elif name in _LITERALS:
            self._push(cast("int | float | str", argument))
        elif name in _ACTIONS:
            _ACTIONS[name](self)
        elif name in _PUTS:
            self._memoize(cast("int", argument))
        elif name in ("BINGET", "LONG_BINGET"):
            self._get(cast("int", argument))
        elif name == "GLOBAL":
            self._symbol(*cast("tuple[str, str]", argument))

    def result(self) -> Value:
        """Return the one value that is left at the end."""
        value = self._pop()
        if self._stack or self._marks:
            raise _refuse("it ends with more than one value")
        return value

    def mark(self) -> None:
        """MARK: remember how high the stack is."""
        self._marks.append(len(self._stack))
        if len(self._marks) > CONVERSION_STACK:
            raise PickleRefusedError(Reason.LIMIT, "pickle is nested too deep")

    def tuple_of(self, count: int) -> None:
        """TUPLE1 to TUPLE3."""
        self._push(tuple(reversed([self._pop() for _ in range(count)])))

    def tuple_of_marked(self) -> None:
        """TUPLE: everything since the mark."""
        self._push(tuple(self._pop_marked()))

    def set_item(self) -> None:
        """SETITEM: one key and value into the dict below them."""
        value, key = self._pop(), self._pop()
        self._store([key, value])

    def set_items(self) -> None:
        """SETITEMS: everything since the mark, in pairs."""
        self._store(self._pop_marked())

    def append(self) -> None:
        """APPEND: one value to the list below it."""
        value = self._pop()
        self._list().append(value)

    def append_marked(self) -> None:
        """APPENDS: everything since the mark."""
        values = self._pop_marked()
        self._list().extend(values)

    def memoize(self) -> None:
        """MEMOIZE: the next number of the memo."""
        self._memoize(len(self._memo))

    def stack_global(self) -> None:
        """STACK_GLOBAL: module and name from the stack."""
        name, module = self._pop(), self._pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise _refuse("a symbol is named by something that is no text")
        self._symbol(module, name)

    def reduce(self) -> None:
        """REDUCE: describe what a call would build."""
        arguments, symbol = self._pop(), self._pop()
        self._push(call(symbol, arguments))

    def persistent(self) -> None:
        """BINPERSID: a storage."""
        storage = storage_of(self._pop())
        if self.storages.setdefault(storage.key, storage) != storage:
            raise PickleRefusedError(
                Reason.TENSOR, f"storage {shown(storage.key)} is described in two ways"
            )
        self._push(storage)

    def build(self) -> None:
        """BUILD: the attribute `_metadata` that state_dict() gives to its OrderedDict; left out."""
        state, target = self._pop(), self._top()
        if not isinstance(target, Table) or not target.is_ordered or target.is_built:
            raise _refuse("attributes are given to something that has none")
        if not isinstance(state, Table) or set(state.entries) != {_METADATA_STATE}:
            raise _refuse("attributes are given that state_dict() does not have")
        target.is_built = True

    def new_dict(self) -> None:
        """EMPTY_DICT."""
        self._push(Table(is_ordered=False))

    def new_list(self) -> None:
        """EMPTY_LIST."""
        self._push([])

    def _symbol(self, module: str, name: str) -> None:
        symbol = Symbol(module, name)
        if symbol not in ALLOWED:
            raise PickleRefusedError(
                Reason.SYMBOL,
                f"pickle names {shown(f'{module}.{name}')}, which weights do not need",
            )
        self.symbols.add(symbol)
        self._push(symbol)

    def _store(self, items: Sequence[object]) -> None:
        target = self._top()
        if not isinstance(target, Table) or len(items) % 2:
            raise _refuse("items are put into something that is no dict")
        for key, value in zip(items[::2], items[1::2], strict=True):
            # Only these: their hash is cheap, whatever the file does.
            if not isinstance(key, (str, int)) or isinstance(key, bool):
                raise _refuse("a key of a dict is neither text nor a whole number")
            if key in target.entries:
                raise _refuse(f"the key {shown(str(key))} stands twice in a dict")
            target.entries[key] = cast("Value", value)

    def _memoize(self, number: int) -> None:
        # Every writer counts up; a number given again would make one name mean two things.
        if number != len(self._memo):
            raise _refuse(f"its memo jumps to {number}, expected {len(self._memo)}")
        self._memo.append(self._top())

    def _get(self, number: int) -> None:
        if number >= len(self._memo):
            raise _refuse(f"it asks for the unknown memo {number}")
        self._push(self._memo[number])

    def _push(self, value: Value) -> None:
        if len(self._stack) >= CONVERSION_STACK:
            raise PickleRefusedError(Reason.LIMIT, "pickle needs too large a stack")
        self._stack.append(value)

    def _pop(self) -> Value:
        self._check_not_empty()
        return self._stack.pop()

    def _top(self) -> Value:
        self._check_not_empty()
        return self._stack[-1]

    def _check_not_empty(self) -> None:
        if len(self._stack) <= (self._marks[-1] if self._marks else 0):
            raise _refuse("its stack is empty where a value is needed")

    def _pop_marked(self) -> list[Value]:
        if not self._marks:
            raise _refuse("a mark is missing")
        start = self._marks.pop()
        values = self._stack[start:]
        del self._stack[start:]
        return values

    def _list(self) -> list[object]:
        target = self._top()
        if not isinstance(target, list):
            raise _refuse("items are appended to something that is no list")
        return target


def _refuse(what: str) -> PickleRefusedError:
    return PickleRefusedError(Reason.OPCODE, f"pickle refused: {what}")


_CONSTANTS: dict[str, Value] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_LITERALS = frozenset(
    ("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE")
)
_ACTIONS: dict[str, Callable[[_Machine], None]] = {
    "MARK": _Machine.mark,
    "EMPTY_DICT": _Machine.new_dict,
    "EMPTY_LIST": _Machine.new_list,
    "TUPLE": _Machine.tuple_of_marked,
    "TUPLE1": lambda machine: machine.tuple_of(1),
    "TUPLE2": lambda machine: machine.tuple_of(2),
    "TUPLE3": lambda machine: machine.tuple_of(3),
    "SETITEM": _Machine.set_item,
    "SETITEMS": _Machine.set_items,
    "APPEND": _Machine.append,
    "APPENDS": _Machine.append_marked,
    "MEMOIZE": _Machine.memoize,
    "STACK_GLOBAL": _Machine.stack_global,
    "REDUCE": _Machine.reduce,
    "BUILD": _Machine.build,
    "BINPERSID": _Machine.persistent,
}
