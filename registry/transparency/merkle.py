"""The hash tree of RFC 6962 section 2.1: hashes, and proofs judged from nothing but their bytes.

Generating proofs needs the tree and lives in `tlog`. Verification follows RFC 9162 sections 2.1.3.2 and
2.1.4.2. Hashes are 32 raw bytes of SHA-256; proofs are listed from the leaf's side to the root.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING

from registry.errors import VerificationError
from registry.limits import PROOF_HASHES

if TYPE_CHECKING:
    from collections.abc import Sequence

HASH_BYTES = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()


def leaf_hash(leaf: bytes) -> bytes:
    """Return the hash of a leaf's bytes."""
    # The prefix keeps a leaf from being shown as an inner node (second preimage).
    return hashlib.sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node over its two children."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def verify_inclusion(
    leaf: bytes, index: int, size: int, proof: Sequence[bytes], *, root: bytes
) -> None:
    """Return if the leaf with hash `leaf` is number `index` of the tree with `size` and `root`.

    Size and root must come from one signed checkpoint: a proof alone fits some other sizes too.

    Raises:
        VerificationError: it is not; the index is outside; the proof is too short or too long.
    """
    if not 0 <= index < size:
        raise VerificationError(f"leaf index {index} is outside a tree of size {size}")
    _check_proof((leaf, root, *proof), proof)
    position, last, node = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            raise VerificationError(f"inclusion proof of leaf {index} in {size} is too long")
        if position & 1 or position == last:
            node = node_hash(sibling, node)
            # On the right edge, skip the levels at which this node has no sibling.
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            node = node_hash(node, sibling)
        position, last = position >> 1, last >> 1
    if last:
        raise VerificationError(f"inclusion proof of leaf {index} in {size} is too short")
    _expect(node, root, f"inclusion proof of leaf {index} does not lead to the root of size {size}")


def verify_consistency(
    old_size: int, new_size: int, proof: Sequence[bytes], *, old_root: bytes, new_root: bytes
) -> None:
    """Return if the tree of `new_size` begins with all leaves of the tree of `old_size`.

    Sizes may be equal, and the old one zero; then the proof is empty.

    Raises:
        VerificationError: history was changed, sizes run backwards, proof of the wrong length.
    """
    if not 0 <= old_size <= new_size:
        raise VerificationError(f"log went backwards, from size {old_size} to {new_size}")
    _check_proof((old_root, new_root, *proof), proof)
    if old_size in (0, new_size):
        _trivial(old_size, new_size, proof, old_root=old_root, new_root=new_root)
        return
    # An old tree that is one complete subtree is itself the first node of the path.
    path = list(proof) if old_size & (old_size - 1) else [old_root, *proof]
    if not path:
        raise VerificationError(f"consistency proof from {old_size} to {new_size} is empty")
    old, new = _fold(old_size - 1, new_size - 1, path)
    message = f"log of size {new_size} does not continue the one of size {old_size}"
    _expect(old, old_root, message)
    _expect(new, new_root, message)


def _trivial(
    old_size: int, new_size: int, proof: Sequence[bytes], *, old_root: bytes, new_root: bytes
) -> None:
    if proof:
        raise VerificationError(f"consistency proof from {old_size} to {new_size} must be empty")
    if old_size == new_size:
        _expect(old_root, new_root, f"two different roots for one log size {new_size}")
    if old_size == 0:
        _expect(old_root, EMPTY_ROOT, "root of the empty log is not the sha256 of nothing")


def _fold(position: int, last: int, path: list[bytes]) -> tuple[bytes, bytes]:
    """Return the two roots that the path leads to (RFC 9162 section 2.1.4.2, steps 4 to 6)."""
    while position & 1:
        position, last = position >> 1, last >> 1
    old = new = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise VerificationError("consistency proof is too long")
        if position & 1 or position == last:
            old, new = node_hash(sibling, old), node_hash(sibling, new)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            new = node_hash(new, sibling)
        position, last = position >> 1, last >> 1
    if last:
        raise VerificationError("consistency proof is too short")
    return old, new


def _check_proof(hashes: Sequence[bytes], proof: Sequence[bytes]) -> None:
    if len(proof) > PROOF_HASHES:
        raise VerificationError(f"proof has {len(proof)} hashes, more than {PROOF_HASHES}")
    if any(len(item) != HASH_BYTES for item in hashes):
        raise VerificationError(f"proof, leaf or root holds a hash that is not {HASH_BYTES} bytes")


def _expect(found: bytes, expected: bytes, message: str) -> None:
    if not hmac.compare_digest(found, expected):
        raise VerificationError(
            message, hint="the log or the proof was changed: keep both and ask the registry"
        )
