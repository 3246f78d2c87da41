"""How large is the update beside the weights that it changes, and does it bring directions of its own?

Needs the cache of the base model (`loraseal base add`); without it nothing is said. Intruder dimensions
are information: they go with forgetting and over-training, ordinary adapters have some, and they are no
test for anything hidden. Definitions and thresholds: `docs/audits/base_relation.md`.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import torch

from registry.audits.bases.cache import BaseCache
from registry.audits.bases.dora import effective_update, is_by_output
from registry.audits.bases.names import CANONICAL
from registry.audits.bases.relating import COSINE, TOP, relate_full, relate_low_rank
from registry.audits.reporting import build_report
from registry.errors import FormatError
from registry.formats.findings import Coverage, Finding, Verdict
from registry.updates.factors import Full, Kronecker, LowRank, update_of
from registry.updates.tensors import view_tensor, widen

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from registry.audits.audit import AuditSubject
    from registry.audits.bases.cache import BaseWeight
    from registry.audits.bases.names import Naming
    from registry.audits.bases.relating import Relation
    from registry.fingerprints.parts import CanonicalPart
    from registry.formats.findings import AuditReport
    from registry.updates.files import LocatedModule

RULE = "base_relation"
MAX_NORM = 0.3
_ENOUGH = 0.5
_DENSE_ENTRIES = 2**27
_EXAMPLES = 3
_ADVICE_LARGE = "look at what it makes: updates of most adapters are 0.5 to 5 % of the weight; try a lower scale"
_ADVICE_SHAPE = (
    "name the base that it was trained on (loraseal base list); if this is the one, the file does "
    "not fit it and no loader can apply it"
)
_ADVICE_UNSEEN = "add the whole base, with its text encoders: loraseal base add"

# A low-rank update, or one in full; the scale is in it.
_Update: TypeAlias = "LowRank | torch.Tensor"


@dataclass(slots=True)
class _Seen:
    """What was gathered over all modules."""

    relations: list[tuple[str, Relation]] = field(default_factory=list)
    factors: list[torch.Tensor] = field(default_factory=list)
    examined: int = 0
    missing: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    misfits: list[tuple[str, str]] = field(default_factory=list)


class _MisfitError(Exception):
    """The module's shape is not that of the base's layer of the same name."""


class BaseRelationAudit:
    """Relative norms, Weyl bounds and intruder dimensions against the base model's weights.

    `names` brings modules and base together; the cache must have been made with the same.
    """

    rule = RULE
    version = "1"
    privacy = False

    def __init__(self, names: Naming = CANONICAL) -> None:
        self._names = names

    def run(self, subject: AuditSubject) -> AuditReport:
        """Return the report; coverage counts modules."""
        data = subject.context.base
        if data is None:
            summary = "the base model's weights are not at hand (loraseal base add)"
            return build_report(self, Coverage(0, 0, "modules"), (), summary=summary)
        try:
            base = BaseCache(data, naming=self._names.version)
        except FormatError as error:
            finding = Finding(RULE, Verdict.INCONCLUSIVE, str(error), error.hint or _ADVICE_UNSEEN)
            coverage = Coverage(0, len(subject.modules), "modules")
            return build_report(self, coverage, (finding,), summary="the base cache is unusable")
        seen = _Seen()
        parts = self._names.of_payload(subject.payload)
        for located, own in zip(subject.modules, parts, strict=True):
            _look(seen, located, own, base, subject)
        total = len(subject.modules)
        return build_report(
            self,
            Coverage(seen.examined, total, "modules"),
            [*_findings(seen), *_unseen(seen, total)],
            summary=_summary(seen, total),
            metrics=_metrics(seen, base),
        )


def _look(
    seen: _Seen,
    located: LocatedModule,
    parts: Sequence[CanonicalPart],
    base: BaseCache,
    subject: AuditSubject,
) -> None:
    """Relate one module to the base and note the outcome."""
    found = [(part, base.find(part.name)) for part in parts]
    known = [(part, weight) for part, weight in found if weight is not None]
    if not known or len(known) < len(found):
        seen.missing += 1
        return
    place = located.module.name
    try:
        for part, weight in known:
            _relate(seen, located, part, weight, subject.device)
    except _MisfitError as error:
        seen.misfits.append((place, str(error)))
    except FormatError as error:
        seen.reasons[str(error)] = seen.reasons.get(str(error), 0) + 1
    else:
        seen.examined += 1


def _relate(
    seen: _Seen, located: LocatedModule, part: CanonicalPart, weight: BaseWeight, device: str
) -> None:
    magnitude = located.module.find_tensor("magnitude")
    update = _of_part(_update(located), part, weight)
    weight = _moved(weight, device)
    if magnitude is not None:
        geometry = located.module.geometry
        by_output = is_by_output(magnitude, geometry.outputs or 0, geometry.inputs or 0)
        values = view_tensor(located.file, magnitude).flatten()
        if part.rows is not None:
            if not by_output:
                raise FormatError("a magnitude by inputs over a fused layer")
            values = values[part.rows.start : part.rows.stop]
        direction = _in_full(update).to(device)
        effective = effective_update(
            weight.weight, direction, values.to(device), by_output=by_output
        )
        _refuse_not_finite(effective.update)
        seen.factors.append(effective.factors.cpu())
        seen.relations.append((located.module.name, relate_full(effective.update, weight)))
        return
    if isinstance(update, LowRank):
        _refuse_not_finite(update.up, update.down)
        relation = relate_low_rank(update.up.to(device), update.down.to(device), weight)
    else:
        _refuse_not_finite(update)
        relation = relate_full(update.to(device), weight)
    seen.relations.append((located.module.name, relation))


def _update(located: LocatedModule) -> _Update:
    """Return the update of a module with its scale, in factors where it has them.

    Raises:
        FormatError: a method that has none without the base's own forward pass, or one too large.
    """
    update = update_of(located)
    if isinstance(update, Full):
        return widen(update.matrix) * located.factor
    if isinstance(update, LowRank):
        return LowRank(widen(update.up) * located.factor, widen(update.down))
    if isinstance(update, Kronecker):
        left, right = _side(update.left), _side(update.right)
        if left.numel() * right.numel() > _DENSE_ENTRIES:
            raise FormatError("its update is too large to multiply out")
        return torch.kron(left, right) * located.factor
    raise FormatError(update.reason)


def _side(side: LowRank | Full) -> torch.Tensor:
    if isinstance(side, Full):
        return widen(side.matrix)
    return widen(side.up) @ widen(side.down)


def _of_part(update: _Update, part: CanonicalPart, weight: BaseWeight) -> _Update:
    """Return the rows of `update` that belong to `part`, if they have the shape of its weight."""
    shape: tuple[int, ...]
    rows = slice(None) if part.rows is None else slice(part.rows.start, part.rows.stop)
    if isinstance(update, LowRank):
        update = LowRank(update.up[rows], update.down)
        shape = (update.up.shape[0], update.down.shape[1])
    else:
        update = update[rows]
        shape = tuple(update.shape)
    expected = tuple(weight.weight.shape)
    if shape != expected:
        raise _MisfitError(f"its update is {list(shape)}, the base's layer {list(expected)}")
    return update


def _in_full(update: _Update) -> torch.Tensor:
    if not isinstance(update, LowRank):
        return update.float()
    if update.up.shape[0] * update.down.shape[1] > _DENSE_ENTRIES:
        raise FormatError("its update is too large to multiply out")
    return update.up.float() @ update.down.float()


def _moved(weight: BaseWeight, device: str) -> BaseWeight:
    if device == "cpu":
        return weight
    return type(weight)(weight.weight.to(device), weight.left.to(device), weight.values.to(device))


def _refuse_not_finite(*tensors: torch.Tensor) -> None:
    if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors):
        raise FormatError("its update is not finite")


def _findings(seen: _Seen) -> Iterator[Finding]:
    for place, relation in seen.relations:
        if not relation.norm <= MAX_NORM:
            yield Finding(
                RULE,
                Verdict.WARN,
                f"its update is {100 * relation.norm:.3g} % of the base's weight (Frobenius norms), "
                f"more than {100 * MAX_NORM:g} %",
                _ADVICE_LARGE,
                place,
            )
    # If nothing fits, the likelier fault is the base that was named.
    # The settings chose the base, the file did not name it: a person has to see who is wrong.
    verdict = Verdict.REVIEW
    for place, message in seen.misfits:
        yield Finding(RULE, verdict, message, _ADVICE_SHAPE, place)


def _unseen(seen: _Seen, total: int) -> Iterator[Finding]:
    if seen.missing:
        verdict = Verdict.INCONCLUSIVE if seen.examined < _ENOUGH * total else Verdict.WARN
        yield Finding(
            RULE,
            verdict,
            f"{seen.missing} of {total} modules change layers that the base cache does not hold "
            "under a name that is known",
            _ADVICE_UNSEEN,
        )
    for reason, count in sorted(seen.reasons.items()):
        yield Finding(
            RULE,
            Verdict.WARN,
            f"{count} modules were not related to the base: {reason}",
            "see the other audits for what is known of them",
        )
    unsettled = [place for place, relation in seen.relations if relation.intruders is None]
    if unsettled:
        yield Finding(
            RULE,
            Verdict.WARN,
            f"the top directions of {len(unsettled)} layers are too close to each other to be told "
            f"apart: {', '.join(unsettled[:_EXAMPLES])}",
            "their intruders are not counted; the norms are",
        )


def _summary(seen: _Seen, total: int) -> str:
    if not seen.relations:
        return f"none of {total} modules was related to the base"
    place, largest = max(seen.relations, key=lambda row: row[1].norm)
    return f"updates are up to {100 * largest.norm:.3g} % of the base's weights ({place})"


def _metrics(seen: _Seen, base: BaseCache) -> list[tuple[str, str]]:
    digests = ", ".join(digest[:16] for digest, _ in base.facts.files[:_EXAMPLES])
    found = [("base files (sha256)", digests or "none")]
    relations = [relation for _, relation in seen.relations]
    if not relations:
        return found
    norms = [relation.norm for relation in relations]
    weyl = max(relation.largest for relation in relations)
    counted = [relation for relation in relations if relation.intruders is not None]
    intruders = sum(relation.intruders or 0 for relation in counted)
    layers = sum(bool(relation.intruders) for relation in counted)
    examined = sum(relation.examined for relation in counted)
    found += [
        ("median ||dW|| / ||W||", f"{statistics.median(norms):.5g}"),
        ("largest ||dW|| / ||W||", f"{max(norms):.5g}"),
        (
            "largest s1(dW) / s1(W)",
            f"{weyl:.5g} (no singular value of a weight moves further, in parts of its first)",
        ),
        (
            "intruder dimensions",
            f"{intruders} of {examined} top directions, in {layers} of {len(counted)} layers "
            f"(top {TOP}, |cos| < {COSINE:g}; tied to forgetting)",
        ),
    ]
    return [*found, *_lengths(seen.factors)]


def _lengths(factors: Sequence[torch.Tensor]) -> Iterator[tuple[str, str]]:
    """Yield by how much DoRA modules change the length of rows or columns."""
    if not factors:
        return
    changes = torch.cat(list(factors)).double() - 1
    yield (
        "dora: change of length",
        f"median {float(changes.median()):+.4g}, from {float(changes.min()):+.4g} "
        f"to {float(changes.max()):+.4g}",
    )
