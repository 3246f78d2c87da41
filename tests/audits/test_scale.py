"""The scale audit: impossible, unread, uneven, rounded and claimed alphas."""

from __future__ import annotations

import json
import math
import struct
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.audits.weights.scale import ScaleAudit
from registry.formats.findings import Verdict

PLACE = "lora_unet_down_blocks_{}_attentions_0_proj_in"
PEFT = "base_model.model.layers.{}.q_proj"


def _peft(lora, modules=2, **more):
    return {
        name.replace("lora_unet_down_blocks_", "base_model.model.layers.")
        .replace("_attentions_0_proj_in", ".q_proj")
        .replace("lora_down", "lora_A")
        .replace("lora_up", "lora_B"): value
        for name, value in lora(modules, **more).items()
        if not name.endswith(".alpha")
    }


def _config(**changes):
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"]}
    return json.dumps({**config, **changes}).encode()


def _alpha(tensors, number, value, dtype="F32"):
    content = {
        "F32": struct.pack("<f", value),
        "F16": struct.pack("<e", value),
        "BF16": struct.pack("<f", value)[2:],
        "F8_E5M2": struct.pack("<e", value)[1:],
    }[dtype]
    tensors[f"{PLACE.format(number)}.alpha"] = (dtype, (), content)
    return tensors


def _run(subject):
    return ScaleAudit().run(subject)


def _words(report):
    return " | ".join(finding.message for finding in report.findings)


@pytest.mark.parametrize("alpha", [0.0, -1.0, math.nan, math.inf, 1e9])
def test_an_impossible_alpha_fails_at_each_module(subject_of, lora, alpha):
    report = _run(subject_of(lora(3, alpha=alpha)))
    assert report.verdict is Verdict.FAIL
    assert len(report.findings) == 3


@pytest.mark.parametrize("alpha", [0, -8])
def test_an_impossible_alpha_of_a_config_fails(folder_of, lora, alpha):
    report = _run(folder_of(_peft(lora), _config(lora_alpha=alpha)))
    assert report.verdict is Verdict.FAIL
    assert "alpha is" in _words(report)


def test_a_scale_beyond_reason_fails(folder_of, lora):
    assert _run(folder_of(_peft(lora), _config(lora_alpha=1e7))).verdict is Verdict.FAIL


def test_an_alpha_that_only_others_can_read_is_inconclusive(subject_of, lora):
    """57344 in 8 bits: a scale of 14336 that no plain reader sees."""
    tensors = _alpha(lora(3), 1, 57344.0, "F8_E5M2")
    assert _run(subject_of(tensors)).verdict is Verdict.INCONCLUSIVE


def test_a_module_without_alpha_among_others_warns(subject_of, lora):
    tensors = lora(3)
    del tensors[f"{PLACE.format(1)}.alpha"]
    report = _run(subject_of(tensors))
    assert report.verdict is Verdict.WARN
    assert report.findings[0].place == PLACE.format(1)


def test_no_alpha_anywhere_is_usual(subject_of, lora):
    tensors = {name: value for name, value in lora(3).items() if not name.endswith("alpha")}
    assert _run(subject_of(tensors)).verdict is Verdict.PASS


def test_one_module_with_another_alpha_warns(subject_of, lora):
    report = _run(subject_of(_alpha(lora(5), 2, 40.0)))
    assert report.verdict is Verdict.WARN
    assert report.findings[0].place == PLACE.format(2)


def test_alphas_of_their_own_for_blocks_may_differ(subject_of, lora):
    metadata = {"ss_network_args": json.dumps({"block_alphas": "4,4,40,4,4"})}
    assert _run(subject_of(_alpha(lora(5), 2, 40.0), metadata)).verdict is Verdict.PASS


def test_modules_of_another_rank_may_have_another_alpha(subject_of, lora):
    tensors = {**lora(2, rank=4)}
    wide = {name.replace("blocks_", "blocks_7"): value for name, value in
            lora(2, rank=8, alpha=8.0).items()}  # fmt: skip
    assert _run(subject_of({**tensors, **wide})).verdict is Verdict.PASS


def test_a_large_scale_warns_before_it_fails(subject_of, lora):
    report = _run(subject_of(lora(2, alpha=800.0)))
    assert report.verdict is Verdict.WARN


@pytest.mark.parametrize("key", ["ss_network_dim", "ss_network_alpha"])
def test_a_claimed_number_that_no_tensor_has_warns_and_is_not_repeated(subject_of, lora, key):
    report = _run(subject_of(lora(2), {key: "77"}))
    assert report.verdict is Verdict.WARN
    assert report.findings[0].place == key
    assert "77" not in _words(report)


@pytest.mark.parametrize("claimed", ["4", "4.0", "0", "None", "not a number"])
def test_a_claim_that_is_true_or_says_nothing_passes(subject_of, lora, claimed):
    metadata = {"ss_network_dim": "4", "ss_network_alpha": claimed}
    assert _run(subject_of(lora(2), metadata)).verdict is Verdict.PASS


def test_rslora_folded_into_alpha_is_what_was_claimed(subject_of, lora):
    metadata = {"ss_network_dim": "4", "ss_network_alpha": "2"}
    assert _run(subject_of(lora(2, alpha=4.0), metadata)).verdict is Verdict.PASS


@pytest.mark.parametrize(("dtype", "claimed"), [("F16", "0.3"), ("BF16", "1.3")])
def test_a_type_that_rounds_alpha_is_told_and_passes(subject_of, lora, dtype, claimed):
    tensors = lora(2)
    for number in range(2):
        _alpha(tensors, number, float(claimed), dtype)
    if dtype == "BF16":  # cut off above, where a trainer rounds
        assert struct.unpack("<f", b"\0\0" + tensors[f"{PLACE.format(0)}.alpha"][2])[0] != 1.3
    report = _run(subject_of(tensors, {"ss_network_alpha": claimed}))
    assert report.verdict is Verdict.PASS
    assert "rounded" in _words(report)


def test_an_alpha_tensor_against_the_config_warns(folder_of, lora):
    tensors = _peft(lora, 1)
    tensors[f"{PEFT.format(0)}.alpha"] = ("F32", (), struct.pack("<f", 3.0))
    assert "store another alpha" in _words(_run(folder_of(tensors, _config())))


def test_convolutions_are_held_against_their_own_claim(subject_of, lora):
    arguments = {"ss_network_dim": "4", "ss_network_alpha": "4",
                 "ss_network_args": json.dumps({"conv_dim": "2", "conv_alpha": "1"})}  # fmt: skip
    conv = {
        "lora_unet_down_blocks_9_conv1.lora_down.weight": ("F32", (2, 3, 3, 3), b"\1" * 216),
        "lora_unet_down_blocks_9_conv1.lora_up.weight": ("F32", (5, 2, 1, 1), b"\1" * 40),
        "lora_unet_down_blocks_9_conv1.alpha": ("F32", (), struct.pack("<f", 1.0)),
    }
    assert _run(subject_of({**lora(2), **conv}, arguments)).verdict is Verdict.PASS
    wrong = {**arguments, "ss_network_args": json.dumps({"conv_dim": "3", "conv_alpha": "1"})}
    assert "conv_dim" in _words(_run(subject_of({**lora(2), **conv}, wrong)))


def test_methods_without_scale_count_as_looked_at(subject_of):
    report = _run(subject_of({"lora_unet_a.oft_blocks": ("F16", (1, 2, 2), b"\1\2" * 4)}))
    assert (report.verdict, report.coverage.examined) == (Verdict.PASS, 1)


@given(st.floats(width=32), st.text(max_size=20), st.text(max_size=40))
def test_no_alpha_and_no_claim_raises(alpha, claimed, arguments):
    from tests.audits.conftest import lora_tensors, safetensors_bytes

    metadata = {
        "ss_network_alpha": claimed,
        "ss_network_dim": claimed,
        "ss_network_args": arguments,
    }
    data = memoryview(bytearray(safetensors_bytes(lora_tensors(2, alpha=alpha), metadata)))
    from registry.artifacts.notes import PayloadForm
    from registry.audits.audit import AuditSubject
    from registry.updates.payload import read_payload

    report = _run(AuditSubject(read_payload(data, PayloadForm.RAW, "a.safetensors")))
    sound = math.isfinite(alpha) and 0 < alpha <= 4000
    assert (report.verdict is not Verdict.FAIL) == sound


def test_it_needs_no_torch():
    code = "import sys; import registry.audits.weights.scale, registry.audits.weights.claims;"
    code += "sys.exit(any(m in sys.modules for m in ('torch', 'numpy')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
