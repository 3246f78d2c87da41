"""Every adapter of the fixture sheet, with values drawn, against dense float64; and hostile changes of basis."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")

from registry.artifacts.notes import PayloadForm  # noqa: E402 - needs torch
from registry.updates.factors import Full, Kronecker, LowRank, update_of  # noqa: E402
from registry.updates.files import Payload  # noqa: E402
from registry.updates.memory import MemoryCap  # noqa: E402
from registry.updates.payload import read_payload  # noqa: E402
from registry.updates.spectra import _Measurement, measure  # noqa: E402
from registry.updates.tensors import FLOAT_DTYPES  # noqa: E402
from tests.audits.conftest import safetensors_bytes  # noqa: E402
from tests.sheet import rows, tensors_of  # noqa: E402

TOLERANCE = 1e-6  # of the largest singular value
WIDTH = 48  # widths are cut to this: dense decompositions of real ones take minutes
MODULES = 24


def _cut(shapes):
    """The same shape with every width beyond `WIDTH` cut down; ranks mostly stay."""
    return tuple(size if size <= WIDTH else WIDTH + size % 7 for size in shapes)


def _values(name, shape, dtype, source):
    if name.endswith("alpha"):
        return torch.full(shape, 3.0).to(FLOAT_DTYPES[dtype])
    values = torch.randn(shape, generator=source) * 0.05
    return values.to(FLOAT_DTYPES[dtype])


def _payload(fixture):
    source = torch.Generator().manual_seed(len(fixture["id"]))
    tensors = {}
    for name, dtype, shape in tensors_of(fixture):
        small = _cut(shape)
        if dtype not in FLOAT_DTYPES:
            tensors[name] = (dtype, small, bytes(math.prod(small)))
            continue
        content = _values(name, small, dtype, source).reshape(-1).view(torch.uint8)
        tensors[name] = (dtype, small, content.numpy().tobytes())
    data = memoryview(bytearray(safetensors_bytes(tensors)))
    return read_payload(data, PayloadForm.RAW, fixture["id"])


def _dense(update):
    if isinstance(update, Full):
        return update.matrix.double()
    if isinstance(update, Kronecker):
        return torch.kron(_dense(update.left).contiguous(), _dense(update.right).contiguous())
    return update.up.double() @ update.down.double()


def _some(modules):
    """A few modules of every set of shapes: the first, and some further on."""
    seen = {}
    for number, located in enumerate(modules):
        shapes = tuple((role, info.shape) for role, info in located.module.tensors)
        seen.setdefault(shapes, []).append(number)
    return [number for numbers in seen.values() for number in numbers[:: MODULES // 2]][:MODULES]


def _worst(payload, spectra):
    worst, compared = 0.0, 0
    for number in _some(payload.modules):
        spectrum, located = spectra[number], payload.modules[number]
        assert not spectrum.is_fault, spectrum.reason
        if spectrum.values is None:
            assert spectrum.reason
            continue
        exact = torch.linalg.svdvals(_dense(update_of(located))) * abs(located.factor)
        values = spectrum.values[: len(exact)]
        worst = max(worst, float((values - exact[: len(values)]).abs().max() / exact[0]))
        compared += 1
    return worst, compared


@pytest.mark.parametrize("fixture", rows("adapters"), ids=lambda fixture: fixture["id"])
def test_every_fixture_is_exact_in_all_three_forms(fixture):
    payload = _payload(fixture)
    cap = MemoryCap(lambda: 2**30)
    forms = {
        "cpu": measure(payload),
        "steady": measure(payload, deterministic=True),
        "segmented": _Measurement(payload, "cpu", deterministic=False, cap=cap).run(),
    }
    for name, spectra in forms.items():
        worst, compared = _worst(payload, spectra)
        assert worst < TOLERANCE, name
        assert compared or fixture["method"] in ("oft", "ia3")


@pytest.mark.parametrize("spread", [2, 5, 7])
@pytest.mark.parametrize("dtype", ["F32", "F64"])
def test_hostile_changes_of_basis_change_nothing(spread, dtype):
    source = torch.Generator().manual_seed(spread)
    up = torch.randn(60, 8, generator=source, dtype=torch.float64)
    down = torch.randn(8, 50, generator=source, dtype=torch.float64)
    basis = torch.linalg.qr(torch.randn(8, 8, generator=source, dtype=torch.float64)).Q
    stretch = torch.logspace(-spread, spread, 8, dtype=torch.float64)
    hostile = {
        "lora_up": up @ (basis * stretch),
        "lora_down": (basis / stretch).T @ down,
    }
    tensors = {}
    for role, factor in hostile.items():
        stored = factor.to(FLOAT_DTYPES[dtype]).contiguous()
        content = stored.reshape(-1).view(torch.uint8).numpy().tobytes()
        tensors[f"lora_unet_m.{role}.weight"] = (dtype, tuple(factor.shape), content)
    data = memoryview(bytearray(safetensors_bytes(tensors)))
    payload = read_payload(data, PayloadForm.RAW, "a")
    # What counts is the update as stored.
    update = update_of(payload.modules[0])
    assert isinstance(update, LowRank)
    exact = torch.linalg.svdvals(_dense(update))[:8]
    forms = [
        measure(payload),
        measure(Payload(payload.files), deterministic=True),
        _Measurement(payload, "cpu", deterministic=True, cap=MemoryCap(lambda: 2**30)).run(),
    ]
    for [spectrum] in forms:
        assert float((spectrum.values - exact).abs().max() / exact[0]) < TOLERANCE
