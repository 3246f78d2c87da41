"""The parent's side of marks: a copy is marked, or a suspect compared, in a child, and its words checked.

The child reads bytes from outside, so nothing that it says is believed: of a copy that it made every byte
that is no factor is compared with the original; what it says of a suspect is bounded and typed.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from registry.artifacts.notes import PayloadForm
from registry.audits.reporting import clean_text
from registry.audits.sealed_memory import close_memory, copy_memory, map_memory, seal_memory
from registry.audits.task import AuditLimits, DeathCause
from registry.errors import BusyError, FormatError, LorasealError
from registry.fingerprints.marks.checking import verify_only_factors
from registry.formats.canonical import dump_canonical, parse_canonical
from registry.formats.fields import Fields
from registry.limits import AUDIT_RESULT_BYTES, AUDIT_TEXT_CHARS, MARK_SEEDS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Protocol

    from registry.audits.control import Message
    from registry.audits.listening import Heard
    from registry.formats.canonical import Json

    class Ears(Protocol):
        """An audit worker, or a pool of them."""

        def hear(self, request: Message, descriptors: Sequence[int], limits: AuditLimits) -> Heard:
            """Return the words of a child that did what `request` says."""
            ...


_LARGEST_Z = 1e6


class ChildDiedError(LorasealError):
    """The process that read the payload died; who asked for it counts how often."""


@dataclass(frozen=True, slots=True)
class MarkedCopy:
    """A marked copy in sealed memory, which the caller closes, and what marking changed, as text.

    `cosine` compares its update with the original's, `largest_change` is that of the worst module.
    """

    descriptor: int
    version: int
    modules: int
    left: int
    chips: int
    cosine: str
    largest_change: str


@dataclass(frozen=True, slots=True)
class SeedScore:
    """How well one seed explains a suspect: two z, and how far the factors are as delivered."""

    spread_z: float
    gauge_z: float
    gauge_correlation: float

    @property
    def z(self) -> float:
        """The larger z, of `SuspectScores.tests` that were drawn."""
        return max(self.spread_z, self.gauge_z)


@dataclass(frozen=True, slots=True)
class SuspectScores:
    """The scores of all seeds, in their order. `modules` of `of` could be compared."""

    scores: tuple[SeedScore, ...]
    tests: int
    modules: int
    of: int


@dataclass(frozen=True, slots=True)
class Evidence:
    """A suspect and the original that it may be made from, both as descriptors of the caller's."""

    suspect: int
    original: int
    form: PayloadForm = PayloadForm.RAW
    original_form: PayloadForm = PayloadForm.RAW
    name: str = "payload.safetensors"
    seeds: tuple[bytes, ...] = field(default=(), repr=False)


def make_marked(
    ears: Ears,
    payload: int,
    what: tuple[PayloadForm, str],
    seed: bytes,
    limits: AuditLimits | None = None,
) -> MarkedCopy:
    """Return a copy of the payload behind the descriptor `payload`, marked by `seed`.

    `what` is its form and its name.

    Raises:
        FormatError: the payload cannot carry a mark.
        ContentMismatchError: the child changed what is no factor.
        ChildDiedError: the child died.
        BusyError: its worker ended; try again.
    """
    form, name = what
    target = copy_memory(payload)
    try:
        request: Message = {"work": "mark", "form": form.value, "name": name}
        line = _one_line(ears, request, (target,), (seed,), limits)
        fields = Fields.of(Fields.of(line, "words of the child").member("marked"), "marked copy")
        fields.exactly("version", "modules", "left", "chips", "cosine", "largest_change")
        copy = MarkedCopy(
            target,
            fields.integer("version"),
            fields.integer("modules"),
            fields.integer("left"),
            fields.integer("chips"),
            clean_text(fields.text("cosine")),
            clean_text(fields.text("largest_change")),
        )
        close_memory(target)
        verify_only_factors(map_memory(payload), map_memory(target), form, name)
    except BaseException:
        os.close(target)
        raise
    return copy


def weigh_suspect(ears: Ears, evidence: Evidence) -> SuspectScores:
    """Return how well each of the seeds explains the suspect.

    Raises:
        FormatError: one of the payloads is malformed.
        LorasealError: the child died, or did not keep its protocol.
    """
    if not 0 < len(evidence.seeds) <= MARK_SEEDS:
        raise LorasealError(f"{len(evidence.seeds)} seeds, expected 1 to {MARK_SEEDS}")
    request: Message = {
        "work": "find_marks",
        "form": evidence.form.value,
        "other_form": evidence.original_form.value,
        "name": evidence.name,
    }
    line = _one_line(ears, request, (evidence.suspect, evidence.original), evidence.seeds)
    fields = Fields.of(Fields.of(line, "words of the child").member("weighed"), "scores")
    fields.exactly("rows", "tests", "modules", "of")
    rows = fields.items("rows", most=MARK_SEEDS)
    if len(rows) != len(evidence.seeds):
        raise FormatError(f"the child scored {len(rows)} seeds of {len(evidence.seeds)}")
    return SuspectScores(
        tuple(_score(row) for row in rows),
        max(1, fields.integer("tests")),
        fields.integer("modules"),
        fields.integer("of"),
    )


def _one_line(
    ears: Ears,
    request: Message,
    payloads: tuple[int, ...],
    seeds: tuple[bytes, ...],
    limits: AuditLimits | None = None,
) -> Json:
    hexadecimal: list[Json] = [seed.hex() for seed in seeds]
    lent = seal_memory([dump_canonical({"seeds": hexadecimal})])
    try:
        heard = ears.hear(request, (payloads[0], lent, *payloads[1:]), limits or AuditLimits())
    finally:
        os.close(lent)
    if heard.death is not None:
        if heard.death.cause is DeathCause.WORKER:
            raise BusyError("the audit worker ended; the work is taken up again")
        raise ChildDiedError(
            f"the process that reads payloads did not finish: {heard.death.detail}",
            hint="try again; a file that ends it every time is hostile",
        )
    lines = [
        parse_canonical(line, what="words of the child", max_bytes=AUDIT_RESULT_BYTES)
        for line in heard.words.splitlines()
    ]
    return _answer(lines)


def _answer(lines: Sequence[Json]) -> Json:
    """Return the one line that answers, between the confinement and the end."""
    match lines:
        case [{"confinement": _}, {"broken": str(), "hint": str()} as line, {"done": True}]:
            fields = Fields.of(line, "words of the child")
            message = clean_text(fields.text("broken", max_chars=AUDIT_TEXT_CHARS))
            raise FormatError(message, hint=clean_text(fields.text("hint")))
        case [{"confinement": _}, answer, {"done": True}]:
            return answer
        case _:
            raise FormatError("the child did not keep its protocol")


def _score(row: Json) -> SeedScore:
    match row:
        case [str() as spread, str() as gauge, str() as correlation]:
            try:
                numbers = float(spread), float(gauge), float(correlation)
            except ValueError as error:
                raise FormatError("a score of the child is no number") from error
            # A z is at most the root of the numbers that were compared, which no file has that many of.
            if not all(math.isfinite(number) and abs(number) < _LARGEST_Z for number in numbers):
                raise FormatError("a score of the child is out of range")
            return SeedScore(*numbers)
        case _:
            raise FormatError("a score of the child is not three numbers")
