"""How the daemon stands, as events and heartbeats say it: watched folders, what stopped.

Neither holds a path, which is personal data: a folder is the number that it has in the settings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from daemon.jobs import AUDIT, DECIDE, DELIVER, INTAKE, MARK, RENDER
from daemon.watcher import Presence
from registry.provenance.artifacts import explain_artifact
from registry.provenance.candidates import explain_candidate
from registry.provenance.deliveries import get_delivery
from registry.provenance.events import EventQuery, NewEvent, note_event, recent_events
from registry.provenance.marks import explain_marks
from registry.provenance.renditions import explain_order
from registry.provenance.states import DeliveryState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from daemon.pipeline.workshop import Workshop
    from registry.provenance.ledger import Ledger, Reader, Transaction

DAEMON = "daemon"
_EVENTS = 10_000
_STOPPED = {
    f"delivery {state.value}": state for state in (DeliveryState.FAILED, DeliveryState.WAITING)
}
_UNMADE = frozenset({"rendition impossible", "marked copy impossible"})
_EXPLAIN: dict[str, Callable[[Transaction, str, str], None]] = {
    INTAKE: explain_candidate,
    RENDER: explain_order,
    MARK: explain_marks,
    AUDIT: explain_artifact,
    DECIDE: explain_artifact,
}


def say_why(shop: Workshop, job: str, argument: str, reason: str) -> None:
    """Keep for `status` what keeps a candidate, artifact or order where it is; its next move clears it."""
    explain = _EXPLAIN.get(job)
    if explain is not None:
        with shop.ledger.transaction() as tx:
            explain(tx, argument, reason)


def watch_executor(number: int) -> str:
    """Return under which name the thread of watched folder `number` (from 1) beats."""
    return f"watch {number}"


class Teller:
    """Notes an event whenever watched folder `number` stands otherwise than before."""

    def __init__(self, shop: Workshop, number: int) -> None:
        self._shop = shop
        self._number = number
        self._last = Presence.THERE.value

    def __call__(self, standing: str) -> None:
        """Say how the folder stands: a presence, or `broke`."""
        if standing == self._last:
            return
        detail = f"folder {self._number} of the settings"
        with self._shop.ledger.transaction() as tx:
            note_event(tx, NewEvent(f"watch {standing}", self._shop.clock(), detail=detail))
        self._last = standing


def newest_event(ledger: Ledger) -> int:
    """Return the number of the newest event, 0 when there is none."""
    with ledger.reading() as reader:
        events = recent_events(reader, EventQuery(limit=1))
    return events[-1].id if events else 0


def stopped_deliveries(shop: Workshop, since: int, later: frozenset[str]) -> list[str]:
    """Name the deliveries that failed after event `since`, those of `later` that wait, and what could not be made."""
    prefix = f"{DELIVER}:"
    waiting = [item.removeprefix(prefix) for item in sorted(later) if item.startswith(prefix)]
    with shop.ledger.reading() as reader:
        stopped = [*dict.fromkeys(_stopped_since(reader, since)), *waiting]
        rows = [get_delivery(reader, delivery_id) for delivery_id in stopped]
        unmade = [
            f"{event.kind}: artifact {(event.artifact_id or '')[:12]}, {event.detail}"
            for event in recent_events(reader, EventQuery(after=since, limit=_EVENTS))
            if event.kind in _UNMADE
        ]
    said = [f"delivery {row.id[:12]} {row.state.value}: {row.reason or 'waits'}" for row in rows]
    return [*said, *unmade]


def _stopped_since(reader: Reader, since: int) -> Iterator[str]:
    for event in recent_events(reader, EventQuery(after=since, limit=_EVENTS)):
        state = _STOPPED.get(event.kind)
        if state is None or event.delivery_id is None:
            continue
        if get_delivery(reader, event.delivery_id).state is state:
            yield event.delivery_id
