"""Claims of header and config against the tensors: each lie is found, no truth is doubted."""

from __future__ import annotations

import hashlib
import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.artifacts.notes import PayloadForm
from registry.audits.audit import AuditSubject
from registry.audits.weights.claims import ClaimsAudit
from registry.formats.findings import Verdict
from registry.updates.payload import read_payload
from tests.audits.conftest import lora_tensors, safetensors_bytes

NOTHING = hashlib.sha256().hexdigest()


def _factor(*shape):
    count = shape[0] * shape[1]
    return ("F32", shape, struct.pack(f"<{count}f", *(0.01 * (i % 7 + 1) for i in range(count))))


def _module(name, inputs, outputs):
    return {
        f"{name}.lora_down.weight": _factor(2, inputs),
        f"{name}.lora_up.weight": _factor(outputs, 2),
    }


def _sd1(text=False):
    """Enough of an SD 1 adapter for its family to be plain."""
    name = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
    tensors = _module(name, 768, 320)
    if text:
        tensors |= _module("lora_te_text_model_encoder_layers_0_mlp_fc1", 768, 3072)
    return tensors


def _peft(*names):
    tensors = {}
    for name in names:
        base = f"base_model.model.{name}"
        tensors[f"{base}.lora_A.weight"] = _factor(2, 8)
        tensors[f"{base}.lora_B.weight"] = _factor(8, 2)
    return tensors


def _config(**changes):
    return json.dumps({"peft_type": "LORA", "r": 2, "lora_alpha": 2, **changes}).encode()


def _lies(report):
    return {finding.place for finding in report.findings if finding.verdict is not Verdict.PASS}


def _run(subject):
    report = ClaimsAudit().run(subject)
    assert report.verdict in (Verdict.PASS, Verdict.WARN)
    assert report.coverage.examined == report.coverage.total > 0
    return report


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("ss_base_model_version", "sdxl_base_v1-0"),
        ("modelspec.architecture", "stable-diffusion-xl-v1-base/lora"),
        ("sshs_model_hash", NOTHING),
        ("sshs_model_hash", "ab" * 32),
        ("modelspec.hash_sha256", f"0x{'cd' * 32}"),
        ("ss_v2", "True"),
        ("ss_network_module", "networks.oft"),
        ("ss_network_args", json.dumps({"algo": "loha"})),
        ("ss_network_args", json.dumps({"dora_wd": "True"})),
        ("ss_text_encoder_lr", "0.0"),
    ],
)
def test_each_lie_is_found_and_not_repeated(subject_of, key, value):
    report = _run(subject_of(_sd1(text=True), {key: value, "ss_output_name": "alice"}))
    assert _lies(report) == {key}
    text = " ".join(finding.message for finding in report.findings)
    assert value not in text
    assert "alice" not in text


def test_the_truth_passes(subject_of):
    tensors = _sd1(text=True)
    body = safetensors_bytes(tensors)
    digest = hashlib.sha256(body[8 + int.from_bytes(body[:8], "little") :]).hexdigest()
    metadata = {
        "ss_base_model_version": "sd_v1",
        "modelspec.architecture": "stable-diffusion-v1/lora",
        "sshs_model_hash": digest,
        "modelspec.hash_sha256": f"0x{digest}",
        "ss_v2": "False",
        "ss_network_module": "networks.lora",
        "ss_text_encoder_lr": "None",
    }
    report = _run(subject_of(tensors, metadata))
    assert (report.verdict, report.findings) == (Verdict.PASS, ())
    assert dict(report.metrics)["claims"] == "7"


def test_a_header_that_claims_nothing_passes(subject_of):
    assert _run(subject_of(_sd1())).verdict is Verdict.PASS


def test_layers_that_the_config_does_not_target_are_named(folder_of):
    tensors = _peft("layers.0.q_proj", "layers.0.mlp.gate_proj")
    report = _run(folder_of(tensors, _config(target_modules=["q_proj"])))
    assert _lies(report) == {"layers.0.mlp.gate_proj"}
    assert "1 of 2 modules" in report.findings[0].message


@pytest.mark.parametrize(
    "targets", [["q_proj", "mlp.gate_proj"], "all-linear", r".*\.(q_proj|gate_proj)", None]
)
def test_targets_are_read_as_peft_reads_them(folder_of, targets):
    tensors = _peft("layers.0.q_proj", "layers.0.mlp.gate_proj")
    assert not _lies(_run(folder_of(tensors, _config(target_modules=targets))))


def test_an_expression_must_match_the_whole_name(folder_of):
    tensors = _peft("layers.0.q_proj", "layers.0.mlp.gate_proj")
    assert _lies(_run(folder_of(tensors, _config(target_modules=r"layers\.0\.q_proj"))))


@pytest.mark.parametrize(("saved", "words"), [([], "1 of them undeclared"), (["lm_tail"], "")])
def test_whole_layers_are_always_told(folder_of, saved, words):
    tensors = {
        **_peft("layers.0.q_proj", "layers.1.q_proj"),
        "base_model.model.lm_tail.weight": _factor(2, 8),
    }
    config = _config(target_modules=["q_proj"], modules_to_save=saved)
    report = _run(folder_of(tensors, config))
    assert _lies(report) == {"base_model.model.lm_tail.weight"}
    assert report.findings[0].message.startswith("1 whole layers")
    assert report.findings[0].message.endswith(words)


def test_a_saved_layer_that_is_not_there_is_told(folder_of):
    config = _config(target_modules=["q_proj"], modules_to_save=["lm_head"])
    assert _lies(_run(folder_of(_peft("layers.0.q_proj"), config))) == {"adapter_config.json"}


def test_components_that_the_header_does_not_mention_are_told(subject_of):
    stated = {"transformer.peft_type": "LORA", "transformer.r": 2, "transformer.lora_alpha": 2}
    tensors = {
        "text_encoder.a.lora_A.weight": _factor(2, 8),
        "text_encoder.a.lora_B.weight": _factor(8, 2),
    }
    report = _run(subject_of(tensors, {"lora_adapter_metadata": json.dumps(stated)}))
    text = " | ".join(finding.message for finding in report.findings)
    assert "does not mention text_encoder" in text
    assert "speaks of transformer" in text


@given(st.dictionaries(st.sampled_from([
    "ss_base_model_version", "sshs_model_hash", "modelspec.hash_sha256", "ss_network_args",
    "ss_network_module", "ss_text_encoder_lr", "ss_v2", "modelspec.architecture",
]), st.text(max_size=60), max_size=8))  # fmt: skip
def test_whatever_is_claimed_is_at_most_doubted(metadata):
    data = memoryview(bytearray(safetensors_bytes(lora_tensors(2), metadata)))
    _run(AuditSubject(read_payload(data, PayloadForm.RAW, "a.safetensors")))
