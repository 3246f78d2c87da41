from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.errors import VerificationError
from registry.limits import PROOF_HASHES
from registry.transparency.merkle import (
    EMPTY_ROOT,
    leaf_hash,
    node_hash,
    verify_consistency,
    verify_inclusion,
)

# The eight leaves, roots and paths that the reference implementation of RFC 6962 tests with.
LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    bytes.fromhex(text)
    for text in (
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    )
]
INCLUSION = {
    (0, 1): (),
    (0, 8): (
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ),
    (5, 8): (
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ),
    (2, 3): ("fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",),
}
CONSISTENCY = {
    (1, 8): INCLUSION[0, 8],
    (6, 8): (
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ),
    (4, 8): ("6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",),
}


def _bytes(proof: tuple[str, ...]) -> list[bytes]:
    return [bytes.fromhex(item) for item in proof]


@pytest.mark.parametrize(("index", "size"), [(-1, 8), (8, 8), (0, 0), (9, 8)])
def test_index_outside_the_tree_is_refused(index: int, size: int) -> None:
    with pytest.raises(VerificationError, match=f"leaf index {index} is outside"):
        verify_inclusion(leaf_hash(b""), index, size, [], root=ROOTS[1])


def test_another_leaf_root_index_or_size_is_refused() -> None:
    leaf, proof = leaf_hash(LEAVES[5]), _bytes(INCLUSION[5, 8])
    verify_inclusion(leaf, 5, 8, proof, root=ROOTS[8])
    for bad_leaf, index, size, root in (
        (leaf_hash(LEAVES[4]), 5, 8, ROOTS[8]),
        (leaf, 4, 8, ROOTS[8]),
        (leaf, 5, 6, ROOTS[8]),
        (leaf, 5, 16, ROOTS[8]),
        (leaf, 5, 8, ROOTS[7]),
    ):
        with pytest.raises(VerificationError):
            verify_inclusion(bad_leaf, index, size, proof, root=root)


def test_proof_of_another_length_is_refused() -> None:
    leaf, proof = leaf_hash(LEAVES[5]), _bytes(INCLUSION[5, 8])
    with pytest.raises(VerificationError, match="too short"):
        verify_inclusion(leaf, 5, 8, proof[:-1], root=ROOTS[8])
    with pytest.raises(VerificationError, match="too long"):
        verify_inclusion(leaf, 5, 8, [*proof, bytes(32)], root=ROOTS[8])
    with pytest.raises(VerificationError, match="more than"):
        verify_inclusion(leaf, 5, 8, [bytes(32)] * (PROOF_HASHES + 1), root=ROOTS[8])
    with pytest.raises(VerificationError, match="not 32 bytes"):
        verify_inclusion(leaf, 5, 8, [*proof[:-1], b""], root=ROOTS[8])


def test_an_inner_node_is_no_leaf() -> None:
    # Without the prefixes, the two children of a node could be shown as one leaf.
    inside = node_hash(leaf_hash(LEAVES[0]), leaf_hash(LEAVES[1]))
    assert inside == ROOTS[2]
    assert leaf_hash(leaf_hash(LEAVES[0]) + leaf_hash(LEAVES[1])) != inside


@pytest.mark.parametrize(
    ("old", "new", "proof", "old_root", "new_root", "why"),
    [
        (8, 6, [], ROOTS[8], ROOTS[6], "backwards"),
        (-1, 6, [], ROOTS[0], ROOTS[6], "backwards"),
        (8, 8, [], ROOTS[8], ROOTS[7], "two different roots for one log size 8"),
        (8, 8, [bytes(32)], ROOTS[8], ROOTS[8], "must be empty"),
        (0, 8, [bytes(32)], ROOTS[0], ROOTS[8], "must be empty"),
        (0, 8, [], ROOTS[1], ROOTS[8], "empty log"),
        (0, 0, [], ROOTS[1], ROOTS[1], "empty log"),
        (6, 8, [], ROOTS[6], ROOTS[8], "is empty"),
        (4, 8, [], ROOTS[4], ROOTS[8], "too short"),
        (6, 8, _bytes(CONSISTENCY[6, 8])[:-1], ROOTS[6], ROOTS[8], "too short"),
        (6, 8, [*_bytes(CONSISTENCY[6, 8]), bytes(32)], ROOTS[6], ROOTS[8], "too long"),
        (6, 8, _bytes(CONSISTENCY[6, 8]), ROOTS[5], ROOTS[8], "does not continue"),
        (6, 8, _bytes(CONSISTENCY[6, 8]), ROOTS[6], ROOTS[7], "does not continue"),
        (6, 8, [b"x"], ROOTS[6], ROOTS[8], "not 32 bytes"),
        (6, 8, [bytes(32)] * (PROOF_HASHES + 1), ROOTS[6], ROOTS[8], "more than"),
    ],
)
def test_log_that_was_rewritten_is_refused(
    old: int, new: int, proof: list[bytes], old_root: bytes, new_root: bytes, why: str
) -> None:
    with pytest.raises(VerificationError, match=why):
        verify_consistency(old, new, proof, old_root=old_root, new_root=new_root)


@settings(max_examples=200)
@given(
    st.integers(-2, 70),
    st.integers(-2, 70),
    st.lists(st.binary(min_size=32, max_size=32), max_size=9),
    st.binary(min_size=32, max_size=32),
)
def test_invented_proofs_raise_only_verification_error(
    first: int, size: int, proof: list[bytes], root: bytes
) -> None:
    with pytest.raises(VerificationError):
        verify_inclusion(leaf_hash(b"never"), first, size, proof, root=root)
    if first != size:
        with pytest.raises(VerificationError):
            verify_consistency(first, size, proof, old_root=leaf_hash(root), new_root=root)


def test_vectors_of_rfc_6962_hold() -> None:
    assert ROOTS[0] == EMPTY_ROOT
    for (index, size), proof in INCLUSION.items():
        verify_inclusion(leaf_hash(LEAVES[index]), index, size, _bytes(proof), root=ROOTS[size])
    for (old, new), proof in CONSISTENCY.items():
        verify_consistency(old, new, _bytes(proof), old_root=ROOTS[old], new_root=ROOTS[new])


def test_an_equal_or_empty_log_needs_no_proof() -> None:
    verify_consistency(0, 0, [], old_root=EMPTY_ROOT, new_root=EMPTY_ROOT)
    verify_consistency(0, 8, [], old_root=EMPTY_ROOT, new_root=ROOTS[8])
    verify_consistency(8, 8, [], old_root=ROOTS[8], new_root=ROOTS[8])
