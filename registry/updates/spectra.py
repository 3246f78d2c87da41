"""The spectrum of the update of every module of an adapter, measured once for all audits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from registry.errors import FormatError
from registry.updates.factors import Kronecker, LowRank, NoSpectrum, update_of
from registry.updates.gram import (
    COARSE,
    FINE,
    Arithmetic,
    GramStack,
    is_small_enough,
    kronecker_values,
    singular_values,
)

if TYPE_CHECKING:
    import torch

    from registry.updates.files import LocatedModule, Payload


@dataclass(frozen=True, slots=True, eq=False)
class ModuleSpectrum:
    """Singular values of one module's update, or the reason why there are none.

    `values` is float64, descending, already multiplied by |scale|. `way` is `gram`, `gram64`, `qr`, `kronecker`
    or "" without values. `scale_stated` is False where the files do not say the scale and 1 was
    taken. `direction_only`: DoRA, where the update also depends on base weights that the file does not
    hold. `is_fault`: the factors do not fit together.
    """

    place: str
    values: torch.Tensor | None
    way: str = ""
    scale: float = 1.0
    scale_stated: bool = True
    direction_only: bool = False
    reason: str = ""
    is_fault: bool = False


def measure(payload: Payload, device: str = "cpu") -> tuple[ModuleSpectrum, ...]:
    """Return the spectrum of every module of `payload`, in the order of its modules."""
    return _Measurement(payload, device).run()


class _Measurement:
    """One pass over all modules; low-rank ones are gathered by rank and solved together."""

    def __init__(self, payload: Payload, device: str) -> None:
        self._modules = payload.modules
        self._device = device
        self._results: list[ModuleSpectrum | None] = [None] * len(payload.modules)
        self._stacks: dict[tuple[int, Arithmetic], GramStack] = {}

    def run(self) -> tuple[ModuleSpectrum, ...]:
        for number, located in enumerate(self._modules):
            try:
                self._take(number, located)
            except FormatError as error:
                self._results[number] = ModuleSpectrum(
                    place_of(located), None, reason=str(error), is_fault=True
                )
        for arithmetic in (COARSE, FINE):
            for stack in list(self._stacks.values()):
                if stack.arithmetic is arithmetic:
                    self._settle(stack)
        return tuple(result for result in self._results if result is not None)

    def _take(self, number: int, located: LocatedModule) -> None:
        update = update_of(located)
        if isinstance(update, Kronecker) and not is_small_enough(update):
            update = NoSpectrum("a full factor is too large to decompose")
        if isinstance(update, NoSpectrum):
            self._results[number] = ModuleSpectrum(place_of(located), None, reason=update.reason)
        elif isinstance(update, Kronecker):
            self._put(number, kronecker_values(update), "kronecker")
        elif update.down.shape[0] > min(update.up.shape[0], update.down.shape[1]):
            # Its Gram matrices are singular for certain.
            self._put(number, singular_values(update), "qr")
        else:
            # On an accelerator float64 costs little and float32 may be cut short to TF32.
            on_cpu = self._device == "cpu"
            self._gather(number, update, COARSE if on_cpu else FINE)

    def _gather(self, number: int, update: LowRank, arithmetic: Arithmetic) -> None:
        rank = update.down.shape[0]
        if rank == 0:
            raise FormatError("rank is 0")
        stack = self._stacks.get((rank, arithmetic))
        if stack is None:
            stack = GramStack(rank, self._device, arithmetic)
            self._stacks[rank, arithmetic] = stack
        stack.add(number, update)
        if stack.is_full:
            self._settle(stack)

    def _settle(self, stack: GramStack) -> None:
        way = "gram" if stack.arithmetic is COARSE else "gram64"
        for solved in stack.solve():
            if solved.values is not None:
                self._put(solved.number, solved.values, way)
                continue
            # The factors were not kept: of many modules at once they could be larger than the file.
            update = update_of(self._modules[solved.number])
            if not isinstance(update, LowRank):
                continue
            if stack.arithmetic is COARSE:
                self._gather(solved.number, update, FINE)
            else:
                self._put(solved.number, singular_values(update), "qr")

    def _put(self, number: int, values: torch.Tensor, way: str) -> None:
        located = self._modules[number]
        self._results[number] = ModuleSpectrum(
            place=place_of(located),
            values=values * abs(located.factor),
            way=way,
            scale=located.factor,
            scale_stated=located.is_stated,
            direction_only=located.module.find_tensor("magnitude") is not None,
        )


def place_of(located: LocatedModule) -> str:
    """Return how findings name a module."""
    return located.module.name
