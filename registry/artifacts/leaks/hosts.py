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
        (":", "_"),
        re.compile(rf"[A-Z][a-z]{{2}}[0-9]{{2}}_[0-9]{{2}}-[0-9]{{2}}-[0-9]{{2}}_({_HOST})"),
    ),
    (("tfevents",), re.compile(rf"tfevents\.[0-9]{{10}}\.({_HOST})")),
    # Names that no program uses for its own parts have a dash or a digit.
    (
        (".local", ".lan", ".internal", ".corp", ".intranet"),
        re.compile(
            r"(?<![\w.-])((?=[A-Za-z]{0,62}+[-0-9])[A-Za-z0-9-]{2,63}+)\.(?:local|lan|internal|corp|intranet)(?!\w)"
        ),
    ),
    # What Windows and Amazon call a machine that nobody named.
    (("DESKTOP-", "LAPTOP-"), re.compile(r"(?:DESKTOP|LAPTOP)-([A-Z0-9]{7,8})(?![A-Za-z0-9])")),
    (("ip-",), re.compile(r"(?<![\w-])ip-((?:[0-9]{1,3}-){3}[0-9]{1,3})(?![0-9-])")),
    (
        ("host", "HOST", "nodename", "NODENAME"),
        re.compile(
            rf"(?i:host_?name|nodename|\bhost)[\"']?\s{{0,3}}+[:=]\s{{0,3}}+[\"']?({_HOST}(?:\.{_HOST}){{0,5}}+)"
        ),
    ),
)
_NO_HOST_WORDS = (
    "localhost none null true false str string int default host hostname auto any example"
)
_NO_HOST = frozenset(_NO_HOST_WORDS.split())
_PRIVATE = re.compile(
    r"(?<![\w.])(?:192\.168|172\.(?:1[6-9]|2[0-9]|3[01])|10\.[0-9]{1,3})\.[0-9]{1,3}\.[0-9]{1,3}(?![\w.])"
)
# Four numbers that begin with 10 are as often a version: only where it is used as an address.
_USED_AS_ADDRESS = re.compile(
    r"(?://|@|host\S{0,8}|addr\S{0,8}|\bip\S{0,3}|server\S{0,8})[\"']?\s{0,3}[:=]?\s{0,3}[\"']?$"
)


def scan_hosts(passage: Passage) -> Iterator[Hit]:
    """Yield names of machines, and addresses in private networks."""
    text = passage.text
    for words, pattern in _HOST_FORMS:
        if any(word in text for word in words):
            for match in pattern.finditer(text):
                if match[1].lower() not in _NO_HOST and not match[1].isdecimal():
                    yield Hit("host-name", Certainty.PATTERN)
    if "10." in text or "192.168." in text or "172." in text:
        for match in _PRIVATE.finditer(text):
            plain = not match[0].startswith("10.")
            if plain or _USED_AS_ADDRESS.search(passage.before(match.start())):
                yield Hit("ip-address", Certainty.PATTERN)


_LOCAL_CHARACTERS = string.ascii_letters + string.digits + "._%+-"
_LOCAL_CHARS = 64
_DOMAIN = re.compile(
    r"((?:[A-Za-z0-9-]{1,63}+\.){1,6})([A-Za-z]{2,24}+)(?![A-Za-z0-9-]|\.[A-Za-z0-9])", re.ASCII
)
_DOMAIN_CHARS = 480
_PROMPT = re.compile(rf"{_HOST}:[~/]")
_LOGIN = re.compile(r"[a-z_][a-z0-9_-]{0,31}", re.ASCII)
# RFC 2606, and accounts of services that are no person.
_NO_DOMAIN = re.compile(
    r"(?:.*\.)?example\.(?:com|org|net)|.*\.(?:invalid|test|example|localhost|py|so|git)"
)
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
        if not _NO_DOMAIN.fullmatch(domain[0].lower()):
            yield Hit("e-mail", Certainty.PATTERN)
    elif _LOGIN.fullmatch(local) and _PROMPT.match(text, at + 1, at + 1 + _DOMAIN_CHARS):
        yield Hit("user-name", Certainty.PATTERN)
        yield Hit("host-name", Certainty.PATTERN)
