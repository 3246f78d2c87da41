"""From what a child said to one report per rule: nothing that it left out becomes a pass."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from registry.audits.catalog import supplier_of_built_ins
from registry.audits.details import NO_DETAILS, AuditDetails
from registry.audits.details_wire import details_from_json
from registry.audits.report_wire import report_from_json
from registry.audits.reporting import clean_text, failed_report
from registry.audits.task import AuditRun, ChildDeath, DeathCause
from registry.errors import FormatError
from registry.formats.canonical import parse_canonical
from registry.formats.fields import Fields
from registry.formats.findings import Finding, Verdict
from registry.limits import AUDIT_RESULT_BYTES, AUDIT_TEXT_CHARS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from registry.audits.catalog import AuditSpec
    from registry.audits.listening import Heard
    from registry.formats.canonical import Json
    from registry.formats.findings import AuditReport

_STRUCTURE = "structure"
_ADVICE = {
    DeathCause.TIMEOUT: "raise the audit's time limit in the settings, or hold the file as hostile",
    DeathCause.MEMORY: "raise the audit's memory limit in the settings, or hold the file as hostile",
    DeathCause.CRASH: "audit it again; a file that kills the audit every time is set aside",
    DeathCause.GARBAGE: "treat the file as hostile: the process that read it did not keep its protocol",
    DeathCause.TALKATIVE: "treat the file as hostile: the process that read it did not keep its protocol",
    DeathCause.WORKER: "audit it again; the log of the daemon says why the worker ended",
}


@dataclass(slots=True)
class _Said:
    """The lines of one child, read strictly."""

    reports: dict[str, AuditReport] = field(default_factory=dict)
    confinement: dict[str, str] = field(default_factory=dict)
    broken: tuple[str, str] | None = None
    numbers: list[Json] = field(default_factory=list)
    details: AuditDetails = NO_DETAILS
    done: bool = False


def judge(specs: Sequence[AuditSpec], heard: Heard, confinement: Mapping[str, str]) -> AuditRun:
    """Return the run: exactly one report for each of `specs`, in order.

    Rule, version, supplier and privacy are the catalog's. Reports that a child finished before it
    died are kept, unless it broke its protocol: then none of its words count.
    """
    death = heard.death
    # What came before a flood is no better than the flood.
    flooded = death is not None and death.cause is DeathCause.TALKATIVE
    words = b"" if flooded else heard.words
    try:
        said = _read(words, {spec.rule for spec in specs}, cut_off=death is not None)
    except FormatError as error:
        said = _Said()
        death = death or ChildDeath(DeathCause.GARBAGE, clean_text(f"it wrote nonsense: {error}"))
    if death is None and not said.done:
        death = ChildDeath(DeathCause.CRASH, "it ended before it was done")
    reports = tuple(_report(spec, said, death) for spec in specs)
    surroundings = tuple(sorted({**confinement, **said.confinement}.items()))
    broken = said.broken[0] if said.broken else None
    return AuditRun(reports, death, broken, surroundings, heard.peak_bytes, said.details)


def _read(words: bytes, rules: set[str], *, cut_off: bool) -> _Said:
    said = _Said()
    lines = words.split(b"\n")
    if lines.pop() and not cut_off:
        raise FormatError("the last line is not finished")
    for line in lines:
        value = parse_canonical(line, what="line of the child", max_bytes=AUDIT_RESULT_BYTES)
        _take(said, Fields.of(value, "line of the child"), value, rules)
    return said


def _take(said: _Said, fields: Fields, value: Json, rules: set[str]) -> None:
    match value:
        case {"report": report_value, **rest} if not rest:
            report = report_from_json(report_value)
            if report.rule not in rules or report.rule in said.reports:
                raise FormatError("it reports a rule that was not asked for, or one twice")
            said.reports[report.rule] = report
        case {"confinement": dict() as table, **rest} if not rest:
            said.confinement = {clean_text(k): clean_text(str(v)) for k, v in table.items()}
        case {"broken": str(), "hint": str(), **rest} if not rest:
            broken = fields.text("broken", max_chars=AUDIT_TEXT_CHARS)
            said.broken = clean_text(broken), clean_text(fields.text("hint"))
        case {"module": _, **rest} | {"details": _, **rest} if not rest:
            said.numbers.append(value)
        case {"no_details": str(), **rest} if not rest:
            said.details = AuditDetails(absent=clean_text(fields.text("no_details")))
        case {"done": True, **rest} if not rest:
            said.done = True
            # A child that dies half-way leaves reports that count, and no numbers.
            said.details = details_from_json(said.numbers) if said.numbers else said.details
        case _:
            raise FormatError("a line of an unknown kind")


def _report(spec: AuditSpec, said: _Said, death: ChildDeath | None) -> AuditReport:
    report = said.reports.get(spec.rule) or _missing(spec, said, death)
    supplier = supplier_of_built_ins() if spec.supplier == "loraseal" else spec.supplier
    return dataclasses.replace(
        report, version=spec.version, privacy=spec.privacy, supplier=supplier
    )


def _missing(spec: AuditSpec, said: _Said, death: ChildDeath | None) -> AuditReport:
    if said.broken is not None:
        message, hint = said.broken
        # The structure rule is about exactly this; the others saw nothing.
        verdict = Verdict.FAIL if spec.rule == _STRUCTURE else Verdict.ERROR
        advice = hint or "ask the trainer's owner for an intact file"
        finding = Finding(spec.rule, verdict, message, advice)
    elif death is not None:
        message = f"the audit process died: {death.detail}"
        finding = Finding(spec.rule, Verdict.ERROR, message, _ADVICE[death.cause])
        verdict = Verdict.ERROR
    else:
        verdict = Verdict.ERROR
        finding = Finding(
            spec.rule, verdict, "the audit process did not report it", _ADVICE[DeathCause.GARBAGE]
        )
    return failed_report(spec.rule, spec.version, verdict, finding)
