"""The parts of an adapter under one canonical name each, whatever its trainer called them.

A fused weight (qkv, linear1) is several canonical layers stacked: each of them is a part with its own
rows of the update, so that a fused and a split export of one training compare as equal.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CanonicalPart:
    """One layer that a module changes: `name` is canonical, `kind` its class (`attn.q`, `ff.in`, ...).

    `rows` are the rows of the module's update that belong to it; None for all of them.
    """

    name: str
    kind: str
    rows: range | None = None
