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


def kind_of(located) -> str:
    """The class of a module, by the everyday names of its last part."""
    name = located.module.name
    known = {
        "to_q": "attn.q",
        "to_k": "attn.k",
        "to_v": "attn.v",
        "to_out_0": "attn.out",
        "q_proj": "attn.q",
        "k_proj": "attn.k",
        "v_proj": "attn.v",
        "out_proj": "attn.out",
        "ff_net_0_proj": "ff.in",
        "ff_net_2": "ff.out",
        "fc1": "ff.in",
        "fc2": "ff.out",
        "proj_in": "proj.in",
        "proj_out": "proj.out",
    }
    return next((kind for end, kind in known.items() if name.endswith(end)), "")


def run_of(data: bytes, *, name: str = "a.safetensors", position=POSITION) -> AuditRun:
    """Audit `data` in this process with all built-in rules and take its numbers."""
    payload = read_payload(memoryview(bytearray(data)), PayloadForm.RAW, name)
    subject = AuditSubject(payload)
    reports = tuple(
        dataclasses.replace(run_one(spec.rule, spec.entry, subject), version=spec.version)
        for spec in catalog.BUILT_IN
    )
    details = AuditDetails(details_of(subject, kind_of), (), position)
    return AuditRun(reports, details=details, confinement=(("network", "none"),), peak_bytes=2**28)
