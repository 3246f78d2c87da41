"""A LoRA in GGUF, as llama.cpp's `convert_lora_to_gguf.py` writes it: its pairs of factors, rank and alpha.

Rules of llama.cpp's loader: every `NAME.lora_a` has its `NAME.lora_b`; `lora_a` is (in, rank) and `lora_b`
(rank, out), fastest dimension first; the token embedding is turned over.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from registry.artifacts.claims import Claim, ClaimStatus
from registry.artifacts.classifying.classify import Classification, Refusal
from registry.artifacts.classifying.kinds import GGUF_ADAPTER, GGUF_MODEL

if TYPE_CHECKING:
    from collections.abc import Mapping

    from registry.formats.gguf import GgufHeader, GgufTensor

LORA = "lora"
_DOWN, _UP = "lora_a", "lora_b"
_TURNED = "token_embd.weight"
_MATRIX = 2
_HUGE = 1000
_MOST_REFUSALS = 50


def classify_gguf(header: GgufHeader) -> Classification:
    """Return what the GGUF file with this header is; of a model nothing but that it is one."""
    if not header.is_adapter:
        note = "GGUF is kept as it is; its tensors were not looked at"
        claim = Claim("kind", ClaimStatus.UNVERIFIED, "general.type", note)
        return Classification(GGUF_MODEL, header.tensor_count, claims=(claim,))
    if header.tensors is None:
        note = "the list of its tensors goes on beyond what was read"
        claim = Claim("kind", ClaimStatus.UNVERIFIED, "general.type", note)
        return Classification(GGUF_ADAPTER, header.tensor_count, claims=(claim,))
    return _classify_adapter(header, header.tensors)


def _classify_adapter(header: GgufHeader, tensors: tuple[GgufTensor, ...]) -> Classification:
    pairs, others = _pairs(tensors)
    faults = [_fault(name, pair) for name, pair in pairs.items()]
    ranks = tuple(sorted({_rank(name, pair) for name, pair in pairs.items()} - {None}, key=_number))
    refusals = [*_type_refusals(header, pairs), *(item for item in faults if item is not None)]
    if len(refusals) > _MOST_REFUSALS:
        left = len(refusals) - _MOST_REFUSALS
        more = Refusal("more", "", f"{left} further faults in modules are not listed")
        refusals = [*refusals[:_MOST_REFUSALS], more]
    alpha = header.alpha if header.alpha is not None and math.isfinite(header.alpha) else None
    return Classification(
        kind=GGUF_ADAPTER,
        tensors=len(tensors),
        method=LORA if header.adapter_type == LORA else None,
        modules=len(pairs),
        rank=ranks[0] if len(ranks) == 1 else None,
        ranks=tuple(rank for rank in ranks if rank is not None),
        alpha=alpha,
        alphas=() if alpha is None else (alpha,),
        methods=((LORA, len(pairs)),) if pairs else (),
        claims=_claims(header),
        refusals=tuple(refusals),
        warnings=(*_alpha_warnings(header.alpha, ranks), *_other_warnings(others)),
    )


def _number(rank: int | None) -> int:
    return rank or 0


def _pairs(
    tensors: tuple[GgufTensor, ...],
) -> tuple[dict[str, dict[str, GgufTensor]], list[GgufTensor]]:
    """Return the factors of each module by its name, and the tensors that are no factor."""
    pairs: dict[str, dict[str, GgufTensor]] = {}
    others = []
    for tensor in tensors:
        name, _, suffix = tensor.name.rpartition(".")
        if suffix in (_DOWN, _UP) and name:
            pairs.setdefault(name, {})[suffix] = tensor
        else:
            others.append(tensor)
    return pairs, others


def _fault(name: str, pair: Mapping[str, GgufTensor]) -> Refusal | None:
    if len(pair) < _MATRIX:
        there, missing = (_DOWN, _UP) if _DOWN in pair else (_UP, _DOWN)
        return Refusal("half-pair", name, f"{there} without {missing}")
    if any(len(tensor.dimensions) != _MATRIX for tensor in pair.values()):
        return Refusal("misfit", name, "a factor is no matrix")
    if _rank(name, pair) is None:
        return Refusal("misfit", name, "lora_a and lora_b do not share a rank")
    return None


def _rank(name: str, pair: Mapping[str, GgufTensor]) -> int | None:
    if len(pair) < _MATRIX or any(len(item.dimensions) != _MATRIX for item in pair.values()):
        return None
    down, up = pair[_DOWN].dimensions, pair[_UP].dimensions
    if down[1] == up[0]:
        return down[1]
    return down[0] if name == _TURNED and down[0] == up[0] else None


def _type_refusals(header: GgufHeader, pairs: Mapping[str, object]) -> list[Refusal]:
    found = []
    if header.adapter_type != LORA:
        found.append(Refusal("metadata", "adapter.type", "is not lora, and no other type is known"))
    if not pairs:
        found.append(Refusal("misfit", "", "calls itself an adapter and holds no factors"))
    return found


def _claims(header: GgufHeader) -> tuple[Claim, ...]:
    note = "GGUF is kept as it is; shapes and pairs were checked, weights are not audited"
    found = [Claim("kind", ClaimStatus.UNVERIFIED, "general.type", note)]
    if header.architecture:
        said = "names an architecture, and no tensor was compared with it"
        found.append(Claim("family", ClaimStatus.UNVERIFIED, "general.architecture", said))
    if header.alpha is None:
        said = "no alpha in the file; llama.cpp then scales by 1"
        found.append(Claim("alpha", ClaimStatus.UNKNOWN, "adapter.lora.alpha", said))
    elif not math.isfinite(header.alpha):
        said = "is no finite number"
        found.append(Claim("alpha", ClaimStatus.UNKNOWN, "adapter.lora.alpha", said))
    return tuple(found)


def _alpha_warnings(alpha: float | None, ranks: tuple[int | None, ...]) -> tuple[str, ...]:
    if alpha is None:
        return ()
    most = max((rank for rank in ranks if rank is not None), default=0)
    checks = (
        ("alpha is not a finite number", not math.isfinite(alpha)),
        ("alpha is 0: llama.cpp then scales by 1", alpha == 0),
        ("alpha is negative", alpha < 0),
        (f"alpha is more than {_HUGE} times the rank", 0 < most * _HUGE < abs(alpha) < math.inf),
    )
    return tuple(words for words, holds in checks if holds)


def _other_warnings(others: list[GgufTensor]) -> tuple[str, ...]:
    if not others:
        return ()
    return (f"{len(others)} tensors are no factors, such as {others[0].name!a}",)
