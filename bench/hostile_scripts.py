"""What hostile writers do, as scripts of steps: pure, and the same for the same seed and number.

Every kind here leaves bytes that are no adapter between its steps, and says which contents are whole. The
kinds of `HARD` do something that no reader can tell from a finished save, or only with luck; they are
measured apart (`bench.hostile_writers --hard`).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from registry.formats.safetensors import dump_header, lay_out

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Step = tuple[str | int, ...]
State = frozenset[tuple[str, str]]  # (name inside the artifact, sha256) of each file

PAGE_BYTES = 4096
PEFT_CONFIG = json.dumps({"peft_type": "LORA", "r": 4, "target_modules": ["to_q"]}).encode()
_BIG_PERCENT = 2


class Dice:
    """Numbers that look like chance and are the same on every run."""

    def __init__(self, seed: str) -> None:
        self._seed = seed
        self._count = 0

    def below(self, limit: int) -> int:
        """Return a number from 0 to `limit` - 1."""
        self._count += 1
        digest = hashlib.sha256(f"{self._seed} {self._count}".encode()).digest()
        return int.from_bytes(digest[:8], "little") % limit

    def percent(self, chance: int) -> bool:
        """Return True in `chance` of a hundred."""
        return self.below(100) < chance

    def cuts(self, size: int, *, step: int = 1) -> list[tuple[int, int]]:
        """Return two to six pieces of `size` bytes, cut at multiples of `step`."""
        inner = {
            step * (1 + self.below(max(1, (size - 1) // step))) for _ in range(1 + self.below(5))
        }
        edges = [0, *sorted(edge for edge in inner if edge < size), size]
        return list(zip(edges, edges[1:], strict=False))


@dataclass(frozen=True, slots=True)
class Whole:
    """A content that is whole; `step` is the number of steps that must be done before it is there."""

    state: State
    step: int


@dataclass(slots=True)
class Script:
    """The steps of one case, and the contents that are whole; `home` is outside of what is watched."""

    watched: Path
    home: Path
    dice: Dice
    steps: list[Step] = field(default_factory=list)
    wholes: list[Whole] = field(default_factory=list)

    @property
    def path(self) -> Path:
        """Where the adapter is written, unless it is a folder."""
        return self.watched / "a.safetensors"

    def content(self, variant: str, *, like: bytes | None = None) -> tuple[Path, bytes]:
        """Write the content of an adapter outside, and return where it is; `like`: of the same size."""
        data = _adapter(self.dice, variant) if like is None else _refilled(like, variant)
        source = self.home / variant
        source.write_bytes(data)
        return source, data

    def do(self, name: str, *arguments: Path | str | int) -> None:
        """Add a step of `bench.hostile_writer`."""
        plain = (str(each) if isinstance(each, Path) else each for each in arguments)
        self.steps.append((name, *plain))

    def pour(self, source: Path, pieces: Sequence[tuple[int, int]], verb: str = "write") -> None:
        """Add a step for each piece of `source`."""
        for start, end in pieces:
            self.do(verb, source, start, end)

    def whole(self, *files: tuple[str, bytes]) -> None:
        """Note that what lies there now is whole: the last step made it so."""
        state = frozenset((name, hashlib.sha256(data).hexdigest()) for name, data in files)
        self.wholes.append(Whole(state, len(self.steps)))

    def finished(self) -> bytes:
        """Begin with an adapter that was saved well; return it."""
        source, data = self.content("first")
        self.do("open", self.path, "new")
        self.pour(source, [(0, len(data))])
        self.whole((self.path.name, data))
        self.do("close")
        return data


def slow(script: Script) -> None:
    """Chunk by chunk on the final path, which stays open."""
    source, data = script.content("only")
    script.do("open", script.path, "new")
    script.pour(source, script.dice.cuts(len(data)))
    script.whole((script.path.name, data))
    script.do("close")


def reopened(script: Script) -> None:
    """Chunk by chunk, closed after each of them."""
    source, data = script.content("only")
    for start, end in script.dice.cuts(len(data)):
        script.do("open", script.path, "append")
        script.pour(source, [(start, end)])
        if end == len(data):
            script.whole((script.path.name, data))
        script.do("close")


def renamed(script: Script) -> None:
    """A temporary name in the same folder, then the final one; perhaps over an older save."""
    if script.dice.percent(50):
        script.finished()
    source, data = script.content("only")
    name = (".tmpQwErTy", "a.safetensors.part", "a.safetensors.tmp")[script.dice.below(3)]
    part = script.watched / name
    script.do("open", part, "new")
    script.do("resize", len(data))
    script.pour(source, script.dice.cuts(len(data)))
    script.do("close")
    script.do("rename", part, script.path)
    script.whole((script.path.name, data))


def truncated_and_rewritten(script: Script) -> None:
    """As safetensors before 0.8: the same name is cut to nothing and written again."""
    first = script.finished()
    source, data = script.content("second", like=first)
    script.do("open", script.path, "new")
    script.pour(source, script.dice.cuts(len(data)))
    script.whole((script.path.name, data))
    script.do("close")


def rewritten_in_place(script: Script, verb: str = "write") -> None:
    """Other tensors over the old ones: never another size, never cut."""
    first = script.finished()
    source, data = script.content("second", like=first)
    script.do("open", script.path, "update")
    script.pour(source, script.dice.cuts(len(data)), verb)
    script.whole((script.path.name, data))
    script.do("close")


def mapped(script: Script) -> None:
    """Other tensors over the old ones through a mapping, which changes no time until it ends."""
    rewritten_in_place(script, "map")


def preallocated(script: Script) -> None:
    """The final size first, then the header, then the rest, as safetensors 0.8.0-rc.0: in blocks."""
    source, data = script.content("only")
    script.do("open", script.path, "new")
    script.do("resize", len(data))
    script.pour(source, script.dice.cuts(len(data), step=PAGE_BYTES))
    script.whole((script.path.name, data))
    script.do("close")


def shortened(script: Script) -> None:
    """A finished save is cut, made as long as it was, and filled again."""
    first = script.finished()
    source, data = script.content("second", like=first)
    keep = PAGE_BYTES * script.dice.below(max(1, (len(first) - 1) // PAGE_BYTES))
    script.do("open", script.path, "update")
    script.do("resize", keep)
    script.do("resize", len(first))
    script.pour(source, script.dice.cuts(len(data), step=PAGE_BYTES))
    script.whole((script.path.name, data))
    script.do("close")


def appended(script: Script) -> None:
    """Something is written behind a finished save, and taken away again."""
    first = script.finished()
    script.do("open", script.path, "update")
    script.do("resize", len(first) + 1 + script.dice.below(PAGE_BYTES))
    script.do("close")
    script.do("open", script.path, "update")
    script.do("resize", len(first))
    script.whole((script.path.name, first))
    script.do("close")


def deleted(script: Script) -> None:
    """A finished save is removed, as rotated checkpoints are, and perhaps written again."""
    script.finished()
    script.do("unlink", script.path)
    if script.dice.percent(50):
        slow(script)


def linked(script: Script) -> None:
    """A finished save is replaced by a link to something half-written elsewhere."""
    script.finished()
    source, data = script.content("second")
    outside = script.home / "half.safetensors"
    script.do("open", outside, "new")
    script.pour(source, [(0, 1 + script.dice.below(len(data) - 1))])
    script.do("close")
    script.do("unlink", script.path)
    script.do("symlink", outside, script.path)


def hard_linked(script: Script) -> None:
    """Written through another name of the same file, outside of what is watched."""
    source, data = script.content("only")
    outside = script.home / "other.safetensors"
    script.do("open", outside, "new")
    pieces = script.dice.cuts(len(data))
    script.pour(source, pieces[:1])
    script.do("link", outside, script.path)
    script.pour(source, pieces[1:])
    script.whole((script.path.name, data))
    script.do("close")


def peft(script: Script) -> None:
    """A folder: weights first, slowly, its configuration last."""
    source, data = script.content("only")
    weights, config = script.watched / "adapter_model.safetensors", script.home / "config"
    config.write_bytes(PEFT_CONFIG)
    script.do("open", weights, "new")
    script.pour(source, script.dice.cuts(len(data)))
    script.do("close")
    script.do("open", script.watched / "adapter_config.json", "new")
    script.do("write", config, 0, len(PEFT_CONFIG))
    script.whole((weights.name, data), ("adapter_config.json", PEFT_CONFIG))
    script.do("close")


def in_place_and_closed(script: Script) -> None:
    """Other tensors over the old ones, closed after each chunk: between them nothing tells."""
    first = script.finished()
    source, data = script.content("second", like=first)
    for start, end in script.dice.cuts(len(data)):
        script.do("open", script.path, "update")
        script.pour(source, [(start, end)])
        if end == len(data):
            script.whole((script.path.name, data))
        script.do("close")


def preallocated_and_closed(script: Script) -> None:
    """The final size first, then tensors at any place, closed after each of them."""
    source, data = script.content("only")
    script.do("open", script.path, "new")
    script.do("resize", len(data))
    for start, end in script.dice.cuts(len(data)):
        script.do("open", script.path, "update")
        script.pour(source, [(start, end)])
        if end == len(data):
            script.whole((script.path.name, data))
        script.do("close")


KINDS: dict[str, Callable[[Script], None]] = {
    "slow": slow,
    "closed between chunks": reopened,
    "temporary name": renamed,
    "truncated and rewritten": truncated_and_rewritten,
    "rewritten in place": rewritten_in_place,
    "rewritten by mmap": mapped,
    "preallocated": preallocated,
    "shortened and refilled": shortened,
    "appended to": appended,
    "deleted": deleted,
    "replaced by a link": linked,
    "through a hard link": hard_linked,
    "PEFT folder": peft,
}
# Killed in the middle, these leave a mixture that has the right size, is quiet and is all written.
UNTELLABLE_WHEN_KILLED = frozenset(("rewritten in place", "rewritten by mmap"))
HARD: dict[str, Callable[[Script], None]] = {
    "rewritten in place, killed": rewritten_in_place,
    "rewritten in place, closed between chunks": in_place_and_closed,
    "preallocated, closed between chunks": preallocated_and_closed,
}


def _adapter(dice: Dice, variant: str) -> bytes:
    modules, width = 2 + dice.below(6), (32, 64, 128, 256)[dice.below(4)]
    if dice.percent(_BIG_PERCENT):
        # More than one batch of reading.
        modules, width = 24, 8192
    entries: list[tuple[str, str, tuple[int, ...]]] = []
    for number in range(modules):
        base = f"lora_unet_block_{number}"
        entries.append((f"{base}.lora_down.weight", "F16", (4, width)))
        entries.append((f"{base}.lora_up.weight", "F16", (width, 4)))
        entries.append((f"{base}.alpha", "F32", ()))
    tensors = lay_out(entries)
    header = dump_header(tensors, [("ss_network_dim", "4")])
    return _refilled(header + bytes(tensors[-1].end), variant + str(dice.below(2**32)))


def _refilled(like: bytes, variant: str) -> bytes:
    """Return an adapter of the shape of `like` with other numbers in it."""
    header = like[: 8 + int.from_bytes(like[:8], "little")]
    seed = hashlib.sha256(header + variant.encode()).digest()
    return header + hashlib.shake_128(seed).digest(len(like) - len(header))
