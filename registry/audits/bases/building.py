"""Making the cache of a base model: one decomposition of every weight that adapters change.

Left singular vectors come from the eigenvectors of the smaller Gram matrix in float64: exact to far
below float16, and one to four times as fast as an SVD in float32. One weight is in memory at a time: its
stored bytes, the Gram matrix with its eigenvectors (at most about 24 k**2 bytes with k the smaller side),
and its vectors. The file holds at most the base's bytes, 2 bytes for each entry of `left` (never more
entries than the weight has) and 4 for each value: for a base in half precision at most twice its size.
There is no resuming: an interrupted run leaves nothing behind and is done again.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from registry.artifacts.classifying.modules import pair_modules
from registry.artifacts.reading import SourceChangedError, open_source
from registry.audits.bases import cache as base_cache
from registry.audits.bases.names import (
    CANONICAL,
    COMPONENTS,
    BaseLayer,
    adapter_modules,
    is_layer,
)
from registry.durable import atomic_write
from registry.errors import FormatError, NotFoundError, naming
from registry.formats.canonical import dump_canonical
from registry.formats.containers import MAGIC_BYTES
from registry.formats.dtypes import BYTE_BITS, DTYPE_BITS
from registry.formats.safetensors import TensorInfo, dump_header, header_length, parse_header
from registry.updates.tensors import FLOAT_DTYPES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from registry.artifacts.reading import Source
    from registry.audits.bases.names import Naming
    from registry.formats.safetensors import SafetensorsHeader

MAX_SIDE = 8192  # the smaller side of a weight; the cost grows with its cube
_MATRIX = 2
_BLOCK = 2048
_READ_BYTES = 2**28
_NO_DIRECTION = 1e-7  # of the largest value: what float64 can tell of it from a Gram matrix
_NARROW = ("F8_", "F6_", "F4", "I8", "U8")
# GPT-2's own linear layers are stored (inputs, outputs).
_TRANSPOSED = (
    ".attn.c_attn.weight",
    ".attn.c_proj.weight",
    ".mlp.c_fc.weight",
    ".mlp.c_proj.weight",
)
# Methods whose tensors no base model has.
ADAPTER_METHODS = frozenset(
    {"lora", "dora", "adalora", "loha", "lokr", "oft", "boft", "glora", "vera"}
)
_VARIANTS = (".fp16.", ".non_ema.", ".bf16.")


@dataclass(frozen=True, slots=True)
class BaseFile:
    """One file of a base model; `component` is the folder of a diffusers model that it lies in, or ""."""

    path: Path
    component: str = ""


@dataclass(frozen=True, slots=True)
class BuiltBase:
    """What was made: the cache's size in bytes, its parts, and weights that are too large for it."""

    facts: base_cache.BaseFacts
    size: int
    base_size: int


@dataclass(frozen=True, slots=True)
class _Layer:
    """One tensor of an open file, from byte `start` on."""

    source: Source
    start: int
    layer: BaseLayer
    is_transposed: bool


@dataclass(frozen=True, slots=True)
class _Piece:
    """Rows of one layer that make one part of the cache."""

    of: _Layer
    name: str
    rows: range

    @property
    def shape(self) -> tuple[int, int]:
        """Rows, and columns with the kernel flattened."""
        return len(self.rows), self.of.layer.inputs * self.of.layer.kernel

    @property
    def smaller(self) -> int:
        """The number of singular values."""
        return min(self.shape)


def find_base_files(path: Path) -> tuple[BaseFile, ...]:
    """Return the safetensors files of a base model: the file itself, or those of a model's folder.

    A folder of diffusers has its networks in folders of their own; where it holds a second copy in
    another precision, the one without a variant's name counts.

    Raises:
        NotFoundError: a folder without such files.
    """
    if not path.is_dir() or path.is_symlink():
        return (BaseFile(path),)
    found = [BaseFile(file) for file in _weights_in(path)]
    for component in COMPONENTS:
        found += [BaseFile(file, component) for file in _weights_in(path / component)]
    if not found:
        raise NotFoundError(
            "the folder holds no .safetensors file of a model",
            hint="give the model's file, or the folder that has unet or transformer in it",
        )
    return tuple(found)


def build_base_cache(
    files: Sequence[BaseFile],
    out: Path,
    *,
    names: Naming = CANONICAL,
    device: str = "cpu",
    tell: Callable[[int, int], None] = lambda done, total: None,
) -> BuiltBase:
    """Write the cache of the base model in `files` to `out`; it appears once it is whole.

    `tell(done, total)` is called after each weight. Deterministic on one machine and device.

    Raises:
        FormatError: a file is malformed, holds 8-bit or non-finite weights, or two hold the same weight;
            or no weight is there that adapters change.
        LorasealError: unreadable, changed while it was read; disk full and the like.
    """
    with contextlib.ExitStack() as stack:
        sources: list[Source] = []
        layers: list[_Layer] = []
        for file in files:
            with naming(file.path):
                source = stack.enter_context(open_source(file.path))
                layers += _layers(file, source, _header(source))
            sources.append(source)
        pieces, skipped = _pieces(layers, names)
        hashed = tuple((_sha256(source), source.size) for source in sources)
        facts = base_cache.BaseFacts(names.version, hashed, len(pieces), skipped)
        head = _head(pieces, facts)
        atomic_write(out, _written(head, pieces, sources, device, tell))
    return BuiltBase(facts, out.stat().st_size, sum(size for _, size in hashed))


def decompose(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return left singular vectors (m, k) and singular values (k,), float64, descending, k = min(m, n).

    Vectors of values that are zero to working precision are zero where m > n: they are no directions of
    the weight.

    Raises:
        FormatError: not finite.
    """
    upright = weight.shape[0] <= weight.shape[1]
    gram = _gram(weight if upright else weight.T)
    if not bool(torch.isfinite(gram.diagonal()).all()):
        raise FormatError("a weight of the base is not finite")
    squares, vectors = torch.linalg.eigh(gram)
    values, vectors = squares.flip(0).clamp_min(0).sqrt(), vectors.flip(1)
    if upright:
        return vectors, values
    blocks = torch.split(weight, _BLOCK)
    left = torch.cat([block.double() @ vectors for block in blocks])
    lengths = torch.linalg.vector_norm(left, dim=0)
    is_direction = lengths > _NO_DIRECTION * lengths.max()
    return torch.where(is_direction, left / lengths, 0.0), values


def _gram(wide: torch.Tensor) -> torch.Tensor:
    total = torch.zeros((wide.shape[0],) * 2, dtype=torch.float64, device=wide.device)
    for block in torch.split(wide, _BLOCK, dim=1):
        widened = block.double()
        total.addmm_(widened, widened.T)
    return total


def _weights_in(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    paths = sorted(path for path in folder.iterdir() if path.name.endswith(".safetensors"))
    plain = [path for path in paths if not any(word in path.name for word in _VARIANTS)]
    return plain or paths


def _header(source: Source) -> SafetensorsHeader:
    length = header_length(source.read_at(0, MAGIC_BYTES), file_size=source.size)
    return parse_header(source.read_at(0, length), file_size=source.size)


def _layers(file: BaseFile, source: Source, header: SafetensorsHeader) -> Iterator[_Layer]:
    """Yield the layers in one file that adapters change."""
    if any(module.method in ADAPTER_METHODS for module in pair_modules(header)):
        raise FormatError(
            "the file is an adapter, expected a base model",
            hint="give the model that the adapter was trained on",
        )
    for info in header.tensors:
        if len(info.shape) < _MATRIX or 0 in info.shape or not is_layer(info.name):
            continue
        _check_dtype(info)
        is_transposed = len(info.shape) == _MATRIX and info.name.endswith(_TRANSPOSED)
        outputs, inputs = info.shape[:2][::-1] if is_transposed else info.shape[:2]
        layer = BaseLayer(file.component, info, outputs, inputs, math.prod(info.shape[2:]))
        yield _Layer(source, header.header_bytes + info.start, layer, is_transposed)


def _pieces(layers: Sequence[_Layer], names: Naming) -> tuple[list[_Piece], int]:
    """Return the parts of all layers, and how many are too large to decompose."""
    named = names.of_modules(adapter_modules([one.layer for one in layers]))
    pieces = [
        _Piece(one, part.name, part.rows if part.rows is not None else range(one.layer.outputs))
        for one, parts in zip(layers, named, strict=True)
        for part in parts
    ]
    small = [piece for piece in pieces if piece.smaller <= MAX_SIDE]
    _refuse_repeats(small)
    return small, len(pieces) - len(small)


def _check_dtype(info: TensorInfo) -> None:
    if info.dtype in base_cache.WEIGHT_DTYPES:
        return
    narrow = info.dtype.startswith(_NARROW)
    raise FormatError(
        f"weight {info.name!a} is stored as {info.dtype}, expected F16, BF16 or F32",
        hint="give the model's file in half precision: narrow weights need scales of their own"
        if narrow
        else "save the model in BF16 or F16",
    )


def _refuse_repeats(pieces: Sequence[_Piece]) -> None:
    seen: set[str] = set()
    for piece in pieces:
        if piece.name in seen:
            raise FormatError(
                f"two weights of the base are called {piece.name!a}",
                hint="give one copy of the model only",
            )
        seen.add(piece.name)
    if not pieces:
        raise FormatError(
            "the base holds no weight that adapters change",
            hint="give the model that adapters are trained on, not an adapter or a VAE",
        )


def _head(pieces: Sequence[_Piece], facts: base_cache.BaseFacts) -> bytes:
    tensors, position = [], 0
    for piece in pieces:
        outputs, inputs = piece.shape
        for role, dtype, shape in (
            (base_cache.WEIGHT, piece.of.layer.info.dtype, (outputs, inputs)),
            (base_cache.LEFT, base_cache.LEFT_DTYPE, (outputs, piece.smaller)),
            (base_cache.VALUES, base_cache.VALUES_DTYPE, (piece.smaller,)),
        ):
            count = outputs * shape[1] if len(shape) > 1 else shape[0]
            end = position + count * DTYPE_BITS[dtype] // BYTE_BITS
            tensors.append(TensorInfo(f"{piece.name}/{role}", dtype, shape, position, end))
            position = end
    files = dump_canonical([[digest, size] for digest, size in facts.files]).decode()
    metadata = {
        "schema": base_cache.SCHEMA,
        "naming": facts.naming,
        "files": files,
        "skipped": str(facts.skipped),
    }
    return dump_header(tensors, metadata.items())


def _written(
    head: bytes,
    pieces: Sequence[_Piece],
    sources: Sequence[Source],
    device: str,
    tell: Callable[[int, int], None],
) -> Iterator[bytes]:
    yield head
    for done, piece in enumerate(pieces, start=1):
        weight = _weight(piece)
        with naming(piece.of.source.path):
            left, values = decompose(weight.to(device))
        yield _bytes(weight)
        yield _bytes(left.half().cpu())
        yield _bytes(values.float().cpu())
        tell(done, len(pieces))
    for source in sources:
        source.check_unchanged()


def _weight(piece: _Piece) -> torch.Tensor:
    """Return the part's weight (outputs, inputs) on the CPU, of its stored type."""
    one, info = piece.of, piece.of.layer.info
    height = info.shape[0]
    width = math.prod(info.shape[1:])
    row_bytes = width * DTYPE_BITS[info.dtype] // BYTE_BITS
    rows = range(height) if one.is_transposed else piece.rows
    data = _read(one.source, one.start + rows.start * row_bytes, len(rows) * row_bytes)
    matrix = torch.frombuffer(data, dtype=FLOAT_DTYPES[info.dtype]).view(len(rows), width)
    if one.is_transposed:
        matrix = matrix[:, piece.rows.start : piece.rows.stop].T
    return matrix.contiguous()


def _read(source: Source, offset: int, size: int) -> bytearray:
    data = bytearray()
    while len(data) < size:
        more = source.read_at(offset + len(data), min(size - len(data), _READ_BYTES))
        if not more:
            raise SourceChangedError("the base shrank while it was read", hint="run it again")
        data += more
    return data


def _bytes(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().view(torch.uint8).numpy().tobytes()


def _sha256(source: Source) -> str:
    digest = hashlib.sha256()
    for batch in source.batches():
        digest.update(batch)
    return digest.hexdigest()
