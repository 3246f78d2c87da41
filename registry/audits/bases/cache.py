"""The cache of a base model: every weight that adapters change, with its left singular vectors and values.

One safetensors file. For each part named N of the naming in its metadata: `N/weight` (outputs, inputs; as
the base stores it), `N/left` (outputs, k) float16 and `N/values` (k) float32, descending, k the smaller
side. Convolutions are flattened. A column of `left` that is all zero stands for a singular value of 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from registry.errors import FormatError
from registry.formats.canonical import parse_canonical
from registry.formats.safetensors import header_length, parse_header
from registry.limits import CANONICAL_JSON_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from registry.formats.canonical import Json
    from registry.formats.safetensors import SafetensorsHeader, TensorInfo

SCHEMA = "loraseal/base-cache.v1"
WEIGHT, LEFT, VALUES = "weight", "left", "values"
LEFT_DTYPE, VALUES_DTYPE = "F16", "F32"
WEIGHT_DTYPES = ("F16", "BF16", "F32")
_PREFIX_BYTES = 512
_MATRIX = 2
_ADVICE = "make it again: loraseal base add"


@dataclass(frozen=True, slots=True)
class BaseFacts:
    """What a cache says of itself. `files` are (sha256 in hex, size) of the base model's files, in order."""

    naming: str
    files: tuple[tuple[str, int], ...]
    parts: int
    skipped: int


@dataclass(frozen=True, slots=True, eq=False)
class BaseWeight:
    """One part of the base: `weight` (m, n) as stored, `left` (m, k) float16, `values` (k,) float32."""

    weight: torch.Tensor
    left: torch.Tensor
    values: torch.Tensor


class BaseCache:
    """A cache in memory; tensors are views of it."""

    def __init__(self, data: memoryview, *, naming: str) -> None:
        """Read the header of `data`, which must be named after `naming`.

        Raises:
            FormatError: not a cache, of another naming, or with shapes that do not fit.
        """
        self._data = data
        self._header = read_cache_header(
            lambda start, size: bytes(data[start : start + size]), len(data)
        )
        self.facts = facts_in(self._header)
        if self.facts.naming != naming:
            raise FormatError(
                f"the base cache is named after {self.facts.naming!r}, expected {naming!r}",
                hint=_ADVICE,
            )
        self._parts = _parts(self._header)

    def find(self, name: str) -> BaseWeight | None:
        """Return the part called `name`, or None if the base has none."""
        from registry.updates.files import WeightFile
        from registry.updates.tensors import view_tensor  # late: it loads torch

        entries = self._parts.get(name)
        if entries is None:
            return None
        file = WeightFile("base", self._data, self._header)
        found = {role: view_tensor(file, info) for role, info in entries.items()}
        return BaseWeight(found[WEIGHT], found[LEFT], found[VALUES])


def read_cache_header(read_at: Callable[[int, int], bytes], size: int) -> SafetensorsHeader:
    """Return the header of a cache of `size` bytes; `read_at(offset, size)` gives its bytes.

    Raises:
        FormatError: not a sound safetensors file.
    """
    length = header_length(read_at(0, min(size, _PREFIX_BYTES)), file_size=size)
    return parse_header(read_at(0, length), file_size=size)


def facts_in(header: SafetensorsHeader) -> BaseFacts:
    """Return what the metadata of a cache says.

    Raises:
        FormatError: it is no cache, or of another release.
    """
    metadata = dict(header.metadata)
    if metadata.get("schema") != SCHEMA:
        raise FormatError(f"the file is no base cache of schema {SCHEMA!r}", hint=_ADVICE)
    try:
        body = metadata["files"].encode()
        rows = parse_canonical(body, what="base files", max_bytes=CANONICAL_JSON_BYTES)
        files = tuple(_file(row) for row in _list(rows))
        skipped = int(metadata["skipped"])
    except (KeyError, ValueError) as error:
        raise FormatError("the metadata of the base cache is not whole", hint=_ADVICE) from error
    names = {tensor.name.rpartition("/")[0] for tensor in header.tensors}
    return BaseFacts(metadata.get("naming", ""), files, len(names), skipped)


def _list(value: Json) -> list[Json]:
    if not isinstance(value, list):
        raise FormatError("base files is not a list", hint=_ADVICE)
    return value


def _file(row: Json) -> tuple[str, int]:
    match row:
        case [str(digest), int(size)]:
            return digest, size
        case _:
            raise FormatError("a base file is not a digest and a size", hint=_ADVICE)


def _parts(header: SafetensorsHeader) -> dict[str, dict[str, TensorInfo]]:
    parts: dict[str, dict[str, TensorInfo]] = {}
    for tensor in header.tensors:
        name, _, role = tensor.name.rpartition("/")
        parts.setdefault(name, {})[role] = tensor
    for name, roles in parts.items():
        if not _fits(roles):
            raise FormatError(f"part {name!a} of the base cache does not fit", hint=_ADVICE)
    return parts


def _fits(roles: dict[str, TensorInfo]) -> bool:
    if roles.keys() != {WEIGHT, LEFT, VALUES}:
        return False
    weight, left, values = roles[WEIGHT], roles[LEFT], roles[VALUES]
    if weight.dtype not in WEIGHT_DTYPES or len(weight.shape) != _MATRIX or 0 in weight.shape:
        return False
    smaller = min(weight.shape)
    return (left.dtype, left.shape, values.dtype, values.shape) == (
        LEFT_DTYPE,
        (weight.shape[0], smaller),
        VALUES_DTYPE,
        (smaller,),
    )
