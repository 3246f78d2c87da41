"""From the bytes of an opened payload to its files and modules. Runs in the audit child."""

from __future__ import annotations

import io
import tarfile
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from registry.artifacts.classifying.modules import pair_tensors
from registry.artifacts.notes import PayloadForm
from registry.errors import FormatError
from registry.formats.adapter_config import parse_adapter_config
from registry.formats.manifest import check_relative_path
from registry.formats.safetensors import header_length, parse_header
from registry.limits import ADAPTER_CONFIG_BYTES, MANIFEST_ENTRIES
from registry.updates.files import Payload, WeightFile

if TYPE_CHECKING:
    from registry.formats.adapter_config import AdapterConfig

_PREFIX_BYTES = 512
_CONFIG_NAME = "adapter_config.json"


def read_payload(data: memoryview, form: PayloadForm, name: str) -> Payload:
    """Return the payload in `data`; every safetensors file in it is parsed strictly.

    Raises:
        FormatError: the payload, one of its safetensors headers or its adapter config is malformed,
            or it holds no safetensors file at all.
    """
    parts = [(name, data)] if form is PayloadForm.RAW else _members(data)
    files = tuple(_parsed(path, content, raw=form is PayloadForm.RAW) for path, content in parts)
    if not any(file.header is not None for file in files):
        raise FormatError("payload holds no safetensors file")
    return Payload(files, _config(files))


def _members(data: memoryview) -> list[tuple[str, memoryview]]:
    """Return path and content of every file of the tar in `data`, without copying content."""
    parts: list[tuple[str, memoryview]] = []
    try:
        with tarfile.open(fileobj=_ViewReader(data), mode="r:") as archive:
            for member in archive:
                parts.append((member.name, _content(member, data)))
                if len(parts) > MANIFEST_ENTRIES:
                    raise FormatError(f"tar has more than {MANIFEST_ENTRIES} entries")
    except (tarfile.TarError, ValueError, OverflowError, RecursionError) as error:
        raise FormatError(f"payload is not a sound tar: {type(error).__name__}") from error
    return parts


def _content(member: tarfile.TarInfo, data: memoryview) -> memoryview:
    check_relative_path(member.name)
    # A sparse entry's size is not the number of its bytes in the archive.
    if not member.isreg() or member.issparse():
        raise FormatError(f"tar entry {member.name!r} is not a plain file")
    end = member.offset_data + member.size
    if member.size < 0 or end > len(data):
        raise FormatError(f"tar entry {member.name!r} ends at byte {end} of {len(data)}")
    return data[member.offset_data : end]


def _parsed(path: str, data: memoryview, *, raw: bool) -> WeightFile:
    # The one file of a raw payload is an adapter whatever it is called: that it is safetensors is
    # what is claimed. In a folder only what bears the suffix is.
    if not raw and PurePosixPath(path).suffix != ".safetensors":
        return WeightFile(path, data)
    size = len(data)
    try:
        length = header_length(bytes(data[:_PREFIX_BYTES]), file_size=size)
        header = parse_header(bytes(data[:length]), file_size=size)
    except FormatError as error:
        raise FormatError(f"{path!r}: {error}", hint=error.hint) from error
    return WeightFile(path, data, header, pair_tensors(header))


def _config(files: tuple[WeightFile, ...]) -> AdapterConfig | None:
    for file in files:
        if PurePosixPath(file.path).name == _CONFIG_NAME:
            if len(file.data) > ADAPTER_CONFIG_BYTES:
                raise FormatError(
                    f"{file.path!r} has {len(file.data)} bytes, more than {ADAPTER_CONFIG_BYTES}"
                )
            return parse_adapter_config(bytes(file.data))
    return None


class _ViewReader(io.RawIOBase):
    """A readable file over a memory view; reads copy only what is asked for."""

    def __init__(self, data: memoryview) -> None:
        super().__init__()
        self._data = data
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: len(self._data)}[whence]
        self._position = max(0, base + offset)
        return self._position

    def read(self, size: int = -1, /) -> bytes:
        end = len(self._data) if size < 0 else self._position + size
        batch = bytes(self._data[self._position : end])
        self._position += len(batch)
        return batch
