"""How many artifacts there are, kept as they come: counting a million rows takes too long."""

from __future__ import annotations

from typing import TYPE_CHECKING

from registry.provenance.models import MetaRow
from registry.provenance.moves import add_row

if TYPE_CHECKING:
    from registry.provenance.ledger import Reader, Transaction

_ARTIFACT_COUNT = "count/artifacts"


def artifact_count(reader: Reader) -> int:
    """Return how many artifacts were ever added; none is ever taken away."""
    row = reader.session.get(MetaRow, _ARTIFACT_COUNT)
    return 0 if row is None else int(row.value)


def count_artifact(tx: Transaction) -> None:
    """Count one more artifact; in the transaction that adds it."""
    row = tx.session.get(MetaRow, _ARTIFACT_COUNT)
    if row is None:
        add_row(tx, MetaRow(key=_ARTIFACT_COUNT, value=b"1"))
        return
    row.value = b"%d" % (int(row.value) + 1)
    tx.session.flush()
