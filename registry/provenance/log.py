"""The transparency log in SQL: leaves, subtree hashes and checkpoints.

Leaves and nodes are only ever inserted; triggers refuse anything else. One transaction appends at a
time: on SQLite by the write lock, on PostgreSQL by an advisory lock.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import bindparam, func, insert, select

from registry.errors import NotFoundError, VerificationError
from registry.provenance.models_log import CheckpointRow, LeafRow, NodeRow
from registry.provenance.moves import add_row, table_of
from registry.transparency import tlog
from registry.transparency.merkle import leaf_hash

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.orm import Session

    from registry.provenance.ledger import Reader, Transaction

_SEEN = "log-nodes"
_NEIGHBOURS = 32
# Made once: each took longer to build than SQLite takes to run it.
_NODES, _LEAVES = table_of(NodeRow), table_of(LeafRow)
_NEAR = select(_NODES.c.index, _NODES.c.hash).where(
    _NODES.c.level == bindparam("at"),
    _NODES.c.index.between(bindparam("first"), bindparam("last")),
)
_PUT_NODE, _PUT_LEAF = insert(_NODES), insert(_LEAVES)
_LAST = select(func.max(_LEAVES.c.index))
_APPEND_LOCK = 0x6C6F72617365616C  # "loraseal": any constant that no other lock here uses


class SqlNodeStore:
    """The subtree hashes of the log, as `registry.transparency.tlog` wants them.

    What was read or written in a transaction is kept to its end: a node never changes, and proofs of
    one log share most of theirs. Neighbours are read along, since they are what is asked for next.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        # With the session, not beyond: what a rolled back transaction wrote must not be remembered.
        self._blocks: dict[tuple[int, int], dict[int, bytes]] = session.info.setdefault(_SEEN, {})

    def get(self, level: int, index: int) -> bytes:
        """Return a node.

        Raises:
            VerificationError: it is missing, so rows were deleted.
        """
        node = self._find(level, index)
        if node is None:
            raise VerificationError(
                f"the log has no node {index} at level {level}",
                hint="rows were deleted by hand: restore a backup, then `loraseal fsck`",
            )
        return node

    def put(self, level: int, index: int, node: bytes) -> None:
        """Keep a node; the same again is nothing new.

        Raises:
            VerificationError: another hash stands there.
        """
        known = self._find(level, index)
        if known is None:
            self.session.execute(_PUT_NODE, {"level": level, "index": index, "hash": node})
            self._block(level, index)[index] = node
        elif known != node:
            raise VerificationError(f"node {index} at level {level} of the log already has a hash")

    def _find(self, level: int, index: int) -> bytes | None:
        return self._block(level, index).get(index)

    def _block(self, level: int, index: int) -> dict[int, bytes]:
        first = index - index % _NEIGHBOURS
        if (level, first) not in self._blocks:
            wanted = {"at": level, "first": first, "last": first + _NEIGHBOURS - 1}
            rows = self.session.execute(_NEAR, wanted)
            self._blocks[level, first] = {int(number): node for number, node in rows}
        return self._blocks[level, first]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A signed tree head: `note` is the C2SP signed note over `size` and `root`."""

    size: int
    root: bytes
    note: bytes
    at: datetime


def append_leaf(tx: Transaction, data: bytes, now: datetime) -> int:
    """Append a leaf and return its index. `data` is shown to anyone: a salted commitment."""
    if tx.session.get_bind().dialect.name == "postgresql":
        tx.session.execute(select(func.pg_advisory_xact_lock(_APPEND_LOCK)))
    size = log_size(tx)
    tx.session.execute(_PUT_LEAF, {"index": size, "data": data, "at": now})
    tlog.append(SqlNodeStore(tx.session), size, leaf_hash(data))
    return size


def log_size(reader: Reader) -> int:
    """Return the number of leaves."""
    last: int | None = reader.session.scalar(_LAST)
    return 0 if last is None else last + 1


def log_root(reader: Reader, size: int) -> bytes:
    """Return the root hash of the first `size` leaves."""
    return tlog.root(node_store(reader), size)


def leaf_data(reader: Reader, index: int) -> bytes:
    """Return the data of a leaf.

    Raises:
        NotFoundError: the log is not that long.
    """
    row = reader.session.get(LeafRow, index)
    if row is None:
        raise NotFoundError(f"leaf index {index} is outside tree of size {log_size(reader)}")
    return row.data


def node_store(reader: Reader) -> SqlNodeStore:
    """Return the node store, for proofs: `tlog.inclusion_proof(node_store(tx), index, size)`."""
    return SqlNodeStore(reader.session)


def save_checkpoint(tx: Transaction, new: Checkpoint) -> None:
    """Keep a signed tree head; the first note of a size stays.

    Raises:
        VerificationError: it does not match the log, or another root was signed for this size.
    """
    if new.size > log_size(tx) or log_root(tx, new.size) != new.root:
        raise VerificationError(
            f"checkpoint of size {new.size} has root {new.root.hex()[:16]}, which is not the log's"
        )
    known = tx.session.get(CheckpointRow, new.size)
    if known is None:
        add_row(tx, CheckpointRow(size=new.size, root=new.root, note=new.note, at=new.at))
    elif known.root != new.root:
        raise VerificationError(
            f"size {new.size} was signed with roots {known.root.hex()[:16]} and {new.root.hex()[:16]}"
        )


def latest_checkpoint(reader: Reader) -> Checkpoint | None:
    """Return the signed tree head of the largest size, None before the first."""
    row = reader.session.scalar(select(CheckpointRow).order_by(CheckpointRow.size.desc()).limit(1))
    return None if row is None else Checkpoint(row.size, row.root, row.note, row.at)
