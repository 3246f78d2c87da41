"""All scanners over one text, counted by kind."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

from registry.artifacts.leaks.digits import scan_digits, scan_travel_documents
from registry.artifacts.leaks.hits import Found
from registry.artifacts.leaks.hosts import scan_hosts, scan_mails
from registry.artifacts.leaks.kinds import leak_of_found
from registry.artifacts.leaks.leak import Certainty
from registry.artifacts.leaks.passages import Passage, readings
from registry.artifacts.leaks.paths import scan_paths, scan_users
from registry.artifacts.leaks.places import scan_places
from registry.artifacts.leaks.tokens import scan_tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from registry.artifacts.leaks.hits import Hit
    from registry.artifacts.leaks.leak import Leak

_SCANNERS: tuple[Callable[[Passage], Iterator[Hit]], ...] = (
    scan_tokens,
    scan_paths,
    scan_users,
    scan_hosts,
    scan_mails,
    scan_places,
    scan_digits,
    scan_travel_documents,
)


def scan_text(text: str, *, label: str = "") -> tuple[Found, ...]:
    """Return what stands in `text` and in `label`, the name that it is the value of, by kind.

    Work and memory are linear in the length of `text`. JSON within it, and JSON within that, is read with
    its escapes undone; the reading with the most occurrences counts.
    """
    counts: Counter[str] = Counter()
    checked: set[str] = set()
    for reading in () if _says_nothing(text, label) else readings(text):
        here: Counter[str] = Counter()
        for hit in _hits(Passage.of(f"{label}: {reading}" if label else reading)):
            here[hit.kind] += 1
            if hit.certainty is Certainty.CHECKED:
                checked.add(hit.kind)
        counts |= here
    return tuple(
        Found(kind, count, Certainty.CHECKED if kind in checked else Certainty.PATTERN)
        for kind, count in sorted(counts.items())
    )


# Most values in a header are a word or a number: they are looked at only where their name calls for it.
_PLAIN_VALUE = re.compile(r"[A-Za-z_]{0,16}+|-?[0-9.e-]{0,10}+", re.ASCII)
_PLAIN_LABEL = re.compile(r"(?!.{0,40}(?:pass|pwd|lat|host|user))[a-z_.]{0,40}", re.ASCII)


def _says_nothing(text: str, label: str) -> bool:
    return bool(_PLAIN_VALUE.fullmatch(text) and _PLAIN_LABEL.fullmatch(label))


def _hits(passage: Passage) -> Iterator[Hit]:
    for scanner in _SCANNERS:
        yield from scanner(passage)


def leaks_in_text(place: str, text: str, *, label: str = "") -> tuple[Leak, ...]:
    """Return what stands in `text` as leaks at `place`."""
    return tuple(leak_of_found(place, found) for found in scan_text(text, label=label))
