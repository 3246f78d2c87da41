"""Every method that PEFT trains, against the update that PEFT itself computes from the same weights."""

from __future__ import annotations

import json

import pytest

torch = pytest.importorskip("torch")
peft = pytest.importorskip("peft")

from registry.artifacts.notes import PayloadForm  # noqa: E402 - needs torch
from registry.formats.adapter_config import parse_adapter_config  # noqa: E402
from registry.updates.files import Payload  # noqa: E402
from registry.updates.payload import read_payload  # noqa: E402
from registry.updates.spectra import measure  # noqa: E402
from tests.audits.conftest import safetensors_bytes  # noqa: E402

LORA = {
    "plain": {"r": 4, "lora_alpha": 6},
    "rooted": {"r": 4, "lora_alpha": 6, "use_rslora": True},
    "patterns": {
        "r": 4,
        "lora_alpha": 6,
        "rank_pattern": {"line": 2},
        "alpha_pattern": {"conv": 3},
    },
}


class Net(torch.nn.Module):
    """One linear layer and one convolution."""

    def __init__(self):
        super().__init__()
        self.line = torch.nn.Linear(24, 36)
        self.conv = torch.nn.Conv2d(8, 12, 3)


def _measured(config):
    """Spectra of the saved weights, and the updates by PEFT's own formulas, by the layer's name."""
    torch.manual_seed(5)
    model = peft.get_peft_model(Net(), config)
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            torch.nn.init.normal_(weight, std=0.1, generator=None)
        assert name
    state = {
        name: value.contiguous() for name, value in peft.get_peft_model_state_dict(model).items()
    }
    tensors = {
        name: ("F32", tuple(value.shape), value.numpy().tobytes()) for name, value in state.items()
    }
    data = memoryview(bytearray(safetensors_bytes(tensors)))
    settings = {
        key: sorted(value) if isinstance(value, set) else value
        for key, value in config.to_dict().items()
        if value is not None
    }
    files = read_payload(data, PayloadForm.RAW, "adapter_model.safetensors").files
    payload = Payload(files, parse_adapter_config(json.dumps(settings).encode()))
    spectra = {spectrum.place.rpartition(".")[2]: spectrum for spectrum in measure(payload)}
    updates = {
        name.rpartition(".")[2]: layer.get_delta_weight("default").detach()
        for name, layer in model.named_modules()
        if hasattr(layer, "get_delta_weight") and name.endswith(("line", "conv"))
    }
    assert spectra.keys() == updates.keys()
    assert spectra
    return [(spectra[name], updates[name]) for name in spectra]


def _assert_equal(config):
    for spectrum, update in _measured(config):
        dense = torch.linalg.svdvals(update.double().flatten(1))
        count = min(len(spectrum.values), len(dense))
        error = (spectrum.values[:count] - dense[:count]).abs().max() / dense[0]
        # PEFT multiplies in float32; ours is exact for what is stored.
        assert float(error) < 1e-6, spectrum.place
        assert float(dense[count:].sum()) < 1e-5 * float(dense[0])
        assert spectrum.scale_stated


@pytest.mark.parametrize("case", LORA)
def test_lora(case):
    _assert_equal(peft.LoraConfig(target_modules=["line", "conv"], **LORA[case]))


def test_adalora():
    config = peft.AdaLoraConfig(
        init_r=6, target_r=3, lora_alpha=5, total_step=10, target_modules=["line"]
    )
    _assert_equal(config)


@pytest.mark.parametrize("rank", [2, 8])
@pytest.mark.parametrize("cores", [False, True])
def test_loha(rank, cores):
    _assert_equal(
        peft.LoHaConfig(
            r=rank, alpha=3, target_modules=["line", "conv"], use_effective_conv2d=cores
        )
    )


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("cores", [False, True])
@pytest.mark.parametrize("rank", [1, 2, 64])
def test_lokr(both, cores, rank):
    _assert_equal(
        peft.LoKrConfig(
            r=rank, alpha=3, target_modules=["line", "conv"], decompose_both=both,
            use_effective_conv2d=cores,
        )
    )  # fmt: skip


def test_dora_is_its_direction():
    config = peft.LoraConfig(r=4, lora_alpha=6, use_dora=True, target_modules=["line"])
    [(spectrum, update)] = _measured(config)
    dense = torch.linalg.svdvals(update.double())
    assert float((spectrum.values - dense[:4]).abs().max() / dense[0]) < 1e-6
    assert spectrum.caveat == "dora: direction only"
