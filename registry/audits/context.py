"""What the parent lends an audit beside the payload: peers to compare with, base weights, a key.

It goes to the child through a sealed descriptor of its own. Without one of these an audit says
`inconclusive` or `not_applicable`; it never guesses.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PeerGroup:
    """Features of the adapters that one is compared with: same base, trainer, rank and targets.

    `label` says in words what they have in common; every row has one number per name. The adapter
    that is audited is not among the rows.
    """

    label: str
    names: tuple[str, ...]
    rows: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True)
class AuditContext:
    """What may be used beside the payload. `base` is the cache of a base model's weights, mapped.

    `sketch_key` is the registry's secret for keyed sketches; None: no sketch is made.
    """

    peers: PeerGroup | None = None
    base: memoryview | None = None
    sketch_key: bytes | None = None


NO_CONTEXT = AuditContext()
