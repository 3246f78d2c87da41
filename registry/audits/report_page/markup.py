"""HTML that is safe by the way it is built: text is escaped unless this module made it.

Names and messages come from a payload that may be hostile. They can neither become markup nor
reorder, hide or overprint what stands beside them: characters that do not show are spelled out, each
foreign text is isolated from the direction of its surroundings, and bounded in length.
"""

from __future__ import annotations

import html
import unicodedata

from registry.audits.reporting import is_printable

NAME_CHARS = 160
SENTENCE_CHARS = 1_200
DASH = "\N{EN DASH}"
_STACKED_MARKS = 2
_VOID = frozenset(("br", "col", "img", "meta"))
# Letters and symbols by their category, and blank on every screen.
_BLANK_LETTERS = frozenset("\u115f\u1160\u2800\u3164\uffa0")


class Markup(str):
    """A piece of HTML that was built here; any other `str` is text."""

    __slots__ = ()


def element(name: str, /, *parts: str, **attributes: str) -> Markup:
    """Return an element; parts that are not `Markup` are escaped, and so are attributes.

    `class_` and `for_` lose their underscore at the end; others become hyphens (`aria_label`).
    """
    opened = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(value)}"'
        for key, value in attributes.items()
    )
    if name in _VOID:
        return Markup(f"<{name}{opened}>")
    return Markup(f"<{name}{opened}>{join(*parts)}</{name}>")


def join(*parts: str) -> Markup:
    """Return `parts` one after another; those that are not `Markup` are escaped."""
    return Markup(
        "".join(part if isinstance(part, Markup) else html.escape(part) for part in parts)
    )


def foreign(text: str, *, most: int = NAME_CHARS, class_: str = "name") -> Markup:
    """Return text from a payload: bounded, all of it visible, isolated from what is beside it."""
    return element("bdi", visible(text, most=most), class_=class_)


def signed(number: float, form: str) -> str:
    """Return `number` in the given form with a minus sign that is as wide as a plus; zero has none."""
    return f"{number or 0.0:{form}}".replace("-", "\N{MINUS SIGN}")


def visible(text: str, *, most: int = NAME_CHARS) -> str:
    """Return `text` with every character that hides or steers spelled `[U+202E]`.

    Longer than `most` it loses its middle: names of one adapter share their beginnings.
    """
    if len(text) > most:
        head = (most - 1) // 2
        text = f"{text[:head]}…{text[-(most - 1 - head) :]}"
    shown: list[str] = []
    marks = 0
    for char in text:
        marks = marks + 1 if unicodedata.category(char) in ("Mn", "Me") else 0
        shown.append(
            char if _is_plain(char) and marks <= _STACKED_MARKS else f"[U+{ord(char):04X}]"
        )
    return "".join(shown)


def _is_plain(char: str) -> bool:
    if char == " ":
        return True
    return is_printable(char) and unicodedata.category(char) != "Zs" and char not in _BLANK_LETTERS
