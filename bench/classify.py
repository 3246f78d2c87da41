"""Time of strict parse plus classification of an SDXL adapter's header (target: 5 ms, no torch).

Usage: python bench/classify.py [--rounds N] [--json]

The header is that of a kohya LoRA for SDXL with 722 + 264 modules, 2958 tensors and the usual metadata.
`json.loads` of the same bytes is timed beside it in the same rounds, as a measure of the machine.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from registry.artifacts.classifying.classify import classify
from registry.formats.safetensors import dump_header, lay_out, parse_header

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TARGET_MS = 5.0
RANK = 16
# Transformer blocks of each attention of SDXL's UNet, with its width.
UNET = (
    [(f"input_blocks_{block}_1", 2, 640) for block in (4, 5)]
    + [(f"input_blocks_{block}_1", 10, 1280) for block in (7, 8)]
    + [("middle_block_1", 10, 1280)]
    + [(f"output_blocks_{block}_1", 10, 1280) for block in (0, 1, 2)]
    + [(f"output_blocks_{block}_1", 2, 640) for block in (3, 4, 5)]
)
CROSS = 2048
TEXT = (("lora_te1", 12, 768), ("lora_te2", 32, 1280))


def unet_modules() -> Iterator[tuple[str, int, int]]:
    for name, depth, width in UNET:
        base = f"lora_unet_{name}"
        yield f"{base}_proj_in", width, width
        yield f"{base}_proj_out", width, width
        for block in range(depth):
            layer = f"{base}_transformer_blocks_{block}"
            for attention, inputs in (("attn1", width), ("attn2", CROSS)):
                yield f"{layer}_{attention}_to_q", width, width
                yield f"{layer}_{attention}_to_k", inputs, width
                yield f"{layer}_{attention}_to_v", inputs, width
                yield f"{layer}_{attention}_to_out_0", width, width
            yield f"{layer}_ff_net_0_proj", width, width * 8
            yield f"{layer}_ff_net_2", width * 4, width


def text_modules() -> Iterator[tuple[str, int, int]]:
    for prefix, depth, width in TEXT:
        for layer in range(depth):
            base = f"{prefix}_text_model_encoder_layers_{layer}"
            for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
                yield f"{base}_self_attn_{name}", width, width
            yield f"{base}_mlp_fc1", width, width * 4
            yield f"{base}_mlp_fc2", width * 4, width


def sdxl_header() -> tuple[bytes, int]:
    tensors = []
    for name, inputs, outputs in [*unet_modules(), *text_modules()]:
        tensors.append((f"{name}.alpha", "F16", ()))
        tensors.append((f"{name}.lora_down.weight", "F16", (RANK, inputs)))
        tensors.append((f"{name}.lora_up.weight", "F16", (outputs, RANK)))
    tags = {f"tag number {number}": 1000 - number for number in range(300)}
    metadata = {
        "ss_network_dim": str(RANK),
        "ss_network_alpha": "8.0",
        "ss_base_model_version": "sdxl_base_v1-0",
        "ss_tag_frequency": json.dumps({"10_dataset": tags}),
        **{f"ss_setting_{number}": "None" for number in range(80)},
    }
    found = lay_out(tensors)
    data = dump_header(found, metadata.items())
    return data, len(data) + found[-1].end


def timed(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return (time.perf_counter() - start) * 1000


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    data, size = sdxl_header()
    parsed = parse_header(data, file_size=size)
    found = classify(parsed)
    if (found.kind, found.family, found.modules) != ("adapter", "sdxl", 986):
        raise SystemExit(f"the header was not understood: {found.kind} {found.family}")
    steps: dict[str, Callable[[], object]] = {
        "json.loads alone": lambda: json.loads(data[8:]),
        "strict parse": lambda: parse_header(data, file_size=size),
        "classify": lambda: classify(parsed),
        "parse + classify": lambda: classify(parse_header(data, file_size=size)),
    }
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(options.rounds):
        for name, step in steps.items():
            times[name].append(timed(step))
    medians = {name: statistics.median(values) for name, values in times.items()}
    report(medians, {name: min(values) for name, values in times.items()}, options.json)
    return 0


def report(medians: dict[str, float], best: dict[str, float], as_json: bool) -> None:
    total = medians["parse + classify"]
    if as_json:
        print(
            json.dumps(
                {"bench": "classify", "median_ms": medians, "best_ms": best, "target_ms": TARGET_MS}
            )
        )
        return
    print("| step (SDXL header, 2958 tensors) | median ms | best ms |\n|---|---|---|")
    for name, value in medians.items():
        print(f"| {name} | {value:.2f} | {best[name]:.2f} |")
    print(f"target {TARGET_MS} ms: {'met' if total <= TARGET_MS else 'missed'} ({total:.2f} ms)")
    print(f"torch loaded: {'torch' in sys.modules}")


if __name__ == "__main__":
    sys.exit(main())
