"""Attacks by container: archives that two readers read in two ways, and files that are two things."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import struct
import tarfile
import zlib

from tests.conversion.building import (
    BENIGN,
    CONTENT,
    DESCRIPTOR_FLAG,
    ROOT,
    UTF8_FLAG,
    Ending,
    Entry,
    altered,
    archive,
    entries_of,
    program,
    symbol,
    text,
    torch_zip,
    with_entries,
)
from tests.conversion.evasions_symbols import COMMAND
from tests.weights_files import lora_bytes

_EVIL = program(symbol("os", "system") + text(COMMAND) + b"\x85R")
_USUAL = torch_zip()
_PLAIN = UTF8_FLAG  # no descriptor: sizes stand before the data


def _deflated(data: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush()


def _packed(name: str, data: bytes) -> bytes:
    small = _deflated(data)
    told = {"method": 8, "crc": zlib.crc32(data), "packed": len(small), "size": len(data)}
    rest = [entry for entry in entries_of() if entry.name != f"{ROOT}/{name}"]
    return archive([Entry(f"{ROOT}/{name}", small, local=told, central=told), *rest])


def _tarred() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name in ("storages", "tensors", "pickle"):
            member = tarfile.TarInfo(name)
            member.size = len(_EVIL)
            tar.addfile(member, io.BytesIO(_EVIL))
    return stream.getvalue()


def _npy() -> bytes:
    header = b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + _EVIL


def _safetensors_over(tail: bytes) -> bytes:
    """A file that begins as safetensors whose last tensor is a whole archive."""
    return lora_bytes() + tail


EVASIONS: dict[str, bytes] = {
    # CVE-2025-10156 and its like: what makes one reader stop and another go on.
    "zip-crc-wrong": altered("data.pkl", local={"crc": 1}, central={"crc": 1}),
    "zip-crc-wrong-evil": archive(
        [Entry(f"{ROOT}/data.pkl", _EVIL, local={"crc": 1}, central={"crc": 1}), *entries_of()[1:]]
    ),
    "zip-crc-of-storage-wrong": altered("data/0", local={"crc": 1}, central={"crc": 1}),
    "zip-crc-differs": altered("data.pkl", local={"crc": 1}),
    "zip-encrypted-everywhere": altered(
        "data.pkl", local={"flags": 1 | _PLAIN}, central={"flags": 1 | _PLAIN}
    ),
    "zip-encrypted-local": altered("data.pkl", local={"flags": 1 | _PLAIN}),
    "zip-encrypted-central": altered("data.pkl", central={"flags": 1 | _PLAIN}),
    "zip-flags-differ": altered("data.pkl", local={"flags": _PLAIN}),
    "zip-strong-encryption": altered(
        "data.pkl", local={"flags": 1 << 6 | _PLAIN}, central={"flags": 1 << 6 | _PLAIN}
    ),
    "zip-patched-data": altered(
        "data.pkl", local={"flags": 1 << 5 | _PLAIN}, central={"flags": 1 << 5 | _PLAIN}
    ),
    "zip-local-name-differs": altered("data.pkl", local={"name": f"{ROOT}/data.pkX".encode()}),
    "zip-local-name-evil": archive(
        [Entry(f"{ROOT}/data.pkl", _EVIL, local={"name": f"{ROOT}/readme.md".encode()}), *entries_of()[1:]]
    ),
    "zip-central-size-less": altered("data.pkl", central={"size": 2, "packed": 2}),
    "zip-central-size-more": altered("data.pkl", central={"size": 2**31, "packed": 2**31}),
    "zip-two-sizes": altered("data.pkl", central={"packed": 2}),
    "zip-local-size-differs": altered(
        "data.pkl", local={"flags": _PLAIN, "size": 2}, central={"flags": _PLAIN}
    ),
    "zip-sizes-before-and-behind": altered("data.pkl", local={"eager": 1}),
    "zip-descriptor-lies": altered("data.pkl", local={"descriptor": b"PK\x07\x08" + bytes(12)}),
    "zip-descriptor-without-magic": altered("data.pkl", local={"descriptor": bytes(12)}),
    "zip-method-differs": altered("data.pkl", local={"method": 8}),
    "zip-method-central-differs": altered("data.pkl", central={"method": 8}),
    "zip-method-unknown": altered("data.pkl", local={"method": 99}, central={"method": 99}),
    "zip-deflated": _packed("data.pkl", BENIGN),
    "zip-deflated-evil": _packed("data.pkl", _EVIL),
    "zip-bomb": _packed("data/0", bytes(64 * 1024 * 1024)),
    "zip-prefix": b"#!/bin/sh\nexit\n" + _USUAL,
    "zip-prefix-offsets-right": archive([Entry(f"{ROOT}/data.pkl", BENIGN, before=b"MZ" + bytes(62)),
                                         *entries_of()[1:]]),
    "zip-suffix": _USUAL + b"\0",
    "zip-suffix-pickle": _USUAL + _EVIL,
    "zip-comment": archive(entries_of(), Ending(comment=b"hello")),
    "zip-comment-with-end": archive(entries_of(), Ending(comment=_USUAL[-22:])),
    "zip-two-ends": _USUAL + torch_zip(_EVIL)[-22:],
    "zip-two-archives": _USUAL + torch_zip(_EVIL),
    "zip-two-archives-evil-first": torch_zip(_EVIL) + _USUAL,
    "zip-gap": archive(entries_of(), Ending(gap=_EVIL)),
    "zip-gap-between": archive(
        [entries_of()[0], Entry(f"{ROOT}/byteorder", b"little", before=_EVIL), *entries_of()[2:]]
    ),
    "zip-hidden-entry": archive(
        [Entry(f"{ROOT}/evil.pkl", _EVIL, in_directory=False), *entries_of()]
    ),
    "zip-hidden-entry-behind": archive(
        [*entries_of(), Entry(f"{ROOT}/evil.pkl", _EVIL, in_directory=False)]
    ),
    "zip-row-without-entry": archive([*entries_of(), Entry(f"{ROOT}/data/1", b"", in_body=False)]),
    "zip-overlap": archive(
        [*entries_of(), Entry(f"{ROOT}/data/1", CONTENT, in_body=False, central={"offset": 0})]
    ),
    "zip-order-differs": archive(
        [Entry(f"{ROOT}/version", b"3\n", central={"offset": 500}), *entries_of()[:3]]
    ),
    "zip-count-less": archive(entries_of(), Ending(total=2)),
    "zip-count-more": archive(entries_of(), Ending(total=9)),
    "zip-count-none": archive([], Ending()),
    "zip-count-65535": archive(entries_of(), Ending(total=0xFFFF)),
    "zip-directory-elsewhere": archive(entries_of(), Ending(start=0)),
    "zip64-count-differs": archive(entries_of(), Ending(zip64={"total": 1})),
    "zip64-start-differs": archive(entries_of(), Ending(zip64={"start": 0})),
    "zip64-length-differs": archive(entries_of(), Ending(zip64={"length": 10})),
    "zip64-extra-local": altered(
        "data.pkl", local={"extra": b"\x01\x00\x10\x00" + struct.pack("<2Q", 1, 1)}
    ),
    "zip64-extra-central": altered(
        "data.pkl", central={"extra": b"\x01\x00\x10\x00" + struct.pack("<2Q", 1, 1)}
    ),
    "zip-extra-unicode-path": altered(
        "data.pkl", local={"extra": b"\x75\x70\x0a\x00\x01\x00\x00\x00\x00evil."}
    ),
    "zip-extra-malformed": altered("data.pkl", local={"extra": b"FB\xff\xff"}),
    "zip-extra-cut": altered("data.pkl", local={"extra": b"FB"}),
    "zip-comment-of-entry": altered("data.pkl", central={"comment": b"x"}),
    "zip-local-magic": altered("data.pkl", local={"magic": b"PK\x03\x05"}),
    "zip-central-magic": altered("data.pkl", central={"magic": b"PK\x01\x03"}),
    "zip-two-pickles-one-name": with_entries(Entry(f"{ROOT}/data.pkl", _EVIL)),
    "zip-second-root": with_entries(Entry("other/.format_version", b"1")),
    "zip-two-roots": with_entries(Entry("other/data.pkl", _EVIL)),
    "zip-no-root": archive([Entry(each.name.removeprefix(f"{ROOT}/"), each.data) for each in entries_of()]),
    "zip-root-is-parent": archive(
        [Entry(each.name.replace(ROOT, "..", 1), each.data) for each in entries_of()]
    ),
    "zip-root-is-dot": archive(
        [Entry(each.name.replace(ROOT, ".", 1), each.data) for each in entries_of()]
    ),
    "zip-name-absolute": with_entries(Entry("/etc/passwd", b"x")),
    "zip-name-climbs": with_entries(Entry(f"{ROOT}/../../x", b"x")),
    "zip-name-backslash": with_entries(Entry(f"{ROOT}\\data.pkl", _EVIL)),
    "zip-name-nul": with_entries(Entry(f"{ROOT}/data.pkl\0.txt", _EVIL)),
    "zip-name-upper-case": with_entries(Entry(f"{ROOT}/DATA.PKL", _EVIL)),
    "zip-name-not-ascii": with_entries(Entry(f"{ROOT}/däta.pkl", _EVIL)),
    "zip-folder": with_entries(Entry(f"{ROOT}/data/", b"")),
    "zip-symlink": with_entries(
        Entry(f"{ROOT}/link", b"/etc/passwd", central={"attributes": 0o120777 << 16})
    ),
    "zip-pickle-beside": with_entries(Entry(f"{ROOT}/evil.pkl", _EVIL)),
    "zip-pickle-as-text": with_entries(Entry(f"{ROOT}/readme.txt", _EVIL)),
    "zip-pickle-in-version": altered("version", data=_EVIL),
    "zip-pickle-in-storage-nobody-uses": with_entries(Entry(f"{ROOT}/data/1", _EVIL)),
    "zip-storage-missing": archive([each for each in entries_of() if "data/0" not in each.name]),
    "zip-storage-short": torch_zip(s0=CONTENT[:-4]),
    "zip-storage-long": torch_zip(s0=CONTENT + b"\0"),
    "zip-pickle-missing": archive(entries_of()[1:]),
    "zip-version-missing": archive(entries_of()[:-1]),
    "zip-big-endian": altered("byteorder", data=b"big"),
    "zip-byteorder-odd": altered("byteorder", data=b"little\n"),
    "zip-small-entry-large": with_entries(Entry(f"{ROOT}/.format_version", bytes(4096))),
    "zip-torchscript": with_entries(
        Entry(f"{ROOT}/constants.pkl", program(b"]")), Entry(f"{ROOT}/code/__torch__.py", b"x")
    ),
    "zip-npz": archive([Entry("arr_0.npy", _npy())]),
    "zip-of-files": archive([Entry("model/readme.md", b"hello")]),
    "zip-truncated-tail": _USUAL[:-1],
    "zip-truncated-half": _USUAL[: len(_USUAL) // 2],
    "zip-magic-only": b"PK\x03\x04",
    "empty-file": b"",
    "raw-pickle": _EVIL,
    "raw-pickle-behind-zeroes": bytes(16) + _EVIL,
    "raw-text-pickle": b"cos\nsystem\n(S'x'\ntR.",
    "safetensors-with-archive-behind": _safetensors_over(_USUAL),
    "safetensors-with-evil-archive-behind": _safetensors_over(torch_zip(_EVIL)),
    "safetensors-itself": lora_bytes(),
    "tar-of-torch-0.3": _tarred(),
    "gzip-of-pickle": gzip.compress(_EVIL, mtime=0),
    "gzip-of-archive": gzip.compress(torch_zip(_EVIL), mtime=0),
    "bzip2-of-pickle": bz2.compress(_EVIL),
    "xz-of-pickle": lzma.compress(_EVIL),
    "7z-magic": b"7z\xbc\xaf\x27\x1c" + bytes(64) + _EVIL,
    "npy-of-objects": _npy(),
    "joblib-compressed": zlib.compress(_EVIL),
    "hdf5-magic": b"\x89HDF\r\n\x1a\n" + _EVIL,
    "gguf-magic": b"GGUF\x03\0\0\0" + _EVIL,
    "flag-of-descriptor-alone": altered(
        "data.pkl", central={"flags": UTF8_FLAG}, local={"flags": DESCRIPTOR_FLAG}
    ),
}  # fmt: skip
