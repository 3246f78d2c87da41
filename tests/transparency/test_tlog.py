from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.errors import VerificationError
from registry.transparency.merkle import (
    EMPTY_ROOT,
    leaf_hash,
    node_hash,
    verify_consistency,
    verify_inclusion,
)
from registry.transparency.tlog import (
    MemoryNodeStore,
    append,
    consistency_proof,
    inclusion_proof,
    root,
)

SIZE = 66
HASHES = [leaf_hash(b"leaf %d" % number) for number in range(SIZE)]


class CountingStore(MemoryNodeStore):
    """Counts the nodes written, so that a test can hold the cost of an append."""

    __slots__ = ("writes",)

    def __init__(self) -> None:
        super().__init__()
        self.writes = 0

    def put(self, level: int, index: int, node: bytes) -> None:
        self.writes += 1
        super().put(level, index, node)


def _log(hashes: list[bytes]) -> MemoryNodeStore:
    store = MemoryNodeStore()
    for size, leaf in enumerate(hashes):
        assert append(store, size, leaf) == size + 1
    return store


def _tree_head(hashes: list[bytes]) -> bytes:
    """MTH of RFC 6962 section 2.1, written as it stands there."""
    if not hashes:
        return hashlib.sha256(b"").digest()
    if len(hashes) == 1:
        return hashes[0]
    split = 1
    while split * 2 < len(hashes):
        split *= 2
    return node_hash(_tree_head(hashes[:split]), _tree_head(hashes[split:]))


LOG = _log(HASHES)
ROOTS = [_tree_head(HASHES[:size]) for size in range(SIZE + 1)]


def test_a_node_is_never_written_twice() -> None:
    store = _log(HASHES[:3])
    with pytest.raises(ValueError, match="written twice"):
        append(store, 2, HASHES[5])


@pytest.mark.parametrize(("size", "leaf"), [(0, b""), (0, bytes(31)), (-1, bytes(32))])
def test_append_of_what_is_no_leaf_hash_is_refused(size: int, leaf: bytes) -> None:
    with pytest.raises(ValueError, match="leaf hash"):
        append(MemoryNodeStore(), size, leaf)


@pytest.mark.parametrize(("index", "size"), [(-1, 5), (5, 5), (0, 0)])
def test_inclusion_outside_the_tree_is_refused(index: int, size: int) -> None:
    with pytest.raises(ValueError, match="outside"):
        inclusion_proof(LOG, index, size)


@pytest.mark.parametrize(("old", "new"), [(-1, 5), (6, 5)])
def test_consistency_backwards_is_refused(old: int, new: int) -> None:
    with pytest.raises(ValueError, match="no consistency"):
        consistency_proof(LOG, old, new)


def test_a_missing_node_is_an_error_and_never_a_guess() -> None:
    with pytest.raises(LookupError):
        root(LOG, SIZE + 1)
    with pytest.raises(LookupError):
        inclusion_proof(LOG, 0, SIZE + 1)


def test_one_changed_leaf_makes_every_later_root_inconsistent() -> None:
    changed = _log([*HASHES[:20], leaf_hash(b"other"), *HASHES[21:]])
    for old in range(21, 40):
        proof = consistency_proof(changed, old, 60)
        with pytest.raises(VerificationError):
            verify_consistency(old, 60, proof, old_root=root(LOG, old), new_root=root(changed, 60))


def test_all_roots_are_those_of_the_definition() -> None:
    assert root(MemoryNodeStore(), 0) == EMPTY_ROOT
    assert [root(LOG, size) for size in range(SIZE + 1)] == ROOTS


def test_all_inclusion_proofs_up_to_66_hold_and_fit_no_other_leaf() -> None:
    for size in range(1, SIZE + 1):
        for index in range(size):
            proof = inclusion_proof(LOG, index, size)
            verify_inclusion(HASHES[index], index, size, proof, root=ROOTS[size])
            other = (index + 1) % size
            if other != index:
                with pytest.raises(VerificationError):
                    verify_inclusion(HASHES[index], other, size, proof, root=ROOTS[size])
                with pytest.raises(VerificationError):
                    verify_inclusion(HASHES[other], index, size, proof, root=ROOTS[size])


def test_all_consistency_proofs_up_to_66_hold_and_fit_no_other_size() -> None:
    for new in range(SIZE + 1):
        for old in range(new + 1):
            proof = consistency_proof(LOG, old, new)
            verify_consistency(old, new, proof, old_root=ROOTS[old], new_root=ROOTS[new])
            if 0 < old < new:
                with pytest.raises(VerificationError):
                    verify_consistency(
                        old, new, proof, old_root=ROOTS[old - 1], new_root=ROOTS[new]
                    )


def test_an_append_writes_one_node_and_one_for_each_subtree_completed() -> None:
    store = CountingStore()
    for size in range(SIZE):
        before = store.writes
        append(store, size, HASHES[size])
        trailing_ones = (~size & (size + 1)).bit_length() - 1
        assert store.writes - before == 1 + trailing_ones


@settings(max_examples=50)
@given(st.integers(1, 300), st.data())
def test_proofs_hold_at_any_size(size: int, data: st.DataObject) -> None:
    hashes = [leaf_hash(number.to_bytes(2, "big")) for number in range(size)]
    store = _log(hashes)
    index = data.draw(st.integers(0, size - 1))
    old = data.draw(st.integers(0, size))
    head = root(store, size)
    verify_inclusion(hashes[index], index, size, inclusion_proof(store, index, size), root=head)
    proof = consistency_proof(store, old, size)
    verify_consistency(old, size, proof, old_root=root(store, old), new_root=head)
