"""Small adapters of one base, really trained, from other beginnings and on other pictures."""

from __future__ import annotations

import torch
from diffusers import DDPMScheduler
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict

from bench.train_lora import CROSS_ATTENTION, IMAGES, PIXELS, PROMPT_TOKENS, THREADS, tiny_unet

RANK, BATCH = 8, 8
_BASE_SEED = 11


def trained_adapter(
    beginning: int, subject: int, steps: int = 80
) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Return (up, down) of every module of an adapter of the base, and nothing else differs.

    `beginning` seeds the first factors, the batches and the noise; `subject` seeds the pictures.
    """
    torch.set_num_threads(THREADS)
    torch.manual_seed(_BASE_SEED)
    unet = tiny_unet()
    unet.requires_grad_(requires_grad=False)
    words = torch.randn(1, PROMPT_TOKENS, CROSS_ATTENTION)
    pictures = _pictures(subject)
    torch.manual_seed(beginning)
    targets = ["to_q", "to_k", "to_v", "to_out.0"]
    unet.add_adapter(LoraConfig(r=RANK, lora_alpha=RANK, target_modules=targets))
    weights = [weight for weight in unet.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=2e-3)
    scheduler = DDPMScheduler(num_train_timesteps=1000)
    for _ in range(steps):
        clean = pictures[torch.randint(0, IMAGES, (BATCH,))]
        noise, times = torch.randn_like(clean), torch.randint(0, 1000, (BATCH,))
        noisy = scheduler.add_noise(clean, noise, times)
        guess = unet(noisy, times, words.expand(BATCH, -1, -1)).sample
        torch.nn.functional.mse_loss(guess, noise).backward()
        optimizer.step()
        optimizer.zero_grad()
    return _factors(get_peft_model_state_dict(unet))


def _pictures(subject: int) -> torch.Tensor:
    """(N, 3, PIXELS, PIXELS) in [-1, 1]: one texture per subject, shifted and tinted."""
    source = torch.Generator().manual_seed(1000 + subject)
    texture = torch.randn(3, PIXELS, PIXELS, generator=source).cumsum(1).cumsum(2)
    texture = texture / texture.abs().max()
    shifts = torch.randint(0, PIXELS, (IMAGES, 2), generator=source).tolist()
    tints = torch.rand(IMAGES, 3, 1, 1, generator=source)
    rolled = [texture.roll(tuple(shift), (1, 2)) for shift in shifts]
    return (torch.stack(rolled) * tints).clamp(-1, 1)


def _factors(state: dict[str, torch.Tensor]) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    found = {}
    for name, up in state.items():
        if name.endswith(".lora_B.weight"):
            module = name.removesuffix(".lora_B.weight")
            down = state[f"{module}.lora_A.weight"]
            flat = "lora_unet_" + module.replace(".", "_")
            found[flat] = (up.detach().float(), down.detach().float())
    return found
