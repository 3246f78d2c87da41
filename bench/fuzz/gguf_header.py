"""The GGUF header: an adapter that is accepted lists its tensors as llama.cpp wants them, and no byte more."""

from __future__ import annotations

import struct
from itertools import pairwise
from typing import TYPE_CHECKING

from bench.fuzz.dice import ODD_NUMBERS, Dice, edit_bytes
from bench.fuzz.target import Target, promise
from registry.artifacts.gguf_adapters import classify_gguf
from registry.formats.gguf import PREFIX_BYTES, GgufHeader, GgufTensor, parse_gguf

if TYPE_CHECKING:
    from collections.abc import Sequence

STRING, ARRAY, FLOAT32, UINT32 = 8, 9, 6, 4
_ALIGNMENT = 32
# (name, ggml type, dimensions, bytes)
Row = tuple[str, int, tuple[int, ...], int]


def text(value: str | bytes) -> bytes:
    """Return a GGUF string."""
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(raw)) + raw


def word(key: str, value: str) -> bytes:
    """Return a pair whose value is a string."""
    return text(key) + struct.pack("<I", STRING) + text(value)


def alpha(value: float) -> bytes:
    """Return the pair that holds alpha."""
    return text("adapter.lora.alpha") + struct.pack("<If", FLOAT32, value)


def build(pairs: Sequence[bytes], rows: Sequence[Row] = (), *, version: int = 3) -> bytes:
    """Return a GGUF file of these pairs, with tensors of zeroes."""
    infos, offset = [], 0
    for name, kind, dimensions, size in rows:
        shape = struct.pack(f"<I{len(dimensions)}Q", len(dimensions), *dimensions)
        infos.append(text(name) + shape + struct.pack("<IQ", kind, offset))
        offset += -(-size // _ALIGNMENT) * _ALIGNMENT
    start = b"GGUF" + struct.pack("<IQQ", version, len(rows), len(pairs))
    head = b"".join((start, *pairs, *infos))
    return head + bytes(-len(head) % _ALIGNMENT + offset if rows else 0)


def factors(name: str, *, rank: int = 4, into: int = 8, out: int = 16) -> list[Row]:
    """Return both factors of one module, in F16."""
    return [
        (f"{name}.lora_a", 1, (into, rank), 2 * into * rank),
        (f"{name}.lora_b", 1, (rank, out), 2 * rank * out),
    ]


ADAPTER_PAIRS = (
    word("general.architecture", "llama"),
    word("general.type", "adapter"),
    word("adapter.type", "lora"),
    alpha(16.0),
)
_MODULES = [row for n in range(2) for row in factors(f"blk.{n}.attn_q.weight")]
_TOKENS = text("adapter.alora.invocation_tokens") + struct.pack("<IIQ", ARRAY, 4, 3) + bytes(12)
_WORDS = text("tokenizer.ggml.tokens") + struct.pack("<IIQ", ARRAY, 8, 2) + text("a") + text("bc")
_ALIGNED = text("general.alignment") + struct.pack("<II", UINT32, 32)
_SMALL = (
    build(ADAPTER_PAIRS, factors("blk.0.ffn_up.weight")),
    build(ADAPTER_PAIRS, _MODULES),
    build([*ADAPTER_PAIRS, _TOKENS, _ALIGNED], _MODULES, version=2),
    build(
        [_WORDS, *ADAPTER_PAIRS], [*factors("a.weight"), ("blk.0.attn_norm.weight", 0, (8,), 32)]
    ),
    build([word("general.type", "model"), _WORDS, _ALIGNED], factors("output.weight")),
    build([word("general.architecture", "llama")]),
)
_LONG = build(ADAPTER_PAIRS, [row for n in range(24) for row in factors(f"blk.{n}.attn_v.weight")])
_EXAMPLES = (*_SMALL * 3, _LONG)
# (place of a number in the head, its bytes): version, tensor count, pair count.
_HEAD = ((4, 4), (8, 8), (16, 8))


def _edit(data: bytes, dice: Dice) -> bytes:
    kind = dice.below(8)
    if kind < 3:
        return edit_bytes(data, dice)
    if kind == 3:
        place, size = dice.pick(_HEAD)
        return _with_number(data, place, size, dice)
    if kind == 4:
        return dice.pick((data[: dice.below(len(data) + 1)], data + b"\0", data + data, data[:-32]))
    if kind == 5:
        # Lengths and counts stand in front of words: change one, or put another word there.
        place = data.find(dice.pick((b"general", b"adapter", b"lora", b"blk", b"llama", b"token")))
        return _with_number(data, max(0, place - dice.pick((4, 8, 12))), dice.pick((4, 8)), dice)
    return _rebuilt(data, dice)


def _with_number(data: bytes, place: int, size: int, dice: Dice) -> bytes:
    old = int.from_bytes(data[place : place + size], "little")
    new = dice.pick((old + 1, old - 1, old * 2, dice.pick(ODD_NUMBERS)))
    return data[:place] + (new % 2 ** (8 * size)).to_bytes(size, "little") + data[place + size :]


_ODD_PAIRS = (
    *(_TOKENS, _WORDS, _ALIGNED, alpha(float("nan")), alpha(0.0), word("adapter.type", "loha")),
    *(
        word("general.type", "adapter"),
        word("general.type", "model"),
        word("", ""),
        word("a", "\0"),
    ),
    *(text("a") + struct.pack("<IB", 7, 3), text("b") + struct.pack("<Id", 12, 1.5)),
    text("general.alignment") + struct.pack("<II", UINT32, 2**31),
    text("general.alignment") + struct.pack("<II", UINT32, 0),
    text("general.type") + struct.pack("<II", UINT32, 1),
    text("nested") + struct.pack("<IIQIQ", ARRAY, 9, 1, 4, 0),
    text("long") + struct.pack("<IIQ", ARRAY, 8, 2**62),
    text(b"\xff\xfe") + struct.pack("<II", UINT32, 1),
)
_ODD_ROWS: tuple[Row, ...] = (
    ("blk.0.attn_q.weight.lora_a", 1, (8, 4), 64),
    ("blk.7.attn_q.weight.lora_b", 8, (32, 4), 136),
    *(
        ("", 0, (1,), 4),
        ("x" * 64, 0, (1,), 4),
        ("a\n", 0, (1,), 4),
        ("token_embd.weight.lora_a", 1, (4, 9), 72),
    ),
    *(
        ("d0", 0, (), 4),
        ("d5", 0, (1,) * 5, 4),
        ("zero", 0, (0, 4), 0),
        ("huge", 0, (2**40, 2**40), 0),
    ),
    *(("old", 4, (32,), 18), ("new", 99, (32,), 18), ("part", 2, (33,), 36), ("q", 2, (64,), 36)),
)


def _rebuilt(data: bytes, dice: Dice) -> bytes:
    """Return a whole file again, with other pairs or tensors; `data` only decides which edits follow."""
    pairs = [*ADAPTER_PAIRS]
    rows = [*dice.pick((_MODULES, factors("output.weight"), factors("a.b", rank=1), []))]
    for _ in range(dice.below(3)):
        pairs.insert(dice.below(len(pairs) + 1), dice.pick(_ODD_PAIRS))
    for _ in range(dice.below(3)):
        rows.insert(dice.below(len(rows) + 1), dice.pick(_ODD_ROWS))
    if rows and dice.one_in(3):
        rows.pop(dice.below(len(rows)))
    if dice.one_in(3):
        pairs.pop(dice.below(len(pairs)))
    made = build(pairs, rows, version=dice.pick((2, 3, 3, 1, 4)))
    return edit_bytes(made, dice) if data and dice.one_in(4) else made


def _parse(data: bytes) -> GgufHeader:
    # As `registry.artifacts.other_containers` does with a file.
    header = parse_gguf(data[:PREFIX_BYTES], file_size=len(data))
    if header.is_adapter and header.tensors is None:
        header = parse_gguf(data, file_size=len(data))
    return header


def _check_accepted(data: bytes, header: GgufHeader) -> None:
    found = classify_gguf(header)
    promise(found.kind in ("gguf-adapter", "gguf-model"), "it is of no kind")
    if header.tensors is None or header.data_start is None:
        promise(not header.is_adapter, "an adapter's tensors were not read")
        return
    tensors, start = header.tensors, header.data_start
    promise(len(tensors) == header.tensor_count, "it lists another number of tensors")
    promise(len({tensor.name for tensor in tensors}) == len(tensors), "a name stands twice")
    for first, second in pairwise(tensors):
        gap = second.offset - first.offset - first.size
        promise(0 <= gap < 4096, "tensors leave a hole, or overlap")
    end = start + tensors[-1].offset + tensors[-1].size if tensors else start
    promise(end - start < 4096 or end <= len(data), "the file ends before its last tensor")
    promise(len(data) - end < 4096, "the file goes on behind its last tensor")
    infos = b"".join(map(_written, tensors))
    ends = range(max(len(infos), start - 4096), start + 1)
    promise(any(data.endswith(infos, 0, end) for end in ends), "other tensors after writing again")
    codes = {refusal.code for refusal in found.refusals}
    names = {tensor.name for tensor in tensors}
    paired = all(_partner(name) in names for name in names if name[-7:] in (".lora_a", ".lora_b"))
    promise(paired or codes & {"half-pair", "more"}, "half a pair is not refused")


def _partner(name: str) -> str:
    return name[:-1] + ("b" if name.endswith("a") else "a")


def _written(tensor: GgufTensor) -> bytes:
    count = len(tensor.dimensions)
    shape = struct.pack(f"<I{count}Q", count, *tensor.dimensions)
    return text(tensor.name) + shape + struct.pack("<IQ", tensor.kind, tensor.offset)


TARGET = Target(
    name="gguf",
    examples=_EXAMPLES,
    edit=_edit,
    parse=_parse,
    check_accepted=_check_accepted,
)
