"""Who ordered a delivery: a route of the settings, or an operator's signed order. A row alone orders nothing.

Without this, who writes the database could point a released artifact at another enrolled recipient.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from daemon.custody.holder import About, log_statement
from registry.errors import DeniedError
from registry.formats.keyset import KeyRole
from registry.formats.moments import to_text
from registry.formats.predicates.order import Order
from registry.provenance.statements import statements_of
from registry.verify.signed import verify_statement

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from daemon.custody.holder import Custody
    from daemon.keyring import Keyring
    from registry.provenance.deliveries import Delivery, NewDelivery
    from registry.provenance.ledger import Reader, Transaction
    from registry.sealing.signing import SigningKey
    from registry.verify.chain import ApprovedDelivery

    Wished = Callable[[Keyring, ApprovedDelivery, str], bool]


def record_order(tx: Transaction, wanted: NewDelivery, operator: SigningKey, now: datetime) -> None:
    """Sign and log that `wanted` is to be delivered."""
    order = Order(
        artifact_id=wanted.artifact_id,
        recipient_id=wanted.recipient_id,
        channel=wanted.channel,
        ordinal=wanted.ordinal,
        at=to_text(now),
    )
    about = About(artifact_id=wanted.artifact_id, recipient_id=wanted.recipient_id)
    log_statement(tx, order, operator, about)


def require_order(
    custody: Custody,
    reader: Reader,
    planned: tuple[Delivery, ApprovedDelivery],
    wished: Wished,
) -> None:
    """Return if the settings' routes wish what was approved, or an operator ordered it.

    Raises:
        DeniedError: neither did.
        SignatureError: an order that no operator signed; it is not skipped, someone planted it.
    """
    delivery, approved = planned
    if delivery.ordinal == 1 and wished(custody.keyring, approved, delivery.channel):
        return
    wanted = (delivery.artifact_id, delivery.recipient_id, delivery.channel, delivery.ordinal)
    keyset = custody.keyring.keyset
    for row in statements_of(reader, delivery.artifact_id):
        if row.kind != Order.TYPE:
            continue
        order = verify_statement(row.envelope, Order, keyset, (KeyRole.OPERATOR,)).predicate
        if (order.artifact_id, order.recipient_id, order.channel, order.ordinal) == wanted:
            return
    raise DeniedError(
        "no route of the settings and no signed order sends this artifact to this recipient",
        hint="order it: loraseal deliver ID --to NAME --by CHANNEL; if you did not plan it, "
        "the database was changed by hand: run loraseal fsck",
    )
