"""`loraseal inspect`: what a file or adapter folder is, what is wrong with it, what it tells."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from registry.cli.output import emit, followed, guarded, json_option

if TYPE_CHECKING:
    from registry.artifacts.classifying.classify import Classification
    from registry.artifacts.inspection import Inspection
    from registry.artifacts.metadata import Leak

_BROKEN_EXIT = 4
_MOST_LINES = 12
_MOST_SCALES = 4
_LABEL_CHARS = 11


@click.command("inspect")
@click.argument("path", type=click.Path(path_type=Path, readable=False))
@click.option(
    "--check-hash",
    is_flag=True,
    help="Also read the weights, to check the hash that the header claims.",
)
@click.option(
    "--modules",
    "lists_modules",
    is_flag=True,
    help="Also list every module with its rank, alpha and effective scale.",
)
@json_option
@guarded
def inspect_command(path: Path, check_hash: bool, lists_modules: bool, as_json: bool) -> None:
    """Say what PATH is: a file, or a PEFT or diffusers folder.

    Reads the header only. Exit code 0 for an adapter, and for other kinds of files, which are named;
    4 for what is broken or refused. Metadata that may tell about people is listed by key, never by value.
    """
    from registry.artifacts.inspection import inspect_path

    found = inspect_path(followed(path), check_hash=check_hash, lists_modules=lists_modules)
    emit(found.to_json(), as_json=as_json, human=describe(str(path), found))
    if found.refusals:
        sys.exit(_BROKEN_EXIT)


def describe(name: str, found: Inspection) -> str:
    """Return the inspection of `name` as a short table for people."""
    lines = [f"{_shown(name)}: {_verdict(found)}"]
    lines += [f"  {label:<{_LABEL_CHARS}} {value}" for label, value in _rows(found)]
    lines += _section("refused", [_at(item.place, item.message) for item in found.refusals])
    lines += _section("warnings", list(found.found.warnings))
    lines += _section(
        "tells about people or data",
        [_leak(leak) for leak in found.leaks],
    )
    lines += _section(
        "claims",
        [f"{c.field} {c.status}: {c.note} ({_shown(c.source)})" for c in found.found.claims],
    )
    return "\n".join((*lines, *_module_lines(found)))


def _leak(leak: Leak) -> str:
    times = f" x{leak.count}" if leak.count > 1 else ""
    told = f"{_shown(leak.key)} ({leak.sensitivity}, {leak.kind}{times}): {leak.reason}"
    return f"{told}\n      -> {leak.advice}" if leak.advice else told


def _module_lines(found: Inspection) -> list[str]:
    rows = [
        (
            _shown(row.module),
            row.method,
            _cell(row.rank),
            _cell(row.alpha),
            _cell(row.scale),
            row.source,
        )
        for row in found.module_scales or ()
    ]
    if not rows:
        return []
    table = [("module", "method", "rank", "alpha", "scale", "source"), *rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    return [
        "  "
        + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in table
    ]


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:g}"


def _verdict(found: Inspection) -> str:
    if found.is_sound_adapter:
        return "an adapter"
    if found.kind == "adapter":
        return "a broken adapter"
    if found.kind is None:
        return "broken or refused" if found.refusals else "not an adapter that is known"
    return f"not an adapter, kind {found.kind}"


def _rows(found: Inspection) -> list[tuple[str, str]]:
    part = found.found
    if part.dialect is None and not part.modules:
        return [("tensors", str(part.tensors))] if part.tensors else []
    ranks = _numbers(part.rank, part.ranks)
    return [
        ("dialect", part.dialect or "unknown"),
        ("method", part.method or "unknown"),
        ("family", part.family or "unknown"),
        ("base model", _shown(found.base_model) if found.base_model else "not named"),
        ("modules", f"{part.modules} ({part.tensors} tensors)"),
        ("rank", ranks),
        ("alpha", _numbers(part.alpha, part.alphas)),
        ("scale", _scales(part)),
        ("made for", _guess(part)),
    ]


def _scales(part: Classification) -> str:
    shown = [
        f"{_cell(count.scale)} in {count.modules} modules ({count.source})"
        for count in part.scales[:_MOST_SCALES]
    ]
    left = len(part.scales) - len(shown)
    return ", ".join(shown) + (f", and {left} more" if left > 0 else "") or "none"


def _guess(part: Classification) -> str:
    guess = part.base_guess
    if guess is None or not guess.candidates:
        return "unknown"
    left = len(guess.candidates) - _MOST_SCALES
    more = f" or {left} others" if left > 0 else ""
    return f"a guess: {' or '.join(guess.candidates[:_MOST_SCALES])}{more} ({guess.why})"


def _numbers(one: float | None, several: tuple[float, ...]) -> str:
    if one is not None:
        return f"{one:g}"
    return "mixed: " + ", ".join(f"{value:g}" for value in several) if several else "none"


def _at(place: str, message: str) -> str:
    return f"{_shown(place)}: {message}" if place else message


def _section(title: str, items: list[str]) -> list[str]:
    if not items:
        return []
    left = len(items) - _MOST_LINES
    more = [f"    and {left} more (--json lists them)"] if left > 0 else []
    return [f"  {title}:", *(f"    {item}" for item in items[:_MOST_LINES]), *more]


def _shown(text: str) -> str:
    # A file can be named to move a terminal's cursor: only what prints is printed.
    return text if text.isprintable() else ascii(text)
