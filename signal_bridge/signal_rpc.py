"""JSON-RPC 2.0 with signal-cli over its unix socket: one JSON object a line, answers in any order.

What this client rests on (seen on the real daemon, signal-cli 0.13.19): a request whose client has
gone is still executed; a line that the daemon cannot parse is answered with a null id or by closing;
a client that does not read stalls the account. So every wait has a deadline, no answer means *unknown* and
never *failed*, and the reading thread does nothing that can block.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import struct
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, TypeAlias

from registry.errors import LorasealError
from registry.limits import SIGNAL_LINE_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

Value: TypeAlias = "str | int | float | bool | list[Value] | dict[str, Value] | None"

_READ_BYTES = 64 * 1024


class RpcError(LorasealError):
    """A call to signal-cli did not end in a result."""


class UnreachableError(RpcError):
    """Nothing was written: the daemon does not accept a connection."""


class NoAnswerError(RpcError):
    """The request was, or may have been, written and no answer came: it may still be executed."""


class FaultError(RpcError):
    """The daemon answered with an error.

    `text` and `data` are for deciding only: they may quote numbers, paths or the request itself, so
    they stand in no message of ours.
    """

    def __init__(self, method: str, code: int, text: str, data: Value) -> None:
        super().__init__(f"signal-cli answered {method} with error {code}")
        self.code = code
        self.text = text
        self.data = data


class SignalRpc:
    """One connection. After it breaks, every call raises `NoAnswerError`: make a new one.

    `on_notice` gets the params of each `receive` notification on the reading thread; it must neither block nor raise.
    """

    def __init__(
        self,
        path: Path,
        *,
        on_notice: Callable[[Mapping[str, Value]], None],
        connect_seconds: float,
    ) -> None:
        """Connect to the socket at `path`.

        Raises:
            UnreachableError: nobody listens there, or the path is no socket of ours to use.
        """
        self._on_notice = on_notice
        self._socket = _connect(path, connect_seconds)
        self._pending: dict[str, tuple[str, Future[Value]]] = {}
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._broken: str | None = None
        # Unique over restarts of ours: a late answer to an earlier process must match nothing.
        self._prefix = f"{os.getpid()}-{secrets.token_hex(4)}"
        self._count = 0
        self._reader = threading.Thread(target=self._read, name="signal-rpc", daemon=True)
        self._reader.start()

    @property
    def alive(self) -> bool:
        """Whether the connection still stands."""
        return self._broken is None

    def call(
        self, method: str, params: Mapping[str, Value] | None = None, *, deadline_s: float
    ) -> Value:
        """Return the result of one request.

        Raises:
            FaultError: the daemon answered with an error.
            NoAnswerError: the connection broke or the deadline passed; the request may be running.
        """
        identifier, answer = self._register(method)
        request = {"jsonrpc": "2.0", "method": method, "id": identifier, "params": params or {}}
        line = json.dumps(request, separators=(",", ":")).encode() + b"\n"
        try:
            with self._writing:
                self._socket.sendall(line)
        except OSError as error:
            self._break(f"writing to signal-cli failed: {error.strerror}")
        try:
            return answer.result(timeout=deadline_s)
        except TimeoutError as error:
            raise NoAnswerError(f"signal-cli did not answer {method} in time") from error
        finally:
            with self._lock:
                self._pending.pop(identifier, None)

    def close(self) -> None:
        """Close the connection; calls that wait get `NoAnswerError`."""
        self._break("the connection was closed")
        if threading.current_thread() is not self._reader:
            self._reader.join(timeout=5)

    def _register(self, method: str) -> tuple[str, Future[Value]]:
        answer: Future[Value] = Future()
        with self._lock:
            if self._broken is not None:
                raise NoAnswerError(self._broken)
            self._count += 1
            identifier = f"{self._prefix}-{self._count}"
            self._pending[identifier] = (method, answer)
        return identifier, answer

    def _read(self) -> None:
        buffer = bytearray()
        while self.alive:
            try:
                data = self._socket.recv(_READ_BYTES)
            except OSError as error:
                self._break(f"reading from signal-cli failed: {error.strerror}")
                return
            if not data:
                self._break("signal-cli closed the connection")
                return
            buffer += data
            if not self._take_lines(buffer):
                return

    def _take_lines(self, buffer: bytearray) -> bool:
        """Handle every whole line and leave the rest; False once the connection is broken."""
        while (end := buffer.find(b"\n")) >= 0:
            line = bytes(buffer[:end])
            del buffer[: end + 1]
            try:
                message = json.loads(line)
            except (ValueError, RecursionError):
                self._break("signal-cli sent a line that is not JSON")
                return False
            if isinstance(message, dict):
                self._take(message)
        if len(buffer) > SIGNAL_LINE_BYTES:
            # Without a bound a line without end would take all memory.
            self._break(f"signal-cli sent a line of more than {SIGNAL_LINE_BYTES} bytes")
            return False
        return self.alive

    def _take(self, message: dict[str, Value]) -> None:
        if message.get("method") == "receive":
            params = message.get("params")
            if isinstance(params, dict):
                self._on_notice(params)
            return
        identifier = message.get("id")
        if identifier is None:
            # It could not parse one of our lines, and does not say which: none is known any more.
            self._break("signal-cli could not read a request")
            return
        with self._lock:
            waiting = self._pending.pop(identifier, None) if isinstance(identifier, str) else None
        if waiting is not None:
            _settle(*waiting, message)

    def _break(self, reason: str) -> None:
        with self._lock:
            if self._broken is None:
                self._broken = reason
            waiting = [answer for _, answer in self._pending.values()]
            self._pending.clear()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for answer in waiting:
            answer.set_exception(NoAnswerError(reason))


def _settle(method: str, answer: Future[Value], message: dict[str, Value]) -> None:
    fault = message.get("error")
    if not isinstance(fault, dict):
        answer.set_result(message.get("result"))
        return
    code, text = fault.get("code"), fault.get("message")
    answer.set_exception(
        FaultError(
            method,
            code if isinstance(code, int) else 0,
            text if isinstance(text, str) else "",
            fault.get("data"),
        )
    )


def _connect(path: Path, seconds: float) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        connection.settimeout(seconds)
        connection.connect(str(path))
        # Blocking from here on: the reader waits for ever, a writer no longer than this.
        connection.settimeout(None)
        connection.setsockopt(
            socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("@ll", max(1, int(seconds)), 0)
        )
    except OSError as error:
        connection.close()
        raise UnreachableError(
            f"signal-cli's socket does not answer: {error.strerror or error}",
            hint="start the signal-cli daemon, then check the channel's `socket` setting",
        ) from error
    return connection
