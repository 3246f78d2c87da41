"""`loraseal doctor`: probe the installation, say what to do."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from registry.cli.output import emit, guarded, json_option

_GLYPHS = {"ok": "ok  ", "warning": "warn", "problem": "FIX "}


@click.command("doctor")
@click.option("--config", type=click.Path(path_type=Path), help="Settings file.")
@click.option("--strict", is_flag=True, help="Exit 7 on warnings too.")
@json_option
@guarded
def doctor_command(config: Path | None, strict: bool, as_json: bool) -> None:
    """Probe the installation; exit 7 when something must be fixed."""
    from daemon.probes.answers import Level
    from daemon.probes.doctor import probe_all
    from daemon.settings import load_settings

    settings, paths = load_settings(config)
    answers = list(probe_all(settings, paths))
    lines, width = [], max(len(answer.probe) for answer in answers)
    for answer in answers:
        lines.append(f"{_GLYPHS[answer.level]}  {answer.probe:<{width}}  {answer.found}")
        if answer.advice:
            lines.append(f"      {'':<{width}}  -> {answer.advice}")
    problems = sum(answer.level is Level.PROBLEM for answer in answers)
    warnings = sum(answer.level is Level.WARNING for answer in answers)
    lines.append(f"{problems} to fix, {warnings} warnings, {len(answers)} answers")
    rows = [
        {"probe": row.probe, "level": row.level, "found": row.found, "advice": row.advice}
        for row in answers
    ]
    payload = {
        "schema": "loraseal/doctor.v1",
        "problems": problems,
        "warnings": warnings,
        "probes": rows,
    }
    emit(payload, as_json=as_json, human="\n".join(lines))
    if problems or (strict and warnings):
        sys.exit(7)
