"""What a header or PEFT config says of rank and alpha, against the tensors.

kohya writes `ss_network_dim` and `ss_network_alpha`, and `conv_dim` and `conv_alpha` in `ss_network_args`. What may
honestly stand in a tensor for a claimed alpha: the number itself, the number as the tensor's type
rounds it, the rank where 0 or "None" is claimed (sd-scripts 48d368f), and alpha * sqrt(rank) where LyCORIS
folded rsLoRA into it (f49d30d). Claimed values are never repeated.
"""

from __future__ import annotations

import json
import math
import struct
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from registry.artifacts.classifying.alpha import CONFIG_SOURCE
from registry.artifacts.classifying.applied_config import apply_configs
from registry.formats.findings import Finding, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from registry.audits.audit import AuditSubject
    from registry.updates.files import LocatedModule

# Rounding beyond this changes an adapter more than half precision does its factors.
COARSE_ROUNDING = 1e-2
_ROUNDED_BITS = {"F16": 11, "BF16": 8, "F8_E4M3": 4, "F8_E5M2": 3}
_ADVICE = "ask its owner which is right: the header, or the tensors; loaders follow the tensors"
# Of these `ss_network_dim` is what factors show as rank.
_SHOWN_RANK = frozenset({"lora", "dora", "loha", "lokr", "glora"})
_NOTHING = ("", "none", "null")


@dataclass(frozen=True, slots=True)
class _Claimed:
    """Rank and alpha that one header claims for a kind of module; the keys they stand under."""

    dim_key: str
    dim: float | None
    alpha_key: str
    alpha: float | None


def claim_findings(
    rule: str, subject: AuditSubject, scaled: Sequence[LocatedModule]
) -> Iterator[Finding]:
    """Yield what the claims of every file, and of the PEFT config, do not have in common with tensors."""
    for file in subject.files:
        if file.header is None:
            continue
        own = [located for located in scaled if located.file is file]
        metadata = dict(file.header.metadata)
        arguments = network_arguments(metadata)
        plain = _claimed(metadata, "ss_network_dim", "ss_network_alpha")
        conv = _claimed(arguments, "conv_dim", "conv_alpha")
        linear, convolutions = _split(own, apart=conv.dim is not None)
        yield from _check(rule, plain, linear)
        if conv.dim is not None:
            yield from _check(rule, conv, convolutions)
    yield from _config_findings(rule, subject, scaled)


def network_arguments(metadata: Mapping[str, str]) -> dict[str, str]:
    """Return `ss_network_args` as texts by key, {} where it is not a flat JSON object."""
    try:
        value = json.loads(metadata.get("ss_network_args", "{}"))
    except (ValueError, RecursionError):
        return {}
    if not isinstance(value, dict):
        return {}
    return {key: str(item) for key, item in value.items() if isinstance(item, str | int | float)}


def _split(
    own: Sequence[LocatedModule], *, apart: bool
) -> tuple[list[LocatedModule], list[LocatedModule]]:
    """Return the modules that the plain claims speak of, and the convolutions if they have their own."""
    convolutions = [located for located in own if located.module.geometry.kernel > 1]
    if not apart:
        return list(own), []
    return [located for located in own if located.module.geometry.kernel == 1], convolutions


def _claimed(source: Mapping[str, str], dim_key: str, alpha_key: str) -> _Claimed:
    dim, alpha = _number(source.get(dim_key, "")), _number(source.get(alpha_key, ""))
    if dim is not None and alpha is None and source.get(alpha_key, "x").lower() in _NOTHING:
        alpha = 0.0
    return _Claimed(dim_key, dim, alpha_key, alpha)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _check(rule: str, claimed: _Claimed, modules: Sequence[LocatedModule]) -> Iterator[Finding]:
    ranks = Counter(
        located.module.rank
        for located in modules
        if located.module.method in _SHOWN_RANK and located.module.rank is not None
    )
    if claimed.dim is not None and ranks and claimed.dim not in ranks:
        words = ", ".join(str(rank) for rank in sorted(ranks)[:8])
        yield Finding(
            rule,
            Verdict.WARN,
            f"{claimed.dim_key} is no rank of any module; the tensors have {words}",
            _ADVICE,
            claimed.dim_key,
        )
    if claimed.alpha is not None:
        yield from _check_alpha(rule, claimed.alpha_key, claimed.alpha, modules)


def _check_alpha(
    rule: str, key: str, alpha: float, modules: Sequence[LocatedModule]
) -> Iterator[Finding]:
    # LyCORIS writes the rank for alpha where both Kronecker factors are full (rank is None here).
    stored = [
        located
        for located in modules
        if located.stored_alpha is not None and located.module.rank is not None
    ]
    errors = [error for located in stored if (error := _rounding(located, alpha)) is not None]
    if stored and not errors:
        yield Finding(rule, Verdict.WARN, f"{key} is the alpha of no module", _ADVICE, key)
    elif errors and max(errors) > 0:
        verdict = Verdict.WARN if max(errors) > COARSE_ROUNDING else Verdict.PASS
        yield Finding(
            rule,
            verdict,
            f"alpha is rounded by up to {100 * max(errors):.2g} % of what {key} says: "
            f"{_dtypes(stored)} cannot hold it",
            "harmless below 1 %; else export alpha as F32",
            key,
        )


def _rounding(located: LocatedModule, claimed: float) -> float | None:
    """Return by which part of itself the claimed alpha was rounded; None if this is another number."""
    stored, rank = located.stored_alpha, located.module.rank
    if stored is None or rank is None:
        return None
    wanted = claimed or float(rank)
    tensor = located.module.find_tensor("alpha")
    dtype = tensor.dtype if tensor is not None else "F32"
    for number in (wanted, wanted * math.sqrt(rank)):
        if abs(stored - number) <= _step(number, dtype):
            # Both may have passed float32 on the way here.
            is_same = _as_float32(stored) == _as_float32(number)
            return 0.0 if is_same else abs(stored - number) / number
    return None


def _step(number: float, dtype: str) -> float:
    """Return how far rounding to `dtype` can move `number`."""
    bits = _ROUNDED_BITS.get(dtype, 24)
    return float(2.0 ** (math.frexp(number)[1] - bits)) if math.isfinite(number) else 0.0


def _as_float32(number: float) -> float:
    try:
        return float(struct.unpack("<f", struct.pack("<f", number))[0])
    except OverflowError:
        return math.inf


def _dtypes(modules: Sequence[LocatedModule]) -> str:
    found = {
        tensor.dtype
        for located in modules
        if (tensor := located.module.find_tensor("alpha")) is not None
    }
    return " and ".join(sorted(found))


def _config_findings(
    rule: str, subject: AuditSubject, scaled: Sequence[LocatedModule]
) -> Iterator[Finding]:
    """Yield modules whose own alpha tensor is not what adapter_config.json says."""
    if subject.config is None:
        return
    stored = [located for located in scaled if located.stored_alpha is not None]
    names = [located.module.name for located in stored]
    applied = apply_configs(names, ((CONFIG_SOURCE, subject.config),))
    unlike = [
        located
        for located, said in zip(stored, applied, strict=True)
        if said is not None
        and said.alpha is not None
        and math.isfinite(said.alpha)
        and _rounding(located, said.alpha) is None
    ]
    if unlike:
        yield Finding(
            rule,
            Verdict.WARN,
            f"{len(unlike)} modules store another alpha than {CONFIG_SOURCE} says (lora_alpha, "
            "alpha_pattern); loaders differ in which they take",
            "keep adapter_config.json and weights of one training run together",
            unlike[0].module.name,
        )
