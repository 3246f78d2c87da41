"""Small adapters of one base, really trained, from other beginnings and on other pictures.

The base is trained in full first, on a mixture of pictures: adapters of a base that knows nothing all learn the
same thing, namely what any picture is, and are no image of adapters in the world.
"""

from __future__ import annotations

import copy
import functools

import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict

from bench.train_lora import CROSS_ATTENTION, IMAGES, PIXELS, PROMPT_TOKENS, THREADS, tiny_unet

RANK, BATCH = 8, 8
BASE_STEPS, BASE_SUBJECTS = 400, 64
_BASE_SEED = 11


def trained_adapter(
    beginning: int, subject: int, steps: int = 60
) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Return (up, down) of every module of an adapter of the base, and nothing else differs.

    `beginning` seeds the first factors, the batches and the noise; `subject` seeds the pictures.
    """
    unet = copy.deepcopy(base())
    unet.requires_grad_(requires_grad=False)
    torch.manual_seed(beginning)
    targets = ["to_q", "to_k", "to_v", "to_out.0"]
    unet.add_adapter(LoraConfig(r=RANK, lora_alpha=RANK, target_modules=targets))
    _train(unet, _pictures(subject), steps)
    return _factors(get_peft_model_state_dict(unet))


@functools.cache
def base() -> UNet2DConditionModel:
    """Return the base that all adapters are of, trained once in a process."""
    torch.set_num_threads(THREADS)
    torch.manual_seed(_BASE_SEED)
    unet = tiny_unet()
    mixture = torch.cat([_pictures(-1 - number) for number in range(BASE_SUBJECTS)])
    _train(unet, mixture, BASE_STEPS)
    return unet


def _train(unet: UNet2DConditionModel, pictures: torch.Tensor, steps: int) -> None:
    source = torch.Generator().manual_seed(_BASE_SEED)
    words = torch.randn(1, PROMPT_TOKENS, CROSS_ATTENTION, generator=source)
    weights = [weight for weight in unet.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=2e-3)
    scheduler = DDPMScheduler(num_train_timesteps=1000)
    for _ in range(steps):
        clean = pictures[torch.randint(0, len(pictures), (BATCH,))]
        noise, times = torch.randn_like(clean), torch.randint(0, 1000, (BATCH,))
        noisy = scheduler.add_noise(clean, noise, times)
        guess = unet(noisy, times, words.expand(BATCH, -1, -1)).sample
        torch.nn.functional.mse_loss(guess, noise).backward()
        optimizer.step()
        optimizer.zero_grad()


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
