"""Access tokens, private keys and passwords in a text."""

from __future__ import annotations

import math
import re
import sys
from collections import Counter
from typing import TYPE_CHECKING

from registry.artifacts.leaks.hits import Hit
from registry.artifacts.leaks.kinds import TOKEN
from registry.artifacts.leaks.leak import Certainty
from registry.artifacts.leaks.passages import CONTEXT_CHARS
from registry.artifacts.leaks.token_forms import DISTINCT_FORMS, NAMED_FORMS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from registry.artifacts.leaks.passages import Passage
    from registry.artifacts.leaks.token_forms import TokenForm


def entropy_bits(text: str) -> float:
    """Return Shannon's entropy of `text` in bits a character; 0.0 for the empty text."""
    shares = [count / len(text) for count in Counter(text).values()]
    return -sum(share * math.log2(share) for share in shares)


def scan_tokens(passage: Passage) -> Iterator[Hit]:
    """Yield tokens of known issuers, then keys, passwords and what is named a token of no known form."""
    # Where a token was found, so that a wider form does not count it again.
    seen: set[int] = set()
    for form in DISTINCT_FORMS:
        if any(word in passage.text for word in form.anchors):
            yield from _of_form(passage, form, seen)
    for form in NAMED_FORMS:
        for start, end in passage.windows(form.anchors, 0, _NAMED_WINDOW_CHARS):
            yield from _of_form(passage, form, seen, start, end)
    yield from _assigned(passage, seen)
    yield from _headers(passage, seen)
    yield from _private_keys(passage)


# Twice the context before a token and the longest token of such a form.
_NAMED_WINDOW_CHARS = 2 * (CONTEXT_CHARS + 160)


def _of_form(
    passage: Passage, form: TokenForm, seen: set[int], start: int = 0, end: int = sys.maxsize
) -> Iterator[Hit]:
    for match in form.pattern.finditer(passage.text, start, end):
        if match.start() in seen or not _fits(passage, form, match):
            continue
        seen.add(match.start())
        certainty = Certainty.CHECKED if form.near is None else Certainty.PATTERN
        yield Hit(TOKEN + form.issuer, certainty)


def _fits(passage: Passage, form: TokenForm, match: re.Match[str]) -> bool:
    if form.alone and _is_touched(passage.text, match.start()):
        return False
    if form.entropy_bits and entropy_bits(match[0]) < form.entropy_bits:
        return False
    return form.near is None or form.near.search(passage.before(match.start())) is not None


def _is_touched(text: str, start: int) -> bool:
    return (
        start > 0
        and text[start - 1].isascii()
        and (text[start - 1].isalnum() or text[start - 1] == "-")
    )


# A value that is named a secret. Placeholders (`<HUB_TOKEN>`, `${KEY}`, `***`) and paths have other
# characters or too few of them.
_ASSIGNED = re.compile(
    r"(?i:(pass(?:word|wd|phrase)|pwd)|(?:(?:api|access|secret|private|auth|hub|hf|app|client)[_-]?)"
    r"(?:key|token|secret)(?:[_-]?id)?|(?:huggingface|civitai|wandb)[_-](?:key|token))"
    r"[\"']?\s{0,3}+[:=]\s{0,3}+[\"']?([A-Za-z0-9+/=_.~!@#$%^&*-]{6,256}+)"
)
_SECRET_WORDS = ("passw", "passphrase", "pwd", "key", "token", "secret")
# Before: the longest word that stands before one of these; ahead: twice the rest and the longest value.
_SECRET_BACK_CHARS, _SECRET_WINDOW_CHARS = 16, 2 * 320
_SHORTEST_TOKEN = 16
_TOKEN_BITS, _PASSWORD_BITS = 3.0, 2.0
_PLACEHOLDER = re.compile(
    r"(?i:none|null|true|false|your|xxx|\*\*\*|\.\.\.|changeme|example|dummy|redacted|\$|%|os\.|env\.|self\.|args\.)"
)


def _assignments(passage: Passage) -> Iterator[re.Match[str]]:
    for start, end in passage.windows(_SECRET_WORDS, _SECRET_BACK_CHARS, _SECRET_WINDOW_CHARS):
        yield from _ASSIGNED.finditer(passage.text, start, end)


def _assigned(passage: Passage, seen: set[int]) -> Iterator[Hit]:
    for match in _assignments(passage):
        value, start = match[2], match.start(2)
        if start in seen or _PLACEHOLDER.match(value) or passage.is_code(start, match.end()):
            continue
        seen.add(start)
        if match[1] is not None and entropy_bits(value) >= _PASSWORD_BITS:
            yield Hit("password", Certainty.PATTERN)
        if (
            match[1] is None
            and len(value) >= _SHORTEST_TOKEN
            and entropy_bits(value) >= _TOKEN_BITS
        ):
            yield Hit(TOKEN + "generic", Certainty.PATTERN)


_BEARER = re.compile(r"(?i:bearer)\s{1,3}+([A-Za-z0-9._~+/=-]{20,4096}+)")
_URL_PASSWORD = re.compile(r"://[^\s:@/\"'<>]{1,128}+:([^\s:@/\"'<>]{1,256}+)@")


def _headers(passage: Passage, seen: set[int]) -> Iterator[Hit]:
    text = passage.text
    if "bearer" in passage.lowered:
        for match in _BEARER.finditer(text):
            if match.start(1) not in seen and entropy_bits(match[1]) >= _TOKEN_BITS:
                yield Hit(TOKEN + "bearer", Certainty.PATTERN)
    if "://" in text and "@" in text:
        for match in _URL_PASSWORD.finditer(text):
            if match.start(1) not in seen and not _PLACEHOLDER.match(match[1]):
                yield Hit(TOKEN + "url-password", Certainty.CHECKED)


_KEY_BLOCK = re.compile(r"-----BEGIN (?:[A-Z0-9]{2,12}+ ){0,2}PRIVATE KEY(?: BLOCK)?-----")
_AGE_KEY = re.compile(r"AGE-SECRET-KEY-(?:PQ-)?1[0-9A-Z]{50,4000}+")


def _private_keys(passage: Passage) -> Iterator[Hit]:
    if "PRIVATE KEY" in passage.text:
        yield from (
            Hit("private-key", Certainty.CHECKED) for _ in _KEY_BLOCK.finditer(passage.text)
        )
    if "AGE-SECRET-KEY-" in passage.text:
        yield from (Hit("private-key", Certainty.CHECKED) for _ in _AGE_KEY.finditer(passage.text))
