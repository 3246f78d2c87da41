"""Why a field of an inspection is empty: each that is None comes with a claim that says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from registry.artifacts.claims import Claim, ClaimStatus

if TYPE_CHECKING:
    from registry.artifacts.classifying.classify import Classification


def explain_empty(found: Classification, base_model: str | None) -> tuple[Claim, ...]:
    """Return a claim for each field that is None and that no other claim explains."""
    explained = {claim.field for claim in found.claims}
    values = {
        "kind": found.kind,
        "dialect": found.dialect,
        "method": found.method,
        "family": found.family,
        "rank": found.rank,
        "alpha": found.alpha,
        "scale": found.scale,
        "base_model": base_model,
        "base_guess": found.base_guess,
    }
    empty = [name for name, value in values.items() if value is None and name not in explained]
    return tuple(
        Claim(name, ClaimStatus.UNKNOWN, "tensors", _reason(name, found)) for name in empty
    )


def _reason(name: str, found: Classification) -> str:
    if found.kind is None and found.refusals:
        return "the file was refused"
    if not found.modules:
        return "no adapter modules in it"
    if name == "rank":
        return "differs between modules" if found.ranks else "the method has no rank"
    return "the tensors do not say" if name != "base_model" else "no key names it"
