"""What each trainer writes, file by file in its own order, after `output_layouts` of the fixture sheet.

`{w}` is a sound adapter, `{c}` a PEFT config; other texts are written as they are. A path that ends in "/"
is a folder; `RENAME` and `REMOVE` are what the trainer does itself. Between two lines somebody may look.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.weights_files import lora_bytes

CONFIG = b'{"peft_type": "LORA", "r": 4, "lora_alpha": 4}'


@dataclass(frozen=True)
class Write:
    """The trainer writes `path`; what it holds is by its name unless `data` says otherwise."""

    path: str
    data: bytes | None = None


@dataclass(frozen=True)
class Rename:
    old: str
    new: str


@dataclass(frozen=True)
class Remove:
    path: str


@dataclass(frozen=True)
class Run:
    """One run: its steps, then the artifacts that are to be found, by base: results and saves on the way.

    `open_until` names bases that must not be ready before the step of that number (from 0) is done.
    """

    steps: tuple[Write | Rename | Remove, ...]
    finals: tuple[str, ...]
    saves: tuple[str, ...] = ()
    open_until: tuple[tuple[str, int], ...] = ()


def writes(*paths: str) -> tuple[Write, ...]:
    return tuple(Write(path) for path in paths)


def kohya(*, beside: tuple[str, ...] = ()) -> Run:
    state = ("model.safetensors", "optimizer.bin", "random_states_0.pkl", "train_state.json")
    return Run(
        steps=writes(
            *beside,
            "猫 v1.5-000001.safetensors",
            *(f"猫 v1.5-000001-state/{name}" for name in state),
            "猫 v1.5-step00000500.safetensors",
            "sample/猫 v1.5_e000001_00_20260131120000.png",
            *(f"猫 v1.5-state/{name}" for name in state),
            "猫 v1.5.safetensors",
        ),
        finals=("猫 v1.5.safetensors",),
        saves=("猫 v1.5-000001.safetensors", "猫 v1.5-step00000500.safetensors"),
    )


def trainer(run: str = "", *, beside: tuple[str, ...] = ()) -> Run:
    final = ("README.md", "adapter_model.safetensors", "adapter_config.json", "tokenizer.json")
    state = ("training_args.bin", "optimizer.pt", "scheduler.pt", "rng_state.pth")
    first = [f"{run}checkpoint-7/{name}" for name in (*final, *state, "trainer_state.json")]
    return Run(
        steps=writes(
            *first,
            *(f"{run}{name}" for name in final),
            f"{run}style/adapter_model.safetensors",
            f"{run}style/adapter_config.json",
            f"{run}training_args.bin",
            *(f"{run}{name}" for name in beside),
        ),
        finals=(run.rstrip("/") or ".", f"{run}style"),
        saves=(f"{run}checkpoint-7",),
        open_until=(
            (f"{run}checkpoint-7", len(first) - 1),
            (run.rstrip("/") or ".", len(first) + 2),
        ),
    )


DIFFUSERS_STATE = ("optimizer.bin", "scheduler.bin")
RUNS: dict[str, Run] = {
    "kohya-ss/sd-scripts (train_network.py and siblings)": kohya(),
    "bmaltais/kohya_ss GUI": kohya(
        beside=("猫_20260131-120000.json", "config_lora-20260131-120000.toml", "sample/prompt.txt")
    ),
    "Akegarasu/lora-scripts": kohya(),
    "kohya-ss/musubi-tuner": Run(
        steps=writes(
            "cache/a_0960x0544_wan.safetensors",
            "cache/a_wan_te.safetensors",
            "clip-000002.safetensors",
            "clip.safetensors",
        ),
        finals=("clip.safetensors",),
        saves=("clip-000002.safetensors",),
    ),
    "ostris/ai-toolkit": Run(
        steps=writes(
            "job/config.yaml",
            "job/loss_log.db",
            "job/job_000000250_high_noise.safetensors",
            "job/job_000000250_low_noise.safetensors",
            "job/optimizer.pt",
            "job/samples/1700000000__000000250_0.jpg",
            "job/CRITIC_job_000000250.safetensors",
            "job/job_cn_250/diffusion_pytorch_model.safetensors",
            "job/job_000000500_high_noise.safetensors",
            "job/job_000000500_low_noise.safetensors",
            "job/optimizer.pt",
            "job/job_high_noise.safetensors",
            "job/job_low_noise.safetensors",
            "job/optimizer.pt",
        ),
        finals=("job/job_high_noise.safetensors",),
        saves=(
            "job/job_000000250_high_noise.safetensors",
            "job/job_000000500_high_noise.safetensors",
        ),
        open_until=(
            ("job/job_000000250_high_noise.safetensors", 3),
            ("job/job_000000500_high_noise.safetensors", 10),
            ("job/job_high_noise.safetensors", 13),
        ),
    ),
    "Nerogar/OneTrainer": Run(
        steps=writes(
            "config/me2026-01-31_12-00-00.json",
            "save/me2026-01-31_12-00-00-save-500-4-20.safetensors",
            "backup/2026-01-31_12-00-00-backup-500-4-20/lora/lora.safetensors",
            "backup/2026-01-31_12-00-00-backup-500-4-20/optimizer/optimizer.pt",
            "samples/0 - portrait of someone/2026-01-31-training-sample-500.jpg",
            "models/mine.safetensors",
        ),
        finals=("models/mine.safetensors",),
        saves=("save/me2026-01-31_12-00-00-save-500-4-20.safetensors",),
    ),
    "bghira/SimpleTuner": Run(
        steps=(
            *writes(
                "checkpoint-500-tmp/pytorch_lora_weights.safetensors",
                "checkpoint-500-tmp/training_state.json",
                "checkpoint-500-tmp/ema/pytorch_lora_weights.safetensors",
                "checkpoint-500-tmp/.guard",
            ),
            Rename("checkpoint-500-tmp", "checkpoint-500"),
            *writes(
                "checkpoint-600-rolling/pytorch_lora_weights.safetensors",
                "checkpoint-600-rolling/training_state.json",
                "checkpoint-600-rolling/random_states_0.pkl",
                "checkpoint-600-rolling/checkpoint_manifest.json",
                "checkpoint-600-rolling/.guard",
                "checkpoint-600-rolling/assets/image_0.png",
                "validation_images/step_500_x.png",
            ),
            Write("pytorch_lora_weights.safetensors", lora_bytes(metadata={"format": "pt"})),
            Write(
                "pytorch_lora_weights.safetensors",
                lora_bytes(metadata={"format": "pt", "modelspec.title": "mine"}),
            ),
            *writes("lycoris_config.json"),
        ),
        finals=("pytorch_lora_weights.safetensors",),
        saves=(
            "checkpoint-500/pytorch_lora_weights.safetensors",
            "checkpoint-600-rolling/pytorch_lora_weights.safetensors",
        ),
        open_until=(
            ("checkpoint-500/pytorch_lora_weights.safetensors", 4),
            ("checkpoint-600-rolling/pytorch_lora_weights.safetensors", 9),
            ("pytorch_lora_weights.safetensors", 13),
        ),
    ),
    "huggingface/diffusers examples": Run(
        steps=(
            *writes(
                "checkpoint-500/pytorch_lora_weights.safetensors",
                *(f"checkpoint-500/{name}" for name in DIFFUSERS_STATE),
                "checkpoint-500/random_states_0.pkl",
            ),
            Remove("checkpoint-500"),
            *writes(
                "checkpoint-1000/pytorch_lora_weights.safetensors",
                *(f"checkpoint-1000/{name}" for name in DIFFUSERS_STATE),
                "checkpoint-1000/random_states_0.pkl",
                "pytorch_lora_weights.safetensors",
                "out_emb.safetensors",
                "pytorch_lora_weights_kohya.safetensors",
                "README.md",
            ),
        ),
        finals=("pytorch_lora_weights.safetensors", "pytorch_lora_weights_kohya.safetensors"),
        saves=("checkpoint-1000/pytorch_lora_weights.safetensors",),
        open_until=(("checkpoint-1000/pytorch_lora_weights.safetensors", 8),),
    ),
    "transformers Trainer + peft": trainer(),
    "hiyouga/LLaMA-Factory": trainer(
        "saves/Llama-3/lora/sft/",
        beside=("trainer_log.jsonl", "all_results.json", "training_loss.png", "running_log.txt"),
    ),
    "unslothai/unsloth": Run(
        steps=(
            *writes(
                "_unsloth_temporary_saved_buffers/x.safetensors",
                ".tmp-checkpoint-7/pytorch_lora_weights.safetensors",
                ".tmp-checkpoint-7/ema_adapter.safetensors",
                ".tmp-checkpoint-7/rng_state.pt",
                ".tmp-checkpoint-7/trainer_state.json",
            ),
            Rename(".tmp-checkpoint-7", "checkpoint-7"),
            *writes("pytorch_lora_weights.safetensors"),
        ),
        finals=("pytorch_lora_weights.safetensors",),
        saves=("checkpoint-7/pytorch_lora_weights.safetensors",),
        open_until=(("checkpoint-7/pytorch_lora_weights.safetensors", 5),),
    ),
    "axolotl": trainer("outputs/", beside=("debug.log", "README.md")),
    "tdrussell/diffusion-pipe": Run(
        steps=(
            *writes(
                "20260131_12-00-00/epoch4/tmp/shard_0.bin",
                "20260131_12-00-00/epoch4/adapter_config.json",
                "20260131_12-00-00/epoch4/adapter_model.safetensors",
            ),
            Remove("20260131_12-00-00/epoch4/tmp"),
            *writes("20260131_12-00-00/epoch4/config.toml"),
        ),
        finals=(),
        saves=("20260131_12-00-00/epoch4",),
        open_until=(("20260131_12-00-00/epoch4", 4),),
    ),
    "modelscope/DiffSynth-Studio": Run(
        steps=writes("step-500.safetensors", "epoch-0.safetensors", "epoch-1.safetensors"),
        finals=(),
        saves=("step-500.safetensors", "epoch-0.safetensors", "epoch-1.safetensors"),
    ),
    "XLabs-AI/x-flux": Run(
        steps=writes(
            "checkpoint-100/optimizer.bin",
            "checkpoint-100/random_states_0.pkl",
            "checkpoint-100/lora.safetensors",
        ),
        finals=(),
        saves=("checkpoint-100/lora.safetensors",),
    ),
}


def carry_out(root: Path, step: Write | Rename | Remove) -> None:
    """Do what the trainer does, as it does it: in place, or by a rename of its own."""
    match step:
        case Rename(old, new):
            (root / old).rename(root / new)
        case Remove(path):
            shutil.rmtree(root / path)
        case Write(path, data):
            target = root / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data if data is not None else _content(target))


def _content(path: Path) -> bytes:
    if path.suffix == ".safetensors":
        return lora_bytes(metadata={"file": path.name})
    return CONFIG if path.name == "adapter_config.json" else b"{}"
