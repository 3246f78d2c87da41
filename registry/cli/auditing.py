"""`loraseal audit PATH`: the audits on a file or an adapter folder, without any registry."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from registry.cli.output import emit, followed, guarded, json_option, say
from registry.cli.queries import config_option

if TYPE_CHECKING:
    from collections.abc import Iterator

    from registry.audits.report_page.words import Language
    from registry.audits.task import AuditRun, AuditTask
    from registry.formats.findings import AuditReport

SCHEMA = "loraseal/audit.v1"
_CONFIG_NAME = "adapter_config.json"
_SHOWN_FINDINGS = 8
_CAVEAT = "These audits describe the weights; they do not show that an adapter is harmless."


_DEVICE = re.compile(r"cpu|cuda(:[0-9]{1,2})?")


def _device(_context: click.Context, _option: click.Parameter, value: str) -> str:
    if not _DEVICE.fullmatch(value):
        raise click.BadParameter("expected cpu, cuda or cuda:N")
    return value


@click.command("audit")
@click.argument("path", type=click.Path(path_type=Path, readable=False))
@click.option(
    "--rule",
    "rules",
    multiple=True,
    help="Run only this audit (repeatable); default: all built-in.",
)
@click.option(
    "--device",
    default="cpu",
    show_default=True,
    callback=_device,
    help="Where the weights are computed with: cpu, cuda or cuda:N.",
)
@click.option(
    "--seconds", default=600.0, show_default=True, help="Time limit of the audit process."
)
@click.option(
    "--report",
    type=click.Path(path_type=Path, dir_okay=False, readable=False),
    metavar="OUT.html",
    help="Also write a page with pictures, readable by you only; must not exist yet.",
)
@click.option(
    "--lang",
    type=click.Choice(["en", "zh"]),
    default="en",
    show_default=True,
    help="Language of the page.",
)
@click.option(
    "--base",
    metavar="NAME|FILE",
    help="Relate it to this base model: a name of `loraseal base list`, or a cache's file.",
)
@click.option(
    "--compare", is_flag=True, help="Compare it with its peers in the registry of the settings."
)
@click.option(
    "--deterministic", is_flag=True, help="Spectra whose digest is the same on every machine."
)
@config_option
@json_option
@guarded
def audit_command(
    path: Path,
    rules: tuple[str, ...],
    device: str,
    seconds: float,
    report: Path | None,
    lang: Language,
    *,
    base: str | None,
    compare: bool,
    deterministic: bool,
    config: Path | None,
    as_json: bool,
) -> None:
    """Audit the weights in PATH, a .safetensors file or a PEFT adapter folder.

    Runs in a process of its own without network. Exits 0 for pass, warn or not applicable, 7 fail, 8 review,
    9 inconclusive, 4 for a file that is broken.
    """
    from registry.audits.details import Wanted
    from registry.audits.runner import WorkerOptions, run_audits
    from registry.audits.task import AuditLimits
    from registry.cli.audit_lending import lending, rules_for
    from registry.durable import refuse_existing
    from registry.errors import FormatError

    if report is not None:
        refuse_existing(report)  # before minutes of work
    source = followed(path)
    task = open_task(source, rules_for(rules, base=base, compare=compare))
    numbers = (Wanted.MODULES, Wanted.FEATURES) if report is not None else ()
    try:
        with lending(source, task, base=base, compare=compare, config=config) as lent:
            task = dataclasses.replace(
                task, wanted=frozenset(numbers), lent=lent, deterministic=deterministic
            )
            run = run_audits(task, AuditLimits(wall_seconds=seconds), WorkerOptions(device))
        if report is not None:
            _write_page(report, run, task, lang)
    finally:
        os.close(task.payload)
    if run.broken is not None:
        raise FormatError(run.broken, hint=run.reports[0].findings[0].advice)
    emit(_as_json(path, run), as_json=as_json, human=_as_text(run))
    if run.death is not None:
        say(f"loraseal: the audit process did not finish: {run.death.detail}")
    sys.exit(exit_code(run))


def _write_page(target: Path, run: AuditRun, task: AuditTask, lang: Language) -> None:
    from registry.cli.audit_report import digest_lines, write_report

    write_report(target, run, task, digest=digest_lines(task), lang=lang)
    say(f"loraseal: the report was written to {str(target)!r}")


def open_task(path: Path, rules: tuple[str, ...]) -> AuditTask:
    """Return a task with the content of `path` in sealed memory; the caller closes its descriptor.

    Raises:
        FormatError: not a regular file or folder, or a folder without adapter weights.
        LorasealError: vanished, unreadable, or changed while it was read.
    """
    from registry.artifacts.archive import Member, tar_batches
    from registry.artifacts.notes import PayloadForm
    from registry.artifacts.reading import open_source
    from registry.audits.sealed_memory import seal_memory
    from registry.audits.task import AuditTask

    with contextlib.ExitStack() as stack:
        if not path.is_dir() or path.is_symlink():
            source = stack.enter_context(open_source(path))
            return AuditTask(seal_memory(source.batches()), PayloadForm.RAW, path.name, rules)
        sources = [
            (name, stack.enter_context(open_source(path / name))) for name in _weights_of(path)
        ]
        members = [Member(name, source.size, source.batches) for name, source in sources]
        return AuditTask(seal_memory(tar_batches(members)), PayloadForm.TAR, path.name, rules)


def exit_code(run: AuditRun) -> int:
    """Return the exit code of `audit` for its most severe verdict."""
    from registry.audits.audit import severity
    from registry.errors import DeniedError, InconclusiveError, LorasealError, ReviewNeededError
    from registry.formats.findings import Verdict
    from registry.policy import default_policy

    # Advisory audits need what is seldom at hand: that they saw too little is no verdict on the file.
    advisory = default_policy().advisory
    judged = [
        report.verdict
        for report in run.reports
        if not (report.rule in advisory and report.verdict is Verdict.INCONCLUSIVE)
    ]
    codes = {
        Verdict.FAIL: DeniedError.exit_code,
        Verdict.REVIEW: ReviewNeededError.exit_code,
        Verdict.INCONCLUSIVE: InconclusiveError.exit_code,
        Verdict.ERROR: LorasealError.exit_code,
    }
    return codes.get(max(judged, key=severity, default=Verdict.PASS), 0)


def _weights_of(folder: Path) -> list[str]:
    """Return the names in `folder` that make an adapter: its safetensors files and its config."""
    from registry.errors import FormatError

    names = sorted(entry.name for entry in folder.iterdir())
    weights = [name for name in names if name.endswith(".safetensors")]
    if not weights:
        raise FormatError(
            f"folder {str(folder)!r} holds no .safetensors file",
            hint="give the folder that holds adapter_model.safetensors and adapter_config.json",
        )
    return [*weights, *(name for name in names if name == _CONFIG_NAME)]


def _as_json(path: Path, run: AuditRun) -> dict[str, object]:
    from registry.audits.report_wire import report_to_json

    death = None
    if run.death is not None:
        death = {"cause": run.death.cause.value, "detail": run.death.detail}
    return {
        "schema": SCHEMA,
        "path": str(path),
        "verdict": run.verdict.value,
        "exit": exit_code(run),
        "reports": [report_to_json(report) for report in run.reports],
        "death": death,
        "confinement": dict(run.confinement),
    }


def _as_text(run: AuditRun) -> str:
    lines = [line for report in run.reports for line in _report_lines(report)]
    return "\n".join([*lines, "", f"verdict: {run.verdict.value}. {_CAVEAT}"])


def _report_lines(report: AuditReport) -> Iterator[str]:
    coverage = report.coverage
    seen = f"{coverage.examined} of {coverage.total} {coverage.unit}"
    yield f"{report.rule:<14} {report.verdict.value:<14} {seen:<24} {report.summary}"
    for name, value in report.metrics:
        yield f"    {name}: {value}"
    for finding in report.findings[:_SHOWN_FINDINGS]:
        place = f"{finding.place}: " if finding.place else ""
        yield f"  {finding.verdict.value}: {place}{finding.message}"
        yield f"    what to do: {finding.advice}"
    if rest := report.findings[_SHOWN_FINDINGS:]:
        yield f"  and {len(rest)} more findings (all of them with --json)"
