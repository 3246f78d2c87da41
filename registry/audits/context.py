"""What the parent lends an audit beside the payload: peers to compare with, base weights, a key.

It goes to the child through a sealed descriptor of its own. Without one of these an audit says
`inconclusive` or `not_applicable`; it never guesses.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_COMMON = 0.9


@dataclass(frozen=True, slots=True)
class PeerGroup:
    """Features of the adapters that one is compared with: same base, trainer, rank and targets.

    `label` says in words what they have in common; every row has one number per name. The adapter
    that is audited is not among the rows.
    """

    label: str
    names: tuple[str, ...]
    rows: tuple[tuple[float, ...], ...]


def peer_group(label: str, rows: Sequence[Mapping[str, float]]) -> PeerGroup:
    """Return the group of peers whose features are `rows`, by name.

    Features that nearly all have are compared, and only peers that have them all: else one odd adapter
    could take a feature away from the comparison of all others.
    """
    counts = Counter(name for row in rows for name in row)
    names = tuple(sorted(name for name, count in counts.items() if count >= _COMMON * len(rows)))
    whole = [row for row in rows if all(name in row for name in names)]
    return PeerGroup(label, names, tuple(tuple(row[name] for name in names) for row in whole))


@dataclass(frozen=True, slots=True)
class AuditContext:
    """What may be used beside the payload. `base` is the cache of a base model's weights, mapped.

    `sketch_key` is the registry's secret for keyed sketches; None: no sketch is made.
    """

    peers: PeerGroup | None = None
    base: memoryview | None = None
    sketch_key: bytes | None = None


NO_CONTEXT = AuditContext()
