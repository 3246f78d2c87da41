"""Adapters made by hand: a header and a body of bytes, with no writer of ours in between."""

from __future__ import annotations

import importlib
import importlib.util
import json
import struct
from collections.abc import Callable, Mapping
from typing import TypeAlias

import pytest

from registry.artifacts.archive import Member, tar_batches
from registry.artifacts.notes import PayloadForm
from registry.audits.audit import AuditSubject
from registry.updates.payload import read_payload

# name -> (dtype, shape, content)
Tensors: TypeAlias = Mapping[str, tuple[str, tuple[int, ...], bytes]]


def safetensors_bytes(tensors: Tensors, metadata: Mapping[str, str] | None = None) -> bytes:
    header: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    body = b""
    for name, (dtype, shape, content) in tensors.items():
        header[name] = {
            "dtype": dtype,
            "shape": list(shape),
            "data_offsets": [len(body), len(body) + len(content)],
        }
        body += content
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + body


def lora_tensors(
    modules: int, *, alpha: float = 4.0, rank: int = 4, outputs: int = 12, inputs: int = 16
) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    """A kohya adapter of float32, its values small and all different."""
    tensors: dict[str, tuple[str, tuple[int, ...], bytes]] = {}
    for number in range(modules):
        name = f"lora_unet_down_blocks_{number}_attentions_0_proj_in"
        for role, shape in (("down", (rank, inputs)), ("up", (outputs, rank))):
            count = shape[0] * shape[1]
            values = [((7 * i * i + 3 * i + number + 1) % 101 - 50) / 500 for i in range(count)]
            tensors[f"{name}.lora_{role}.weight"] = (
                "F32",
                shape,
                struct.pack(f"<{count}f", *values),
            )
        tensors[f"{name}.alpha"] = ("F32", (), struct.pack("<f", alpha))
    return tensors


@pytest.fixture(scope="session")
def pack() -> Callable[[Tensors], bytes]:
    return safetensors_bytes


@pytest.fixture(scope="session")
def lora() -> Callable[..., dict[str, tuple[str, tuple[int, ...], bytes]]]:
    return lora_tensors


@pytest.fixture(scope="session")
def subject_of() -> Callable[..., AuditSubject]:
    def build(tensors: Tensors, metadata: Mapping[str, str] | None = None) -> AuditSubject:
        data = memoryview(bytearray(safetensors_bytes(tensors, metadata)))
        return AuditSubject(read_payload(data, PayloadForm.RAW, "a.safetensors"))

    return build


@pytest.fixture(scope="session")
def folder_of() -> Callable[..., AuditSubject]:
    """A PEFT folder: weights, config, and whatever other files."""

    def build(tensors: Tensors, config: bytes, **others: bytes) -> AuditSubject:
        parts = {
            "adapter_model.safetensors": safetensors_bytes(tensors),
            "adapter_config.json": config,
            **{name.replace("_", "."): data for name, data in others.items()},
        }
        members = [
            Member(name, len(data), lambda data=data: iter([data])) for name, data in parts.items()
        ]
        data = memoryview(bytearray(b"".join(tar_batches(members))))
        return AuditSubject(read_payload(data, PayloadForm.TAR, "x"))

    return build


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """Small matrices on a busy machine: a second thread only waits for the first."""
    if importlib.util.find_spec("torch") is not None:
        importlib.import_module("torch").set_num_threads(1)
