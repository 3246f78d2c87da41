"""Does any tensor hold NaN or infinity, or values near the end of its type?

Looks at the bits (`bits.py`), which costs a fraction of `torch.isfinite`.
Thresholds: `docs/audits/nonfinite.md`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from registry.audits.reporting import build_report
from registry.formats.findings import Coverage, Finding, Verdict
from registry.updates.bits import LAYOUTS, chunks, largest_magnitude
from registry.updates.tensors import view_tensor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from registry.audits.audit import AuditSubject
    from registry.formats.findings import AuditReport
    from registry.formats.safetensors import TensorInfo
    from registry.updates.files import WeightFile

RULE = "nonfinite"
# Above this a half-precision reader is one rounding away from infinity (its largest is 65504).
LARGE = 6e4
# Integers and booleans cannot hold one. The other 8-, 6- and 4-bit floats are looked at by nobody.
_WHOLE = frozenset(("BOOL", "U8", "I8", "I16", "U16", "I32", "U32", "I64", "U64"))


class NonfiniteAudit:
    """Every value of every float tensor, also of those that belong to no module."""

    rule = RULE
    version = "1"
    privacy = False

    def run(self, subject: AuditSubject) -> AuditReport:
        """Return the report; coverage counts tensors."""
        tensors = [
            (file, tensor)
            for file in subject.files
            if file.header is not None
            for tensor in file.header.tensors
        ]
        checked = [pair for pair in tensors if pair[1].dtype in LAYOUTS or pair[1].dtype in _WHOLE]
        findings: list[Finding] = []
        largest = 0.0
        for file, tensor in checked:
            if tensor.dtype in LAYOUTS and tensor.end > tensor.start:
                peak = _Peak.of(file, tensor)
                findings += peak.findings()
                largest = max(largest, peak.magnitude)
        coverage = Coverage(len(checked), len(tensors), "tensors")
        bad = sum(finding.verdict is Verdict.FAIL for finding in findings)
        summary = f"{bad} of {len(tensors)} tensors hold NaN or infinity"
        metrics = [("largest finite magnitude", f"{largest:.5g}")]
        return build_report(
            self,
            coverage,
            [*findings, *_unread(tensors, checked)],
            summary=summary,
            metrics=metrics,
        )


@dataclass(frozen=True, slots=True)
class _Peak:
    """The largest magnitude in one tensor: a number, or 0 where there is a value that is none."""

    file: WeightFile
    tensor: TensorInfo
    magnitude: float
    is_finite: bool

    @classmethod
    def of(cls, file: WeightFile, tensor: TensorInfo) -> _Peak:
        value = largest_magnitude(file, tensor)
        return cls(file, tensor, value or 0.0, is_finite=value is not None)

    def findings(self) -> Iterator[Finding]:
        if not self.is_finite:
            count = _count_nonfinite(self.file, self.tensor)
            yield Finding(
                RULE,
                Verdict.FAIL,
                f"{count} of {_values(self.tensor)} values are NaN or infinite",
                "the training diverged or the file is damaged: go back to an earlier checkpoint",
                self.tensor.name,
            )
        elif self.magnitude > LARGE:
            yield Finding(
                RULE,
                Verdict.WARN,
                f"its largest value is {self.magnitude:.4g}, which half precision can hardly hold",
                "check the learning rate; outputs may turn black in half precision",
                self.tensor.name,
            )


def _count_nonfinite(file: WeightFile, tensor: TensorInfo) -> int:
    values = view_tensor(file, tensor).flatten()
    return sum(int((~torch.isfinite(chunk.double())).sum()) for chunk in chunks(values))


def _values(tensor: TensorInfo) -> int:
    return (tensor.end - tensor.start) // LAYOUTS[tensor.dtype].width


def _unread(
    tensors: list[tuple[WeightFile, TensorInfo]], checked: list[tuple[WeightFile, TensorInfo]]
) -> Iterator[Finding]:
    """Return a finding for each dtype whose values were not looked at."""
    seen = {tensor.dtype for _, tensor in checked}
    for dtype in sorted({tensor.dtype for _, tensor in tensors} - seen):
        count = len([tensor for _, tensor in tensors if tensor.dtype == dtype])
        yield Finding(
            RULE,
            Verdict.INCONCLUSIVE,
            f"{count} tensors of dtype {dtype} were not looked at",
            "export the adapter as BF16, F16 or F32",
        )
