"""The structure audit: what must not pass, then what must."""

from __future__ import annotations

import json
import struct
import subprocess
import sys

import pytest

from registry.artifacts.archive import Member, tar_batches
from registry.artifacts.notes import PayloadForm
from registry.audits.audit import AuditSubject
from registry.audits.weights.structure import StructureAudit
from registry.errors import FormatError
from registry.formats.findings import Verdict
from registry.updates.payload import read_payload

FIRST = "lora_unet_down_blocks_0_attentions_0_proj_in"


def _config(**changes):
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"]}
    return json.dumps({**config, **changes}).encode()


def _peft(lora, rank=4):
    """The tensors of `lora` under PEFT's names, without alpha."""
    return {
        name.replace(FIRST, "base_model.model.layers.0.q_proj")
        .replace("lora_down", "lora_A")
        .replace("lora_up", "lora_B"): value
        for name, value in lora(1, rank=rank).items()
        if not name.endswith(".alpha")
    }


def _folder(pack, tensors, config):
    parts = {"adapter_model.safetensors": pack(tensors), "adapter_config.json": config}
    members = [
        Member(name, len(data), lambda data=data: iter([data])) for name, data in parts.items()
    ]
    data = memoryview(bytearray(b"".join(tar_batches(members))))
    return AuditSubject(read_payload(data, PayloadForm.TAR, "x"))


def test_a_module_with_one_factor_fails(subject_of, lora):
    tensors = lora(2)
    del tensors[f"{FIRST}.lora_up.weight"]
    report = StructureAudit().run(subject_of(tensors))
    assert report.verdict is Verdict.FAIL
    assert report.findings[0].place == FIRST


def test_factors_of_different_rank_fail(subject_of, lora):
    tensors = lora(2)
    tensors[f"{FIRST}.lora_up.weight"] = ("F32", (16, 3), bytes(16 * 3 * 4))
    assert StructureAudit().run(subject_of(tensors)).verdict is Verdict.FAIL


@pytest.mark.parametrize("alpha", [0.0, -1.0, float("nan"), float("inf"), 1e9])
def test_an_impossible_alpha_fails(subject_of, lora, alpha):
    assert StructureAudit().run(subject_of(lora(2, alpha=alpha))).verdict is Verdict.FAIL


def test_an_unscaled_eight_bit_factor_fails(subject_of, lora):
    tensors = lora(1)
    tensors[f"{FIRST}.lora_up.weight"] = ("F8_E4M3", (12, 4), bytes(48))
    tensors[f"{FIRST}.lora_down.weight"] = ("F8_E4M3", (4, 16), bytes(64))
    report = StructureAudit().run(subject_of(tensors))
    assert report.verdict is Verdict.FAIL
    assert "F8_E4M3" in report.findings[0].message


def test_an_integer_factor_fails(subject_of, lora):
    tensors = lora(1)
    tensors[f"{FIRST}.lora_up.weight"] = ("I8", (12, 4), bytes(48))
    assert StructureAudit().run(subject_of(tensors)).verdict is Verdict.FAIL


def test_a_file_that_is_no_adapter_fails(subject_of):
    report = StructureAudit().run(subject_of({"conv_in.weight": ("F32", (4, 4), bytes(64))}))
    assert report.verdict is Verdict.FAIL
    assert "no adapter module" in report.findings[0].message


def test_tensors_of_no_module_warn(subject_of, lora):
    tensors = {**lora(1), "mystery.blob": ("F32", (2, 2), bytes(16))}
    report = StructureAudit().run(subject_of(tensors))
    assert report.verdict is Verdict.WARN
    assert "mystery.blob" in report.findings[0].message


def test_a_rank_other_than_the_config_says_fails(pack, lora):
    report = StructureAudit().run(_folder(pack, _peft(lora), _config(r=8)))
    assert report.verdict is Verdict.FAIL
    assert "adapter_config.json says 8" in report.findings[0].message


def test_a_rank_that_the_pattern_allows_passes(pack, lora):
    config = _config(r=8, rank_pattern={"q_proj": 4})
    assert StructureAudit().run(_folder(pack, _peft(lora), config)).verdict is Verdict.PASS


def test_dora_in_the_config_only_fails(pack, lora):
    report = StructureAudit().run(_folder(pack, _peft(lora), _config(use_dora=True)))
    assert report.verdict is Verdict.FAIL


def test_a_config_scale_beyond_reason_fails(pack, lora):
    report = StructureAudit().run(_folder(pack, _peft(lora), _config(lora_alpha=1e7)))
    assert report.verdict is Verdict.FAIL


def test_a_hostile_config_is_refused_before_any_audit(pack, lora):
    with pytest.raises(FormatError):
        _folder(pack, _peft(lora), b"{" * 100_000)


def test_a_tar_entry_that_leaves_the_folder_is_refused(pack, lora):
    good = b"".join(tar_batches([Member("a.safetensors", 3, lambda: iter([b"abc"]))]))
    evil = bytearray(good)
    evil[:13] = b"../safetensor"
    evil[148:156] = b" " * 8
    evil[148:156] = f"{sum(evil[:512]):06o}\0 ".encode()
    with pytest.raises(FormatError):
        read_payload(memoryview(evil), PayloadForm.TAR, "x")


def test_a_tar_without_weights_is_refused():
    data = b"".join(tar_batches([Member("readme.txt", 3, lambda: iter([b"abc"]))]))
    with pytest.raises(FormatError, match="no safetensors file"):
        read_payload(memoryview(data), PayloadForm.TAR, "x")


def test_a_sound_adapter_passes_with_full_coverage(subject_of, lora):
    report = StructureAudit().run(subject_of(lora(3)))
    assert report.verdict is Verdict.PASS
    assert (report.coverage.examined, report.coverage.total) == (3, 3)
    assert dict(report.metrics)["ranks"] == "4"


@pytest.mark.parametrize("dtype", ["F16", "BF16", "F64", "F32"])
def test_alphas_of_every_float_type_are_read(subject_of, lora, dtype):
    tensors = lora(1)
    content = {
        "F16": struct.pack("<e", -2.0),
        "BF16": struct.pack("<f", -2.0)[2:],
        "F64": struct.pack("<d", -2.0),
        "F32": struct.pack("<f", -2.0),
    }[dtype]
    tensors[f"{FIRST}.alpha"] = (dtype, (), content)
    report = StructureAudit().run(subject_of(tensors))
    assert "alpha is -2" in report.findings[0].message


def test_it_needs_no_torch():
    code = "import sys; import registry.audits.weights.structure, registry.updates.payload;"
    code += "sys.exit(any(m in sys.modules for m in ('torch', 'numpy')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
