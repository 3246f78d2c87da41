"""Widths of well-known language models, so that an adapter for one without a family gets candidates."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from registry.artifacts.classifying.layers import Layers


class Decoder(NamedTuple):
    """One shape that several releases share: widths as in their config.json, number of layers."""

    models: str
    layers: int
    hidden: int
    keys: int
    mlp: int
    queries: int = 0


DECODERS: tuple[Decoder, ...] = (
    Decoder("Llama 3.x 8B", 32, 4096, 1024, 14336),
    Decoder("Mistral 7B", 32, 4096, 1024, 14336),
    Decoder("Llama 3.2 1B", 16, 2048, 512, 8192),
    Decoder("Llama 3.2 3B", 28, 3072, 1024, 8192),
    Decoder("Llama 3.x 70B", 80, 8192, 1024, 28672),
    Decoder("Llama 2 7B", 32, 4096, 4096, 11008),
    Decoder("Llama 2 13B", 40, 5120, 5120, 13824),
    Decoder("TinyLlama 1.1B", 22, 2048, 256, 5632),
    Decoder("Mistral Nemo 12B", 40, 5120, 1024, 14336, 4096),
    Decoder("Mistral Small 24B", 40, 5120, 1024, 32768, 4096),
    Decoder("Qwen2.5 0.5B", 24, 896, 128, 4864),
    Decoder("Qwen2.5 1.5B", 28, 1536, 256, 8960),
    Decoder("Qwen2.5 3B", 36, 2048, 256, 11008),
    Decoder("Qwen2.5 7B", 28, 3584, 512, 18944),
    Decoder("Qwen2.5 14B", 48, 5120, 1024, 13824),
    Decoder("Qwen2.5 32B", 64, 5120, 1024, 27648),
    Decoder("Qwen2.5 72B", 80, 8192, 1024, 29568),
    Decoder("Qwen3 0.6B", 28, 1024, 1024, 3072, 2048),
    Decoder("Qwen3 1.7B", 28, 2048, 1024, 6144),
    Decoder("Qwen3 4B", 36, 2560, 1024, 9728, 4096),
    Decoder("Qwen3 8B", 36, 4096, 1024, 12288),
    Decoder("Qwen3 14B", 40, 5120, 1024, 17408),
    Decoder("Qwen3 32B", 64, 5120, 1024, 25600, 8192),
    Decoder("Gemma 2 2B", 26, 2304, 1024, 9216, 2048),
    Decoder("Gemma 2 9B", 42, 3584, 2048, 14336, 4096),
    Decoder("Gemma 2 27B", 46, 4608, 2048, 36864, 4096),
    Decoder("Gemma 3 1B", 26, 1152, 256, 6912, 1024),
    Decoder("Gemma 3 4B", 34, 2560, 1024, 10240, 2048),
    Decoder("Gemma 3 12B", 48, 3840, 2048, 15360, 4096),
    Decoder("SmolLM2 135M", 30, 576, 192, 1536),
    Decoder("SmolLM2 360M", 32, 960, 320, 2560),
    Decoder("SmolLM2 1.7B", 24, 2048, 2048, 8192),
)


def models_of_decoder(layers: Layers) -> tuple[str, ...]:
    """Return the models whose widths allow all that is seen; () unless two widths at least are seen."""
    if not layers.has("layers__self_attn_", "layers__mlp_"):
        return ()
    hidden = layers.inputs("_q_proj", "_k_proj", "_v_proj", "_gate_proj", "_up_proj") - {0}
    queries = layers.outputs("self_attn_q_proj") - {0}
    keys = layers.outputs("self_attn_k_proj", "self_attn_v_proj") - {0}
    wide = (layers.outputs("mlp_gate_proj", "mlp_up_proj") | layers.inputs("mlp_down_proj")) - {0}
    if not hidden or not (keys or wide):
        return ()
    last = layers.last_index("layers")
    return tuple(
        row.models
        for row in DECODERS
        if last < row.layers
        and hidden <= {row.hidden}
        and queries <= {row.queries or row.hidden}
        and keys <= {row.keys}
        and wide <= {row.mlp}
    )
