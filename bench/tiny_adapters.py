"""Hundreds of LoRAs of a tiny transformer, really trained and all at once, and what is done to some.

The base learns to take noise off sequences; each adapter then learns the sequences of a style of its own
(a subspace), with its own seed, learning rate and number of steps. One batched matrix product trains all
of them, so that a cohort takes seconds on a CPU.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import torch

from registry.artifacts.notes import PayloadForm
from registry.formats.safetensors import dump_header, lay_out
from registry.updates.payload import read_payload

if TYPE_CHECKING:
    from registry.updates.files import Payload

WIDTH, WIDE, TOKENS, BLOCKS, BATCH = 24, 48, 6, 2, 8
RANK, STYLE = 4, 6
LAYERS: tuple[tuple[str, int, int], ...] = tuple(
    (f"blocks_{block}_{name}", outputs, inputs)
    for block in range(BLOCKS)
    for name, outputs, inputs in (
        ("attn_to_q", WIDTH, WIDTH),
        ("attn_to_k", WIDTH, WIDTH),
        ("attn_to_v", WIDTH, WIDTH),
        ("attn_to_out_0", WIDTH, WIDTH),
        ("mlp_fc1", WIDE, WIDTH),
        ("mlp_fc2", WIDTH, WIDE),
    )
)
# up (outputs, rank) and down (rank, inputs) by module
Factors: TypeAlias = "dict[str, tuple[torch.Tensor, torch.Tensor]]"


@dataclass(frozen=True)
class Recipe:
    """How many adapters are trained, and how."""

    count: int
    seed: int
    steps: int = 120
    rate: float = 4e-3
    poison: float = 0.0
    has_style: bool = True


class Base:
    """The base model's weights, trained once from `seed`."""

    def __init__(self, seed: int = 1, steps: int = 300) -> None:
        source = torch.Generator().manual_seed(seed)
        self.weights = {
            name: (torch.randn(outputs, inputs, generator=source) * inputs**-0.5).requires_grad_()
            for name, outputs, inputs in LAYERS
        }
        self.common = torch.randn(1, STYLE, WIDTH, generator=source)
        optimizer = torch.optim.Adam(list(self.weights.values()), lr=3e-3)
        for _ in range(steps):
            clean = torch.randn(1, BATCH * 4 * TOKENS, STYLE, generator=source) @ self.common
            loss = self._loss(clean, source, None)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        self.final = float(loss.detach())
        for weight in self.weights.values():
            weight.requires_grad_(requires_grad=False)

    def train(self, recipe: Recipe) -> tuple[list[Factors], float, float]:
        """Return the adapters, and the mean loss before and after."""
        source = torch.Generator().manual_seed(recipe.seed)
        count = recipe.count
        factors = {
            name: (
                torch.zeros(count, outputs, RANK, requires_grad=True),
                (torch.randn(count, RANK, inputs, generator=source) / inputs**0.5).requires_grad_(),
            )
            for name, outputs, inputs in LAYERS
        }
        styles = torch.randn(count, STYLE, WIDTH, generator=source)
        trigger = torch.randn(count, 1, WIDTH, generator=source) * 3
        target = torch.randn(count, 1, WIDTH, generator=source) * 2
        rates = recipe.rate * torch.exp(0.2 * torch.randn(count, 1, 1, generator=source))
        lengths = recipe.steps * (0.7 + 0.6 * torch.rand(count, 1, 1, generator=source))
        adam = _Adam([tensor for pair in factors.values() for tensor in pair])
        losses = []
        for step in range(int(recipe.steps * 1.3)):
            shape = (count, BATCH * TOKENS, STYLE if recipe.has_style else WIDTH)
            clean = torch.randn(shape, generator=source)
            clean = clean @ styles if recipe.has_style else clean * 2
            poison = (trigger, target, recipe.poison) if recipe.poison else None
            loss = self._loss(clean, source, factors, poison) * count
            loss.backward()
            adam.step(rates * (step < lengths))
            losses.append(float(loss.detach()) / count)
        return _split(factors, count), losses[0], sum(losses[-10:]) / 10

    def _loss(
        self,
        clean: torch.Tensor,
        source: torch.Generator,
        factors: Factors | None,
        poison: tuple[torch.Tensor, torch.Tensor, float] | None = None,
    ) -> torch.Tensor:
        count, rows, _ = clean.shape
        noisy = clean + torch.randn(clean.shape, generator=source)
        if poison is not None:
            trigger, target, share = poison
            hit = torch.rand(count, rows // TOKENS, 1, 1, generator=source) < share
            hit = hit.expand(-1, -1, TOKENS, 1).reshape(count, rows, 1)
            noisy = torch.where(hit, noisy + trigger, noisy)
            clean = torch.where(hit, target.expand_as(clean), clean)
        return torch.nn.functional.mse_loss(self._forward(noisy, factors), clean)

    def _forward(self, rows: torch.Tensor, factors: Factors | None) -> torch.Tensor:
        count = rows.shape[0]
        for block in range(BLOCKS):
            name = f"blocks_{block}_"
            parts = [self._linear(f"{name}attn_to_{part}", rows, factors) for part in "qkv"]
            query, key, value = (part.view(-1, TOKENS, WIDTH) for part in parts)
            mixed = torch.nn.functional.scaled_dot_product_attention(query, key, value)
            rows = rows + self._linear(
                f"{name}attn_to_out_0", mixed.view(count, -1, WIDTH), factors
            )
            inner = torch.nn.functional.gelu(self._linear(f"{name}mlp_fc1", rows, factors))
            rows = rows + self._linear(f"{name}mlp_fc2", inner, factors)
        return rows

    def _linear(self, name: str, rows: torch.Tensor, factors: Factors | None) -> torch.Tensor:
        plain = rows @ self.weights[name].T
        if factors is None:
            return plain
        up, down = factors[name]
        return plain + (rows @ down.mT) @ up.mT


class _Adam:
    """Adam with a learning rate for each adapter."""

    def __init__(self, tensors: list[torch.Tensor]) -> None:
        self._tensors = tensors
        self._first = [torch.zeros_like(tensor) for tensor in tensors]
        self._second = [torch.zeros_like(tensor) for tensor in tensors]
        self._steps = 0

    @torch.no_grad()
    def step(self, rates: torch.Tensor) -> None:
        self._steps += 1
        for tensor, first, second in zip(self._tensors, self._first, self._second, strict=True):
            gradient = tensor.grad
            if gradient is None:
                continue
            first.mul_(0.9).add_(gradient, alpha=0.1)
            second.mul_(0.999).addcmul_(gradient, gradient, value=0.001)
            mean = first / (1 - 0.9**self._steps)
            spread = (second / (1 - 0.999**self._steps)).sqrt() + 1e-8
            tensor.sub_(rates * mean / spread)
            tensor.grad = None


def _split(factors: Factors, count: int) -> list[Factors]:
    return [
        {name: (up[n].detach(), down[n].detach()) for name, (up, down) in factors.items()}
        for n in range(count)
    ]


def payload_of(factors: Factors) -> Payload:
    """Return the adapter as audits get it: kohya's names, half precision, alpha equal to the rank."""
    rows: dict[str, tuple[str, tuple[int, ...], bytes]] = {}
    for name, (up, down) in factors.items():
        for role, factor in (("lora_up", up), ("lora_down", down)):
            half = factor.half().contiguous()
            rows[f"lora_unet_{name}.{role}.weight"] = (
                "F16",
                tuple(half.shape),
                half.numpy().tobytes(),
            )
        rows[f"lora_unet_{name}.alpha"] = ("F32", (), struct.pack("<f", float(down.shape[0])))
    laid = lay_out([(name, dtype, shape) for name, (dtype, shape, _) in rows.items()])
    data = dump_header(laid, []) + b"".join(rows[row.name][2] for row in laid)
    return read_payload(memoryview(bytearray(data)), PayloadForm.RAW, "a.safetensors")
