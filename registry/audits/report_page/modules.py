"""Which modules change nothing, which differ from the rest of the file, which have no numbers."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from registry.audits.detailing import decimal_text
from registry.audits.report_page.markup import Markup, element, foreign, join, signed
from registry.audits.report_page.measures import robust_z
from registry.audits.report_page.tables import name_list, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from registry.audits.details import ModuleDetail
    from registry.audits.report_page.measures import Measured
    from registry.audits.report_page.words import Words

DEAD_NAMED = 200
_EXTREMES = 5
_UNUSUAL_Z = 3.5
_UNUSUAL_NAMED = 10
_ENOUGH = 8


@dataclass(frozen=True, slots=True)
class _Standing:
    """A living module and how far it is from the median of the living, in robust z."""

    module: Measured
    size_z: float
    stable_z: float


def dead_section(living: Sequence[Measured], dead: Sequence[Measured], words: Words) -> Markup:
    """Return the dead modules by name."""
    if not dead:
        return element("p", words.text("dead.none"))
    said = words.text("dead.some", dead=len(dead), total=len(living) + len(dead))
    rest = len(dead) - DEAD_NAMED
    return join(
        element("p", said),
        name_list(module.place for module in dead[:DEAD_NAMED]),
        element("p", words.text("more", count=rest)) if rest > 0 else "",
    )


def outlier_section(living: Sequence[Measured], words: Words) -> Markup:
    """Return the modules with the largest and smallest update, and of unusual stable rank."""
    sound = [module for module in living if math.isfinite(module.stable_rank)]
    if len(sound) < _ENOUGH:
        return element("p", words.text("outliers.few", count=len(sound)), class_="note")
    heads = [words.text(f"column.{name}") for name in ("module", "why", "largest", "stable", "z")]
    rows = [_row(standing, why, words) for standing, why in _notable(sound)]
    return join(
        element("p", words.text("outliers.caption", count=len(sound))),
        table(heads, rows, class_="stack outliers"),
    )


def without_numbers(details: Sequence[ModuleDetail], words: Words) -> Markup:
    """Return why modules have no numbers, and which numbers need care; "" where neither is so."""
    reasons = Counter(detail.reason for detail in details if detail.reason)
    caveats = Counter(
        caveat for detail in details if detail.caveat for caveat in detail.caveat.split("; ")
    )
    return join(
        *(
            join(element("h3", words.text(title)), _counts(counter, words))
            for title, counter in (("numbers.reasons", reasons), ("numbers.caveats", caveats))
            if counter
        )
    )


def _counts(counter: Counter[str], words: Words) -> Markup:
    heads = [words.text("column.reason"), words.text("column.count")]
    most = counter.most_common(DEAD_NAMED)
    return table(heads, [(words.sentence(text), str(count)) for text, count in most])


def _notable(sound: Sequence[Measured]) -> list[tuple[_Standing, tuple[str, ...]]]:
    """Return the modules to list, each once, with all reasons; largest first."""
    sizes = robust_z([math.log10(module.largest) for module in sound])
    ranks = robust_z([module.stable_rank for module in sound])
    by_size = sorted(map(_Standing, sound, sizes, ranks), key=lambda each: -each.module.largest)
    unusual = sorted(by_size, key=lambda each: -abs(each.stable_z))[:_UNUSUAL_NAMED]
    chosen = {
        "why.largest": by_size[:_EXTREMES],
        "why.smallest": by_size[-min(_EXTREMES, len(by_size) - _EXTREMES) :],
        "why.stable": [each for each in unusual if abs(each.stable_z) > _UNUSUAL_Z],
    }
    return [
        (each, reasons)
        for each in by_size
        if (reasons := tuple(why for why, members in chosen.items() if each in members))
    ]


def _row(standing: _Standing, reasons: Sequence[str], words: Words) -> tuple[Markup, ...]:
    module = standing.module
    zs = (("z.size", standing.size_z), ("z.stable", standing.stable_z))
    return (
        foreign(module.place),
        join(" · ".join(words.text(reason) for reason in reasons)),
        join(decimal_text(module.largest)),
        join(f"{module.stable_rank:.3g}"),
        join(*(element("span", _z(name, z, words), class_="z") for name, z in zs)),
    )


def _z(name: str, z: float, words: Words) -> str:
    return words.text(name, z=signed(z, "+.1f"))
