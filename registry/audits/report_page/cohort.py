"""Where the adapter stands among its peers: the robust z of each feature on one scale."""

from __future__ import annotations

from typing import TYPE_CHECKING

from registry.audits.report_page.markup import DASH, Markup, element, foreign, join, signed
from registry.audits.report_page.tables import table

if TYPE_CHECKING:
    from registry.audits.details import CohortPosition, FeaturePosition
    from registry.audits.report_page.words import Words

FAR = 6.0
_END = 8.0


def cohort_section(position: CohortPosition | None, words: Words) -> Markup:
    """Return the place among peers, or the sentence that there are too few of them."""
    if position is None:
        return element("p", words.text("cohort.none"), class_="note")
    label = foreign(position.label)
    if not position.features:
        return element(
            "p",
            words.markup("cohort.no_features", peers=str(position.peers), label=label),
            class_="note",
        )
    # Farthest first: that is what is looked for.
    ordered = sorted(position.features, key=lambda each: -abs(_z(each) or 0.0))
    caption = words.markup(
        "cohort.caption", peers=str(position.peers), label=label, distance=position.distance or DASH
    )
    heads = [words.text(f"column.{name}") for name in ("feature", "value", "median", "position")]
    return join(
        element("p", caption),
        table(heads, [_row(each, words) for each in ordered], class_="cohort"),
    )


def _row(each: FeaturePosition, words: Words) -> tuple[Markup, ...]:
    return (
        words.sentence(each.name),
        join(each.value or DASH),
        join(each.median or DASH),
        _strip(each, words),
    )


def _strip(each: FeaturePosition, words: Words) -> Markup:
    z = _z(each)
    if z is None:
        return join(words.text("cohort.no_z"))
    shown = signed(z, "+.2f")
    place = 50 + 50 * min(_END, max(-_END, z)) / _END
    lines = [
        element("i", class_="line", style=f"left:{50 + 50 * side / _END:.2f}%")
        for side in (-FAR, 0.0, FAR)
    ]
    dot = element("i", class_="dot far" if abs(z) > FAR else "dot", style=f"left:{place:.2f}%")
    label = words.text("cohort.mark", z=shown, end=f"{_END:g}")
    strip = element("span", *lines, dot, class_="strip", role="img", aria_label=label)
    arrow = "" if abs(z) <= _END else " ▸" if z > 0 else " ◂"
    return element(
        "span", strip, element("span", shown + arrow, class_="number"), class_="strip-cell"
    )


def _z(each: FeaturePosition) -> float | None:
    return float(each.z) if each.z else None
