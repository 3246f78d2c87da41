"""Energy curves: for each class of modules, how soon the first singular values hold most of it."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING

from registry.audits.report_page.markup import Markup, element, foreign
from registry.audits.report_page.measures import quantile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from registry.audits.report_page.measures import Measured
    from registry.audits.report_page.words import Words

PANELS = 12
_POINTS = 64
_ENOUGH = 0.9
_LOW, _MIDDLE, _HIGH = 0.1, 0.5, 0.9
# The drawing in its own units: where the axes begin and end.
_LEFT, _RIGHT, _TOP, _BOTTOM, _WIDTH, _HEIGHT = 38, 172, 8, 94, 176, 108


@dataclass(frozen=True, slots=True)
class _Class:
    """Shares of energy by number of values, for the modules of one class."""

    name: str
    shares: tuple[tuple[float, ...], ...]

    @property
    def values(self) -> int:
        return max(len(share) for share in self.shares)

    def at(self, count: int) -> list[float]:
        """Return the shares of all modules in their first `count` values, ascending."""
        return sorted(share[min(count, len(share)) - 1] for share in self.shares)

    def needed(self) -> int | None:
        """Return how many values hold 90 % of the energy in the median module; None: not even all."""
        place = bisect_left(
            range(1, self.values + 1), _ENOUGH, key=lambda count: quantile(self.at(count), _MIDDLE)
        )
        return place + 1 if place < self.values else None


def energy_curves(modules: Sequence[Measured], words: Words) -> Markup:
    """Return one small drawing for each class of `modules`, the largest classes first."""
    classes = _classes(modules, words)
    panels = [_panel(each, words) for each in classes]
    return element(
        "figure",
        element("div", *panels, class_="panels"),
        element("figcaption", words.text("curves.caption")),
    )


def _classes(modules: Sequence[Measured], words: Words) -> list[_Class]:
    found: dict[str, list[tuple[float, ...]]] = {}
    for module in modules:
        shares = module.energy_shares()
        if shares:
            found.setdefault(module.kind, []).append(tuple(shares))
    ordered = sorted(found.items(), key=lambda item: (-len(item[1]), item[0]))
    kept, rest = ordered[:PANELS], ordered[PANELS:]
    if rest:
        kept, rest = ordered[: PANELS - 1], ordered[PANELS - 1 :]
    classes = [_Class(name or words.text("curves.unnamed"), tuple(shares)) for name, shares in kept]
    pooled = tuple(share for _, shares in rest for share in shares)
    return [*classes, _Class(words.text("curves.rest"), pooled)] if pooled else classes


def _panel(each: _Class, words: Words) -> Markup:
    needed = each.needed()
    key = "curves.panel" if needed else "curves.panel.cut"
    said = words.text(key, count=len(each.shares), needed=needed, values=each.values)
    return element(
        "div",
        element("h3", foreign(each.name, most=40)),
        _drawing(each, said),
        element("p", said),
        class_="panel",
    )


def _drawing(each: _Class, label: str) -> Markup:
    last = each.values
    counts = sorted({1 + round(step * (last - 1) / (_POINTS - 1)) for step in range(_POINTS)})
    lines: dict[float, list[tuple[float, float]]] = {_LOW: [], _MIDDLE: [], _HIGH: []}
    for count in counts:
        shares = each.at(count)
        for part, points in lines.items():
            points.append((_across(count, last), _up(quantile(shares, part))))
    if last == 1:  # one value: a level line instead of a point
        for points in lines.values():
            points.append((_RIGHT, points[0][1]))
    band = [*lines[_HIGH], *reversed(lines[_LOW])]
    return element(
        "svg",
        *_frame(last),
        element("polygon", points=_points(band), class_="band"),
        element("polyline", points=_points(lines[_MIDDLE]), class_="median"),
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        role="img",
        aria_label=label,
    )


def _frame(last: int) -> list[Markup]:
    parts = []
    for share in (0, 0.5, 1):
        height = f"{_up(share):.1f}"
        parts.append(
            element("line", x1=str(_LEFT), x2=str(_RIGHT), y1=height, y2=height, class_="grid")
        )
        parts.append(
            element(
                "text",
                f"{100 * share:.0f} %",
                x=str(_LEFT - 3),
                y=f"{_up(share) + 3:.1f}",
                class_="end",
            )
        )
    for count, anchor in ((1, "start"), (last, "end")):
        if count > 1 or last == 1 or anchor == "start":
            parts.append(
                element("text", str(count), x=f"{_across(count, last):.1f}", y="105", class_=anchor)
            )
    return parts


def _across(count: int, last: int) -> float:
    return _LEFT + (_RIGHT - _LEFT) * (count - 1) / max(1, last - 1)


def _up(share: float) -> float:
    return _BOTTOM - (_BOTTOM - _TOP) * share


def _points(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
