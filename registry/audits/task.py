"""What goes to the audit processes and what comes back: task, limits, result, cause of death."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from registry.artifacts.notes import PayloadForm
from registry.audits.audit import worst
from registry.audits.catalog import DEFAULT_RULES
from registry.audits.details import NO_DETAILS, AuditDetails, Wanted
from registry.limits import AUDIT_DEVICE_BYTES

if TYPE_CHECKING:
    from registry.audits.context import PeerGroup
    from registry.formats.findings import AuditReport, Verdict


@dataclass(frozen=True, slots=True)
class Lent:
    """What a task lends its audits: `base` is a descriptor of a base model's cache, the caller's.

    `sketch_key` is the secret for keyed sketches, needed where one is wanted.
    """

    peers: PeerGroup | None = None
    base: int | None = None
    sketch_key: bytes | None = field(default=None, repr=False)


NOTHING_LENT = Lent()


@dataclass(frozen=True, slots=True)
class AuditTask:
    """One payload to audit: a descriptor (sealed memory, or any readable file) that stays the caller's.

    `name` is the path of the one file of a raw payload, as findings print it. `lent` is what the
    audits may use beside it; `wanted` says which numbers are to come back with the reports. `deterministic` asks for
    spectra that are the same on every machine, with their digest, at about twice the cost.
    """

    payload: int
    form: PayloadForm = PayloadForm.RAW
    name: str = "payload.safetensors"
    rules: tuple[str, ...] = DEFAULT_RULES
    lent: Lent = NOTHING_LENT
    wanted: frozenset[Wanted] = frozenset()
    deterministic: bool = False


@dataclass(frozen=True, slots=True)
class AuditLimits:
    """Bounds of one child. Seconds of wall clock and CPU; resident bytes beside the payload itself.

    `device_bytes` is what it may take of an accelerator's memory; it takes less where little is free.
    """

    wall_seconds: float = 600.0
    cpu_seconds: int = 1200
    rss_bytes: int = 6 * 1024**3
    threads: int = 1
    device_bytes: int = AUDIT_DEVICE_BYTES


class DeathCause(StrEnum):
    """Why a child did not finish."""

    TIMEOUT = "timeout"
    MEMORY = "memory"
    CRASH = "crash"
    GARBAGE = "garbage"
    TALKATIVE = "talkative"
    WORKER = "worker"


@dataclass(frozen=True, slots=True)
class ChildDeath:
    """A child that did not finish; the caller counts these per artifact."""

    cause: DeathCause
    detail: str


@dataclass(frozen=True, slots=True)
class AuditRun:
    """What one run brought: exactly one report per rule asked for, in the order of the task.

    `death` is set when the child did not finish, `broken` when the payload is not what its form
    says. `confinement` names what the child had given up; `peak_bytes` is its largest resident size
    seen; `details` are the numbers behind the reports.
    """

    reports: tuple[AuditReport, ...]
    death: ChildDeath | None = None
    broken: str | None = None
    confinement: tuple[tuple[str, str], ...] = ()
    peak_bytes: int = 0
    details: AuditDetails = NO_DETAILS

    @property
    def verdict(self) -> Verdict:
        """The most severe verdict of all reports."""
        return worst(report.verdict for report in self.reports)
