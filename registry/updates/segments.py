"""Gram matrices of hundreds of modules in few launches: the form for an accelerator.

The stored bytes of a chunk of modules go up in one copy. There every factor is cut into blocks of a fixed
number of rows (columns of `down`), all blocks of one rank are multiplied with themselves in one batch,
and the products are added up by module. What a chunk needs at once is bounded by a `MemoryCap`; a device
that refuses gets half of it. The same arithmetic on every device: float64, so TF32 never applies.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch

from registry.errors import LorasealError
from registry.updates.gram import Arithmetic, Solved, exact_bounds, solve
from registry.updates.tensors import BIT_DTYPES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from registry.updates.factors import LowRank
    from registry.updates.memory import MemoryCap

_BLOCK = 128  # rows; widths of real layers are mostly multiples
_ALIGNMENT = 16
_FLOAT64_BYTES = 8
# Per value in a slice: index, the same masked, stored bits, float64, and the products' share.
_SLICE_BYTES = 48
# Per value of a Gram matrix: both factors', their Cholesky factors, core, and its square.
_CORE_MATRICES = 8


class DeviceFullError(LorasealError):
    """The device refuses even the smallest chunk: the payload is measured on the CPU."""


class _Entry(NamedTuple):
    number: int
    update: LowRank

    @property
    def rank(self) -> int:
        return int(self.update.down.shape[0])

    @property
    def device_bytes(self) -> int:
        stored = sum(
            factor.numel() * factor.element_size() for factor in (self.update.up, self.update.down)
        )
        return stored + _CORE_MATRICES * self.rank**2 * _FLOAT64_BYTES


@dataclass(frozen=True, slots=True)
class _Piece:
    """One factor in the staged bytes: whose it is, its first value, and its length beside the rank."""

    owner: int
    start: int
    length: int


class SegmentedGrams:
    """Collects modules of any ranks and solves them together on one device."""

    def __init__(self, device: str, arithmetic: Arithmetic, cap: MemoryCap) -> None:
        self.arithmetic = arithmetic
        self._device = torch.device(device)
        self._cap = cap
        self._entries: list[_Entry] = []
        self._bytes = 0
        self._budget = self._new_budget()
        self._staging = torch.empty(0, dtype=torch.uint8)

    @property
    def is_full(self) -> bool:
        """Whether it should be solved before the next `add`."""
        return self._bytes >= self._budget // 2

    def add(self, number: int, update: LowRank) -> None:
        """Take module `number`; its factors are kept by reference until `solve`."""
        entry = _Entry(number, update)
        self._entries.append(entry)
        self._bytes += entry.device_bytes

    def solve(self) -> Iterator[Solved]:
        """Yield what was added, by rank, and start anew. Values are float64, descending, on the CPU.

        Raises:
            DeviceFullError: the device has no room for the smallest chunk.
        """
        waiting = [self._entries] if self._entries else []
        self._entries, self._bytes = [], 0
        self._budget = self._new_budget()
        while waiting:
            part = waiting.pop()
            try:
                solved = list(self._solved(part))
            except torch.OutOfMemoryError:
                self._back_off()
                half = len(part) // 2
                waiting += [half_part for half_part in (part[half:], part[:half]) if half_part]
                continue
            yield from solved

    def _new_budget(self) -> int:
        budget = self._cap.chunk_bytes()
        if budget == 0:
            raise DeviceFullError("the device has no memory to spare for an audit")
        return budget

    def _back_off(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.empty_cache()  # what was kept for reuse is what the others lack
        self._budget = self._cap.back_off(self._budget)
        if self._budget == 0:
            raise DeviceFullError("the device refuses the smallest chunk")

    def _solved(self, entries: list[_Entry]) -> Iterator[Solved]:
        by_rank: dict[int, list[_Entry]] = defaultdict(list)
        for entry in entries:
            by_rank[entry.rank].append(entry)
        factors = [factor for entry in entries for factor in (entry.update.up, entry.update.down)]
        places = iter(self._upload(factors))
        starts = {entry.number: (next(places), next(places)) for entry in entries}
        for rank, members in by_rank.items():
            grams = torch.zeros(
                (2, len(members), rank, rank), dtype=torch.float64, device=self._device
            )
            for side in (0, 1):
                self._add_up(grams[side], members, side, starts)
            numbers = [entry.number for entry in members]
            bounds = [exact_bounds(entry.update) for entry in members]
            yield from solve(grams, numbers, bounds, self.arithmetic)

    def _upload(self, factors: list[torch.Tensor]) -> list[int]:
        """Copy the stored bytes of all factors to the device at once; return where each begins."""
        places, end = [], 0
        for factor in factors:
            places.append(end)
            size = factor.numel() * factor.element_size()
            end += -(-size // _ALIGNMENT) * _ALIGNMENT
        if self._staging.numel() < end:
            on_gpu = self._device.type == "cuda"
            self._staging = torch.empty(end, dtype=torch.uint8, pin_memory=on_gpu)
        for place, factor in zip(places, factors, strict=True):
            flat = factor.reshape(-1).view(torch.uint8)
            self._staging[place : place + len(flat)] = flat
        # Blocking on purpose: the next chunk is written to the same staging memory.
        self._chunk = self._staging[:end].to(self._device)
        return places

    def _add_up(
        self,
        grams: torch.Tensor,
        members: list[_Entry],
        side: int,
        starts: dict[int, tuple[int, int]],
    ) -> None:
        """Add the Gram matrix of one factor (0: `up`, 1: `down`) of each member to `grams`."""
        by_type: dict[torch.dtype, list[_Piece]] = defaultdict(list)
        for owner, entry in enumerate(members):
            factor = (entry.update.up, entry.update.down)[side]
            start = starts[entry.number][side] // factor.element_size()
            by_type[factor.dtype].append(_Piece(owner, start, factor.shape[side]))
        rank = grams.shape[-1]
        for dtype, pieces in by_type.items():
            stored = self._chunk.view(BIT_DTYPES[dtype.itemsize])
            blocks = _Blocks.of(pieces, rank, side, self._device)
            step = max(1, self._budget // 2 // (_SLICE_BYTES * blocks.height * rank))
            for first in range(0, len(blocks.owners), step):
                part = slice(first, first + step)
                values = blocks.values(stored, dtype, part)
                turned = (values.mT, values) if side == 0 else (values, values.mT)
                grams.index_add_(0, blocks.owners[part], torch.bmm(*turned))


@dataclass(frozen=True, slots=True)
class _Blocks:
    """All blocks of one side of all modules of one rank; tensors on the device, one entry a block.

    `starts` is each block's first value, `lefts` how many of its rows there are, `strides` how far
    apart lie two values of one column of `up`, or of one row of the transposed `down`.
    """

    side: int
    rank: int
    height: int
    owners: torch.Tensor
    starts: torch.Tensor
    lefts: torch.Tensor
    strides: torch.Tensor

    @staticmethod
    def of(pieces: list[_Piece], rank: int, side: int, device: torch.device) -> _Blocks:
        height = max(_BLOCK, 2 * rank)  # a product is then no larger than its block
        table = torch.tensor(
            [(piece.owner, piece.start, piece.length) for piece in pieces], dtype=torch.int64
        )
        owners, starts, lengths = table.to(device).unbind(1)
        counts = (lengths + height - 1) // height
        piece_of = torch.repeat_interleave(counts)
        before = counts.cumsum(0) - counts
        number = torch.arange(len(piece_of), device=device) - before[piece_of]
        row = number * height
        return _Blocks(
            side=side,
            rank=rank,
            height=height,
            owners=owners[piece_of],
            # `up` lies row by row, `down` has its rows across.
            starts=starts[piece_of] + row * (rank if side == 0 else 1),
            lefts=lengths[piece_of] - row,
            strides=lengths[piece_of],
        )

    def values(self, stored: torch.Tensor, dtype: torch.dtype, part: slice) -> torch.Tensor:
        """Return blocks as float64: (blocks, height, rank) of `up`, (blocks, rank, height) of `down`.

        What lies beyond a factor's end is zero.
        """
        device = stored.device
        along = torch.arange(self.height, device=device)
        across = torch.arange(self.rank, device=device)
        starts, inside = self.starts[part, None, None], along < self.lefts[part, None]
        if self.side == 0:
            places = starts + (along[:, None] * self.rank + across)
            inside = inside[:, :, None]
        else:
            places = starts + along + across[:, None] * self.strides[part, None, None]
            inside = inside[:, None, :]
        bits = stored[torch.where(inside, places, 0)]
        # Bits first: not every device gathers every float type.
        return bits.view(dtype).double().masked_fill_(~inside, 0)
