"""Small values out of tensor bytes without torch: alphas, and the one scale of a module."""

from __future__ import annotations

import math
import re
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from registry.audits.audit import AuditFile, LocatedModule
    from registry.formats.adapter_config import AdapterConfig
    from registry.formats.safetensors import TensorInfo

_FORMATS = {
    "F64": "<d", "F32": "<f", "F16": "<e", "I64": "<q", "I32": "<i", "I16": "<h", "I8": "<b",
    "U8": "<B", "U16": "<H", "U32": "<I", "U64": "<Q",
}  # fmt: skip
# Methods whose update is multiplied by alpha / rank. OFT's alpha is a constraint, not a scale.
SCALED_METHODS = frozenset(("lora", "dora", "loha", "lokr", "glora"))


def tensor_bytes(file: AuditFile, info: TensorInfo) -> memoryview:
    """Return the bytes of one tensor, without a copy."""
    if file.header is None:
        raise ValueError("a file without header has no tensors")
    base = file.header.header_bytes
    return file.data[base + info.start : base + info.end]


def read_scalar(file: AuditFile, info: TensorInfo) -> float | None:
    """Return the value of a tensor of one number, None where it is not one or of an odd type."""
    data = tensor_bytes(file, info)
    if math.prod(info.shape) != 1:
        return None
    if info.dtype == "BF16":  # the upper half of a float32
        return float(struct.unpack("<f", b"\0\0" + bytes(data))[0])
    layout = _FORMATS.get(info.dtype)
    return None if layout is None else float(struct.unpack(layout, data)[0])


def scale_of(located: LocatedModule, config: AdapterConfig | None) -> tuple[float, bool]:
    """Return the factor that the update is multiplied with, and whether the files state it.

    The sign is kept. Order: the alpha tensor over the rank (kohya, LyCORIS; there rsLoRA is folded into alpha), else
    `lora_alpha / r`, or `/ sqrt(r)` with rsLoRA, of the adapter config, else 1.
    """
    module = located.module
    rank = module.rank if module.method in SCALED_METHODS else None
    if not rank:  # LoKr with both factors in full: LyCORIS sets alpha to the dimension
        return 1.0, True
    info = module.find_tensor("alpha")
    if info is not None:
        stored = read_scalar(located.file, info)
        return (1.0, False) if stored is None else (stored / rank, True)
    if config is None or config.lora_alpha is None:
        return 1.0, False
    alpha = pattern_value(config.alpha_pattern, module.name)
    chosen = float(config.lora_alpha) if alpha is None else alpha
    return chosen / (math.sqrt(rank) if config.use_rslora else rank), True


def pattern_value(pattern: tuple[tuple[str, float], ...], module: str) -> float | None:
    """Return the value of the key in a PEFT rank or alpha pattern that `module` ends with.

    PEFT takes keys for regular expressions; a hostile one could take forever, so keys count as plain
    names here, matched like PEFT matches plain names: the whole name, or its end after a dot.
    """
    plain = re.sub(r"^base_model\.model\.", "", module)
    for key, value in pattern:
        if plain == key or plain.endswith(f".{key}"):
            return value
    return None
