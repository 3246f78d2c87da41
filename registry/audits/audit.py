"""What an audit is: a rule with a version that looks at one opened payload and reports.

An audit gets everything in memory and nothing else: no path, no key, no network. It runs inside the
isolated child (`child.py`); what it says is parsed again by the parent as bytes from outside.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from registry.audits.context import NO_CONTEXT, AuditContext
from registry.formats.findings import Verdict
from registry.limits import AUDIT_DEVICE_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from registry.fingerprints.parts import CanonicalPart
    from registry.formats.adapter_config import AdapterConfig
    from registry.formats.findings import AuditReport, Finding
    from registry.updates.files import LocatedModule, Payload, WeightFile
    from registry.updates.spectra import ModuleSpectrum

# From best to worst. An audit is as bad as its worst finding; `error` outranks `inconclusive`
# because a check that broke says even less than one that saw too little.
_SEVERITY = (
    Verdict.PASS,
    Verdict.NOT_APPLICABLE,
    Verdict.WARN,
    Verdict.INCONCLUSIVE,
    Verdict.REVIEW,
    Verdict.ERROR,
    Verdict.FAIL,
)


def severity(verdict: Verdict) -> int:
    """Return the place of `verdict` between 0 (pass) and 6 (fail)."""
    return _SEVERITY.index(verdict)


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """Return the most severe of `verdicts`, `PASS` for none."""
    return max(verdicts, key=severity, default=Verdict.PASS)


def worst_of(findings: Iterable[Finding]) -> Verdict:
    """Return the most severe verdict among `findings`, `PASS` for none."""
    return worst(finding.verdict for finding in findings)


@dataclass(frozen=True)
class AuditSubject:
    """One opened payload, and what its audits may use.

    `threads` is how many CPU threads an audit may use; `device` a torch device name; `context` what
    the parent lends beside the payload; `deterministic` asks for spectra with a digest;
    `device_bytes` is how much of an accelerator's memory they may take in all.
    """

    payload: Payload
    device: str = "cpu"
    threads: int = 1
    context: AuditContext = NO_CONTEXT
    deterministic: bool = False
    device_bytes: int = AUDIT_DEVICE_BYTES

    @property
    def files(self) -> tuple[WeightFile, ...]:
        """All files of the payload."""
        return self.payload.files

    @property
    def config(self) -> AdapterConfig | None:
        """The adapter_config.json among them."""
        return self.payload.config

    @property
    def modules(self) -> tuple[LocatedModule, ...]:
        """Every recognised module of every file, in file order."""
        return self.payload.modules

    @cached_property
    def parts(self) -> tuple[tuple[CanonicalPart, ...], ...]:
        """The canonical layers that each module changes, in the order of the modules."""
        from registry.fingerprints.names import canonical_parts  # late: most audits need none

        return canonical_parts(self.payload)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The class of every module (`attn.q`, ...), as `module_kind` says it."""
        from registry.fingerprints.kinds import module_kind

        return tuple(module_kind(own) for own in self.parts)

    @cached_property
    def spectra(self) -> tuple[ModuleSpectrum, ...]:
        """The measured spectrum of every module, computed once for all audits that need it.

        Raises:
            ModuleNotFoundError: torch is not installed.
        """
        from registry.updates.spectra import measure  # late: it loads torch

        return measure(
            self.payload,
            self.device,
            deterministic=self.deterministic,
            device_bytes=self.device_bytes,
        )


class Audit(Protocol):
    """One check. `privacy` says that its pass may back the words "privacy audited"."""

    @property
    def rule(self) -> str:
        """Name of the rule, lower-case with underscores, unique in the catalog."""
        ...

    @property
    def version(self) -> str:
        """Version of the rule; changes whenever thresholds or method change."""
        ...

    @property
    def privacy(self) -> bool:
        """Whether the audit measures what the adapter tells of its training data."""
        ...

    def run(self, subject: AuditSubject) -> AuditReport:
        """Return what the audit saw; it never raises for what the payload holds."""
        ...
