"""Payloads of every kind of damage: only our error, and no audit that raises."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings

from registry.artifacts.archive import Member, tar_batches
from registry.artifacts.notes import PayloadForm
from registry.audits.audit import AuditSubject
from registry.audits.catalog import BUILT_IN, load
from registry.errors import FormatError
from registry.formats.findings import Verdict
from registry.updates.payload import read_payload
from tests.audits.conftest import lora_tensors, safetensors_bytes
from tests.mutants import mutants

ROOT = Path(__file__).parents[2]
RAW = safetensors_bytes(lora_tensors(2, rank=2, outputs=3, inputs=4))
CONFIG = json.dumps({"peft_type": "LORA", "r": 2, "lora_alpha": 4}).encode()


def _tar(**files):
    members = [
        Member(name.replace("_", "."), len(data), lambda data=data: iter([data]))
        for name, data in files.items()
    ]
    return b"".join(tar_batches(members))


TAR = _tar(a_safetensors=RAW, b_safetensors=RAW, adapter_txt=CONFIG)


def _build(data, form):
    view = memoryview(bytearray(data))
    return read_payload(view, form, "a.safetensors")


@pytest.mark.parametrize(("whole", "form"), [(RAW, PayloadForm.RAW), (TAR, PayloadForm.TAR)])
def test_every_truncation_is_refused_or_leaves_whole_files(whole, form):
    for end in range(0, len(whole), 7):
        try:
            subject = _build(whole[:end], form)
        except FormatError:
            continue
        assert form is PayloadForm.TAR
        assert all(file.header is None or bytes(file.data) == RAW for file in subject.files)


@settings(max_examples=150, deadline=None)
@given(mutants(RAW))
def test_mutated_files_raise_only_format_errors_and_no_audit_raises(data):
    pytest.importorskip("torch")
    try:
        subject = _build(data, PayloadForm.RAW)
    except FormatError:
        return
    for spec in BUILT_IN:
        load(spec.entry).run(AuditSubject(subject))


@settings(max_examples=150, deadline=None)
@given(mutants(TAR))
def test_mutated_tars_raise_only_format_errors(data):
    try:
        subject = _build(data, PayloadForm.TAR)
    except FormatError:
        return
    load(BUILT_IN[0].entry).run(AuditSubject(subject))


def test_all_weights_of_a_folder_are_looked_at():
    subject = _build(TAR, PayloadForm.TAR)
    assert len(subject.modules) == 4
    assert [file.path for file in subject.files if file.header] == [
        "a.safetensors",
        "b.safetensors",
    ]


def test_without_torch_some_audits_say_so_and_those_of_headers_still_work():
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from registry.audits.catalog import BUILT_IN\n"
        "from registry.audits.child import run_one\n"
        "from tests.updates.test_payload import RAW, _build\n"
        "from registry.artifacts.notes import PayloadForm\n"
        "from registry.audits.audit import AuditSubject\n"
        "subject = AuditSubject(_build(RAW, PayloadForm.RAW))\n"
        "for spec in BUILT_IN:\n"
        "    report = run_one(spec.rule, spec.entry, subject)\n"
        "    print(report.rule, report.verdict, [finding.advice for finding in report.findings])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    lines = done.stdout.splitlines()
    assert len(lines) == len(BUILT_IN)
    for line in lines:
        if line.startswith(("structure", "scale", "claims")):
            assert f" {Verdict.PASS} " in line
        else:
            assert f" {Verdict.ERROR} " in line
            assert "pip install 'loraseal[audit]'" in line
