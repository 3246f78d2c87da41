"""How strongly do the modules count: alphas that are no alphas, scales out of range, what is claimed?

The scale (alpha / rank, or as a PEFT config says) multiplies everything that was trained, and one number
in a header or a four-byte tensor decides it. Reads alphas and metadata only; needs no torch.
Thresholds: `docs/audits/scale.md`.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, TypeAlias

from registry.artifacts.classifying.dialects import PEFT, find_dialect
from registry.artifacts.classifying.scales import DEFAULT, SCALED_METHODS, TENSORS
from registry.audits.reporting import build_report
from registry.audits.weights.places import component_of
from registry.audits.weights.scale_claims import claim_findings
from registry.formats.findings import Coverage, Finding, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from registry.audits.audit import AuditSubject
    from registry.formats.findings import AuditReport
    from registry.updates.files import LocatedModule

RULE = "scale"
MAX_SCALE = 1e3
# Trainers stay between: alpha 1 at rank 128 is 0.008, rsLoRA with alpha 64 at rank 16 is 16.
USUAL_SCALE = (1e-3, 1e2)
_EXAMPLES = 3
_ADVICE_FILE = "ask the trainer's owner for the file as it was saved; a tool may have rewritten it"
_ADVICE_UNEVEN = "check that whoever trained it meant to weigh these modules differently"

# Component, method, rank, whether it is a convolution: trainers give these one alpha.
_Kind: TypeAlias = tuple[str, str, int | None, bool]


class ScaleAudit:
    """Every alpha and effective scale, among each other and against what the header claims."""

    rule = RULE
    version = "1"
    privacy = False

    def run(self, subject: AuditSubject) -> AuditReport:
        """Return the report; coverage counts modules."""
        scaled = [
            located
            for located in subject.modules
            if located.module.method in SCALED_METHODS and not located.module.faults
        ]
        known = [located for located in scaled if located.scale.scale is not None]
        sources = Counter(located.scale.source for located in scaled)
        # A module without scale by its method has been looked at as far as there is anything.
        rest = len(subject.modules) - len(scaled)
        return build_report(
            self,
            Coverage(len(known) + rest, len(subject.modules), "modules"),
            [*_findings(scaled), *claim_findings(RULE, subject, scaled)],
            summary=f"the scale of {len(known)} of {len(scaled)} modules was worked out",
            metrics=[
                ("scales", _range([located.factor for located in known])),
                (
                    "stated by",
                    ", ".join(f"{name} {n}" for name, n in sorted(sources.items())) or "-",
                ),
            ],
        )


def fault_of(located: LocatedModule) -> str | None:
    """Return what is impossible about a module's alpha or scale, None if nothing is."""
    if located.module.method not in SCALED_METHODS:
        return None
    stored, said = located.stored_alpha, located.scale.alpha
    if stored is None and located.module.method != "adalora" and located.scale.source != DEFAULT:
        stored = said  # PEFT takes an AdaLoRA alpha of 0 or less for the rank
    if stored is not None and not (math.isfinite(stored) and stored > 0):
        return f"alpha is {stored:g}, expected a number above 0"
    if not abs(located.factor) <= MAX_SCALE:
        return f"scale is {located.factor:g}, expected at most {MAX_SCALE:g}"
    return None


def _findings(scaled: Sequence[LocatedModule]) -> Iterator[Finding]:
    sound = []
    for located in scaled:
        fault = fault_of(located)
        if fault is not None:
            yield Finding(RULE, Verdict.FAIL, fault, _ADVICE_FILE, located.module.name)
        else:
            sound.append(located)
    yield from _unread(sound)
    yield from _unusual(sound)
    yield from _missing(sound)
    yield from _without_config(sound)
    yield from _uneven(sound)


def _unread(scaled: Sequence[LocatedModule]) -> Iterator[Finding]:
    # An alpha that only others can read would be a way around the limits above.
    unread = [
        located
        for located in scaled
        if located.scale.scale is None and math.isfinite(located.stored_alpha or 0.0)
    ]
    if unread:
        yield Finding(
            RULE,
            Verdict.INCONCLUSIVE,
            f"the scale of {len(unread)} modules could not be worked out",
            "export alpha as F32, and rank_pattern and alpha_pattern with plain names",
            unread[0].module.name,
        )


def _unusual(scaled: Sequence[LocatedModule]) -> Iterator[Finding]:
    least, most = USUAL_SCALE
    found = [located for located in scaled if not least <= abs(located.factor) <= most]
    if found:
        yield Finding(
            RULE,
            Verdict.WARN,
            f"the scale of {len(found)} modules is outside of {least:g} to {most:g}",
            "check alpha and rank; outputs may be drowned, or not change at all",
            found[0].module.name,
        )


def _without_config(scaled: Sequence[LocatedModule]) -> Iterator[Finding]:
    """Yield modules of PEFT whose config is not there: loaders of the others take 1, PEFT takes no guess."""
    guessed = [located for located in scaled if located.scale.source == DEFAULT]
    if guessed and find_dialect([located.module.name for located in guessed]) == PEFT:
        yield Finding(
            RULE,
            Verdict.WARN,
            f"nothing says the scale of {len(guessed)} modules; 1 was taken",
            "audit a PEFT adapter together with its adapter_config.json",
            guessed[0].module.name,
        )


def _missing(scaled: Sequence[LocatedModule]) -> Iterator[Finding]:
    """Yield modules without alpha in a file where others have one: loaders then take the rank."""
    has = [located for located in scaled if located.scale.source == TENSORS]
    lacks = [located for located in scaled if located.scale.source == DEFAULT]
    if not has or not lacks:
        return
    yield Finding(
        RULE,
        Verdict.WARN,
        f"{len(lacks)} modules have no alpha and {len(has)} have one; loaders take the rank there",
        _ADVICE_FILE,
        lacks[0].module.name,
    )


def _uneven(scaled: Sequence[LocatedModule]) -> Iterator[Finding]:
    """Yield modules whose alpha is not that of their like, where no config gives each its own."""
    kinds: dict[_Kind, list[LocatedModule]] = defaultdict(list)
    for located in scaled:
        if located.scale.source == TENSORS and located.stored_alpha is not None:
            kinds[_kind(located)].append(located)
    odd: list[LocatedModule] = []
    for members in kinds.values():
        counted = Counter(located.stored_alpha for located in members)
        usual, count = counted.most_common(1)[0]
        if len(counted) > 1 and 2 * count > len(members):
            odd += [located for located in members if located.stored_alpha != usual]
        elif len(counted) > 1:
            odd += members
    if not odd or _has_own_alphas(odd):
        return
    yield Finding(
        RULE,
        Verdict.WARN,
        f"{len(odd)} modules have another alpha than others of the same component, method and rank",
        _ADVICE_UNEVEN,
        ", ".join(located.module.name for located in odd[:_EXAMPLES]),
    )


def _kind(located: LocatedModule) -> _Kind:
    module = located.module
    is_convolution = module.geometry.kernel > 1
    return component_of(module.name), module.method, module.rank, is_convolution


def _has_own_alphas(odd: Sequence[LocatedModule]) -> bool:
    """Return whether the header of the first file says that blocks have alphas of their own."""
    header = odd[0].file.header
    told = dict(header.metadata).get("ss_network_args", "") if header is not None else ""
    return any(word in told for word in ("block_alphas", "reg_alphas", "algo_map", "preset"))


def _range(scales: Sequence[float]) -> str:
    if not scales:
        return "none"
    least, most = min(scales), max(scales)
    return f"{least:.5g}" if least == most else f"{least:.5g} to {most:.5g}"
