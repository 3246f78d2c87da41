"""Attacks by opcode: the same few calls, hidden from whoever reads the stream another way than Python."""

from __future__ import annotations

import struct

from tests.conversion.building import (
    BENIGN,
    HOOKS,
    legacy,
    number,
    program,
    short,
    state_dict,
    storage,
    symbol,
    tensor,
    text,
    torch_zip,
)
from tests.conversion.evasions_symbols import COMMAND, PYTHON, call

_RUN = symbol("os", "system") + text(COMMAND) + b"\x85R"
_LINE = COMMAND.encode()
_STATE = b"}" + text("w") + tensor() + b"s"

_OPCODES: dict[str, bytes] = {
    "op-inst": b"\x80\x02(" + text(COMMAND) + b"ios\nsystem\n.",
    "op-inst-protocol-0": b"(S'" + _LINE.replace(b"'", b"") + b"'\nios\nsystem\n.",
    "op-obj": b"\x80\x02(" + symbol("os", "system") + text(COMMAND) + b"o.",
    "op-newobj": program(symbol("subprocess", "Popen") + text(COMMAND) + b"\x85\x81"),
    "op-newobj-ordereddict": program(symbol("collections", "OrderedDict") + b")\x81"),
    "op-newobj-ex": program(symbol("subprocess", "Popen") + b")}\x92", 4),
    "op-ext1": program(b"\x82\x01" + text(COMMAND) + b"\x85R"),
    "op-ext2": program(b"\x83\x01\x00" + text(COMMAND) + b"\x85R"),
    "op-ext4": program(b"\x84\x01\x00\x00\x00" + text(COMMAND) + b"\x85R"),
    "op-stack-global": program(short("os") + short("system") + b"\x93" + text(COMMAND) + b"\x85R", 4),
    "op-stack-global-from-memo": program(
        short("os") + b"\x940" + short("system") + b"\x940h\x00h\x01\x93" + text(COMMAND) + b"\x85R",
        4,
    ),
    "op-stack-global-memo-overwritten": program(
        short("collections") + b"q\x000" + short("os") + b"q\x000h\x00" + short("system")
        + b"\x93" + text(COMMAND) + b"\x85R", 4,
    ),
    "op-stack-global-other-string": program(
        b"U\x02osU\x06system\x93" + text(COMMAND) + b"\x85R", 4
    ),
    "op-stack-global-bytes": program(b"C\x02osC\x06system\x93" + text(COMMAND) + b"\x85R", 4),
    "op-stack-global-hidden-by-pop": program(
        short("os") + short("system") + text("OrderedDict") + b"0\x93" + text(COMMAND) + b"\x85R", 4
    ),
    "op-stack-global-behind-tuple": program(
        short("os") + short("system") + b"N0\x93" + text(COMMAND) + b"\x85R", 4
    ),
    "op-pop-the-evidence": program(_RUN + b"0" + state_dict()),
    "op-pop-mark-the-evidence": program(b"(" + _RUN + b"1" + state_dict()),
    "op-dup": program(state_dict() + b"20"),
    "op-memo-hides-function": program(
        symbol("os", "system") + b"q\x000h\x00" + text(COMMAND) + b"\x85R"
    ),
    "op-memo-far": program(state_dict() + b"r\xff\xff\xff\xff"),
    "op-memo-again": program(state_dict() + b"q\x00q\x00"),
    "op-memo-unknown": program(b"h\x07"),
    "op-memo-text": program(state_dict() + b"p0\n"),
    "op-get-text": program(state_dict() + b"q\x000g0\n"),
    "op-setitem-into-symbol": program(symbol("collections", "OrderedDict") + text("a") + b"Ns"),
    "op-setitem-runs-hash": program(b"}(" + tensor() + b"Nu"),
    "op-append-to-dict": program(b"}Na"),
    "op-append-to-storage": program(storage() + b"Na"),
    "op-build-setstate": program(
        symbol("torch.nn.modules.module", "Module") + b")\x81}" + text("x") + _RUN + b"sb"
    ),
    "op-build-dict": program(
        HOOKS + b"}" + text("__class__") + symbol("collections", "OrderedDict") + b"sb"
    ),
    "op-build-slots": program(HOOKS + b"N}" + text("update") + _RUN + b"s\x86b"),
    "op-build-on-tensor": program(tensor() + b"}" + text("_metadata") + b"Nsb"),
    "op-build-twice": program(
        HOOKS + (b"}" + text("_metadata") + b"Nsb") * 2 + text("w") + tensor() + b"s"
    ),
    "op-build-more-than-metadata": program(
        HOOKS + b"}(" + text("_metadata") + b"N" + text("_hook") + b"Nub" + text("w") + tensor() + b"s"
    ),
    "op-reduce-storage-class": program(symbol("torch", "FloatStorage") + b"K\x06\x85R"),
    "op-reduce-dtype": program(symbol("torch", "float8_e4m3fn") + b")R"),
    "op-reduce-tensor": program(tensor() + b")R"),
    "op-reduce-with-list": program(symbol("collections", "OrderedDict") + b"]R"),
    "op-reduce-ordereddict-of-items": program(
        symbol("collections", "OrderedDict") + b"](" + _RUN + b"e\x85R"
    ),
    "op-persid-text": b"\x80\x02P0\n.",
    "op-persistent-module": program(
        b"(" + text("module") + symbol("torch.nn", "Linear") + text("x.py") + text(PYTHON) + b"tQ"
    ),
    "op-persistent-other": program(b"(" + text("file") + text("/etc/passwd") + b"tQ"),
    "op-nested-pickle": program(
        call("pickle", "loads", b"C" + bytes([len(program(_RUN))]) + program(_RUN))
    ),
    "op-nested-load-from-bytes": program(
        call("torch.storage", "_load_from_bytes", b"C" + bytes([len(program(_RUN))]) + program(_RUN))
    ),
    "op-rebuild-from-type": program(
        symbol("torch._tensor", "_rebuild_from_type_v2") + b"(" + symbol("os", "system")
        + symbol("builtins", "str") + text(COMMAND) + b"\x85" + b"}tR"
    ),
    "op-after-stop": program(state_dict()) + program(_RUN),
    "op-after-stop-bytes": program(state_dict()) + b"\0",
    "op-broken-behind-call": b"\x80\x02" + _RUN + b"\xff\xff\xff",
    "op-broken-before-stop": b"\x80\x02" + _RUN + b"X\xff\xff\xff\x7f",
    "op-no-stop": b"\x80\x02" + state_dict(),
    "op-two-values": program(b"N" + state_dict()),
    "op-open-mark": program(b"(" + state_dict()),
    "op-mark-underflow": program(b"N(R"),
    "op-stack-underflow": program(b"R"),
    "op-no-protocol": b"c__builtin__\neval\nS'1'\n\x85R.",
    "op-protocol-0": b"cos\nsystem\n(S'" + _LINE.replace(b"'", b"") + b"'\ntR.",
    "op-protocol-1": program(_RUN, 1),
    "op-protocol-255": program(state_dict(), 255),
    "op-protocol-twice": b"\x80\x02" + program(state_dict()),
    "op-frame-too-long": b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f" + state_dict() + b".",
    "op-frame-cuts-opcode": b"\x80\x04\x95\x03\0\0\0\0\0\0\0" + state_dict() + b".",
    "op-frame-in-frame": b"\x80\x04\x95\x40\0\0\0\0\0\0\0\x95\x01\0\0\0\0\0\0\0" + state_dict() + b".",
    "op-frame-behind-stop": (
        b"\x80\x04\x95" + struct.pack("<Q", len(state_dict()) + 9) + state_dict() + b"." + bytes(8)
    ),
    "op-long4": program(b"\x8b\xff\xff\xff\x7f"),
    "op-long-text": program(b"L" + b"9" * 5000 + b"L\n"),
    "op-int-text": program(b"I01\n"),
    "op-float-text": program(b"F1.5\n"),
    "op-unicode-text": program(b"Vos\n"),
    "op-string-escape": program(b"S'\\x6f\\x73'\n"),
    "op-binunicode8": program(b"\x8d\xff\xff\xff\xff\xff\xff\xff\x7f", 4),
    "op-binbytes8": program(b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f", 4),
    "op-bytearray8": program(b"\x96\xff\xff\xff\xff\xff\xff\xff\x7f", 5),
    "op-next-buffer": program(b"\x97", 5),
    "op-readonly-buffer": program(b"N\x98", 5),
    "op-set": program(b"\x8f(K\x01\x90", 4),
    "op-frozenset": program(b"(K\x01\x91", 4),
    "op-text-not-utf8": program(b"X\x02\0\0\0\xff\xfe"),
    "op-unknown": program(b"\xff"),
    "op-name-without-end": b"\x80\x02c" + b"a" * 600,
    "op-list-in-itself": program(b"]q\x00h\x00a"),
    "op-deep": program(b"(" * 2000 + b"N" + b"t" * 2000),
    "op-tuples-doubling": program(b"N" + b"q\x00h\x00\x86" + b"".join(
        b"q" + bytes([n]) + b"h" + bytes([n]) + b"\x86" for n in range(1, 200)
    )),
}  # fmt: skip

_TENSORS: dict[str, bytes] = {
    "tensor-beyond-storage": tensor((2, 4), (4, 1)),
    "tensor-offset-beyond": tensor((2, 3), (3, 1), offset=b"K\x01"),
    "tensor-offset-negative": tensor((2, 3), (3, 1), offset=number(-1)),
    "tensor-stride-negative": tensor((2, 3), (-3, 1), offset=b"K\x05"),
    "tensor-stride-overflow": tensor((2, 2), (2**31 - 1, 2**31 - 1)),
    "tensor-shape-negative": tensor((-2, 3), (3, 1)),
    "tensor-sizes-and-strides-differ": tensor((2, 3), (1,)),
    "tensor-size-is-bool": symbol("torch._utils", "_rebuild_tensor_v2") + b"(" + storage()
    + b"K\x00\x88\x85K\x01\x85\x89" + HOOKS + b"tR",
    "tensor-size-is-list": symbol("torch._utils", "_rebuild_tensor_v2") + b"(" + storage()
    + b"K\x00]]\x89" + HOOKS + b"tR",
    "tensor-too-many-dimensions": tensor((1,) * 12, (1,) * 12),
    "tensor-stretched-to-terabytes": tensor((2**30, 2**10), (0, 0)),
    "tensor-scattered-beyond-patience": tensor((2**13, 2, 2**13), (0, 1, 0)),
    "tensor-hooks": tensor(rest=b"\x89" + HOOKS + text("x") + b"Ns"),
    "tensor-hooks-none": tensor(rest=b"\x89N"),
    "tensor-conjugated": tensor(rest=b"\x89" + HOOKS + b"}" + text("conj") + b"\x88s"),
    "tensor-of-text": symbol("torch._utils", "_rebuild_tensor_v2") + b"(" + text("x") + b"tR",
    "tensor-without-storage": symbol("torch._utils", "_rebuild_tensor_v2") + b")R",
    "storage-count-lies": tensor(held=storage(count=7)),
    "storage-count-negative": tensor(held=storage(count=-6)),
    "storage-unknown-key": tensor(held=storage("1")),
    "storage-key-is-path": tensor(held=storage("../../x")),
    "storage-on-meta": tensor(held=storage().replace(text("cpu"), text("meta"))),
    "storage-view": tensor(held=storage(view=b"(" + text("0") + b"K\x00K\x06t")),
    "storage-class-is-function": tensor(
        held=storage().replace(symbol("torch", "FloatStorage"), symbol("collections", "OrderedDict"))
    ),
    "storage-in-two-types": b"(" + tensor() + tensor(held=storage(kind="IntStorage")) + b"t",
    "storage-quantised": tensor(held=storage(kind="QUInt8Storage")),
    "storage-complex": tensor(held=storage(count=3, kind="ComplexFloatStorage")),
    "storage-untyped-without-dtype": tensor(held=storage(count=24, kind="UntypedStorage")),
}  # fmt: skip

_OTHERS: dict[str, bytes] = {
    "not-weights-empty": state_dict(b""),
    "not-weights-list": b"]" + tensor() + b"a",
    "not-weights-tensor": tensor(),
    "not-weights-number-beside": state_dict(
        text("w") + tensor() + text("lora_alpha") + b"G" + struct.pack(">d", 16.0)
    ),
    "not-weights-alpha-outside": state_dict(text("state_dict") + _STATE + text("alpha") + b"K\x10"),
    "not-weights-number-for-name": state_dict(b"K\x01" + tensor()),
    "not-weights-two-levels": state_dict(
        text("state_dict") + b"}" + text("state_dict") + _STATE + b"s"
    ),
    "not-weights-optimizer": state_dict(
        text("state_dict") + _STATE + text("optimizer_states") + b"]"
    ),
    "not-weights-embedding": state_dict(
        text("string_to_token")
        + b"}"
        + text("string_to_param")
        + b"}"
        + text("*")
        + tensor()
        + b"s"
    ),
    "name-twice": state_dict((text("w") + tensor()) * 2),
    "name-controls": state_dict(text("w\x00\x1b[2J") + tensor()),
    "name-right-to-left": state_dict(text("w\u202eevil") + tensor()),
    "name-too-long": state_dict(text("w" * 1000) + tensor()),
    "name-path": state_dict(text("") + tensor()),
}

_LEGACY: dict[str, bytes] = {
    "legacy-call": legacy(program(_RUN)),
    "legacy-call-in-magic": legacy(magic=program(call("builtins", "eval", text(PYTHON)))),
    "legacy-call-behind-magic": legacy(
        magic=b"\x80\x02\x8a\x0a" + (0x1950A86A20F9469CFC6C).to_bytes(10, "little") + _RUN + b"0."
    ),
    "legacy-call-in-protocol": legacy(protocol=program(_RUN)),
    "legacy-call-in-system": legacy(system=program(_RUN)),
    "legacy-call-in-keys": legacy(keys=program(_RUN)),
    "legacy-call-behind-all": legacy() + program(_RUN),
    "legacy-sixth-pickle": legacy(storages=program(_RUN)),
    "legacy-other-protocol": legacy(protocol=program(b"M\xea\x03")),
    "legacy-big-endian": legacy(system=program(b"}(" + text("little_endian") + b"\x89u")),
    "legacy-keys-twice": legacy(keys=program(b"](" + text("0") * 2 + b"e")),
    "legacy-keys-missing": legacy(keys=program(b"]")),
    "legacy-keys-of-numbers": legacy(keys=program(b"](K\x00e")),
    "legacy-count-lies": legacy(storages=struct.pack("<q", 7) + bytes(28)),
    "legacy-count-negative": legacy(storages=struct.pack("<q", -1)),
    "legacy-storage-cut-off": legacy()[:-1],
    "legacy-storage-missing": legacy(storages=b""),
    "legacy-bytes-behind": legacy() + b"\0",
    "legacy-without-magic": BENIGN,
    "legacy-view": legacy(
        program(state_dict(text("w") + tensor(held=storage(view=b"(" + text("1") + b"K\x00K\x06t"))))
    ),
}  # fmt: skip

PICKLES: dict[str, bytes] = {
    **_OPCODES,
    **{name: program(state_dict(text("w") + body)) for name, body in _TENSORS.items()},
    **{name: program(body) for name, body in _OTHERS.items()},
}
EVASIONS: dict[str, bytes] = {
    **{name: torch_zip(pickle) for name, pickle in PICKLES.items()},
    **_LEGACY,
}
LIVE = {
    name: PICKLES[name]
    for name in (
        "op-inst",
        "op-obj",
        "op-stack-global",
        "op-stack-global-from-memo",
        "op-stack-global-memo-overwritten",
        "op-stack-global-hidden-by-pop",
        "op-memo-hides-function",
        "op-nested-pickle",
        "op-broken-behind-call",
        "op-protocol-0",
    )
}
