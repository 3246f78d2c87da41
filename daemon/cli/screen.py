"""What happens to each artifact, live: a table on a terminal, plain lines in a pipe.

It reads the ledger's events, which hold no personal data, and opens names for the person at the
terminal only.
"""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Self

from registry.errors import LorasealError
from registry.provenance.events import Event, EventQuery, recent_events
from registry.provenance.show import summarise

if TYPE_CHECKING:
    from types import TracebackType

    from rich.console import ConsoleRenderable
    from rich.table import Table

    from registry.provenance.ledger import Ledger

POLL_SECONDS = 0.25
_SHOWN_ROWS = 20


class Screen:
    """Follows the events of `ledger` from now on, in a thread of its own, on stderr.

    `above` is drawn over the table on a terminal: a progress bar, say.
    """

    def __init__(self, ledger: Ledger, *, above: ConsoleRenderable | None = None) -> None:
        self._ledger = ledger
        self._above = above
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="screen", daemon=True)
        self._names: dict[str, str] = {}
        self._last: dict[str, tuple[str, str]] = {}
        self._cursor = _newest(ledger)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    def start(self) -> None:
        """Begin to show."""
        self._thread.start()

    def _follow(self) -> None:
        if sys.stderr.isatty():
            self._show_table()
        else:
            self._show_lines()

    def _show_lines(self) -> None:
        stopping = False
        while not stopping:
            stopping = self._stop.wait(POLL_SECONDS)
            for event in self._new_events():
                sys.stderr.write(f"{event.at[11:19]}  {self._name(event):<34}  {_words(event)}\n")
            sys.stderr.flush()

    def _show_table(self) -> None:
        from rich.console import Console, Group
        from rich.live import Live

        console = Console(stderr=True)
        with Live(console=console, refresh_per_second=8, transient=False) as live:
            stopping = False
            while not stopping:
                stopping = self._stop.wait(POLL_SECONDS)
                for event in self._new_events():
                    self._last[self._name(event)] = (event.at[11:19], _words(event))
                table = self._table()
                live.update(table if self._above is None else Group(self._above, table))

    def _table(self) -> Table:
        from rich.table import Table

        table = Table(box=None, pad_edge=False)
        for title in ("time", "what", "how it stands"):
            table.add_column(title, overflow="fold")
        for name, (at, words) in list(self._last.items())[-_SHOWN_ROWS:]:
            table.add_row(at, name, words)
        return table

    def _new_events(self) -> tuple[Event, ...]:
        try:
            with self._ledger.reading() as reader:
                events = recent_events(reader, EventQuery(after=self._cursor, limit=500))
        except LorasealError:
            return ()
        if events:
            self._cursor = events[-1].id
        return events

    def _name(self, event: Event) -> str:
        if event.artifact_id is None:
            return "-"
        if event.artifact_id not in self._names:
            with self._ledger.reading() as reader:
                name = summarise(reader, event.artifact_id).name or "(sealed)"
            self._names[event.artifact_id] = f"{event.artifact_id[:8]} {name}"
        return self._names[event.artifact_id]


def _newest(ledger: Ledger) -> int:
    with ledger.reading() as reader:
        events = recent_events(reader, EventQuery(limit=1))
    return events[-1].id if events else 0


def _words(event: Event) -> str:
    return f"{event.kind}: {event.detail}" if event.detail else event.kind
