"""Colours: cividis for numbers, a light and a dark set for the page.

Cividis (Nunez, Anderton and Renslow 2018) has the same order for people who see red and green alike
and on paper without colour, since it only gets lighter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from registry.audits.report_page.png import Colour

_ANCHORS = (
    (0, 34, 78),
    (18, 53, 112),
    (59, 73, 108),
    (87, 93, 109),
    (112, 113, 115),
    (138, 134, 120),
    (165, 156, 116),
    (195, 179, 105),
    (225, 204, 85),
    (254, 232, 56),
)

LEVELS = 64
# Exactly zero is no small number: a colour that is none of the scale's.
ZERO_COLOUR = (170, 20, 90)
NO_VALUE = 0
ZERO = 1
FIRST_LEVEL = 2

# Name -> (light, dark). `paper` and `card` are backgrounds; the verdicts are text on either.
COLOURS: dict[str, tuple[str, str]] = {
    "paper": ("#ffffff", "#14171c"),
    "card": ("#f4f5f7", "#1e232b"),
    "ink": ("#16191d", "#e9ecf0"),
    "faint": ("#535b66", "#a7b0bd"),
    "line": ("#c9ced6", "#3b434f"),
    "mark": ("#1d4e89", "#8fbdf5"),
    "band": ("#c3d4ea", "#2f4a6d"),
    "pass": ("#14602b", "#7fd699"),
    "warn": ("#7a4a00", "#f0bf5f"),
    "review": ("#6b2d83", "#d9a6ee"),
    "fail": ("#a31616", "#ff9c95"),
    "inconclusive": ("#27496d", "#a9c7ea"),
    "error": ("#8a2c0d", "#ffb08c"),
    "not_applicable": ("#535b66", "#a7b0bd"),
}
TEXT_COLOURS = tuple(name for name in COLOURS if name not in ("paper", "card", "line", "band"))
GROUNDS = ("paper", "card")


def cividis(share: float) -> Colour:
    """Return the colour for `share` between 0 (dark) and 1 (light)."""
    place = min(1.0, max(0.0, share)) * (len(_ANCHORS) - 1)
    number = min(int(place), len(_ANCHORS) - 2)
    rest = place - number
    red, green, blue = (
        round(low + (high - low) * rest)
        for low, high in zip(_ANCHORS[number], _ANCHORS[number + 1], strict=True)
    )
    return red, green, blue


def picture_palette() -> list[Colour]:
    """Return the palette of a picture: no value (see-through), exactly zero, then the levels."""
    levels = [cividis(level / (LEVELS - 1)) for level in range(LEVELS)]
    return [(255, 255, 255), ZERO_COLOUR, *levels]


def level_of(share: float) -> int:
    """Return the palette index of `share` between 0 and 1; what is outside counts as the end."""
    return FIRST_LEVEL + round(min(1.0, max(0.0, share)) * (LEVELS - 1))
