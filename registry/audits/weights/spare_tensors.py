"""Tensors that an adapter does not need: empty ones, copies, constants, and large ones of no module."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from registry.artifacts.classifying.kinds import is_expected_extra
from registry.formats.findings import Finding, Verdict
from registry.updates.files import tensor_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from registry.formats.safetensors import TensorInfo
    from registry.updates.files import WeightFile

# Small tensors are alike by chance or by nature: alphas, scales of norms.
LEAST_BYTES = 2048
SPARE_BYTES = 64 * 1024
_KEY_BYTES = 64
_MATRIX = 2
_ADVICE = "ask whoever made the file what it is for; loaders do not need it"


def spare_findings(rule: str, file: WeightFile) -> Iterator[Finding]:
    """Yield what the tensors of `file` hold beyond an adapter."""
    if file.header is None:
        return
    for words, found in (
        ("hold nothing, so only their names say something", _empty(file)),
        ("have the same content as another", list(_copies(file))),
        ("hold one number throughout", list(_constants(file))),
    ):
        if found:
            count = f"{len(found)} tensors {words}"
            yield Finding(rule, Verdict.WARN, count, _ADVICE, found[0].name)
    yield from _unused(rule, file)


def _empty(file: WeightFile) -> list[TensorInfo]:
    tensors = file.header.tensors if file.header is not None else ()
    return [tensor for tensor in tensors if tensor.start == tensor.end]


def _copies(file: WeightFile) -> Iterator[TensorInfo]:
    """Yield every tensor that is byte for byte one before it; dead ones are `dead_modules`' business."""
    alike: dict[tuple[int, bytes], list[TensorInfo]] = defaultdict(list)
    for tensor in file.header.tensors if file.header is not None else ():
        if tensor.end - tensor.start >= LEAST_BYTES:
            content = tensor_bytes(file, tensor)
            half = len(content) // 2
            key = bytes(content[:_KEY_BYTES]) + bytes(content[half : half + _KEY_BYTES])
            if key.strip(b"\0"):
                alike[len(content), key].append(tensor)
    for tensors in alike.values():
        seen: list[TensorInfo] = []
        for tensor in tensors:
            content = tensor_bytes(file, tensor)
            if any(tensor_bytes(file, other) == content for other in seen):
                yield tensor
            elif len(seen) < _MOST_ALIKE:
                seen.append(tensor)


# Tensors that begin alike and differ: compared with so many, so that time stays bounded.
_MOST_ALIKE = 8


def _constants(file: WeightFile) -> Iterator[TensorInfo]:
    """Yield factors that hold the same number, not zero, everywhere."""
    for module in file.pairing.modules if file.pairing is not None else ():
        for _, tensor in module.tensors:
            size = tensor.end - tensor.start
            if len(tensor.shape) < _MATRIX or size < LEAST_BYTES:
                continue
            content = tensor_bytes(file, tensor)
            width = size // _count(tensor.shape)
            one = bytes(content[:width])
            start = bytes(content[:_KEY_BYTES])
            is_alike = width > 0 and start == one * (_KEY_BYTES // width)
            if is_alike and one.strip(b"\0") and content[width:] == content[:-width]:
                yield tensor


def _count(shape: tuple[int, ...]) -> int:
    count = 1
    for length in shape:
        count *= length
    return count


def _unused(rule: str, file: WeightFile) -> Iterator[Finding]:
    if file.pairing is None or not file.pairing.modules:
        return
    spare = [item for item in file.pairing.others if not is_expected_extra(item, None)]
    size = sum(item.end - item.start for item in spare)
    if size > SPARE_BYTES:
        yield Finding(
            rule,
            Verdict.WARN,
            f"{size / 1024:.0f} KiB in {len(spare)} tensors belong to no module and no known extra",
            _ADVICE,
            spare[0].name,
        )
