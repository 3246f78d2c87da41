"""The heat map: a row for each module (or some), a column for each index, colour for the size.

The picture is a PNG; its labels are text of the page, so that they stay readable on a narrow screen.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from registry.audits.detailing import decimal_text
from registry.audits.report_page.markup import Markup, element, foreign, join, signed, visible
from registry.audits.report_page.measures import quantile
from registry.audits.report_page.palette import LEVELS, NO_VALUE, ZERO, level_of, picture_palette
from registry.audits.report_page.png import data_uri, write_png

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from registry.audits.report_page.measures import Measured
    from registry.audits.report_page.words import Words

ROWS = 840
_BLOCK = re.compile(r"(.*?)[._]([0-9]{1,9})(?=[._]|$)", re.DOTALL)
_BEGINNING = re.compile(r"(base_model\.model\.)?(model\.)?(lora_)?")
_ROW_PIXELS, _LEAST_PIXELS = 5, 120
_LABEL_PIXELS = 13
_LABEL_CHARS = 22
# Below this share of all values the colours end: one tiny value must not make all others alike.
_DARKEST_QUANTILE = 0.02
_DARKEST_RANGE = (-12.0, -1.0)
# The numbers of the legend are multiples of one of these, at most this many steps.
_LEGEND_STEPS = (0.5, 1.0, 2.0, 3.0)
_MOST_STEPS = 5


@dataclass(frozen=True, slots=True)
class _Group:
    """Modules of one block: what they are called together, and the number of the block (-1: none)."""

    component: str
    number: int
    modules: tuple[Measured, ...]


def heat_map(modules: Sequence[Measured], words: Words) -> Markup:
    """Return the picture of all singular values, with labels, legend and caption.

    Raises:
        ValueError: no module.
    """
    groups = _grouped(modules)
    ordered = [module for group in groups for module in group.modules]
    top = max(ordered, key=lambda module: module.largest)
    each = -(-len(ordered) // ROWS)
    columns = max(len(module.values) for module in ordered)
    rows = [
        _row(ordered[start : start + each], columns, top.largest)
        for start in range(0, len(ordered), each)
    ]
    darkest = _darkest(rows)
    picture = write_png([_pixels(row, darkest) for row in rows], picture_palette())
    height = len(rows) * _row_pixels(len(rows))
    largest = decimal_text(top.largest)
    alt = words.text(
        "heat.alt",
        modules=len(ordered),
        rows=len(rows),
        indices=columns,
        largest=largest,
        place=visible(top.place),
    )
    field = element(
        "div",
        element("img", src=data_uri(picture), alt=alt),
        *_separators(groups, len(ordered)),
        class_="heat-field",
        style=f"height:{height}px",
    )
    names = element(
        "div",
        *_labels(groups, len(ordered), height),
        class_="heat-names",
        style=f"height:{height}px",
        aria_hidden="true",
    )
    binned = Markup("")
    if each > 1:
        binned = join(" ", words.text("heat.binned", modules=len(ordered), each=each))
    return element(
        "figure",
        element("div", names, field, _axis(columns, words), class_="heat"),
        _legend(darkest, words),
        element("figcaption", words.text("heat.caption", largest=largest), binned),
    )


def block_of(place: str) -> tuple[str, int]:
    """Return the component and the block number in a module's name; -1 where it has no number."""
    found = _BLOCK.match(place)
    if found:
        return found[1], int(found[2])
    return re.split(r"[._](?=[^._]*$)", place)[0], -1


def _grouped(modules: Sequence[Measured]) -> list[_Group]:
    """Return the modules by component (as they first appear) and block number, in file order within."""
    found: dict[str, dict[int, list[Measured]]] = {}
    for module in modules:
        component, number = block_of(module.place)
        found.setdefault(component, {}).setdefault(number, []).append(module)
    return [
        _Group(component, number, tuple(members))
        for component, blocks in found.items()
        for number, members in sorted(blocks.items())
    ]


def _row_pixels(rows: int) -> int:
    """Return the height of a row: whole pixels, or neighbouring rows would look different."""
    return max(1, min(ROWS // rows, max(_ROW_PIXELS, _LEAST_PIXELS // rows)))


def _row(members: Sequence[Measured], columns: int, largest: float) -> list[float | None]:
    """Return log10 of the largest value of each column relative to `largest`; -inf is zero."""
    row: list[float | None] = [None] * columns
    for module in members:
        for column, value in enumerate(module.values):
            share = value / largest if largest else 0.0
            size = math.log10(share) if share > 0 else -math.inf
            known = row[column]
            row[column] = size if known is None else max(known, size)
    return row


def _darkest(rows: Sequence[Sequence[float | None]]) -> float:
    sizes = sorted(size for row in rows for size in row if size is not None and size > -math.inf)
    if not sizes:
        return _DARKEST_RANGE[1]
    low = quantile(sizes, _DARKEST_QUANTILE)
    low = min(max(low, _DARKEST_RANGE[0]), _DARKEST_RANGE[1])
    step = _step(low)
    return step * math.floor(low / step)


def _step(darkest: float) -> float:
    """Return the step between the numbers of the legend."""
    return next(
        (step for step in _LEGEND_STEPS if -darkest <= step * _MOST_STEPS), _LEGEND_STEPS[-1]
    )


def _pixels(row: Sequence[float | None], darkest: float) -> bytes:
    return bytes(
        NO_VALUE if size is None else ZERO if size == -math.inf else level_of(1 - size / darkest)
        for size in row
    )


def _labels(groups: Sequence[_Group], total: int, height: int) -> Iterator[Markup]:
    """Yield the labels that have room: each component by name once, then its numbers."""
    start, free, named = 0, -math.inf, ""
    for group in groups:
        top = start / total * height
        start += len(group.modules)
        if top < free:
            continue
        number = "" if group.number < 0 else str(group.number)
        name = "" if group.component == named else _short(group.component)
        # Apart: on a narrow screen the name is cut, and the number stays.
        parts = (foreign(name, class_="tick"), element("b", number))
        yield element("span", *parts, style=f"top:{top:.1f}px")
        named, free = group.component, top + _LABEL_PIXELS


def _short(component: str) -> str:
    """Return a component's name without the beginning that all have, and without its middle if long."""
    text = _BEGINNING.sub("", component, count=1) or component
    parts = re.split(r"[._]", text)
    while len(text) > _LABEL_CHARS and len(parts) > 2:  # noqa: PLR2004 - head and tail stay
        del parts[1]
        text = f"{parts[0]}…{'_'.join(parts[1:])}"
    if len(text) > _LABEL_CHARS:
        text = f"{text[: _LABEL_CHARS // 2]}…{text[-(_LABEL_CHARS // 2 - 1) :]}"
    return text


def _separators(groups: Sequence[_Group], total: int) -> Iterator[Markup]:
    start, last, drawn = 0, None, 0.0
    for group in groups:
        share = 100 * start / total
        # Names that share nothing would draw a line at every row.
        if last is not None and group.component != last and share - drawn > 1:
            yield element("i", class_="rule", style=f"top:{share:.2f}%")
            drawn = share
        start, last = start + len(group.modules), group.component


def _axis(columns: int, words: Words) -> Markup:
    marks = sorted({1, columns, *(round(columns * part / 4) for part in (1, 2, 3))} - {0})
    ticks = [
        element("span", str(mark), style=f"left:{100 * (mark - 0.5) / columns:.2f}%")
        for mark in marks
    ]
    return join(
        element("div", class_="heat-corner"),
        element("div", *ticks, class_="heat-axis", aria_hidden="true"),
        element("div", class_="heat-corner"),
        element("div", words.text("heat.index"), class_="axis-title"),
    )


def _legend(darkest: float, words: Words) -> Markup:
    bar = write_png([bytes(level_of(n / (LEVELS - 1)) for n in range(LEVELS))], picture_palette())
    step = _step(darkest)
    numbers = [
        element("span", signed(number * step, ".3g")) for number in range(round(darkest / step), 1)
    ]
    scale = element(
        "div",
        element("img", src=data_uri(bar), alt=""),
        element("div", *numbers, class_="legend-numbers"),
        class_="legend-scale",
    )
    return element(
        "div",
        element("span", words.text("heat.legend")),
        scale,
        element("span", element("i", class_="swatch zero"), words.text("heat.zero")),
        element("span", element("i", class_="swatch none"), words.text("heat.none")),
        class_="legend",
    )
