"""What a PEFT config says of which layers the adapter changes, against the tensors.

`target_modules` are ends of module names or one regular expression, as PEFT reads them (5d602fd);
`modules_to_save` are layers that are saved whole and replace the base model's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from registry.artifacts.classifying.alpha import CONFIG_SOURCE, configs_of
from registry.artifacts.classifying.kinds import is_expected_extra
from registry.artifacts.classifying.pattern_keys import PatternKeys, UnevaluatedPatternError
from registry.errors import FormatError
from registry.formats.findings import Finding, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from registry.audits.audit import AuditSubject
    from registry.formats.adapter_config import AdapterConfig
    from registry.updates.files import WeightFile

_ALL = "all-linear"
_PEFT_PREFIX = "base_model.model."
_ADVICE = "keep config and weights of one training run together"
_ADVICE_WHOLE = (
    "such layers replace the base model's, so they do anything that a model can: "
    "know why they are there"
)
_MATRIX = 2
# OneTrainer's embedded inversions; PEFT: projections that all modules share (VeRA), rows of single tokens.
_PARTS = ("bundle_emb", "vera_A", "vera_B", "trainable_tokens_")


def layer_findings(rule: str, subject: AuditSubject) -> Iterator[Finding]:
    """Yield layers that are changed or saved and not declared, or declared and not there."""
    for file in subject.files:
        if file.header is None or file.pairing is None:
            continue
        try:
            configs = configs_of(dict(file.header.metadata), subject.config)
        except FormatError:
            continue
        for source, config in configs:
            yield from _targets(rule, file, source, config)
        yield from _whole_layers(rule, file, subject.config)
    yield from _absent(rule, subject)


def _targets(rule: str, file: WeightFile, source: str, config: AdapterConfig) -> Iterator[Finding]:
    names = _names(file, source)
    strays = _untargeted(names, config)
    if not strays:
        return
    key = f"{source}: target_modules"
    yield Finding(
        rule,
        Verdict.WARN,
        f"{key} does not name {len(strays)} of {len(names)} modules",
        _ADVICE,
        strays[0],
    )


def _names(file: WeightFile, source: str) -> list[str]:
    """Return the modules that a config speaks of, by the names that they have inside the model."""
    _, _, component = source.partition(":")
    prefix = f"{component}." if component else _PEFT_PREFIX
    modules = file.pairing.modules if file.pairing is not None else ()
    return [
        module.name.removeprefix(prefix) for module in modules if module.name.startswith(prefix)
    ]


def _untargeted(names: Sequence[str], config: AdapterConfig) -> list[str]:
    pattern = config.target_pattern
    if pattern is not None:
        if pattern == _ALL:
            return []
        try:
            found = PatternKeys((f"^(?:{pattern})",)).first_match(names)
        except UnevaluatedPatternError:
            return []
        return [name for name, number in zip(names, found, strict=True) if number is None]
    if not config.target_modules or _ALL in config.target_modules:
        return []
    whole = frozenset(config.target_modules)
    return [
        name for name in names if name not in whole and not any(end in whole for end in _ends(name))
    ]


def _ends(name: str) -> Iterator[str]:
    """Yield what follows each dot of `name`: a target may be `to_out.0`."""
    place = name.find(".")
    while place >= 0:
        yield name[place + 1 :]
        place = name.find(".", place + 1)


def _whole_layers(rule: str, file: WeightFile, config: AdapterConfig | None) -> Iterator[Finding]:
    """Yield the matrices beside the modules; the decision table wants a person to know of them."""
    others = file.pairing.others if file.pairing is not None else ()
    whole = [
        item
        for item in others
        if len(item.shape) >= _MATRIX and item.end > item.start and not _is_part(item.name)
    ]
    if not whole or file.pairing is None or not file.pairing.modules:
        return
    declared = [item for item in whole if is_expected_extra(item, config)]
    mebibytes = sum(item.end - item.start for item in whole) / 2**20
    words = f"{len(whole)} whole layers ({mebibytes:.1f} MiB) are saved beside the modules"
    if len(declared) < len(whole):
        words += f", {len(whole) - len(declared)} of them undeclared"
    yield Finding(rule, Verdict.WARN, words, _ADVICE_WHOLE, whole[0].name)


def _is_part(name: str) -> bool:
    """Return whether this is no layer but what an adapter is made of, shared by its modules."""
    return any(part.startswith(_PARTS) for part in name.split("."))


def _absent(rule: str, subject: AuditSubject) -> Iterator[Finding]:
    if subject.config is None:
        return
    names = {
        part
        for file in subject.files
        if file.header is not None
        for tensor in file.header.tensors
        for part in tensor.name.split(".")
    }
    # A saved name may be a path; then its last part must be there.
    gone = [name for name in subject.config.modules_to_save if name.rpartition(".")[2] not in names]
    if gone:
        yield Finding(
            rule,
            Verdict.WARN,
            f"modules_to_save names {len(gone)} layers that are not in the file",
            _ADVICE,
            CONFIG_SOURCE,
        )
