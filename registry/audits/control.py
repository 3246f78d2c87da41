"""Messages between the daemon and its audit worker: one JSON object and a few descriptors each.

A sequenced-packet socket pair keeps message borders. The worker never looks at a payload, so its
words are trusted; the child's are not, and they come over a pipe of their own.
"""

from __future__ import annotations

import json
import socket
from typing import TypeAlias, cast

from registry.errors import LorasealError

MESSAGE_BYTES = 64 * 1024
_DESCRIPTORS = 4

Message: TypeAlias = "dict[str, str | int | float | list[str] | dict[str, str]]"


class WorkerGoneError(LorasealError):
    """The worker closed its end: it died, or is being closed."""


def send_message(
    channel: socket.socket, message: Message, descriptors: tuple[int, ...] = ()
) -> None:
    """Send `message`; the receiver gets duplicates of `descriptors`.

    Raises:
        WorkerGoneError: nobody is at the other end.
    """
    data = json.dumps(message, separators=(",", ":")).encode("utf-8")
    try:
        if descriptors:
            socket.send_fds(channel, [data], list(descriptors))
        else:
            channel.send(data)
    except (BrokenPipeError, ConnectionError) as error:
        raise WorkerGoneError("the audit worker is gone") from error


def receive_message(channel: socket.socket) -> tuple[Message, list[int]]:
    """Return the next message and its descriptors, which the caller closes.

    Raises:
        WorkerGoneError: nobody is at the other end.
        TimeoutError: the socket has a timeout and it passed.
    """
    try:
        data, descriptors, _, _ = socket.recv_fds(channel, MESSAGE_BYTES, _DESCRIPTORS)
    except ConnectionError as error:
        raise WorkerGoneError("the audit worker is gone") from error
    if not data:
        raise WorkerGoneError("the audit worker is gone")
    return cast("Message", json.loads(data)), descriptors
