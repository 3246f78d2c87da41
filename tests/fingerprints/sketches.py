"""Sketches without adapters: random values under numbered layers, combined as merges combine them."""

from __future__ import annotations

import numpy as np

from registry.fingerprints.sketch import K, Sketch, build_sketch

KEY_ID = b"key id 8"


def random_values(seed: int, layers: int = 40) -> np.ndarray:
    """Rank-one values of every layer, (layers, k, k): the hardest case for a null."""
    source = np.random.Generator(np.random.PCG64(seed))
    left, right = source.standard_normal((2, layers, K))
    return np.einsum("li,lj->lij", left, right) * 1e-3


def sketch_of(values: np.ndarray, first: int = 1, key_id: bytes = KEY_ID) -> Sketch:
    """The sketch of `values` under layers numbered from `first`."""
    return build_sketch(key_id, np.arange(first, first + len(values), dtype=np.uint64), values)


def random_sketch(seed: int, layers: int = 40) -> Sketch:
    """A sketch related to no other seed's."""
    return sketch_of(random_values(seed, layers))
