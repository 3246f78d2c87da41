"""Adapters for tests of marks: random factors with falling spectra, and what is done to stolen copies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from registry.artifacts.notes import PayloadForm
from registry.fingerprints.marks.seeds import seed_of
from registry.updates.factors import LowRank, update_of
from registry.updates.payload import read_payload
from tests.audits.conftest import safetensors_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

    from registry.updates.files import Payload

    Row = tuple[str, tuple[int, ...], bytes]
    Pair = tuple[torch.Tensor, torch.Tensor]

DTYPES = {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32}
MASTER = bytes(range(32))
ARTIFACT = "sha256:" + "ab" * 32


def seed(recipient: str) -> bytes:
    return seed_of(MASTER, ARTIFACT, recipient)


def row(tensor: torch.Tensor, dtype: str = "F16") -> Row:
    stored = tensor.to(DTYPES[dtype]).contiguous()
    return dtype, tuple(tensor.shape), stored.view(torch.uint8).numpy().tobytes()


def scalar(value: float) -> Row:
    return "F32", (), torch.tensor(value).numpy().tobytes()


def pair(number: int, rank: int = 8, outputs: int = 40, inputs: int = 48) -> Pair:
    """Factors as training leaves them: falling values, an up factor smaller than the down factor."""
    source = torch.Generator().manual_seed(100 + number)
    decay = torch.logspace(0, -1.2, rank)
    up = torch.randn(outputs, rank, generator=source) * decay * 0.01
    return up, torch.randn(rank, inputs, generator=source) * inputs**-0.5


def name_of(number: int) -> str:
    return f"lora_unet_down_blocks_{number}_attentions_0_proj_in"


def module(number: int, factors: Pair, dtype: str = "F16", alpha: float = 4.0) -> dict[str, Row]:
    up, down = factors
    return {
        f"{name_of(number)}.lora_down.weight": row(down, dtype),
        f"{name_of(number)}.lora_up.weight": row(up, dtype),
        f"{name_of(number)}.alpha": scalar(alpha),
    }


def adapter(modules: int = 24, rank: int = 8, dtype: str = "F16") -> dict[str, Row]:
    tensors: dict[str, Row] = {}
    for number in range(modules):
        if number % 4 == 3:  # a convolution
            up, down = pair(number, rank, 24, 5 * 9)
            factors = up.view(24, rank, 1, 1), down.view(rank, 5, 3, 3)
            tensors |= module(number, factors, dtype)
        else:
            tensors |= module(number, pair(number, rank), dtype)
    return tensors


def packed(tensors: dict[str, Row]) -> bytes:
    return safetensors_bytes(tensors)


def payload(data: bytes | bytearray) -> Payload:
    return read_payload(memoryview(bytearray(data)), PayloadForm.RAW, "a.safetensors")


def attacked(copy: Payload, attack: Callable[[torch.Tensor, torch.Tensor], Pair]) -> Payload:
    """Return the adapter that an attack on the factors of every module makes, stored as float32."""
    tensors: dict[str, Row] = {}
    for number, located in enumerate(copy.modules):
        update = update_of(located)
        assert isinstance(update, LowRank)
        tensors |= module(number, attack(update.up.double(), update.down.double()), "F32")
    return payload(packed(tensors))


def refactored(up: torch.Tensor, down: torch.Tensor) -> Pair:
    mix = torch.randn(up.shape[1], up.shape[1], generator=torch.Generator().manual_seed(5)).double()
    return up @ mix, torch.linalg.solve(mix, down)


def resized(up: torch.Tensor, down: torch.Tensor) -> Pair:
    left, values, right = torch.linalg.svd(up @ down, full_matrices=False)
    rank = up.shape[1] // 2
    return left[:, :rank] * values[:rank], right[:rank]


def pruned(up: torch.Tensor, down: torch.Tensor) -> Pair:
    return _pruned(up), _pruned(down)


def _pruned(factor: torch.Tensor) -> torch.Tensor:
    return factor * (factor.abs() > factor.abs().quantile(0.3))
