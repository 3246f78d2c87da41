"""Train a small LoRA for real: a tiny diffusers UNet, peft, and images drawn by this script.

The UNet is of a tiny configuration with weights of its own (nothing is downloaded); it learns to
denoise pictures of coloured squares. It is saved by the official writer, as a trainer would.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from diffusers import DDPMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.utils import convert_state_dict_to_diffusers
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict

PIXELS = 16
IMAGES = 24
PROMPT_TOKENS = 8
CROSS_ATTENTION = 32
THREADS = 1  # so small a model is faster on one thread than on many that wait for each other


def tiny_unet() -> UNet2DConditionModel:
    """Return a UNet2DConditionModel of about half a million weights."""
    return UNet2DConditionModel(
        sample_size=PIXELS,
        in_channels=3,
        out_channels=3,
        block_out_channels=(32, 64),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=CROSS_ATTENTION,
        attention_head_dim=8,
        norm_num_groups=8,
    )


def drawn_images() -> torch.Tensor:
    """Return IMAGES pictures (N, 3, PIXELS, PIXELS) in [-1, 1]: a coloured square on grey."""
    generator = torch.Generator().manual_seed(7)
    pictures = torch.zeros(IMAGES, 3, PIXELS, PIXELS)
    for picture in pictures:
        left, top = torch.randint(0, PIXELS - 6, (2,), generator=generator).tolist()
        colour = torch.rand(3, 1, 1, generator=generator) * 2 - 1
        picture[:, top : top + 6, left : left + 6] = colour
    return pictures


def train(
    steps: int, *, rank: int = 8, batch: int = 8
) -> tuple[UNet2DConditionModel, float, float]:
    """Return the UNet with a trained adapter, the mean loss of the first and of the last ten steps."""
    torch.manual_seed(11)
    torch.set_num_threads(THREADS)
    unet = tiny_unet()
    unet.requires_grad_(requires_grad=False)
    targets = ["to_q", "to_k", "to_v", "to_out.0"]
    unet.add_adapter(LoraConfig(r=rank, lora_alpha=rank, target_modules=targets))
    weights = [weight for weight in unet.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=2e-3)
    scheduler = DDPMScheduler(num_train_timesteps=1000)
    pictures, words = drawn_images(), torch.randn(1, PROMPT_TOKENS, CROSS_ATTENTION)
    losses = []
    for step in range(steps):
        clean = pictures[torch.randint(0, IMAGES, (batch,))]
        noise, times = torch.randn_like(clean), torch.randint(0, 1000, (batch,))
        noisy = scheduler.add_noise(clean, noise, times)
        guess = unet(noisy, times, words.expand(batch, -1, -1)).sample
        loss = torch.nn.functional.mse_loss(guess, noise)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        if step % 20 == 19:
            print(f"step {step + 1:4d} of {steps}  loss {loss.item():.4f}", flush=True)
    return unet, sum(losses[:10]) / 10, sum(losses[-10:]) / 10


def main() -> int:
    """Train and save; exit 1 if nothing was learnt."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--name", default="pytorch_lora_weights.safetensors")
    parser.add_argument("--steps", type=int, default=160)
    arguments = parser.parse_args()
    unet, before, after = train(arguments.steps)
    layers = convert_state_dict_to_diffusers(get_peft_model_state_dict(unet))
    StableDiffusionPipeline.save_lora_weights(
        arguments.folder, unet_lora_layers=layers, weight_name=arguments.name
    )
    print(f"saved {arguments.name}: loss {before:.4f} -> {after:.4f}", flush=True)
    return 0 if after < before else 1


if __name__ == "__main__":
    sys.exit(main())
