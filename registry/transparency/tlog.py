"""An append-only log over a store of complete subtrees: append, root, and both kinds of proof.

Node (level, index) is the hash over the leaves from `index << level` to `(index + 1) << level`. Only
complete subtrees are stored, so a stored node never changes; level 0 are leaf hashes. The ragged right
edge is computed. Nodes at levels that are multiples of 8 are the tiles of C2SP tlog-tiles.

The caller serialises appends (one transaction under a write lock) and keeps the size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from registry.transparency.merkle import EMPTY_ROOT, HASH_BYTES, node_hash

if TYPE_CHECKING:
    from collections.abc import Iterator


class NodeReader(Protocol):
    """What proofs need: the stored hash of a complete subtree."""

    def get(self, level: int, index: int) -> bytes:
        """Return the 32-byte hash of node (level, index).

        Raises:
            LookupError: there is no such node.
        """
        ...


class NodeStore(NodeReader, Protocol):
    """What appending needs besides; the ledger implements it over `reg_log_node`."""

    def put(self, level: int, index: int, node: bytes) -> None:
        """Store the hash of a subtree that has just become complete; it is never written twice."""
        ...


class MemoryNodeStore:
    """A log in memory, for verification of exports and as the model for other stores."""

    __slots__ = ("_nodes",)

    def __init__(self) -> None:
        self._nodes: dict[tuple[int, int], bytes] = {}

    def get(self, level: int, index: int) -> bytes:
        """Return the stored hash; `KeyError` if there is none."""
        return self._nodes[level, index]

    def put(self, level: int, index: int, node: bytes) -> None:
        """Store a hash.

        Raises:
            ValueError: the node is there already; a log never changes.
        """
        if (level, index) in self._nodes:
            raise ValueError(f"log node ({level}, {index}) is written twice")
        self._nodes[level, index] = node


def append(store: NodeStore, size: int, leaf: bytes) -> int:
    """Add the leaf hash `leaf` (32 bytes, from `merkle.leaf_hash`) to a log of `size`; return the new size.

    Writes one node, and one more for each subtree that the leaf completes: `1 + trailing ones(size)`.

    Raises:
        ValueError: `leaf` is not a hash, or `size` is negative.
    """
    if len(leaf) != HASH_BYTES or size < 0:
        raise ValueError(f"append needs a {HASH_BYTES}-byte leaf hash and a size")
    store.put(0, size, leaf)
    level, index, node = 0, size, leaf
    while index & 1:
        node = node_hash(store.get(level, index - 1), node)
        level, index = level + 1, index >> 1
        store.put(level, index, node)
    return size + 1


def root(store: NodeReader, size: int) -> bytes:
    """Return the root hash of the first `size` leaves; any earlier size may be asked for."""
    return EMPTY_ROOT if size == 0 else _range_hash(store, 0, size)


def inclusion_proof(store: NodeReader, index: int, size: int) -> tuple[bytes, ...]:
    """Return the hashes that lead from leaf `index` to the root of `size`, leaf's side first.

    Raises:
        ValueError: the index is outside the tree.
    """
    if not 0 <= index < size:
        raise ValueError(f"leaf index {index} is outside a tree of size {size}")
    return tuple(_path(store, index, 0, size))[::-1]


def consistency_proof(store: NodeReader, old: int, new: int) -> tuple[bytes, ...]:
    """Return the hashes that show size `new` to continue size `old` (RFC 6962 section 2.1.2).

    Raises:
        ValueError: `old` is greater than `new`, or negative.
    """
    if not 0 <= old <= new:
        raise ValueError(f"no consistency from size {old} to size {new}")
    if old in (0, new):
        return ()
    return tuple(_subproof(store, old, new))[::-1]


def _path(store: NodeReader, index: int, start: int, end: int) -> Iterator[bytes]:
    """Yield siblings from the root downwards, for leaf `index` among leaves start..end."""
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            yield _range_hash(store, middle, end)
            end = middle
        else:
            yield _range_hash(store, start, middle)
            start = middle


def _subproof(store: NodeReader, old: int, new: int) -> Iterator[bytes]:
    """Yield SUBPROOF of RFC 6962 section 2.1.2 from the root downwards."""
    start, end = 0, new
    while old != end:
        middle = start + _split(end - start)
        if old <= middle:
            yield _range_hash(store, middle, end)
            end = middle
        else:
            yield _range_hash(store, start, middle)
            start = middle
    # The old tree itself is known to the verifier; a subtree that only ends where it ends is not.
    if start:
        yield _range_hash(store, start, end)


def _range_hash(store: NodeReader, start: int, end: int) -> bytes:
    """Return the hash over leaves start..end, where start is a multiple of the range's width."""
    width = end - start
    if width & (width - 1) == 0:
        level = width.bit_length() - 1
        return store.get(level, start >> level)
    middle = start + _split(width)
    return node_hash(_range_hash(store, start, middle), _range_hash(store, middle, end))


def _split(width: int) -> int:
    """Return the largest power of two smaller than `width` (at least 2)."""
    return 1 << ((width - 1).bit_length() - 1)
