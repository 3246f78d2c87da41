"""Output folders as the 15 trainers leave them: real adapters, caches and logs; and what each file is.

A file is listed with the class that it must be given, or None for the adapter's own. Logs carry marked
secrets (`SECRETS`) wherever a trainer would put a name, a path or a prompt.
"""

from __future__ import annotations

import json
import sqlite3
import struct
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path

from registry.artifacts.byproducts.names import Category, Trainer
from registry.formats.safetensors import dump_header, lay_out
from tests.weights_files import lora_bytes

SECRETS = ("zqalicia", "/home/zqbob/photos", "zqhost-17", "hf_zqtokenzqtokenzq", "zq_sample_0042")
NAME, PLACE, HOST, TOKEN, SAMPLE = SECRETS
C = Category

Content = bytes | Callable[[], bytes]
Listed = dict[str, tuple[Content, Category | None]]


def cache_bytes() -> bytes:
    """Return a text-encoder cache as musubi-tuner writes it: the caption stands in its metadata."""
    tensors = lay_out([("varlen_llm_embed_bfloat16", "F16", (7, 16))])
    head = dump_header(tensors, {"caption1": f"a photo of {NAME}", "format_version": "1.0"}.items())
    return head + bytes(tensors[-1].end)


def latent_bytes() -> bytes:
    """Return a latent cache as musubi-tuner writes it."""
    tensors = lay_out([("latents_1x16x16_float16", "F16", (4, 16, 16))])
    about = {"width": "128", "height": "128", "format_version": "1.0"}
    return dump_header(tensors, about.items()) + bytes(tensors[-1].end)


def model_bytes() -> bytes:
    """Return a part of a whole language model."""
    names = [f"model.layers.{n}.mlp.up_proj.weight" for n in range(4)]
    tensors = lay_out([(name, "F16", (8, 8)) for name in names])
    return dump_header(tensors, ()) + bytes(tensors[-1].end)


def trainer_state(epochs: int = 3, steps: int = 20) -> bytes:
    """Return what transformers writes: one record a step, one evaluation an epoch, and names."""
    history: list[dict[str, object]] = []
    for number in range(1, epochs * steps + 1):
        history.append({
            "epoch": number / steps, "step": number, "loss": 2.0 - number / 100,
            "learning_rate": 1e-4, "grad_norm": 0.5, "sample_id": SAMPLE, "prompt": NAME,
        })  # fmt: skip
        if number % steps == 0:
            history.append({"epoch": number / steps, "step": number, "eval_loss": 1.5})
    body = {"best_model_checkpoint": f"{PLACE}/checkpoint-20", "log_history": history, "host": HOST}
    return json.dumps(body, indent=2).encode()


def trainer_log(steps: int = 40) -> bytes:
    """Return what LLaMA-Factory writes: JSON lines."""
    lines = (
        {"current_steps": n, "total_steps": steps, "loss": 1 + n / 10, "lr": 1e-5,
         "epoch": n / 20, "elapsed_time": "0:00:01", "file": f"{PLACE}/{SAMPLE}.json"}
        for n in range(1, steps + 1)
    )  # fmt: skip
    return "".join(json.dumps(line) + "\n" for line in lines).encode()


def loss_database(steps: int = 64, *, write_ahead: bool = True) -> bytes:
    """Return the bytes of a database as ai-toolkit's logger makes it, closed."""
    with closing(sqlite3.connect(":memory:")) as base:
        base.executescript(
            "create table steps (step integer primary key, wall_time real not null);"
            "create table metric_keys (key text primary key, first_seen_step integer,"
            " last_seen_step integer);"
            "create table metrics (step integer not null, key text not null, value_real real,"
            " value_text text, primary key (step, key),"
            " foreign key (step) references steps(step) on delete cascade);"
            "create index idx_metrics_key_step on metrics (key, step);"
        )
        for step in range(steps):
            base.execute("insert into steps values (?, ?)", (step, 1.7e9 + step))
            rows = [
                (step, "loss/loss", 1.0 - step / 100, None),
                (step, "learning_rate", 1e-4, None),
                (step, "prompt", None, f"{NAME} in {PLACE}"),
                (step, f"loss/{SAMPLE}", 0.25, None),
            ]
            base.executemany("insert into metrics values (?, ?, ?, ?)", rows)
        base.commit()
        data = bytearray(base.serialize())
    if write_ahead:
        data[18:20] = b"\x02\x02"
    return bytes(data)


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def field(number: int, value: bytes | int | float) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def event(step: int, tag: str, value: float) -> bytes:
    """Return one Event message with one scalar."""
    scalar = field(1, tag.encode()) + field(2, value)
    wall = varint(1 << 3 | 1) + struct.pack("<d", 1.7e9)
    return wall + field(2, step) + field(5, field(1, scalar))


def record(message: bytes) -> bytes:
    """Return one TFRecord; the checksums are not read by anything here."""
    return struct.pack("<Q", len(message)) + bytes(4) + message + bytes(4)


def event_file(steps: int = 24) -> bytes:
    """Return a TensorBoard log: a version, a text with a secret, then scalars."""
    parts = [record(field(3, b"brain.Event:2"))]
    text = field(1, b"args/text_summary") + field(8, field(8, f"{PLACE} {HOST}".encode()))
    parts.append(record(field(2, 0) + field(5, field(1, text))))
    for step in range(steps):
        parts.append(record(event(step, "train/loss", 0.5)))
        parts.append(record(event(step, "train/epoch", step / 12)))
        parts.append(record(event(step, f"loss/{SAMPLE}", 0.125)))
    return b"".join(parts)


def loss_table(rows: int = 30) -> bytes:
    """Return a CSV log."""
    lines = ["epoch,step,file,train_loss,lr"]
    lines += [f"{n // 10},{n},{PLACE}/{SAMPLE}.png,{0.5 + n / 100},0.0001" for n in range(rows)]
    return "\n".join(lines).encode() + b"\n"


def _adapter() -> bytes:
    return lora_bytes()


def _config() -> bytes:
    return json.dumps({"train_data_dir": PLACE, "prompt": NAME}).encode()


PNG = b"\x89PNG\r\n\x1a\n" + f"parameters: {NAME}".encode()
STATE = b"\x80\x02state" + bytes(64)

_PEFT: Listed = {
    "adapter_model.safetensors": (_adapter, None),
    "adapter_config.json": (b"{}", None),
    "tokenizer.json": (b"{}", None),
    "special_tokens_map.json": (b"{}", None),
    "README.md": (PLACE.encode(), C.MODEL_CARD),
    "training_args.bin": (STATE + TOKEN.encode(), C.PICKLE),
    "checkpoint-20/adapter_model.safetensors": (_adapter, None),
    "checkpoint-20/adapter_config.json": (b"{}", None),
    "checkpoint-20/tokenizer.json": (b"{}", None),
    "checkpoint-20/optimizer.pt": (STATE, C.OPTIMIZER_STATE),
    "checkpoint-20/scheduler.pt": (STATE, C.SCHEDULER_STATE),
    "checkpoint-20/scaler.pt": (STATE, C.SCHEDULER_STATE),
    "checkpoint-20/rng_state.pth": (STATE, C.RANDOM_STATE),
    "checkpoint-20/rng_state_1.pth": (STATE, C.RANDOM_STATE),
    "checkpoint-20/training_args.bin": (STATE, C.PICKLE),
    "checkpoint-20/trainer_state.json": (trainer_state, C.TRAINING_LOG),
    f"runs/Jan01_{HOST}/events.out.tfevents.17.{HOST}.9.0": (event_file, C.TRAINING_LOG),
}
_KOHYA: Listed = {
    "kiki.safetensors": (_adapter, None),
    "kiki-000004.safetensors": (_adapter, None),
    "kiki-step00000500.safetensors": (_adapter, None),
    "kiki-000004-state/model.safetensors": (_adapter, C.TRAINING_STATE),
    "kiki-000004-state/optimizer.bin": (STATE, C.OPTIMIZER_STATE),
    "kiki-000004-state/scheduler.bin": (STATE, C.SCHEDULER_STATE),
    "kiki-000004-state/random_states_0.pkl": (STATE, C.RANDOM_STATE),
    "kiki-000004-state/train_state.json": (b"{}", C.TRAINING_STATE),
    "sample/kiki_e000004_00_20250101010101_42.png": (PNG, C.SAMPLE_IMAGE),
    "logs/20250101010101/network_train/events.out.tfevents.1": (event_file, C.TRAINING_LOG),
}
FOLDERS: dict[Trainer, Listed] = {
    Trainer.SD_SCRIPTS: _KOHYA,
    Trainer.KOHYA_GUI: {
        **_KOHYA,
        "kiki_20250101-010101.json": (_config, C.TRAINING_CONFIG),
        "config_lora-20250101-010101.toml": (_config, C.TRAINING_CONFIG),
        "sample/prompt.txt": (NAME.encode(), C.TRAINING_CONFIG),
    },
    Trainer.LORA_SCRIPTS: {
        "output/kiki.safetensors": (_adapter, None),
        "output/kiki-000002.safetensors": (_adapter, None),
        "config/autosave/20250101-010101.toml": (_config, C.TRAINING_CONFIG),
        "config/autosave/20250101-010101-promopt.txt": (NAME.encode(), C.TRAINING_CONFIG),
        "logs/20250101/events.out.tfevents.1": (event_file, C.TRAINING_LOG),
    },
    Trainer.MUSUBI: {
        "out/wan.safetensors": (_adapter, None),
        "data/a.png": (PNG, C.TRAINING_DATA),
        "data/a.txt": (NAME.encode(), C.CAPTION),
        "data/a_1024x0768_wan.safetensors": (latent_bytes, C.LATENT_CACHE),
        "data/a_00000-081_0832x0480_wan.safetensors": (latent_bytes, C.LATENT_CACHE),
        "data/a_wan_te.safetensors": (cache_bytes, C.TEXT_CACHE),
    },
    Trainer.AI_TOOLKIT: {
        "job/job.safetensors": (_adapter, None),
        "job/job_000000250.safetensors": (_adapter, None),
        "job/job_000000250_high_noise.safetensors": (_adapter, None),
        "job/job_000000250_low_noise.safetensors": (_adapter, None),
        "job/tok_000000250.pt": (STATE, None),
        "job/optimizer.pt": (STATE, C.OPTIMIZER_STATE),
        "job/learnable_snr.json": (b"{}", C.TRAINING_STATE),
        "job/config.yaml": (_config, C.TRAINING_CONFIG),
        "job/loss_log.db": (loss_database, C.TRAINING_LOG),
        "job/samples/1700__000000250_0.jpg": (PNG, C.SAMPLE_IMAGE),
        "set/_latent_cache/a_ff.safetensors": (latent_bytes, C.LATENT_CACHE),
        "set/_t_e_cache/a_ff.safetensors": (cache_bytes, C.TEXT_CACHE),
    },
    Trainer.ONE_TRAINER: {
        "save/x2025-01-01_01-01-01-save-10-1-10.safetensors": (_adapter, None),
        "final.safetensors": (_adapter, None),
        "backup/2025-01-01-backup-10-1-10/lora/lora.safetensors": (_adapter, C.TRAINING_STATE),
        "backup/2025-01-01-backup-10-1-10/optimizer/optimizer.pt": (STATE, C.OPTIMIZER_STATE),
        "backup/2025-01-01-backup-10-1-10/ema/ema.pt": (STATE, C.EMA),
        "backup/2025-01-01-backup-10-1-10/meta.json": (b"{}", C.TRAINING_STATE),
        "backup/2025-01-01-backup-10-1-10/onetrainer_config/args.json": (_config, C.TRAINING_CONFIG),
        "config/x2025-01-01_01-01-01.json": (_config, C.TRAINING_CONFIG),
        f"samples/0 - a photo of {NAME}/x-training-sample-10.jpg": (PNG, C.SAMPLE_IMAGE),
        "tensorboard/2025/events.out.tfevents.1": (event_file, C.TRAINING_LOG),
        "cache/run/image/a.pt": (STATE, C.LATENT_CACHE),
    },
    Trainer.SIMPLE_TUNER: {
        "pytorch_lora_weights.safetensors": (_adapter, None),
        "lycoris_config.json": (b"{}", None),
        "checkpoint-10/pytorch_lora_weights.safetensors": (_adapter, None),
        "checkpoint-10/optimizer.bin": (STATE, C.OPTIMIZER_STATE),
        "checkpoint-10/scheduler.bin": (STATE, C.SCHEDULER_STATE),
        "checkpoint-10/random_states_0.pkl": (STATE, C.RANDOM_STATE),
        "checkpoint-10/training_state.json": (b"{}", C.TRAINING_STATE),
        "checkpoint-10/assets/image_0.png": (PNG, C.SAMPLE_IMAGE),
        "validation_images/step_10_x.png": (PNG, C.SAMPLE_IMAGE),
        "cache/vae/a.pt": (STATE, C.LATENT_CACHE),
        "cache/text/a.pt": (STATE, C.TEXT_CACHE),
    },
    Trainer.DIFFUSERS: {
        "pytorch_lora_weights.safetensors": (_adapter, None),
        "pytorch_lora_weights_kohya.safetensors": (_adapter, None),
        "README.md": (NAME.encode(), C.MODEL_CARD),
        "image_0.png": (PNG, C.SAMPLE_IMAGE),
        "checkpoint-10/pytorch_lora_weights.safetensors": (_adapter, None),
        "checkpoint-10/optimizer.bin": (STATE, C.OPTIMIZER_STATE),
        "checkpoint-10/random_states_0.pkl": (STATE, C.RANDOM_STATE),
        "logs/dreambooth/events.out.tfevents.1": (event_file, C.TRAINING_LOG),
    },
    Trainer.TRANSFORMERS: _PEFT,
    Trainer.LLAMA_FACTORY: {
        **_PEFT,
        "trainer_log.jsonl": (trainer_log, C.TRAINING_LOG),
        "trainer_state.json": (trainer_state, C.TRAINING_LOG),
        "all_results.json": (b'{"epoch": 3.0, "train_loss": 1.0}', C.TRAINING_LOG),
        "train_results.json": (b'{"epoch": 3.0, "train_loss": 1.0}', C.TRAINING_LOG),
        "training_loss.png": (PNG, C.TRAINING_LOG),
        "running_log.txt": (PLACE.encode(), C.TRAINING_LOG),
        "training_args.yaml": (_config, C.TRAINING_CONFIG),
        "llamaboard_config.yaml": (_config, C.TRAINING_CONFIG),
    },
    Trainer.UNSLOTH: {
        **_PEFT,
        "_unsloth_temporary_saved_buffers/model.layers.0.pt": (STATE, C.TRANSIENT),
        "kiki_merged_16bit/model-00001-of-00001.safetensors": (model_bytes, C.MERGED_MODEL),
        "kiki_merged_16bit/tokenizer.json": (b"{}", C.MERGED_MODEL),
    },
    Trainer.AXOLOTL: {
        **_PEFT,
        "debug.log": (PLACE.encode(), C.TRAINING_LOG),
        "checkpoint-20/tokens_state.json": (b"{}", C.TRAINING_STATE),
        "merged/model.safetensors": (model_bytes, C.MERGED_MODEL),
        "merged/config.json": (b"{}", C.MERGED_MODEL),
    },
    Trainer.DIFFUSION_PIPE: {
        "20250101_01-01-01/step500/adapter_model.safetensors": (_adapter, None),
        "20250101_01-01-01/step500/adapter_config.json": (b"{}", None),
        "20250101_01-01-01/step500/hunyuan.toml": (_config, C.TRAINING_CONFIG),
        "20250101_01-01-01/step500/tmp/state_dict_0.bin": (STATE, C.TRANSIENT),
        "20250101_01-01-01/hunyuan.toml": (_config, C.TRAINING_CONFIG),
        "20250101_01-01-01/global_step500/mp_rank_00_model_states.pt": (STATE, C.TRAINING_STATE),
        "20250101_01-01-01/global_step500/bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt": (
            STATE, C.OPTIMIZER_STATE,
        ),
    },
    Trainer.DIFFSYNTH: {
        "epoch-0.safetensors": (_adapter, None),
        "step-500.safetensors": (_adapter, None),
        "training.log": (PLACE.encode(), C.TRAINING_LOG),
        "loss.csv": (loss_table, C.TRAINING_LOG),
    },
    Trainer.X_FLUX: {
        "checkpoint-500/lora.safetensors": (_adapter, None),
        "checkpoint-500/optimizer.bin": (STATE, C.OPTIMIZER_STATE),
        "checkpoint-500/random_states_0.pkl": (STATE, C.RANDOM_STATE),
    },
}  # fmt: skip


def write_folder(root: Path, listed: Listed) -> Path:
    """Write the files of one trainer into `root` and return it."""
    for name, (content, _) in listed.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content())
    return root


def by_products_of(listed: Listed) -> dict[str, Category]:
    """Return the class of every by-product of a folder."""
    return {name: category for name, (_, category) in listed.items() if category is not None}


def adapters_of(listed: Listed) -> set[str]:
    """Return the files that are the adapter's own."""
    return {name for name, (_, category) in listed.items() if category is None}


def state_of(root: Path, names: Iterable[str] | None = None) -> dict[str, tuple[object, ...]]:
    """Return content and every time but the access time of the files (all, or those named)."""
    paths = root.rglob("*") if names is None else (root / name for name in names)
    found = {}
    for path in paths:
        status = path.lstat()
        content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        times = (status.st_mtime_ns, status.st_ctime_ns) if path.is_file() else ()
        found[str(path.relative_to(root))] = (content, status.st_mode, status.st_ino, *times)
    return found
