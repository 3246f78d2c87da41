"""The JSON-RPC client: no answer is never failure, and nothing that a daemon does hangs or kills it."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from registry.limits import SIGNAL_LINE_BYTES
from signal_bridge.signal_rpc import FaultError, NoAnswerError, SignalRpc, UnreachableError
from tests.simulators.signal_cli import SignalSimulator
from tests.simulators.signal_world import Cut, Script


@pytest.fixture
def simulator(tmp_path: Path) -> Iterator[SignalSimulator]:
    with SignalSimulator(tmp_path / "socket") as running:
        yield running


@pytest.fixture
def notices() -> list[Any]:
    return []


@pytest.fixture
def rpc(simulator: SignalSimulator, notices: list[Any]) -> Iterator[SignalRpc]:
    with contextlib.closing(
        SignalRpc(simulator.path, on_notice=notices.append, connect_seconds=10)
    ) as made:
        yield made


def test_socket_that_is_not_there_is_unreachable(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path / ("x" * 120), tmp_path):
        with pytest.raises(UnreachableError) as caught:
            SignalRpc(path, on_notice=lambda _: None, connect_seconds=1)
        assert caught.value.hint


def test_stale_socket_of_a_killed_daemon_is_unreachable(simulator: SignalSimulator) -> None:
    simulator.kill()
    with pytest.raises(UnreachableError):
        SignalRpc(simulator.path, on_notice=lambda _: None, connect_seconds=1)


def test_error_answer_keeps_its_text_out_of_the_message(
    rpc: SignalRpc, simulator: SignalSimulator
) -> None:
    simulator.world.script("version", Script(error=(-1, "Invalid phone number '+15550101'")))
    with pytest.raises(FaultError, match=r"answered version with error -1$") as caught:
        rpc.call("version", deadline_s=10)
    assert caught.value.text.startswith("Invalid phone")


@pytest.mark.parametrize(
    "cut", [Cut.AFTER_EFFECT, Cut.BEFORE_EFFECT, Cut.HALF_ANSWER, Cut.NULL_ID, Cut.GARBAGE]
)
def test_broken_connection_fails_everything_in_flight(
    rpc: SignalRpc, simulator: SignalSimulator, cut: Cut
) -> None:
    gate = threading.Event()
    simulator.world.script("listDevices", Script(before=gate))
    simulator.world.script("version", Script(cut=cut))
    failed: list[BaseException] = []

    def wait() -> None:
        try:
            rpc.call("listDevices", deadline_s=20)
        except NoAnswerError as error:
            failed.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    with pytest.raises(NoAnswerError):
        rpc.call("version", deadline_s=20)
    waiting.join()
    gate.set()
    assert len(failed) == 1
    assert not rpc.alive
    with pytest.raises(NoAnswerError):
        rpc.call("version", deadline_s=20)


@pytest.mark.parametrize(
    "line",
    [
        b"x" * (SIGNAL_LINE_BYTES + 70_000),
        b"[" * 100_000 + b"\n",
        b"\xff\xfe\n",
        b'{"id":' + b"9" * 5000 + b"}\n",
        b'{"jsonrpc":"2.0","error":{"code":-32700,"message":"x","data":null},"id":null}\n',
        b"not json\n",
    ],
)
def test_line_that_cannot_be_read_breaks_the_connection_at_once(
    tmp_path: Path, line: bytes
) -> None:
    with raw_daemon(tmp_path / "raw", line) as made, pytest.raises(NoAnswerError):
        made.call("version", deadline_s=20)


@pytest.mark.parametrize(
    "line",
    [
        *(b"[]\n", b"5\n", b'"x"\n', b"null\n", b'{"id":7}\n', b'{"id":"x","error":5}\n'),
        *(b'{"method":"receive"}\n', b'{"method":"receive","params":[]}\n'),
    ],
)
def test_odd_lines_do_not_disturb_an_answer(tmp_path: Path, line: bytes) -> None:
    with raw_daemon(tmp_path / "raw", line, answers=True) as made:
        assert made.call("version", deadline_s=20) == {"version": "1.2.3"}


@pytest.mark.parametrize("error", ["{}", '{"code":"x","message":5}', '{"code":null}'])
def test_error_of_any_shape_is_a_fault(tmp_path: Path, error: str) -> None:
    with raw_daemon(tmp_path / "raw", b"", answers=True, tail=f'"error":{error}') as made:
        with pytest.raises(FaultError) as caught:
            made.call("version", deadline_s=20)
        assert (caught.value.code, caught.value.text) == (0, "")


def test_answer_after_the_deadline_is_ignored(rpc: SignalRpc, simulator: SignalSimulator) -> None:
    gate = threading.Event()
    simulator.world.script("version", Script(before=gate))
    with pytest.raises(NoAnswerError, match="in time"):
        rpc.call("version", deadline_s=0.01)
    gate.set()
    assert rpc.call("listDevices", deadline_s=20)
    assert rpc.alive


def test_repeated_and_unasked_answers_are_ignored(
    rpc: SignalRpc, simulator: SignalSimulator
) -> None:
    simulator.world.script("version", Script(noise=True))
    assert rpc.call("version", deadline_s=20) == {"version": "0.14.7"}
    assert rpc.call("listDevices", deadline_s=20)


def test_closing_wakes_who_waits(rpc: SignalRpc, simulator: SignalSimulator) -> None:
    gate = threading.Event()
    simulator.world.script("version", Script(before=gate))
    with pytest.raises(NoAnswerError):
        _call_while(rpc, rpc.close)
    gate.set()


def test_answers_out_of_order_find_their_callers(
    rpc: SignalRpc, simulator: SignalSimulator
) -> None:
    gates = [threading.Event() for _ in range(6)]
    simulator.world.script("getUserStatus", *(Script(before=gate) for gate in gates))
    answers: dict[int, Any] = {}

    def ask(number: int) -> None:
        params: dict[str, Any] = {"recipient": [f"+1555{number}"]}
        answers[number] = rpc.call("getUserStatus", params, deadline_s=20)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for gate in reversed(gates):
        gate.set()
    for thread in threads:
        thread.join()
    assert {n: rows[0]["recipient"] for n, rows in answers.items()} == {
        n: f"+1555{n}" for n in range(6)
    }


def test_notifications_come_in_order_and_before_a_later_answer(
    rpc: SignalRpc, simulator: SignalSimulator, notices: list[Any]
) -> None:
    rpc.call("subscribeReceive", deadline_s=20)
    for stamp in range(100):
        simulator.receive_receipt(simulator.world.contacts[0], [stamp])
    rpc.call("version", deadline_s=20)
    receipts = [notice["result"]["envelope"]["receiptMessage"] for notice in notices]
    assert [receipt["timestamps"] for receipt in receipts] == [[stamp] for stamp in range(100)]


def _call_while(rpc: SignalRpc, action: Callable[[], None]) -> None:
    """Call `version`, which a script holds back, and do `action` meanwhile."""
    acting = threading.Thread(target=action)
    acting.start()
    try:
        rpc.call("version", deadline_s=20)
    finally:
        acting.join()


@contextlib.contextmanager
def raw_daemon(
    path: Path, line: bytes, *, answers: bool = False, tail: str = '"result":{"version":"1.2.3"}'
) -> Iterator[SignalRpc]:
    """Yield a client of a daemon that answers one request with `line`, then properly if it may."""
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as server:
        server.bind(str(path))
        server.listen(1)
        rpc = SignalRpc(path, on_notice=lambda _: None, connect_seconds=10)
        connection, _ = server.accept()

        def serve() -> None:
            request = json.loads(connection.makefile("rb").readline())
            proper = f'{{"id":"{request["id"]}",{tail}}}\n'.encode()
            with contextlib.suppress(OSError):
                connection.sendall(line + (proper if answers else b""))

        serving = threading.Thread(target=serve)
        serving.start()
        with contextlib.closing(connection), contextlib.closing(rpc):
            yield rpc
            serving.join()
