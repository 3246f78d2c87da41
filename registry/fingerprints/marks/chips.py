"""Chips and rotations of a mark: Gaussian numbers and orthogonal matrices from a keyed stream.

Method: every two bytes of the stream, little-endian, are a number i below 2**16; its chip is the normal
quantile of (i + 1/2) / 2**16, rounded to a multiple of 2**-20. So a chip is a look-up and has the same
bits on every machine: quantiles lie further from the edges of rounding than arithmetic can err. The
table is checked against its digest, because with another one a detector would find nobody and not say so.
A rotation is the Q of a QR decomposition of such chips, with signs that make R's diagonal positive
(then it is uniform over all orthogonal matrices); it is the same up to the last bits.
"""

from __future__ import annotations

import functools
import hashlib
import statistics
import sys
from typing import TYPE_CHECKING

import torch

from registry.fingerprints.marks.seeds import module_key
from registry.fingerprints.marks.stream import key_stream

if TYPE_CHECKING:
    from collections.abc import Sequence

_LEVELS = 2**16
_BYTES_PER_CHIP = 2
_GRID = 2**20
_TABLE_SHA256 = "7030c40868edff0a36b70d4a06ceacbf25ac02eb87069f34786f8258a1e9a44d"
_CHIPS_LABEL = "loraseal/mark/v1/chips"
_ROTATION_LABEL = "loraseal/mark/v1/rotation"

ModuleKey = tuple[str, int]


def chips(seed: bytes, keys: Sequence[ModuleKey], rank: int) -> torch.Tensor:
    """Return the chips of the modules `keys` (name, occurrence) as (modules, rank, rank), float64."""
    return _drawn(seed, keys, rank, _CHIPS_LABEL)


def rotations(seed: bytes, keys: Sequence[ModuleKey], rank: int) -> torch.Tensor:
    """Return the orthogonal matrices of the modules `keys` as (modules, rank, rank), float64."""
    q, r = torch.linalg.qr(_drawn(seed, keys, rank, _ROTATION_LABEL))
    signs = torch.where(r.diagonal(dim1=-2, dim2=-1) < 0, -1.0, 1.0).double()
    rotated: torch.Tensor = q * signs[..., None, :]
    return rotated


def gaussians(stream: bytes) -> torch.Tensor:
    """Return one Gaussian number for every two bytes of `stream`, float64, exact."""
    if sys.byteorder != "little":
        raise RuntimeError("chips are little-endian, and this machine is not")
    if not stream:
        return torch.empty(0, dtype=torch.float64)
    levels = torch.frombuffer(bytearray(stream), dtype=torch.int16).long().bitwise_and_(_LEVELS - 1)
    return _table()[levels]


def _drawn(seed: bytes, keys: Sequence[ModuleKey], rank: int, label: str) -> torch.Tensor:
    count = rank * rank * _BYTES_PER_CHIP
    streams = [key_stream(module_key(seed, *key), label, count) for key in keys]
    return gaussians(b"".join(streams)).view(len(keys), rank, rank)


@functools.cache
def _table() -> torch.Tensor:
    quantile = statistics.NormalDist().inv_cdf
    lower = [round(quantile((i + 0.5) / _LEVELS) * _GRID) for i in range(_LEVELS // 2)]
    steps = [*lower, *(-step for step in reversed(lower))]
    digest = hashlib.sha256(b"".join(step.to_bytes(4, "little", signed=True) for step in steps))
    if digest.hexdigest() != _TABLE_SHA256:
        raise RuntimeError("the quantiles of this machine differ: no mark could be found with them")
    return torch.tensor(steps, dtype=torch.float64) / _GRID
