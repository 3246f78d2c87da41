"""Runs to draw: measured for real from small adapters, with reports of the real audits."""

from __future__ import annotations

import dataclasses

from registry.artifacts.notes import PayloadForm
from registry.audits import catalog
from registry.audits.audit import AuditSubject
from registry.audits.child import run_one
from registry.audits.detailing import details_of
from registry.audits.details import AuditDetails, CohortPosition, FeaturePosition
from registry.audits.task import AuditRun
from registry.updates.payload import read_payload

POSITION = CohortPosition(
    "sdxl, kohya, rank 32",
    61,
    "14.2",
    (
        FeaturePosition("attn.q.sigma1", "1.5", "1.1", "0.43"),
        FeaturePosition("attn.v.sigma1", "9.1", "1.2", "7.3"),
        FeaturePosition("ff.in.entropy", "0.2", "2.1", "-11"),
        FeaturePosition("norm.std", "0.2", "0.2", ""),
    ),
)


def run_of(data: bytes, *, name: str = "a.safetensors", position=POSITION) -> AuditRun:
    """Audit `data` in this process with all built-in rules and take its numbers."""
    payload = read_payload(memoryview(bytearray(data)), PayloadForm.RAW, name)
    subject = AuditSubject(payload)
    reports = tuple(
        dataclasses.replace(run_one(spec.rule, spec.entry, subject), version=spec.version)
        for spec in catalog.BUILT_IN
    )
    details = AuditDetails(details_of(subject), (), position)
    return AuditRun(reports, details=details, confinement=(("network", "none"),), peak_bytes=2**28)
