"""Which rows of a fused weight belong to which of the layers stacked in it.

A cut answers from the widths of the weight alone, and with None where they do not allow it: then the module
stays whole under its own name. Layouts that interleave heads (`query_key_value` of GPT-NeoX, BLOOM
and Falcon, `wqkv` of InternLM2, MiniMax' own shards) are no ranges of rows, so nothing here cuts them.
"""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

# Lengths of the stacked layers, first rows first, from the outputs and inputs of the whole.
Cut: TypeAlias = "Callable[[int, int], tuple[int, ...] | None]"

_THREE = 3


def thirds(outputs: int, _inputs: int) -> tuple[int, ...] | None:
    """Queries, keys and values of one width each."""
    return (outputs // _THREE,) * _THREE if outputs % _THREE == 0 else None


def square_thirds(outputs: int, inputs: int) -> tuple[int, ...] | None:
    """Queries, keys and values as wide as the input."""
    return (inputs,) * _THREE if outputs == _THREE * inputs else None


def halves(outputs: int, _inputs: int) -> tuple[int, ...] | None:
    """Two layers of one width each."""
    return (outputs // 2,) * 2 if outputs % 2 == 0 else None


def shift_and_scale(outputs: int, inputs: int) -> tuple[int, ...] | None:
    """Two layers as wide as the input; other modulations have more of them and are not cut."""
    return (inputs, inputs) if outputs == 2 * inputs else None


def grouped(outputs: int, inputs: int) -> tuple[int, ...] | None:
    """Queries as wide as the input, then keys and values, which may be narrower (shared by heads)."""
    shared, odd = divmod(outputs - inputs, 2)
    return None if odd or not 0 < shared <= inputs else (inputs, shared, shared)


def attention_and_mlp(outputs: int, inputs: int) -> tuple[int, ...] | None:
    """Queries, keys and values as wide as the input, and the first layer of the MLP."""
    rest = outputs - _THREE * inputs
    return None if rest <= 0 else (inputs, inputs, inputs, rest)


def ranges_of(cut: Cut, outputs: int | None, inputs: int | None) -> tuple[range, ...] | None:
    """Return the rows of each stacked layer, None where the widths are unknown or do not allow it."""
    lengths = cut(outputs, inputs or 0) if outputs else None
    if lengths is None or 0 in lengths:
        return None
    ends = list(accumulate(lengths))
    return tuple(range(end - length, end) for end, length in zip(ends, lengths, strict=True))
