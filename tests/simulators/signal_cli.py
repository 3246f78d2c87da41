"""A signal-cli daemon on a real unix socket that answers as the recorded transcripts of the real one do.

    with SignalSimulator(tmp_path / "socket", world=World()) as simulator: ...

It is one account, started with `-a` and `--receive-mode=manual`. `World` is what lies behind it:
contacts with identity keys, what was really delivered, what waits to be received, scripted faults. Each
request runs in a thread of its own, so answers come in any order; it goes on when its client has gone.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import threading
from pathlib import Path
from typing import Any, Self

from tests.simulators.signal_methods import Call, FaultAnswerError, answer
from tests.simulators.signal_world import Contact, Cut, Script, World

STRING_CHARS = 20_000_000
DEPTH = 1000
WAIT_SECONDS = 30
_ABSENT = object()
_TOP_LEVEL = ("method", "id", "jsonrpc", "params")
_REQUEST = "org.asamk.signal.jsonrpc.JsonRpcRequest"
_AT = "\n at [Source: UNKNOWN; byte offset: #UNKNOWN]"
_AT_REDACTED = (
    "\n at [Source: REDACTED (`StreamReadFeature.INCLUDE_SOURCE_IN_LOCATION` disabled); "
    "line: 1, column: {}]"
)


class SignalSimulator:
    """Serves `world` on the socket `path`; `stop` and `start` again to restart the daemon."""

    def __init__(self, path: Path, *, world: World | None = None) -> None:
        self.path = path
        self.world = world or World()
        self._server: socket.socket | None = None
        self._peers: set[_Peer] = set()
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Bind and serve; a stale socket file of a killed daemon is an error, as for the real one."""
        self._server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._server.bind(str(self.path))
        self._server.listen(16)
        threading.Thread(target=self._accept, args=(self._server,), daemon=True).start()

    def kill(self) -> None:
        """Go away at once and leave the socket file behind, as after SIGKILL."""
        server, self._server = self._server, None
        if server is not None:
            with contextlib.suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)
            server.close()
        with self._lock:
            peers, self._peers = self._peers, set()
        for peer in peers:
            peer.close()

    def stop(self) -> None:
        """Go away and take the socket file along."""
        self.kill()
        self.path.unlink(missing_ok=True)

    def push(self, notice: dict[str, Any]) -> None:
        """Let something come in: to every subscription, or it waits on the server for one."""
        self.world.waiting.append(notice)
        self._hand_out()

    def receive_receipt(self, contact: Contact, stamps: list[int], kind: str = "delivery") -> None:
        """Let a delivery, read or viewed receipt come in."""
        when = self.world.timestamp() + 1000
        self.push(self.world.receipt_of(contact, stamps, when=when, kind=kind))

    def receive_text(self, contact: Contact, text: str) -> None:
        """Let a text message come in."""
        stamp = self.world.timestamp()
        body = {"timestamp": stamp, "message": text, "expiresInSeconds": 0, "viewOnce": False}
        self.push(self.world.envelope(contact, stamp, dataMessage=body))

    def receive_file(self, contact: Contact, name: str, data: bytes | None) -> None:
        """Let an attachment come in; `data` None is a download that failed, which nobody is told."""
        stamp = self.world.timestamp()
        identifier = f"in{stamp}.{name.rpartition('.')[2]}"
        if data is not None:
            assert self.world.attachments is not None
            (self.world.attachments / identifier).write_bytes(data)
        attached = {
            "contentType": "application/octet-stream",
            "filename": name,
            "id": identifier,
            "size": None if data is None else len(data),
            "width": None,
            "height": None,
            "caption": None,
            "uploadTimestamp": stamp,
        }
        body = {"timestamp": stamp, "message": None, "expiresInSeconds": 0, "viewOnce": False}
        self.push(
            self.world.envelope(contact, stamp, dataMessage=body | {"attachments": [attached]})
        )

    def _accept(self, server: socket.socket) -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            peer = _Peer(self, connection)
            with self._lock:
                self._peers.add(peer)
            threading.Thread(target=peer.read, daemon=True).start()

    def _hand_out(self) -> None:
        with self._lock:
            peers = [
                (peer, number) for peer in self._peers for number in sorted(peer.subscriptions)
            ]
        if not peers:
            return
        with self.world.lock:
            while self.world.waiting:
                notice = self.world.waiting.popleft()
                for peer, number in peers:
                    params = {"subscription": number, "result": notice}
                    peer.write({"jsonrpc": "2.0", "method": "receive", "params": params})

    def drop(self, peer: _Peer) -> None:
        """Forget a connection that is closed."""
        with self._lock:
            self._peers.discard(peer)


class _Peer:
    """One client's connection."""

    def __init__(self, daemon: SignalSimulator, connection: socket.socket) -> None:
        self._daemon = daemon
        self._connection = connection
        self._writing = threading.Lock()
        self._running: list[threading.Thread] = []
        self._next_subscription = 0
        self.subscriptions: set[int] = set()

    def read(self) -> None:
        buffer = b""
        while True:
            try:
                data = self._connection.recv(1 << 20)
            except OSError:
                break
            if not data:
                break
            buffer += data
            *lines, buffer = re.split(rb"\r\n|\n|\r", buffer)
            for line in lines:
                self._start(line)
        if buffer:
            # The real reader takes an unterminated line once the peer half-closes.
            self._start(buffer)
        for thread in self._running:
            thread.join()
        self.close()

    def write(self, message: Any) -> None:
        line = json.dumps(message, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"
        self.write_bytes(line)

    def write_bytes(self, data: bytes) -> None:
        with self._writing, contextlib.suppress(OSError):
            self._connection.sendall(data)

    def close(self) -> None:
        self._daemon.drop(self)
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._connection.close()

    def _start(self, line: bytes) -> None:
        thread = threading.Thread(target=self._handle, args=(line,), daemon=True)
        self._running.append(thread)
        thread.start()

    def _handle(self, line: bytes) -> None:
        try:
            message = _parse(line)
        except FaultAnswerError as fault:
            self.write(_error(fault, None))
            return
        except (UnicodeDecodeError, _TooMuchError):
            self.close()
            return
        if not isinstance(message, list):
            self._respond(message)
            return
        if not message:
            self.write(_error(FaultAnswerError(-32600, "invalid request"), None))
            return
        answers = [self._answer(item, Script()) for item in message]
        if any(item is not None for item in answers):
            self.write([item for item in answers if item is not None])

    def _respond(self, message: Any) -> None:
        method = message.get("method") if isinstance(message, dict) else None
        script = self._daemon.world.take_script(method) if isinstance(method, str) else Script()
        if script.before is not None:
            assert script.before.wait(WAIT_SECONDS)
        response = self._answer(message, script)
        if script.after is not None:
            assert script.after.wait(WAIT_SECONDS)
        if response is not None:
            self._deliver(response, script)
        self._daemon._hand_out()

    def _deliver(self, response: dict[str, Any], script: Script) -> None:
        line = json.dumps(response, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"
        match script.cut:
            case Cut.BEFORE_EFFECT | Cut.AFTER_EFFECT:
                self.close()
            case Cut.HALF_ANSWER:
                self.write_bytes(line[: len(line) // 2])
                self.close()
            case Cut.NULL_ID:
                self.write(_error(FaultAnswerError(-32700, "Unrecognized token"), None))
            case Cut.GARBAGE:
                self.write_bytes(b"Exception in thread main\n")
            case Cut.HANG_BEFORE_EFFECT | Cut.HANG_AFTER_EFFECT:
                pass
            case None:
                if script.noise:
                    self.write({"jsonrpc": "2.0", "result": {}, "id": "nobody-asked"})
                    self.write_bytes(line)
                self.write_bytes(line)

    def _answer(self, message: Any, script: Script) -> dict[str, Any] | None:
        identifier = message.get("id", _ABSENT) if isinstance(message, dict) else None
        if isinstance(identifier, list | dict):
            identifier = None
        try:
            result = self._result(message, script)
        except FaultAnswerError as fault:
            response = _error(fault, None if identifier is _ABSENT else identifier)
        else:
            response = {"jsonrpc": "2.0", "result": result, "id": identifier}
        return None if identifier is _ABSENT else response

    def _result(self, message: Any, script: Script) -> Any:
        method, params = _check_request(message)
        world = self._daemon.world
        with world.lock:
            world.calls.append((method, params))
        if method == "subscribeReceive":
            number = self._next_subscription
            self._next_subscription += 1
            self.subscriptions.add(number)
            return number
        if method == "unsubscribeReceive":
            return self._unsubscribe(params)
        if method == "receive" and self.subscriptions and "account" not in params:
            text = "Receive command cannot be used if messages are already being received."
            raise FaultAnswerError(-1, text)
        return answer(method, Call(world, params, script))

    def _unsubscribe(self, params: dict[str, Any]) -> Any:
        number = params.get("subscription", min(self.subscriptions, default=None))
        if number not in self.subscriptions:
            raise FaultAnswerError(-1, "Unknown subscription id")
        self.subscriptions.discard(number)
        return {}


class _TooMuchError(Exception):
    """What the real reader dies of: the connection is closed without an answer."""


def _parse(line: bytes) -> Any:
    text = line.decode("utf-8")
    if not text:
        raise FaultAnswerError(-32700, "Empty input line")
    try:
        message = json.loads(text, parse_constant=_refuse)
    except RecursionError as error:
        raise _TooMuchError from error
    except ValueError as error:
        raise FaultAnswerError(-32700, _syntax(text)) from error
    _bound(message)
    kinds = {str: "STRING", int: "NUMBER", float: "NUMBER", bool: "BOOLEAN", type(None): "NULL"}
    if type(message) in kinds:
        raise FaultAnswerError(-32600, f"unexpected type: {kinds[type(message)]}")
    return message


def _bound(message: Any) -> None:
    level, depth = [message], 0
    while level:
        depth += 1
        if depth > DEPTH or any(isinstance(v, str) and len(v) > STRING_CHARS for v in level):
            raise _TooMuchError
        nested = [
            v.values() if isinstance(v, dict) else v for v in level if isinstance(v, dict | list)
        ]
        level = [item for values in nested for item in values]


def _refuse(_text: str) -> Any:
    raise ValueError


def _syntax(text: str) -> str:
    word = re.match(r"[A-Za-z_$]+", text)
    if word is None:
        where = _AT_REDACTED.format(len(text) + 1)
        return f"Unexpected end-of-input within/between Object entries{where}"
    expected = "(JSON String, Number, Array, Object or token 'null', 'true' or 'false')"
    where = _AT_REDACTED.format(len(word[0]) + 1)
    return f"Unrecognized token '{word[0]}': was expecting {expected}{where}"


def _check_request(message: Any) -> tuple[str, dict[str, Any]]:
    if not isinstance(message, dict):
        raise FaultAnswerError(-32600, f"Cannot construct instance of `{_REQUEST}`{_AT}")
    unknown = [name for name in message if name not in _TOP_LEVEL]
    if unknown:
        raise FaultAnswerError(
            -32600,
            f'Unrecognized field "{unknown[0]}" (class {_REQUEST}), not marked as ignorable '
            '(4 known properties: "method", "id", "jsonrpc", "params"])'
            f'{_AT} (through reference chain: {_REQUEST}["{unknown[0]}"])',
        )
    if message.get("jsonrpc") != "2.0":
        raise FaultAnswerError(-32600, "only jsonrpc version 2.0 is supported")
    if not isinstance(message.get("method"), str):
        raise FaultAnswerError(-32600, "method field must be set")
    params = message.get("params")
    if not isinstance(params, dict | None):
        raise FaultAnswerError(
            -32600,
            "Cannot deserialize value of type `java.util.LinkedHashMap<java.lang.String,java.lang.Object>` "
            f"from Array value (token `JsonToken.START_ARRAY`){_AT}",
        )
    return message["method"], params or {}


def _error(fault: FaultAnswerError, identifier: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "error": fault.body, "id": identifier}
