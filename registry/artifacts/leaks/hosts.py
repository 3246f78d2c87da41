"""Names and addresses of machines, and mail addresses."""

from __future__ import annotations

import re
import string
from typing import TYPE_CHECKING

from registry.artifacts.leaks.hits import Hit
from registry.artifacts.leaks.leak import Certainty

if TYPE_CHECKING:
    from collections.abc import Iterator

    from registry.artifacts.leaks.passages import Passage

_HOST = r"[A-Za-z0-9][A-Za-z0-9-]{0,62}+"
# Each with words of which one must stand in the text, so that most texts cost one look.
_HOST_FORMS: tuple[tuple[tuple[str, ...], re.Pattern[str]], ...] = (
    # TensorBoard: runs/Feb16_10-26-39_HOST and events.out.tfevents.TIME.HOST.PID.N
    (
        ("_",),
        re.compile(
            rf"[0-9]{{2}}(?<=[A-Z][a-z]{{2}}[0-9]{{2}})_[0-9]{{2}}-[0-9]{{2}}-[0-9]{{2}}_({_HOST})"
        ),
    ),
    (("tfevents",), re.compile(rf"tfevents\.[0-9]{{10}}\.({_HOST})")),
    # What Windows and Amazon call a machine that nobody named.
    (("DESKTOP-", "LAPTOP-"), re.compile(r"(?:DESKTOP|LAPTOP)-([A-Z0-9]{7,8})(?![A-Za-z0-9])")),
    (("ip-",), re.compile(r"ip-(?<![\w-]ip-)((?:[0-9]{1,3}-){3}[0-9]{1,3})(?![0-9-])")),
)
_HOST_LABEL = re.compile(
    rf"(?i:(?<![a-z])host(?:_?name)?|nodename)[\"']?\s{{0,3}}+[:=]\s{{0,3}}+[\"']?({_HOST}(?:\.{_HOST}){{0,5}}+)"
)
_LABEL_WORDS, _LABEL_WINDOW_CHARS = ("host", "nodename"), 2 * 448
# Networks without names of their own. Programs call their parts so as well: a machine's name has a digit,
# a dash or a capital in it.
_LOCAL_SUFFIX = re.compile(r"\.(?:local|lan|internal|corp|intranet)(?![\w-])")
_LOCAL_WORDS = (".local", ".lan", ".internal", ".corp", ".intranet")
_HOST_CHARACTERS = string.ascii_letters + string.digits + "-"
_HOST_CHARS = 63
_MACHINE = re.compile(r"(?=.{0,62}[-0-9A-Z])[A-Za-z0-9][A-Za-z0-9-]{1,62}", re.ASCII)
_NO_HOST_WORDS = (
    "localhost none null true false str string int default host hostname auto any example"
)
_NO_HOST = frozenset(_NO_HOST_WORDS.split())
_PRIVATE = re.compile(
    r"1(?<![\w.]1)(?:92\.168|72\.(?:1[6-9]|2[0-9]|3[01])|0\.[0-9]{1,3})\.[0-9]{1,3}\.[0-9]{1,3}(?![\w.])"
)
# Four numbers that begin with 10 are as often a version: only where it is used as an address.
_USED_AS_ADDRESS = re.compile(
    r"(?://|@|host\S{0,8}|addr\S{0,8}|\bip\S{0,3}|server\S{0,8})[\"']?\s{0,3}[:=]?\s{0,3}[\"']?$"
)


def scan_hosts(passage: Passage) -> Iterator[Hit]:
    """Yield names of machines, and addresses in private networks."""
    text = passage.text
    for name in _host_names(passage):
        if name.lower() not in _NO_HOST and not name.isdecimal():
            yield Hit("host-name", Certainty.PATTERN)
    if "10." in text or "192.168." in text or "172." in text:
        for match in _PRIVATE.finditer(text):
            plain = not match[0].startswith("10.")
            if plain or _USED_AS_ADDRESS.search(passage.before(match.start())):
                yield Hit("ip-address", Certainty.PATTERN)


def _host_names(passage: Passage) -> Iterator[str]:
    text = passage.text
    for words, pattern in _HOST_FORMS:
        if any(word in text for word in words):
            yield from (match[1] for match in pattern.finditer(text))
    seen: set[int] = set()
    for start, end in passage.windows(_LABEL_WORDS, 0, _LABEL_WINDOW_CHARS):
        for match in _HOST_LABEL.finditer(text, start, end):
            if match.start() not in seen and not passage.is_code(*match.span(1)):
                seen.add(match.start())
                yield match[1]
    if any(word in text for word in _LOCAL_WORDS):
        yield from _local_names(text)


def _local_names(text: str) -> Iterator[str]:
    for match in _LOCAL_SUFFIX.finditer(text):
        window = text[max(match.start() - _HOST_CHARS, 0) : match.start()]
        name = window[len(window.rstrip(_HOST_CHARACTERS)) :]
        before = window[: len(window) - len(name)][-1:]
        if before not in (".", "_", "/", "@") and _MACHINE.fullmatch(name):
            yield name


_LOCAL_CHARACTERS = string.ascii_letters + string.digits + "._%+-"
_LOCAL_CHARS = 64
_DOMAIN = re.compile(
    r"((?:[A-Za-z0-9-]{1,63}+\.){1,6})([A-Za-z]{2,24}+)(?![A-Za-z0-9-]|\.[A-Za-z0-9])", re.ASCII
)
_DOMAIN_CHARS = 480
_PROMPT = re.compile(rf"{_HOST}:[~/]")
_LOGIN = re.compile(r"[a-z_][a-z0-9_-]{0,31}", re.ASCII)
# RFC 2606, and accounts of services that are no person.
_NO_DOMAINS = ("example.com", "example.org", "example.net")
_NO_TLDS = frozenset({"invalid", "test", "example", "localhost", "local", "py", "so", "git"})
_NO_PERSON = frozenset({"git", "noreply", "no-reply", "root", "user"})


def scan_mails(passage: Passage) -> Iterator[Hit]:
    """Yield mail addresses, and `user@host` as shells print it (a user and a machine)."""
    text = passage.text
    at = text.find("@")
    while at >= 0:
        yield from _around(text, at)
        at = text.find("@", at + 1)


def _around(text: str, at: int) -> Iterator[Hit]:
    window = text[max(at - _LOCAL_CHARS, 0) : at]
    local = window[len(window.rstrip(_LOCAL_CHARACTERS)) :].lstrip(".-%+")
    # A password in a web address stands before an @ as well: `registry.artifacts.leaks.tokens` has that.
    if (
        not local
        or local.lower() in _NO_PERSON
        or window[: len(window) - len(local)][-1:] in ("/", ":")
    ):
        return
    domain = _DOMAIN.match(text, at + 1, at + 1 + _DOMAIN_CHARS)
    if domain is not None:
        if not (domain[0].lower().endswith(_NO_DOMAINS) or domain[2].lower() in _NO_TLDS):
            yield Hit("e-mail", Certainty.PATTERN)
    elif _LOGIN.fullmatch(local) and _PROMPT.match(text, at + 1, at + 1 + _DOMAIN_CHARS):
        yield Hit("user-name", Certainty.PATTERN)
        yield Hit("host-name", Certainty.PATTERN)
