"""The safetensors header: what is accepted covers its body, and is what the official reader sees.

The official reader (`safetensors.deserialize`) is asked about every input where it is installed: it must
accept all that ours accepts, with the same tensors; and where only it accepts, ours must have one of the
reasons in `STRICTER`.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from bench.fuzz.dice import ODD_NUMBERS, Dice, edit_bytes
from bench.fuzz.json_trees import Members, Raw, Tree, edit_tree, read_tree, write_tree
from bench.fuzz.target import Target, promise
from registry.formats.containers import MAGIC_BYTES
from registry.formats.safetensors import (
    SafetensorsHeader,
    dump_header,
    header_length,
    lay_out,
    parse_header,
)

if TYPE_CHECKING:
    from types import ModuleType

official: ModuleType | None
try:
    import safetensors as official
except ModuleNotFoundError:
    official = None

_LENGTH_BYTES = 8
_MOST_BODY_BYTES = 16 * 1024
# Words of our refusals of what the official reader takes (facts of its version 0.8), and why it is refused:
STRICTER = (
    "stands twice",  # tensor names, metadata keys: two readers would see two files
    "has the fields",  # extra or repeated fields: bytes that nobody looks at
    *("begins with a space", "byte 0x09", "byte 0x0a", "byte 0x0d"),  # serde skips these four
    "lists no tensors",
    "does not print",  # names that show as something else
    "is not in Unicode form NFC",
    "characters, expected 1 to",  # empty and endless names
    "half a surrogate pair",
    "dimensions, more than",
    "not a list of counts",  # dimensions beyond 2**60
    "does not fit 64 bits",
    "that are not spaces",  # serde skips tabs and line ends behind the JSON too
    "whole numbers may stand",  # 1.0 in a field that nobody looks at
    "__metadata__ is not an object",  # null: there is no reason to write it
)


def _framed(text: bytes, body: bytes) -> bytes:
    return struct.pack("<Q", len(text)) + text + body


def _file(
    entries: list[tuple[str, str, tuple[int, ...]]], metadata: dict[str, str] | None = None
) -> bytes:
    tensors = lay_out(entries)
    return dump_header(tensors, (metadata or {}).items()) + bytes(tensors[-1].end)


def _modules(count: int) -> list[tuple[str, str, tuple[int, ...]]]:
    return [
        row
        for number in range(count)
        for row in (
            (f"lora_unet_block_{number}.lora_down.weight", "F16", (4, 8)),
            (f"lora_unet_block_{number}.lora_up.weight", "F16", (8, 4)),
            (f"lora_unet_block_{number}.alpha", "F32", ()),
        )
    ]


_KOHYA = {"ss_network_dim": "4", "ss_tag_frequency": '{"1_x": {"猫": 3}}', "sshs_model_hash": "ab"}
_SMALL = (
    _file([("a", "F32", (2,))], {"format": "pt"}),
    _file([("a", "F32", (2,)), ("b", "F16", (1, 3))]),
    _file(_modules(2), _KOHYA),
    _file([("base.q.lora_A.weight", "BF16", (2, 4)), ("base.q.lora_B.weight", "BF16", (4, 2))]),
    _file([("four", "F4", (2, 4)), ("six", "F6_E2M3", (4,)), ("none", "I64", (0, 3))], {"k": ""}),
    _file([("<猫>", "F16", (1, 8)), ("é.alpha", "F64", ())], {"modelspec.title": 'a " \\ \n'}),
    _file([(f"t{number}", "U8", (1,)) for number in range(9)], {"format": "pt", "a": "1"}),
)
# A long header costs as much as ten short ones, and teaches little more.
_EXAMPLES = (*_SMALL * 3, _file(_modules(30), {**_KOHYA, "comment": "x" * 400}))


def _edit(data: bytes, dice: Dice) -> bytes:
    kind = dice.below(10)
    if kind < 3:
        return edit_bytes(data, dice)
    end = min(len(data), _LENGTH_BYTES + int.from_bytes(data[:_LENGTH_BYTES], "little"))
    text, body = data[_LENGTH_BYTES:end], data[end:]
    if kind < 8:
        text, body = _edit_text(text, body, dice)
    elif kind == 8:
        text = _edit_edges(text, dice)
    else:
        body = dice.pick((b"", body[:-1], body + b"\0", body + body, body[: dice.below(99)]))
    if dice.one_in(12):
        length = dice.pick((len(text) + dice.below(17) - 8, dice.pick(ODD_NUMBERS)))
        return (length % 2**64).to_bytes(_LENGTH_BYTES, "little") + text + body
    return _framed(text, body)


def _edit_text(text: bytes, body: bytes, dice: Dice) -> tuple[bytes, bytes]:
    try:
        tree = read_tree(text.decode())
    except (ValueError, RecursionError):
        return edit_bytes(text, dice), body
    if dice.one_in(2):
        tree = edit_tree(tree, dice)
    else:
        _edit_tensor(tree, dice)
    written = write_tree(tree, dice).encode("utf-8", "surrogatepass")
    if dice.one_in(2):
        size = _described(tree)
        body = body if size is None else bytes(size)
    if dice.one_in(2):
        written += b" " * (-len(written) % 8)
    return written, body


def _edit_tensor(tree: Tree, dice: Dice) -> None:
    """Change what one tensor is said to be, so that the rest still fits, or nearly."""
    tensors = [item for _, item in tree.pairs] if isinstance(tree, Members) else []
    tensors = [item for item in tensors if isinstance(item, Members) and len(item.pairs) == 3]
    if not tensors:
        edit_tree(tree, dice)
        return
    chosen = dice.pick(tensors)
    fields = dict(chosen.pairs)
    shape, offsets = fields.get('"shape"'), fields.get('"data_offsets"')
    change = dice.below(5)
    if change == 0:
        fields['"dtype"'] = Raw(
            dice.pick(('"F16"', '"BF16"', '"U16"', '"F8_E4M3"', '"F4"', '"C64"'))
        )
    elif change == 1 and isinstance(shape, list):
        shape.insert(dice.below(len(shape) + 1), Raw(dice.pick(("1", "0", "2", "-1", "1.0"))))
    elif change == 2 and isinstance(shape, list):
        shape.reverse()
    elif change == 3 and isinstance(offsets, list):
        shift = dice.pick((-8, -1, 1, 8, 16))
        moved = [Raw(str(int(item.text) + shift)) for item in offsets if _is_count(item)]
        fields['"data_offsets"'] = list(moved)
    else:
        edit_tree(chosen, dice)
        return
    chosen.pairs = list(fields.items())


def _is_count(item: Tree) -> bool:
    return isinstance(item, Raw) and item.text.isdigit() and len(item.text) < 20


def _described(tree: Tree) -> int | None:
    """Return the length of the body that the header asks for, None where it is no small number."""
    if not isinstance(tree, Members):
        return None
    ends = [
        int(offsets[-1].text)
        for _, item in tree.pairs
        if isinstance(item, Members)
        for key, offsets in item.pairs
        if key == '"data_offsets"' and isinstance(offsets, list) and offsets
        if isinstance(offsets[-1], Raw) and _is_count(offsets[-1])
    ]
    size = max(ends, default=0)
    return size if size <= _MOST_BODY_BYTES else None


def _edit_edges(text: bytes, dice: Dice) -> bytes:
    odd = dice.pick(
        (b" ", b"\0", b"\n", b"\t", b"\xef\xbb\xbf", b"[", b"{}", b"\0" * 8, b" " * 70_000)
    )
    return odd + text if dice.one_in(2) else text.rstrip(b" ") + odd


def _parse(data: bytes) -> SafetensorsHeader:
    # As `registry.artifacts.digesting.read_head` does with a file.
    needed = header_length(data[:MAGIC_BYTES], file_size=len(data))
    return parse_header(data[:needed], file_size=len(data))


def _check_accepted(data: bytes, header: SafetensorsHeader) -> None:
    position = 0
    for tensor in header.tensors:
        promise(tensor.start == position, "the tensors leave a hole, or overlap")
        position = tensor.end
    promise(header.header_bytes + position == len(data), "the tensors do not cover the file")
    names = {tensor.name for tensor in header.tensors}
    promise(len(names) == len(header.tensors) > 0, "a name stands twice, or there is none")
    keys = {key for key, _ in header.metadata}
    promise(len(keys) == len(header.metadata), "a metadata key stands twice")
    written = dump_header(header.tensors, header.metadata)
    again = parse_header(written, file_size=len(written) + header.body_bytes)
    promise(sorted(again.tensors) == sorted(header.tensors), "other tensors after saving again")
    promise(dict(again.metadata) == dict(header.metadata), "other metadata after saving again")
    if official is not None:
        _compare(data, header)


def _compare(data: bytes, header: SafetensorsHeader) -> None:
    try:
        theirs = dict(official.deserialize(data)) if official is not None else {}
    except Exception as error:
        promise(False, f"the official reader refuses it: {error}")
    ours = {tensor.name: tensor for tensor in header.tensors}
    promise(theirs.keys() == ours.keys(), "the official reader sees other names")
    start = header.header_bytes
    for name, tensor in ours.items():
        found = theirs[name]
        promise(found["dtype"] == tensor.dtype, "the official reader sees another dtype")
        promise(tuple(found["shape"]) == tensor.shape, "the official reader sees another shape")
        content = data[start + tensor.start : start + tensor.end]
        promise(bytes(found["data"]) == content, "the official reader sees other bytes")


def _check_refused(data: bytes, reason: str) -> None:
    if official is None or any(words in reason for words in STRICTER):
        return
    try:
        official.deserialize(data)
    except Exception:
        return
    promise(False, f"only the official reader takes it, and this is no reason of ours: {reason}")


TARGET = Target(
    name="safetensors",
    examples=_EXAMPLES,
    edit=_edit,
    parse=_parse,
    check_accepted=_check_accepted,
    check_refused=_check_refused,
)
