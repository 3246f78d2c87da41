"""What a header says of how it was trained, against the modules: method, model version, text encoders."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from registry.artifacts.classifying.alpha import METADATA_KEY
from registry.audits.weights.places import is_of_text_encoder
from registry.audits.weights.scale_claims import network_arguments
from registry.errors import FormatError
from registry.formats.adapter_config import parse_adapter_metadata
from registry.formats.findings import Finding, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from registry.artifacts.classifying.classify import Classification
    from registry.artifacts.classifying.modules import AdapterModule

_ADVICE = "correct the header, or ask its owner what was trained"
_LORA = frozenset({"lora", "dora"})
# LyCORIS' `algo`, and the last part of kohya's network modules, to the methods that they write. LyCORIS
# trains norms and small layers in full beside any of them, so one module of the method is enough.
_ALGOS: dict[str, frozenset[str]] = {
    "lora": _LORA,
    "locon": _LORA,
    "dylora": _LORA,
    "loha": frozenset({"loha"}),
    "lokr": frozenset({"lokr"}),
    "ia3": frozenset({"ia3"}),
    "full": frozenset({"full"}),
    "glora": frozenset({"glora"}),
    "diag-oft": frozenset({"oft"}),
    "boft": frozenset({"boft", "oft"}),
}
_NETWORKS = re.compile(r"networks\.(lora|dylora|loha|lokr|oft)(_[a-z0-9_]+)?")
_OFT = frozenset({"oft"})
# Families of which `ss_v2` says whether they are meant.
_VERSIONS = {"sd2": "true", "sd1": "false", "sdxl": "false"}


def training_findings(
    rule: str,
    metadata: Mapping[str, str],
    modules: Sequence[AdapterModule],
    found: Classification,
) -> Iterator[Finding]:
    """Yield what the header says of the training that the modules deny."""
    if not modules:
        return
    for key, words in (
        *_method(metadata, modules),
        *_version(metadata, found),
        *_text_encoders(metadata, modules),
        *_components(metadata, modules),
    ):
        yield Finding(rule, Verdict.WARN, f"{key}: {words}", _ADVICE, key)


def _method(
    metadata: Mapping[str, str], modules: Sequence[AdapterModule]
) -> Iterator[tuple[str, str]]:
    arguments = network_arguments(metadata)
    methods = {module.method for module in modules}
    key, claimed = "ss_network_args", _ALGOS.get(arguments.get("algo", "").lower())
    if claimed is None:
        key, claimed = "ss_network_module", _of_network(metadata.get("ss_network_module", ""))
    if claimed is not None and not claimed & methods:
        words = ", ".join(sorted(methods))
        yield key, f"speaks of {' or '.join(sorted(claimed))}, the tensors are {words}"
    wants_magnitude = any(
        arguments.get(word, "").lower() in ("true", "1") for word in ("dora_wd", "weight_decompose")
    )
    has_magnitude = any(module.find_tensor("magnitude") is not None for module in modules)
    if wants_magnitude and not has_magnitude:
        yield "ss_network_args", "speaks of weight decomposition, the tensors have no magnitude"


def _of_network(text: str) -> frozenset[str] | None:
    """Return the methods of a network module of sd-scripts or musubi, None for others'."""
    match = _NETWORKS.fullmatch(text.strip())
    if match is None:
        return None
    return _OFT if match[1] == "oft" else _ALGOS[match[1]]


def _version(metadata: Mapping[str, str], found: Classification) -> Iterator[tuple[str, str]]:
    claimed = metadata.get("ss_v2", "").lower()
    right = _VERSIONS.get(found.family or "")
    if right is not None and claimed in ("true", "false") and claimed != right:
        yield "ss_v2", f"says otherwise than the tensors, which are {found.family}"


def _text_encoders(
    metadata: Mapping[str, str], modules: Sequence[AdapterModule]
) -> Iterator[tuple[str, str]]:
    count = sum(is_of_text_encoder(module.name) for module in modules)
    if count and _is_all_zero(metadata.get("ss_text_encoder_lr", "")):
        yield (
            "ss_text_encoder_lr",
            f"says that no text encoder was trained, and {count} modules are of one",
        )


def _is_all_zero(text: str) -> bool:
    """Return whether `text` is 0 or a list of zeros; "None" means the common rate (sd-scripts)."""
    parts = text.strip("[] ").split(",")
    try:
        return all(float(part) == 0 for part in parts)
    except ValueError:
        return False


def _components(
    metadata: Mapping[str, str], modules: Sequence[AdapterModule]
) -> Iterator[tuple[str, str]]:
    """Yield components of diffusers' own statement that are not there, or that it does not mention."""
    if METADATA_KEY not in metadata:
        return
    try:
        stated = {component for component, _ in parse_adapter_metadata(metadata[METADATA_KEY])}
    except FormatError:
        return
    there = {module.name.partition(".")[0] for module in modules if "." in module.name}
    silent = sorted(_COMPONENTS & (there - stated))
    absent = sorted(_COMPONENTS & (stated - there))
    if stated and silent:
        yield METADATA_KEY, f"does not mention {', '.join(silent)}, of which there are modules"
    if absent:
        yield METADATA_KEY, f"speaks of {', '.join(absent)}, of which there are no modules"


_COMPONENTS = frozenset(
    {
        "unet",
        "transformer",
        "transformer_2",
        "text_encoder",
        "text_encoder_2",
        "text_encoder_3",
        "prior",
    }
)
