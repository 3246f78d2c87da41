"""Marking a copy and looking for marks, in the isolated child: both read bytes from outside.

A marked copy is made in memory that the parent gave; words to the parent are one line each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from registry.audits.sealed_memory import map_memory, map_shared
from registry.formats.canonical import parse_canonical
from registry.formats.fields import Fields
from registry.limits import AUDIT_CONTEXT_BYTES, MARK_SEEDS
from registry.updates.payload import read_payload

if TYPE_CHECKING:
    from registry.artifacts.notes import PayloadForm
    from registry.fingerprints.parts import CanonicalPart
    from registry.formats.canonical import Json
    from registry.updates.files import LocatedModule, Payload

_SEED_DIGITS = 64


def mark_copy(target: int, form: PayloadForm, name: str, lent: int) -> dict[str, Json]:
    """Mark the copy in the memory `target` by the one seed in `lent`; return the line about it.

    Raises:
        FormatError: the payload is malformed, or cannot carry a mark.
    """
    from registry.fingerprints.marks.embed import mark_in_place

    (seed,) = _seeds(lent)
    report = mark_in_place(map_shared(target), form, name, seed)
    return {
        "marked": {
            "version": report.version,
            "modules": report.spread_modules + report.gauge_modules,
            "left": sum(count for _, count in report.left),
            "chips": report.chips,
            "cosine": f"{report.cosine:.7f}",
            "largest_change": f"{report.largest_change:.5f}",
        }
    }


def find_marks(
    suspect: int, original: int, form: PayloadForm, name: str, lent: int
) -> dict[str, Json]:
    """Return the line with the z of every seed in `lent`, in their order.

    `form` is that of both payloads.

    Raises:
        FormatError: one of the payloads is malformed.
    """
    from registry.fingerprints.marks.basis import study
    from registry.fingerprints.marks.detect import compare, weigh

    ours = read_payload(map_memory(original), form, name)
    theirs = read_payload(map_memory(suspect), form, name)
    parts = {**_parts_of(ours), **_parts_of(theirs)}
    evidence = compare(study(ours), theirs, lambda located: parts[id(located)])
    rows: list[Json] = []
    for seed in _seeds(lent):
        found = weigh(evidence, seed)
        numbers = (found.spread_z, found.gauge_z, found.gauge_correlation)
        rows.append([f"{number:.4f}" for number in numbers])
    return {
        "weighed": {
            "rows": rows,
            "tests": evidence.tests,
            "modules": evidence.modules,
            "of": evidence.of,
        }
    }


def _parts_of(payload: Payload) -> dict[int, tuple[CanonicalPart, ...]]:
    from registry.fingerprints.names import canonical_parts

    modules: tuple[LocatedModule, ...] = payload.modules
    return {
        id(located): own for located, own in zip(modules, canonical_parts(payload), strict=True)
    }


def _seeds(lent: int) -> list[bytes]:
    value = parse_canonical(
        bytes(map_memory(lent)), what="seeds of marks", max_bytes=AUDIT_CONTEXT_BYTES
    )
    fields = Fields.of(value, "seeds of marks")
    fields.exactly("seeds")
    found = []
    for item in fields.items("seeds", most=MARK_SEEDS):
        seed = Fields.of({"seed": item}, "seeds of marks")
        found.append(bytes.fromhex(seed.hexadecimal("seed", _SEED_DIGITS)))
    return found
