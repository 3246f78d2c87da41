"""Which container the first bytes of a file belong to, so that a refusal can say what was found.

Recognition by magic number only; nothing is parsed and nothing is run.
"""

from __future__ import annotations

from dataclasses import dataclass

# The longest magic number below, in bytes; reading this much is enough.
MAGIC_BYTES = 32


@dataclass(frozen=True, slots=True)
class Container:
    """A container that is not safetensors: its name, what it is in words, and what to do."""

    name: str
    words: str
    advice: str


_PICKLE = Container(
    "pickle",
    "a pickle (torch.save); loading one runs code that its maker chose",
    "save the weights again with safetensors, or convert it in a cage: loraseal convert FILE -o OUT",
)
_ZIP = Container(
    "zip",
    "a zip archive, most likely a pickle by torch.save; loading one runs code that its maker chose",
    "save the weights again with safetensors, or convert it in a cage: loraseal convert FILE -o OUT",
)
_WEB_PAGE = Container(
    "html",
    "a web page, so a download went wrong",
    "download the file again; the server may have asked for a login",
)
_SEALED = Container(
    "age",
    "a sealed age file",
    "open it first: loraseal open FILE -i IDENTITY -o OUT",
)
_TEXT = Container(
    "json", "a JSON text", "this is a text file; name the .safetensors file beside it"
)

_WORDS = Container("text", "a text", "name the .safetensors file; this one holds words")
_LENGTH_BYTES = 8
_PRINTABLE = frozenset(b"\t\n\r" + bytes(range(32, 127)))

_MAGICS: tuple[tuple[bytes, Container], ...] = (
    (b"PK\x03\x04", _ZIP),
    (b"PK\x05\x06", _ZIP),
    (
        b"GGUF",
        Container("gguf", "a GGUF file", "GGUF is kept as it is; its weights are not audited"),
    ),
    (
        b"version https://git-l",
        Container(
            "lfs-pointer",
            "a git-lfs pointer: the text that stands for the file, not the file",
            "fetch the content with: git lfs pull",
        ),
    ),
    (b"age-encryption.org/v1", _SEALED),
    (b"-----BEGIN AGE ENCRYPTED", _SEALED),
    (
        b"\x1f\x8b\x08",
        Container("gzip", "a gzip archive", "unpack it and name the .safetensors file inside"),
    ),
    (b"\x89HDF", Container("hdf5", "an HDF5 file", "save the weights again with safetensors")),
    (b"\x93NUMPY", Container("npy", "a NumPy array", "save the weights again with safetensors")),
    (b"\xff\xd8\xff", Container("jpeg", "a JPEG image", "name the .safetensors file instead")),
    (b"\x89PNG", Container("png", "a PNG image", "name the .safetensors file instead")),
    (b"7z\xbc\xaf", Container("7z", "a 7z archive", "unpack it first")),
)
_WEB_STARTS = (b"<!doctype", b"<html", b"<?xml", b"<head")
_PICKLE_PROTOCOLS = (b"\x02", b"\x03", b"\x04", b"\x05")
_OLD_PICKLE_STARTS = (b"(dp", b"(lp", b"ccollections", b"ctorch")


def find_container(start: bytes) -> Container | None:
    """Return the container that `start` (the first `MAGIC_BYTES` of a file) belongs to, or None.

    Ask only about a file that was found to be no safetensors: the eight bytes of a header's length can
    look like anything.
    """
    for magic, container in _MAGICS:
        if start.startswith(magic[: max(len(start), 1)]) and len(start) >= min(len(magic), 8):
            return container
    if start.lstrip().lower().startswith(_WEB_STARTS):
        return _WEB_PAGE
    if start.startswith(_OLD_PICKLE_STARTS):
        return _PICKLE
    # PROTO and its number; a safetensors header of 640 bytes begins alike, and goes on with zeroes.
    if start[:1] == b"\x80" and start[1:2] in _PICKLE_PROTOCOLS and start[2:8].strip(b"\0"):
        return _PICKLE
    return _text_in(start)


def _text_in(start: bytes) -> Container | None:
    if start[:1] in (b"{", b"["):
        return _TEXT
    # The length of a header that fits into any file ends in zeroes; words do not.
    is_words = len(start) >= _LENGTH_BYTES and all(byte in _PRINTABLE for byte in start)
    return _WORDS if is_words else None
