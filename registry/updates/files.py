"""The files of one opened payload in memory, the modules in them, and the scale of each module."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from registry.artifacts.classifying.alpha import configs_of
from registry.artifacts.classifying.scalars import read_alphas
from registry.artifacts.classifying.scales import list_scales
from registry.artifacts.classifying.shapes import group_shapes
from registry.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from registry.artifacts.classifying.modules import AdapterModule, Pairing
    from registry.artifacts.classifying.scales import ModuleScale
    from registry.formats.adapter_config import AdapterConfig
    from registry.formats.safetensors import SafetensorsHeader, TensorInfo


@dataclass(frozen=True, slots=True)
class WeightFile:
    """One file of the payload; `header` is None where it is not a safetensors file.

    `data` is the whole file in memory. Tensor offsets count from `header.header_bytes`.
    """

    path: str
    data: memoryview
    header: SafetensorsHeader | None = None
    pairing: Pairing | None = None


@dataclass(frozen=True, slots=True)
class LocatedModule:
    """A module of the adapter, the file that its tensors lie in, and how strongly it counts.

    `stored_alpha` is what its alpha tensor holds, NaN and infinity too; None without one.
    """

    file: WeightFile
    module: AdapterModule
    scale: ModuleScale
    stored_alpha: float | None = None

    @property
    def factor(self) -> float:
        """What its update is multiplied with; 1 where the files do not say (see `is_stated`)."""
        return 1.0 if self.scale.scale is None else self.scale.scale

    @property
    def is_stated(self) -> bool:
        """Whether the files state the scale, or the method has none."""
        return self.scale.source == "method" or (
            self.scale.scale is not None and self.scale.source != "default"
        )


@dataclass(frozen=True)
class Payload:
    """All files of one opened payload, and the PEFT config among them."""

    files: tuple[WeightFile, ...]
    config: AdapterConfig | None = None

    @cached_property
    def modules(self) -> tuple[LocatedModule, ...]:
        """Every recognised module of every file, in file order, with its effective scale."""
        return tuple(located for file in self.files for located in _located(file, self.config))


def tensor_bytes(file: WeightFile, info: TensorInfo) -> memoryview:
    """Return the bytes of one tensor, without a copy."""
    if file.header is None:
        raise ValueError("a file without header has no tensors")
    base = file.header.header_bytes
    return file.data[base + info.start : base + info.end]


def _located(file: WeightFile, config: AdapterConfig | None) -> Iterator[LocatedModule]:
    if file.header is None or file.pairing is None:
        return
    alphas = read_alphas(file.header, lambda start, size: bytes(file.data[start : start + size]))
    try:
        configs = configs_of(dict(file.header.metadata), config)
    except FormatError as error:
        raise FormatError(f"{file.path!r}: {error}", hint=error.hint) from error
    modules = file.pairing.modules
    for module, scale in zip(
        modules, list_scales(group_shapes(modules), alphas, configs), strict=True
    ):
        alpha = module.find_tensor("alpha")
        stored = None if alpha is None else (alphas or {}).get(alpha.name)
        yield LocatedModule(file, module, scale, stored)
