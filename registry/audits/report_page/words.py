"""Everything that a page says, in one of two languages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from registry.audits.report_page.catalog_page_en import ENGLISH
from registry.audits.report_page.catalog_page_zh import CHINESE_PAGE
from registry.audits.report_page.catalog_zh import CHINESE
from registry.audits.report_page.markup import (
    SENTENCE_CHARS,
    Markup,
    element,
    foreign,
    join,
    visible,
)
from registry.audits.report_page.translating import Piece, Translator

if TYPE_CHECKING:
    from registry.formats.findings import Verdict

Language = Literal["en", "zh"]
LANGUAGES: tuple[Language, ...] = ("en", "zh")
_TAGS = {"en": "en", "zh": "zh-Hans"}


class Words:
    """The words of one language. What the audits wrote goes through `sentence`."""

    def __init__(self, language: Language) -> None:
        """Take `en` or `zh`.

        Raises:
            ValueError: another language.
        """
        if language not in LANGUAGES:
            raise ValueError(f"language is {language!r}, expected one of {', '.join(LANGUAGES)}")
        self._own = ENGLISH if language == "en" else CHINESE_PAGE
        self._translator = (
            Translator(CHINESE, separator=CHINESE_PAGE["between"]) if language == "zh" else None
        )
        self.tag = _TAGS[language]

    def text(self, name: str, **values: object) -> str:
        """Return one of the page's own sentences as text, with `values` in their places."""
        return self._own[name].format(**values)

    def markup(self, name: str, **values: str) -> Markup:
        """Return one of the page's own sentences; values that are not markup are escaped."""
        # Escaped as a whole before the values come in: what they hold is never looked at again.
        ready = {key: join(value) for key, value in values.items()}
        return Markup(join(self._own[name]).format(**ready))

    def sentence(self, text: str) -> Markup:
        """Return a sentence of an audit in this language, or in English and marked as such."""
        # Cut first: what is beyond the limit is not worth the time to understand it.
        text = text[: SENTENCE_CHARS * 2]
        if self._translator is None:
            return foreign(text, most=SENTENCE_CHARS, class_="said")
        return join(*map(_said, self._translator.translate(text)))

    def verdict(self, verdict: Verdict) -> str:
        """Return the name of a verdict."""
        return self.text(f"verdict.{verdict.value}")

    def rule(self, rule: str) -> str:
        """Return what a rule is called, "" for one that a third party supplies."""
        return self._own.get(f"rule.{rule}", "")


def _said(piece: Piece) -> Markup:
    if piece.fixed:
        return join(visible(piece.text, most=SENTENCE_CHARS))
    if piece.english:
        text = visible(piece.text, most=SENTENCE_CHARS)
        return element("bdi", text, class_="said", lang="en")
    return foreign(piece.text, most=SENTENCE_CHARS, class_="said")
