"""Adapters that were really trained: a two-layer network with LoRA learns a function, in a second."""

from __future__ import annotations

import functools

import torch

WIDTH, RANK, LAYERS, STEPS = 96, 16, 12, 60
DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
}


@functools.cache
def factors() -> tuple[tuple[torch.Tensor, torch.Tensor], ...]:
    """Return (down, up) of each layer after training with AdamW, in float32."""
    source = torch.Generator().manual_seed(5)
    frozen = [torch.randn(WIDTH, WIDTH, generator=source) * WIDTH**-0.5 for _ in range(LAYERS)]
    downs = [
        ((torch.rand(RANK, WIDTH, generator=source) * 2 - 1) * WIDTH**-0.5).requires_grad_()
        for _ in range(LAYERS)
    ]
    ups = [torch.zeros(WIDTH, RANK).requires_grad_() for _ in range(LAYERS)]
    wanted = torch.randn(WIDTH, WIDTH, generator=source) * WIDTH**-0.5
    optimizer = torch.optim.AdamW([*downs, *ups], lr=2e-3)
    for _ in range(STEPS):
        inputs = torch.randn(32, WIDTH, generator=source)
        hidden = inputs
        for weight, down, up in zip(frozen, downs, ups, strict=True):
            hidden = torch.tanh(hidden @ (weight + up @ down).T)
        loss = (hidden - torch.tanh(inputs @ wanted)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return tuple((down.detach(), up.detach()) for down, up in zip(downs, ups, strict=True))


def tensors(
    dtype: str = "F16", *, through: str | None = None
) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    """Return the adapter under kohya's names, stored as `dtype`, rounded to `through` before."""
    found = {}
    for number, pair in enumerate(factors()):
        base = f"lora_unet_down_blocks_{number}_attentions_0_to_q"
        for role, values in zip(("down", "up"), pair, strict=True):
            kept = values if through is None else values.to(DTYPES[through])
            found[f"{base}.lora_{role}.weight"] = stored(kept, dtype)
    return found


def stored(values: torch.Tensor, dtype: str) -> tuple[str, tuple[int, ...], bytes]:
    """Return `values` as a tensor of `dtype` for `safetensors_bytes`."""
    content = values.to(DTYPES[dtype]).contiguous().view(torch.uint8).numpy().tobytes()
    return (dtype, tuple(values.shape), content)
