"""The broken files of the fixture sheet that must be refused, each made from a sound one."""

from __future__ import annotations

import importlib.util
import io
import json
import struct
import zipfile
from collections.abc import Callable
from types import ModuleType
from typing import TypeAlias

from registry.formats.safetensors import (
    SafetensorsHeader,
    dump_header,
    header_length,
    lay_out,
    parse_header,
)
from tests.conftest import SHARED

# What stands in the file, and the code of the refusal.
Variants: TypeAlias = list[tuple[bytes, str]]
# Name to dtype, shape and content.
Tensors: TypeAlias = dict[str, tuple[str, tuple[int, ...], bytes]]


def expander() -> ModuleType:
    """Return the tool that writes an adapter of the sheet as a real file."""
    spec = importlib.util.spec_from_file_location(
        "make_adapter", SHARED / "tools" / "make_adapter.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# -- taking a file apart and putting it together otherwise


def header_of(data: bytes) -> SafetensorsHeader:
    length = header_length(data[:8], file_size=len(data))
    return parse_header(data[:length], file_size=len(data))


def framed(text: str, body: bytes) -> bytes:
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw + body


def parts(data: bytes) -> tuple[str, bytes]:
    length = header_length(data[:8], file_size=len(data))
    return data[8:length].decode(), data[length:]


def reheaded(data: bytes, edit: Callable[[str], str]) -> bytes:
    text, body = parts(data)
    edited = edit(text)
    assert edited != text
    return framed(edited, body)


def contents(data: bytes) -> Tensors:
    header = header_of(data)
    start = header.header_bytes
    return {
        item.name: (item.dtype, item.shape, data[start + item.start : start + item.end])
        for item in header.tensors
    }


def rebuilt(data: bytes, change: Callable[[Tensors], None]) -> bytes:
    """Return the file with other tensors, laid out again, and its own metadata."""
    tensors = contents(data)
    change(tensors)
    laid = lay_out((name, dtype, shape) for name, (dtype, shape, _) in tensors.items())
    head = dump_header(laid, header_of(data).metadata)
    return head + b"".join(tensors[item.name][2] for item in laid)


def with_metadata(data: bytes, **pairs: str) -> bytes:
    header = header_of(data)
    head = dump_header(header.tensors, {**dict(header.metadata), **pairs}.items())
    return head + data[header.header_bytes :]


def first(data: bytes, suffix: str) -> str:
    return next(item.name for item in header_of(data).tensors if item.name.endswith(suffix))


# -- what must be refused


def truncated(good: bytes) -> Variants:
    head = header_of(good).header_bytes
    cuts = [len(good) - 1, len(good) - 7, len(good) // 2, head, head - 1, 40, 7]
    return [(good[:cut], "broken") for cut in cuts]


def trailing_bytes(good: bytes) -> Variants:
    return [(good + tail, "broken") for tail in (b"x", b"\0", b"PK\x03\x04" + bytes(3000))]


def preallocated_zero(good: bytes) -> Variants:
    return [(bytes(len(good)), "broken")]


def zero_length(_good: bytes) -> Variants:
    return [(b"", "broken")]


def html_or_lfs_pointer(_good: bytes) -> Variants:
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"
    page = b"<!DOCTYPE html>\n<html><body>Sign in to download</body></html>\n"
    return [(page, "html"), (pointer, "lfs-pointer"), (b"\n  <html>" + page, "html")]


def pickle_in_safetensors_name(good: bytes) -> Variants:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("archive/data.pkl", b"\x80\x02}q\x00.")
        file.writestr("archive/data/0", good[-64:])
    old = b"\x80\x02}q\x00(X\x06\x00\x00\x00weightK\x01u." + bytes(64)
    return [(archive.getvalue(), "zip"), (old, "pickle")]


def header_too_large(good: bytes) -> Variants:
    lengths = (2**63, 2**64 - 1, len(good), len(good) - 7, 100_000_001, 33 * 1024 * 1024)
    return [(struct.pack("<Q", length) + good[8:], "broken") for length in lengths]


def duplicate_keys(good: bytes) -> Variants:
    name = first(good, "lora_down.weight")
    other = first(good, "lora_up.weight")
    whole = json.dumps(name)
    return [
        (reheaded(good, lambda text: text.replace(json.dumps(other), whole)), "broken"),
        # The same name, written in another way.
        (reheaded(good, lambda text: text.replace(f'"{other}"', f'"\\u006c{name[1:]}"')), "broken"),
        (
            reheaded(good, lambda text: text.replace('"ss_', '"ss_v2":"a","ss_v2":"b","ss_', 1)),
            "broken",
        ),
        (reheaded(good, lambda text: '{"__metadata__":{},' + text[1:]), "broken"),
    ]


def leading_space_header(good: bytes) -> Variants:
    text, body = parts(good)
    return [(framed(before + text, body), "broken") for before in (" ", "\n")]


def extra_field(good: bytes) -> Variants:
    def edit(text: str) -> str:
        return text.replace('{"dtype"', '{"note":"x","dtype"', 1)

    return [(reheaded(good, edit), "broken")]


def hole_or_overlap(good: bytes) -> Variants:
    header = header_of(good)
    second = header.tensors[1]

    def moved(by: int) -> bytes:
        old = f"[{second.start},{second.end}]"
        return reheaded(
            good, lambda text: text.replace(old, f"[{second.start + by},{second.end + by}]")
        )

    return [(moved(2), "broken"), (moved(-2), "broken")]


def nonstring_metadata(good: bytes) -> Variants:
    def adding(member: str) -> bytes:
        return reheaded(
            good,
            lambda text: text.replace('{"__metadata__":{', '{"__metadata__":{' + member + ",", 1),
        )

    return [(adding(member), "broken") for member in ('"k":1', '"k":{}', '"k":null', '"k":["a"]')]


def half_pair(good: bytes) -> Variants:
    def without(suffix: str) -> bytes:
        name = first(good, suffix)
        return rebuilt(good, lambda tensors: without_one(tensors, name))

    return [(without(suffix), "half-pair") for suffix in (".lora_up.weight", ".lora_down.weight")]


def without_one(tensors: Tensors, name: str) -> None:
    del tensors[name]


def rank_mismatch(good: bytes) -> Variants:
    name = first(good, ".lora_up.weight")

    def halve(tensors: Tensors) -> None:
        dtype, (out, rank, *rest), content = tensors[name]
        tensors[name] = (dtype, (out, rank // 2, *rest), content[: len(content) // 2])

    return [(rebuilt(good, halve), "misfit")]


REFUSED: dict[str, Callable[[bytes], Variants]] = {
    "truncated": truncated,
    "trailing-bytes": trailing_bytes,
    "preallocated-zero": preallocated_zero,
    "zero-length": zero_length,
    "html-or-lfs-pointer": html_or_lfs_pointer,
    "pickle-in-safetensors-name": pickle_in_safetensors_name,
    "header-too-large": header_too_large,
    "duplicate-keys": duplicate_keys,
    "leading-space-header": leading_space_header,
    "extra-field": extra_field,
    "hole-or-overlap": hole_or_overlap,
    "nonstring-metadata": nonstring_metadata,
    "half-pair": half_pair,
    "rank-mismatch": rank_mismatch,
}
