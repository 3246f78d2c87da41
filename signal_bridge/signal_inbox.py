"""From the reading thread to the journal: a queue and one thread, so that reading never waits for a disk.

signal-cli hands each message to its readers once and forgets it, so what concerns us is journaled as soon
as it is read, whether or not anybody asks for events.
"""

from __future__ import annotations

import logging
import re
import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING, assert_never

from registry.errors import FormatError
from registry.limits import RECEIPT_BYTES
from signal_bridge.channel import Address
from signal_bridge.plain_files import open_plain, read_small
from signal_bridge.signal_notices import (
    ForeignMessage,
    IdentityAlarm,
    MessageHint,
    Notice,
    ReceiptFile,
    ReceiptText,
    read_notice,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from signal_bridge.book import Book
    from signal_bridge.settings import SignalSettings
    from signal_bridge.signal_rpc import Value

log = logging.getLogger(__name__)

_FILE_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}")
_FLUSH_SECONDS = 30


class SignalInbox:
    """Takes notifications and journals what comes from contacts that something was offered to."""

    def __init__(self, book: Book, settings: SignalSettings) -> None:
        self._book = book
        self._attachments = settings.attachments
        self._account = settings.account
        self._alarmed: set[str] = set()
        self._queue: SimpleQueue[Notice | threading.Event | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="signal-inbox", daemon=True)
        self._thread.start()

    def put(self, params: Mapping[str, Value]) -> None:
        """Take the params of one notification; returns at once."""
        for notice in read_notice(params, account=self._account):
            self._queue.put(notice)

    def flush(self) -> bool:
        """Wait until all that was put so far is journaled; False if that is not so in time."""
        done = threading.Event()
        self._queue.put(done)
        return done.wait(_FLUSH_SECONDS)

    def close(self) -> None:
        """Journal what is left, then stop."""
        self._queue.put(None)
        self._thread.join(timeout=_FLUSH_SECONDS)

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            if isinstance(item, threading.Event):
                item.set()
                continue
            try:
                self._take(item)
            except (OSError, FormatError) as error:
                # A hint that is lost costs a wait; a dead inbox would cost every receipt after it.
                log.error("notice not journaled", extra={"error": type(error).__name__})

    def _take(self, notice: Notice) -> None:
        contact = Address("signal", notice.contact.lower())
        if not self._book.knows(contact):
            return
        match notice:
            case MessageHint():
                for timestamp in notice.timestamps:
                    self._book.hint(notice.kind, contact, str(timestamp))
            case ForeignMessage():
                self._book.foreign(contact, str(notice.timestamp))
            case IdentityAlarm():
                self._alarm(notice.contact)
            case ReceiptText():
                self._book.receipt(notice.sealed)
            case ReceiptFile():
                self._take_file(notice.identifier)
            case _:
                assert_never(notice)

    def _alarm(self, contact: str) -> None:
        # Once per contact and process: every message under a new key would repeat it.
        if contact not in self._alarmed:
            self._alarmed.add(contact)
            self._book.attention("a contact writes under an identity key that is not trusted")

    def _take_file(self, identifier: str) -> None:
        sealed = None if self._attachments is None else _read(self._attachments, identifier)
        if sealed is None:
            self._book.attention(
                "a receipt came as an attachment that cannot be read: set the channel's `attachments`, "
                "start signal-cli without --ignore-attachments, or import the file by hand"
            )
        else:
            self._book.receipt(sealed)


def _read(directory: Path, identifier: str) -> bytes | None:
    # The name's ending is the sender's choice: nothing of it may lead out of the directory.
    if not _FILE_NAME.fullmatch(identifier):
        return None
    try:
        with open_plain(directory / identifier) as descriptor:
            return read_small(descriptor, max_bytes=RECEIPT_BYTES)
    except OSError:
        return None
