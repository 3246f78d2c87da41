"""The spectrum of the update of every module of an adapter, measured once for all audits."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from registry.errors import FormatError
from registry.limits import AUDIT_DEVICE_BYTES
from registry.updates.devices import memory_cap, modest_use
from registry.updates.exactness import one_thread, sums_exactly
from registry.updates.factors import Full, Kronecker, LowRank, NoSpectrum, caveat_of, update_of
from registry.updates.gram import COARSE, FINE, STEADY, Arithmetic, GramStack
from registry.updates.segments import DeviceFullError, SegmentedGrams
from registry.updates.values import (
    full_values,
    is_small_enough,
    kronecker_values,
    singular_values,
    work_of,
)

if TYPE_CHECKING:
    from registry.updates.files import LocatedModule, Payload
    from registry.updates.memory import MemoryCap

# Multiplications spent on full matrices of one payload: two minutes of one core. All of SD1.5 in full
# differences takes a third of it.
FULL_WORK = 2 * 10**12


@dataclass(frozen=True, slots=True, eq=False)
class ModuleSpectrum:
    """Singular values of one module's update, or the reason why there are none.

    `values` is float64, descending, already multiplied by |scale|. `way` is `gram`, `gram64`, `qr`, `full`,
    `kronecker` or "" without values. `scale_stated` is False where the files do not say the scale and
    1 was taken. `caveat` says what the values are not ("" if they are the update's): "dora: direction
    only", "glora: additive part only". `is_fault`: the factors do not fit together. `is_limit`: it has
    a spectrum, but beyond the bounds of what is computed. `is_exact`: its Gram matrices are the same
    bits on every machine.
    """

    place: str
    values: torch.Tensor | None
    way: str = ""
    scale: float = 1.0
    scale_stated: bool = True
    caveat: str = ""
    reason: str = ""
    is_fault: bool = False
    is_limit: bool = False
    is_exact: bool = False


def measure(
    payload: Payload,
    device: str = "cpu",
    *,
    deterministic: bool = False,
    device_bytes: int = AUDIT_DEVICE_BYTES,
) -> tuple[ModuleSpectrum, ...]:
    """Return the spectrum of every module of `payload`, in the order of its modules.

    `deterministic`: Gram matrices in float64 and every decomposition on one thread of the CPU, so that
    `spectrum_digest` of the answer does not depend on device or threads. `device_bytes` bounds what is
    taken of an accelerator's memory; one that has no room leaves the payload to the CPU.
    """
    with one_thread() if deterministic else contextlib.nullcontext():
        if torch.device(device).type != "cpu":
            with (
                contextlib.suppress(DeviceFullError, torch.OutOfMemoryError),
                modest_use(device, device_bytes),
            ):
                cap = memory_cap(device, device_bytes)
                return _Measurement(payload, device, deterministic=deterministic, cap=cap).run()
        return _Measurement(payload, "cpu", deterministic=deterministic).run()


class _Measurement:
    """One pass over all modules; low-rank ones are gathered and solved together.

    On the CPU by rank; with a `cap` in the segmented form, whatever the device.
    """

    def __init__(
        self,
        payload: Payload,
        device: str,
        *,
        deterministic: bool,
        cap: MemoryCap | None = None,
    ) -> None:
        self._modules = payload.modules
        self._device = device
        self._deterministic = deterministic
        self._work = FULL_WORK
        self._results: list[ModuleSpectrum | None] = [None] * len(payload.modules)
        self._stacks: dict[tuple[int, Arithmetic], GramStack] = {}
        # On an accelerator float64 costs little and float32 may be cut short to TF32.
        self._first = COARSE if cap is None else FINE
        if deterministic:
            self._first = STEADY
        self._segments = None if cap is None else SegmentedGrams(device, self._first, cap)

    def run(self) -> tuple[ModuleSpectrum, ...]:
        for number, located in enumerate(self._modules):
            try:
                self._take(number, located)
            except FormatError as error:
                self._results[number] = ModuleSpectrum(
                    place_of(located), None, reason=str(error), is_fault=True
                )
        if self._segments is not None:
            self._settle(self._segments)
        for arithmetic in (COARSE, FINE, STEADY):
            for stack in list(self._stacks.values()):
                if stack.arithmetic is arithmetic:
                    self._settle(stack)
        return tuple(result for result in self._results if result is not None)

    def _take(self, number: int, located: LocatedModule) -> None:
        update = self._affordable(update_of(located))
        if isinstance(update, NoSpectrum):
            self._results[number] = ModuleSpectrum(
                place_of(located), None, reason=update.reason, is_limit=update.is_limit
            )
        elif isinstance(update, Kronecker):
            self._put(number, kronecker_values(update, self._device), "kronecker")
        elif isinstance(update, Full):
            is_exact = self._deterministic and sums_exactly(update.matrix)
            values = full_values(update.matrix, self._device)
            self._put(number, values, "full", is_exact=is_exact)
        elif update.down.shape[0] > min(update.up.shape[0], update.down.shape[1]):
            # Its Gram matrices are singular for certain.
            self._put(number, singular_values(update), "qr")
        else:
            self._gather(number, update, self._first)

    def _affordable(
        self, update: LowRank | Full | Kronecker | NoSpectrum
    ) -> LowRank | Full | Kronecker | NoSpectrum:
        """Return `update`, or why it is not decomposed; full matrices are paid for here."""
        if isinstance(update, (LowRank, NoSpectrum)):
            return update
        if isinstance(update, Kronecker) and not is_small_enough(update):
            return NoSpectrum("a full factor is too large to decompose", is_limit=True)
        work = work_of(update)
        if work > self._work:
            return NoSpectrum("the full matrices of one payload have a bound", is_limit=True)
        self._work -= work
        return update

    def _gather(self, number: int, update: LowRank, arithmetic: Arithmetic) -> None:
        rank = update.down.shape[0]
        if rank == 0:
            raise FormatError("rank is 0")
        stack = self._segments or self._stacks.get((rank, arithmetic))
        if stack is None:
            stack = GramStack(rank, self._device, arithmetic)
            self._stacks[rank, arithmetic] = stack
        stack.add(number, update)
        if stack.is_full:
            self._settle(stack)

    def _settle(self, stack: GramStack | SegmentedGrams) -> None:
        way = "gram" if stack.arithmetic is COARSE else "gram64"
        for solved in stack.solve():
            if solved.values is not None:
                self._put(solved.number, solved.values, way, is_exact=solved.is_exact)
                continue
            # The factors were not kept: of many modules at once they could be larger than the file.
            update = update_of(self._modules[solved.number])
            if not isinstance(update, LowRank):
                continue
            if stack.arithmetic is COARSE:
                self._gather(solved.number, update, FINE)
            else:
                self._put(solved.number, singular_values(update), "qr")

    def _put(self, number: int, values: torch.Tensor, way: str, *, is_exact: bool = False) -> None:
        located = self._modules[number]
        self._results[number] = ModuleSpectrum(
            place=place_of(located),
            values=values * abs(located.factor),
            way=way,
            scale=located.factor,
            scale_stated=located.is_stated,
            caveat=caveat_of(located),
            is_exact=is_exact,
        )


def place_of(located: LocatedModule) -> str:
    """Return how findings name a module."""
    return located.module.name
