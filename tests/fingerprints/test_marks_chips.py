"""Chips have the same bits everywhere and look normal; rotations are orthogonal and fixed."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from registry.fingerprints.marks.chips import chips, gaussians, rotations  # noqa: E402 - needs torch
from tests.audits.conftest import _one_thread  # noqa: E402, F401 - a fixture

SEED = bytes.fromhex("d17ec81bfad8e11e68bcdf6191fd1dba5af42f8776c999105ba91bb81d32b462")
KEYS = [("lora_unet_x", 0), ("lora_unet_y", 0), ("lora_unet_x", 1)]


def test_known_chips_bit_for_bit():
    steps = chips(SEED, KEYS[:1], 4)[0] * 2**20
    assert steps.tolist() == [
        [-177410, 671583, -1008996, -559991],
        [-1852283, -940480, -566988, 515934],
        [257044, 736713, -2345705, -377474],
        [-533434, 70258, -1465123, -401236],
    ]


def test_known_rotation():
    expected = [
        [0.523593980779423, -0.8147910061118769, -0.24892761930077595],
        [0.7972367582046376, 0.5716119460361953, -0.19409619912835493],
        [-0.30043783826095716, 0.09682664668317778, -0.9488739146130923],
    ]
    found = rotations(SEED, KEYS[:1], 3)[0]
    assert float((found - torch.tensor(expected, dtype=torch.float64)).abs().max()) < 1e-12


def test_no_stream_gives_no_numbers():
    assert gaussians(b"").numel() == 0


def test_all_levels_together_are_standard_normal():
    stream = b"".join(level.to_bytes(2, "little") for level in range(2**16))
    values = gaussians(stream)
    assert torch.equal(values.flip(0), -values)
    assert bool((values.diff() > 0).all())
    assert float(values.square().mean()) == pytest.approx(1, abs=3e-5)
    assert float(values.pow(4).mean()) == pytest.approx(3, abs=2e-3)


def test_rotations_are_orthogonal():
    turned = rotations(SEED, KEYS, 9)
    one = torch.eye(9, dtype=torch.float64).expand(3, 9, 9)
    assert torch.allclose(turned @ turned.mT, one, atol=1e-12)


def test_modules_seeds_and_purposes_are_independent():
    seen = [*chips(SEED, KEYS, 16), *chips(SEED[::-1], KEYS, 16), *(rotations(SEED, KEYS, 16) * 4)]
    flat = torch.stack([one.flatten() for one in seen])
    correlations = torch.corrcoef(flat) - torch.eye(len(seen), dtype=torch.float64)
    assert float(correlations.abs().max()) < 5 / 16
