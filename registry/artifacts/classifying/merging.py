"""One classification of a set whose files were classified one by one (a high- and low-noise pair)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from registry.artifacts.claims import Claim, ClaimStatus
from registry.artifacts.classifying.base_guess import BaseGuess
from registry.artifacts.classifying.classify import Classification
from registry.artifacts.classifying.scales import ScaleCount

if TYPE_CHECKING:
    from collections.abc import Sequence

_SHARED = ("kind", "dialect", "method", "family", "rank", "alpha", "scale")


def merge_classifications(parts: Sequence[Classification]) -> Classification:
    """Return one classification for `parts`: counts add up, values and remarks are put together.

    A field on which the files disagree is None, with a claim that says so; so is everything for no
    parts at all.
    """
    if not parts:
        claim = Claim("kind", ClaimStatus.UNKNOWN, "files", "no safetensors file among them")
        return Classification(None, 0, claims=(claim,))
    first = parts[0]
    if len(parts) == 1:
        return first
    split = {name for name in _SHARED if len({getattr(part, name) for part in parts}) > 1}
    differs = tuple(
        Claim(name, ClaimStatus.UNKNOWN, "files", "differs between the files")
        for name in _SHARED
        if name in split
    )
    return replace(
        first,
        **dict.fromkeys(split),
        tensors=sum(part.tensors for part in parts),
        modules=sum(part.modules for part in parts),
        ranks=tuple(sorted({rank for part in parts for rank in part.ranks})),
        alphas=tuple(sorted({alpha for part in parts for alpha in part.alphas})),
        methods=_summed(parts),
        claims=(*differs, *dict.fromkeys(claim for part in parts for claim in part.claims)),
        refusals=tuple(refusal for part in parts for refusal in part.refusals),
        warnings=tuple(dict.fromkeys(warning for part in parts for warning in part.warnings)),
        scales=_counted_scales(parts),
        base_guess=_one_guess(parts, None if "family" in split else first.family),
    )


def _counted_scales(parts: Sequence[Classification]) -> tuple[ScaleCount, ...]:
    sums: dict[tuple[float | None, str], int] = {}
    for count in (count for part in parts for count in part.scales):
        key = (count.scale, count.source)
        sums[key] = sums.get(key, 0) + count.modules
    return tuple(ScaleCount(*key, modules) for key, modules in sums.items())


def _one_guess(parts: Sequence[Classification], family: str | None) -> BaseGuess | None:
    guesses = [part.base_guess for part in parts if part.base_guess is not None]
    if not guesses:
        return None
    candidates = dict.fromkeys(name for guess in guesses for name in guess.candidates)
    reasons = dict.fromkeys(guess.why for guess in guesses)
    return BaseGuess(family, tuple(candidates), "; ".join(reasons))


def _summed(parts: Sequence[Classification]) -> tuple[tuple[str, int], ...]:
    counts: dict[str, int] = {}
    for part in parts:
        for method, count in part.methods:
            counts[method] = counts.get(method, 0) + count
    return tuple(sorted(counts.items()))
