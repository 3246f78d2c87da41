"""What every step works with, composed once by the service."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from daemon.custody.deliveries import DeliveryTerms, Rules
from daemon.routes import is_wished

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from daemon.custody.holder import Custody
    from daemon.engine import Outbox
    from daemon.settings import Settings
    from registry.audits.pool import AuditPool
    from registry.audits.runner import AuditWorker
    from registry.policy import Policy
    from registry.provenance.ledger import Ledger
    from signal_bridge.channel import Channel


@dataclass(frozen=True, slots=True)
class Workshop:
    """Settings, custody, jobs, audits, channels and the clock (an argument: tests bring their own)."""

    settings: Settings
    custody: Custody
    jobs: Outbox
    audits: AuditPool | AuditWorker
    policy: Policy
    channels: Mapping[str, Channel]
    clock: Callable[[], datetime]

    @property
    def ledger(self) -> Ledger:
        """The ledger that custody opened."""
        return self.custody.ledger

    def rules(self) -> Rules:
        """Return policy and routes: what custody takes from files, never from the database."""
        return Rules(self.policy, partial(is_wished, self.settings))

    def delivery_terms(self) -> DeliveryTerms:
        """Return until when a delivery made now is to be acknowledged, and its status list holds."""
        delivery = self.settings.delivery
        return DeliveryTerms(
            now=self.clock(),
            acknowledge_within=timedelta(hours=delivery.acknowledge_hours),
            status_valid_for=timedelta(days=delivery.status_valid_days),
            licence=self.settings.public.licence or "",
        )
