"""Dead modules: which, whether they were ever trained, and where they stand."""

from __future__ import annotations

import struct

import pytest

torch = pytest.importorskip("torch")

from registry.audits.weights.dead_modules import DeadModulesAudit  # noqa: E402 - needs torch
from registry.audits.weights.places import block_of, component_of, ranges_in_words  # noqa: E402
from registry.formats.findings import Verdict  # noqa: E402


def _module(name, *, up=1.0, down=1.0):
    values = [((7 * i) % 11 - 5) / 50 or 0.01 for i in range(32)]
    return {
        f"{name}.lora_down.weight": (
            "F32",
            (4, 8),
            struct.pack("<32f", *(v * down for v in values)),
        ),
        f"{name}.lora_up.weight": ("F32", (8, 4), struct.pack("<32f", *(v * up for v in values))),
        f"{name}.alpha": ("F32", (), struct.pack("<f", 4.0)),
    }


def _adapter(unet=30, text=0, dead=lambda _name: False, **how):
    names = [f"lora_unet_down_blocks_{n // 10}_attentions_{n % 10}_to_q" for n in range(unet)]
    names += [f"lora_te_text_model_encoder_layers_{n}_mlp_fc1" for n in range(text)]
    tensors = {}
    for name in names:
        tensors |= _module(name, **(how or {"up": 0.0}) if dead(name) else {})
    return tensors


def _messages(report):
    return [(finding.message, finding.place) for finding in report.findings]


def test_a_text_encoder_that_was_never_trained_is_named(subject_of):
    tensors = _adapter(60, 4, dead=lambda name: "te_" in name)
    report = DeadModulesAudit().run(subject_of(tensors))
    assert report.verdict is Verdict.WARN
    assert ("all 4 modules of the text encoder change nothing and were never trained", "") in (
        _messages(report)
    )
    assert dict(report.metrics)["of these never trained"] == "4"


def test_dead_blocks_are_named_by_their_range(subject_of):
    tensors = _adapter(60, dead=lambda name: "blocks_1_" in name or "blocks_2_" in name)
    report = DeadModulesAudit().run(subject_of(tensors))
    assert report.verdict is Verdict.REVIEW
    words = "all 20 modules of the denoiser's blocks 1-2 change nothing and were never trained"
    assert (words, "lora_unet_down_blocks") in _messages(report)


def test_an_adapter_as_initialised_says_so(subject_of):
    report = DeadModulesAudit().run(subject_of(_adapter(5, dead=lambda _name: True)))
    assert report.verdict is Verdict.REVIEW
    words = "all 5 modules of the adapter change nothing and were never trained"
    assert (words, "") in _messages(report)


def test_both_factors_zero_is_dead_and_not_fresh(subject_of):
    tensors = _adapter(20, dead=lambda name: name.endswith("attentions_3_to_q"), up=0.0, down=0.0)
    report = DeadModulesAudit().run(subject_of(tensors))
    assert dict(report.metrics)["of these never trained"] == "0"
    assert all("never trained" not in message for message, _ in _messages(report))


def test_a_layer_that_is_dead_in_a_living_block_is_named_alone(subject_of):
    tensors = _adapter(30, dead=lambda name: name.endswith("blocks_0_attentions_3_to_q"))
    report = DeadModulesAudit().run(subject_of(tensors))
    assert report.verdict is Verdict.WARN
    assert not any("blocks" in message for message, _ in _messages(report))


def test_living_modules_have_no_finding(subject_of):
    report = DeadModulesAudit().run(subject_of(_adapter(12, 4)))
    assert (report.verdict, report.findings) == (Verdict.PASS, ())


@pytest.mark.parametrize(
    ("name", "component", "stem", "number"),
    [
        ("lora_te1_text_model_encoder_layers_3_mlp_fc1", "text encoder",
         "lora_te1_text_model_encoder_layers", 3),
        ("text_encoder_2.text_model.encoder.layers.7.mlp.fc1", "second text encoder",
         "text_encoder_2.text_model.encoder.layers", 7),
        ("lora_unet_double_blocks_11_img_attn_qkv", "denoiser", "lora_unet_double_blocks", 11),
        ("base_model.model.model.layers.31.self_attn.q_proj", "model",
         "base_model.model.model.layers", 31),
        ("transformer.proj_out", "denoiser", None, None),
    ],
)  # fmt: skip
def test_places_of_every_dialect(name, component, stem, number):
    assert component_of(name) == component
    block = block_of(name)
    assert (block and block.stem, block and block.number) == (stem, number)


def test_numbers_are_told_as_ranges():
    assert ranges_in_words([7, 0, 2, 1, 2]) == "0-2, 7"
    assert ranges_in_words([]) == ""
