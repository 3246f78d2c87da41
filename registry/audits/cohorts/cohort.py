"""Which adapters may be compared: those of one base model, trainer, method, rank and set of targets.

Spectra tell the training recipe before they tell anything else (a classifier trained on one recipe puts
every adapter of another on the wrong side), so a cohort of mixed recipes is worse than none. All of it
comes from headers: no weight is read, and nothing here needs torch.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from registry.artifacts.classifying.modules import pair_modules
from registry.digest import sha256_of
from registry.fingerprints.kinds import module_kind
from registry.fingerprints.names import canonical_modules
from registry.formats.canonical import dump_canonical

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from registry.artifacts.inspection import Inspection
    from registry.formats.safetensors import SafetensorsHeader

_VERSION = 1
_SHOWN_KINDS = 4
# The trainer by a metadata key and what its value speaks of. The first that fits counts: musubi and
# ai-toolkit write keys of sd-scripts too. A claim, like all metadata.
_TRAINERS: tuple[tuple[str, str, str], ...] = (
    ("software", r"ai-toolkit", "ai-toolkit"),
    ("ot_revision", r"", "OneTrainer"),
    ("ot_branch", r"", "OneTrainer"),
    ("modelspec.implementation", r"onetrainer", "OneTrainer"),
    ("ss_network_module", r"^lycoris\.", "LyCORIS on sd-scripts"),
    ("ss_sd_scripts_commit_hash", r"", "sd-scripts"),
    ("modelspec.implementation_version", r"^sd-scripts/", "sd-scripts"),
    ("ss_fp8_base", r"", "musubi-tuner"),
    ("ss_network_module", r"", "sd-scripts"),
    ("trained_words", r"", "SimpleTuner"),
    ("lycoris_config", r"", "SimpleTuner"),
    ("lora_adapter_metadata", r"", "diffusers"),
)
_RULES = tuple((key, re.compile(words), name) for key, words, name in _TRAINERS)


@dataclass(frozen=True, slots=True)
class CohortFacts:
    """What adapters of one cohort have in common.

    `base` is the model or family that the tensors fit, "" unknown; `base_named` what the file calls its base, ""
    where it says nothing (a claim; it goes into the digest and never into words); `trainer` a known word or "";
    `targets` are (module class, outputs, inputs), sorted.
    """

    base: str
    base_named: str
    trainer: str
    method: str
    ranks: tuple[int, ...]
    targets: tuple[tuple[str, int, int], ...]


@dataclass(frozen=True, slots=True)
class Cohort:
    """The key of a cohort: words for people, and a digest (64 hex digits) to compare."""

    label: str
    digest: str


def cohort_of(facts: CohortFacts) -> Cohort:
    """Return the cohort of an adapter with these facts; equal facts have equal digests."""
    body = dump_canonical(
        {
            "version": _VERSION,
            "base": facts.base,
            "base_named": facts.base_named.strip().lower(),
            "trainer": facts.trainer,
            "method": facts.method,
            "ranks": list(facts.ranks),
            "targets": [list(target) for target in facts.targets],
        }
    )
    return Cohort(_label(facts), sha256_of(body).value)


def facts_of(
    inspection: Inspection,
    headers: Sequence[SafetensorsHeader],
) -> CohortFacts:
    """Return the facts of an adapter from its inspection and the headers of its files."""
    found = inspection.found
    guess = found.base_guess
    narrowed = guess.candidates[0] if guess is not None and len(guess.candidates) == 1 else None
    metadata = {key: value for header in headers for key, value in header.metadata}
    return CohortFacts(
        base=narrowed or found.family or "",
        base_named=inspection.base_model or "",
        trainer=trainer_in(metadata) or _by_dialect(found.dialect),
        method=found.method or "",
        ranks=tuple(sorted(set(found.ranks))),
        targets=_targets(headers),
    )


def trainer_in(metadata: Mapping[str, str]) -> str:
    """Return the trainer that a header speaks of, one of a few known words, or "". A claim."""
    for key, pattern, name in _RULES:
        text = metadata.get(key)
        if text is not None and pattern.search(text.lower()):
            return name
    return ""


def _by_dialect(dialect: str | None) -> str:
    return "PEFT" if dialect == "peft" else ""


def _targets(headers: Sequence[SafetensorsHeader]) -> tuple[tuple[str, int, int], ...]:
    found = set()
    for header in headers:
        modules = pair_modules(header)
        for module, parts in zip(modules, canonical_modules(modules), strict=True):
            geometry = module.geometry
            inputs = (geometry.inputs or 0) * geometry.kernel
            found.add((module_kind(parts), geometry.outputs or 0, inputs))
    return tuple(sorted(found))


def _label(facts: CohortFacts) -> str:
    base = facts.base or "unknown base"
    trainer = facts.trainer or "unknown trainer"
    method = facts.method or "unknown method"
    words = [f"{method} for {base}", f"by {trainer}", _ranks(facts.ranks)]
    kinds = sorted({kind for kind, _, _ in facts.targets})
    if kinds:
        rest = len(kinds) - _SHOWN_KINDS
        more = f" and {rest} more" if rest > 0 else ""
        words.append(f"on {'/'.join(kinds[:_SHOWN_KINDS])}{more}")
    return ", ".join(words)


def _ranks(ranks: tuple[int, ...]) -> str:
    if not ranks:
        return "no rank"
    return f"rank {ranks[0]}" if len(ranks) == 1 else f"ranks {ranks[0]} to {ranks[-1]}"
