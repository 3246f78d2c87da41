"""The simulator gives the bytes that a real signal-cli front end gave (recorded, 0.13.19)."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.simulators.signal_cli import SignalSimulator
from tests.simulators.signal_world import Contact, Cut, Script, World
from tests.simulators.transcripts import Exchange, read_transcript

FIRST_UUID = "11111111-1111-4111-8111-111111111111"
SECOND_UUID = "22222222-2222-4222-8222-222222222222"
GROUP = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
PROOF = {
    "type": "RATE_LIMIT_FAILURE",
    "token": "challenge-token-0001",
    "retryAfterSeconds": 86400,
}
AT = 1_900_000_000_100

# What the recorded front end was told to answer; what is not here follows from the world.
SCRIPTS: dict[str, tuple[str, Script]] = {
    "send partial: one identity failure": (
        "send",
        Script(results=("SUCCESS", "IDENTITY_FAILURE"), timestamp=AT),
    ),
    "send: only identity failure": ("send", Script(results=("IDENTITY_FAILURE",), timestamp=AT)),
    "send: network failure": ("send", Script(results=("NETWORK_FAILURE",), timestamp=AT)),
    "send: unregistered": ("send", Script(results=("UNREGISTERED_FAILURE",), timestamp=AT)),
    "send: invalid prekey": ("send", Script(results=("INVALID_PRE_KEY_FAILURE",), timestamp=AT)),
    "send: plain rate limit (0.13.19: no retryAfterSeconds)": (
        "send",
        Script(results=("RATE_LIMIT_FAILURE",), timestamp=AT),
    ),
    "send: proof required": ("send", Script(results=(PROOF,), timestamp=AT)),
    "send: partial, proof required for one": (
        "send",
        Script(results=("SUCCESS", PROOF), timestamp=AT),
    ),
    "send: mixed failures no success": (
        "send",
        Script(results=("RATE_LIMIT_FAILURE", "IDENTITY_FAILURE"), timestamp=AT),
    ),
    "send group: zero results is reported as success": (
        "send",
        Script(results=(), timestamp=1_900_000_000_201),
    ),
    "send: attachment refused by server (413 text is illustrative)": (
        "send",
        Script(
            error=(
                -32603,
                "Failed to send message: /abs/big.bin: [413] Bad response "
                "(AttachmentInvalidException) (UnexpectedErrorException)",
            )
        ),
    ),
    "send: IOException outside per-recipient loop": (
        "send",
        Script(
            error=(
                -32603,
                "Failed to send message: Connection reset (IOException) (UnexpectedErrorException)",
            )
        ),
    ),
    "send: no prekeys": (
        "send",
        Script(
            error=(
                -32603,
                "Failed to send message: No prekeys available! (IOException), maybe one of the devices of "
                "the recipient wasn't online for a while. (UnexpectedErrorException)",
            )
        ),
    ),
    "getUserStatus rate limited": (
        "getUserStatus",
        Script(
            error=(
                -5,
                "Rate limit reached\nNext attempt may be tried at 1795185905487 (2026-11-20T14:45:05.487Z)",
            )
        ),
    ),
    "getUserStatus io": (
        "getUserStatus",
        Script(
            error=(-3, "Unable to check if users are registered: Connection reset (IOException)")
        ),
    ),
    "submitRateLimitChallenge rejected (0.13.19: -1; 0.14.3+: -6)": (
        "submitRateLimitChallenge",
        Script(
            error=(
                -1,
                "Captcha rejected, it may be outdated, already used or solved from a different IP address.",
            )
        ),
    ),
    "submitRateLimitChallenge io": (
        "submitRateLimitChallenge",
        Script(error=(-3, "Submit challenge error: StatusCode: 428")),
    ),
}
# Artefacts of the recording's own scripted back end, which no daemon would answer.
NOT_OURS = {"send group: mixed", "getAttachment no id"}
READS_FILES = {"send: attachment missing"}
SETS = {"getUserStatus"}


@pytest.fixture
def world(tmp_path: Path) -> World:
    received = tmp_path / "received"
    received.mkdir()
    (received / "zzz.json").write_bytes(b"hello attachment")
    first = Contact(
        FIRST_UUID,
        "+15550101",
        "05" + "07" * 32,
        "12345" * 12,
        "TRUSTED_UNVERIFIED",
        1_700_000_000_000,
        "c2Nhbm5hYmxlLWJ5dGVz",
    )
    second = Contact(
        SECOND_UUID, "+15550102", "05" + "09" * 32, "67890" * 12, "UNTRUSTED", 1_700_000_000_001
    )
    return World(
        version="0.13.19",
        contacts=[first, second],
        reads_attachments=False,
        attachments=received,
        trust_mode="always",
    )


@pytest.fixture
def simulator(tmp_path: Path, world: World) -> Iterator[SignalSimulator]:
    with SignalSimulator(tmp_path / "socket", world=world) as running:
        yield running


class Client:
    """A bare socket: lines in, lines out."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(20)
        self.socket.connect(str(path))
        self.stream = self.socket.makefile("rb")

    def ask(self, *lines: str) -> list[str]:
        self.socket.sendall("".join(line + "\n" for line in lines).encode())
        return [self.line() for _ in lines]

    def line(self) -> str:
        return self.stream.readline().decode().removesuffix("\n")

    def close(self) -> None:
        self.stream.close()
        self.socket.close()


@pytest.fixture
def client(simulator: SignalSimulator) -> Iterator[Client]:
    with contextlib.closing(Client(simulator.path)) as made:
        yield made


def of(shared: Path, name: str) -> tuple[Exchange, ...]:
    return read_transcript(shared / "data" / "signal-cli" / name)


def test_recorded_answers_of_the_manual_front_end(
    shared: Path, client: Client, world: World
) -> None:
    replayed = 0
    for exchange in of(shared, "40-frontend-single-manual.log"):
        asked = [json.loads(line) for line in exchange.written if line]
        if exchange.title in NOT_OURS or not exchange.answered or not asked:
            continue
        world.groups = {} if "not found" in exchange.title else {GROUP: (FIRST_UUID, SECOND_UUID)}
        world.contacts[1].trust = "TRUSTED_UNVERIFIED"
        if exchange.title.startswith("listIdentities"):
            world.contacts[0].trust, world.contacts[1].trust = "TRUSTED_UNVERIFIED", "UNTRUSTED"
        world.reads_attachments = exchange.title in READS_FILES
        if exchange.title in SCRIPTS:
            world.script(*SCRIPTS[exchange.title])
        if exchange.title.startswith("receive poll"):
            fill_with_recorded(world)
        got = client.ask(*exchange.written)
        expected = [line for line in exchange.answered if json.loads(line)["id"] == asked[0]["id"]]
        if asked[0]["method"] in SETS and "result" in json.loads(expected[0]):
            assert rows(got) == rows(expected), exchange.title
        else:
            assert got == expected, exchange.title
        replayed += 1
    assert replayed >= 55


def fill_with_recorded(world: World) -> None:
    alice = world.contacts[0]
    stamps = [1_900_000_000_001]
    world.waiting.append(world.receipt_of(alice, stamps, when=1_900_000_002_000))
    stamps = [1_900_000_000_001, 1_900_000_000_002]
    world.waiting.append(world.receipt_of(alice, stamps, when=1_900_000_003_000, kind="read"))


def rows(lines: list[str]) -> list[str]:
    (line,) = lines
    return sorted(json.dumps(row) for row in json.loads(line)["result"])


def test_recorded_notifications_and_subscriptions(
    shared: Path, client: Client, world: World, simulator: SignalSimulator
) -> None:
    recorded = {e.title: e for e in of(shared, "41-frontend-receive-manual.log")}
    for title in ("subscribeReceive", "receive poll while subscribed"):
        assert client.ask(*recorded[title].written) == list(recorded[title].answered)
    alice = world.contacts[0]
    simulator.push(world.receipt_of(alice, [1_900_000_000_001], when=1_900_000_002_000))
    stamps = [1_900_000_000_001, 1_900_000_000_002]
    simulator.push(world.receipt_of(alice, stamps, when=1_900_000_003_000, kind="read"))
    simulator.push(
        world.receipt_of(alice, [1_900_000_000_002], when=1_900_000_003_500, kind="viewed")
    )
    typing = {"action": "STARTED", "timestamp": 1_900_000_004_000}
    simulator.push(world.envelope(alice, 1_900_000_004_000, typingMessage=typing))
    world._next = 1_900_000_005_000
    simulator.receive_text(alice, "got it")
    for number in range(5):
        title = f"notification {number} (manual subscription shape)"
        assert [client.line()] == list(recorded[title].answered)
    second = recorded["second subscribeReceive on same connection"]
    assert client.ask(*second.written) == list(second.answered)
    simulator.push(world.receipt_of(alice, [1_900_000_000_001], when=1_900_000_002_000))
    twice = recorded["same receipt now delivered once per subscription"].answered
    assert [client.line(), client.line()] == list(twice)
    last = recorded["unsubscribeReceive no id (single account: drops first found)"]
    assert client.ask(*last.written) == list(last.answered)


def test_recorded_attachments_are_announced_in_the_same_shape(
    shared: Path, client: Client, world: World, simulator: SignalSimulator
) -> None:
    recorded = {e.title: e for e in of(shared, "41-frontend-receive-manual.log")}
    (line,) = recorded["notification 5 (manual subscription shape)"].answered
    client.ask('{"jsonrpc":"2.0","method":"subscribeReceive","id":0}')
    simulator.receive_file(world.contacts[0], "adapter_config.json", b"{}")
    assert shape(json.loads(client.line())) == shape(json.loads(line))


def shape(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: shape(item) for name, item in value.items()}
    return shape(value[0]) if isinstance(value, list) else None


def test_recorded_group_answer_with_an_address_of_nulls(
    shared: Path, client: Client, world: World
) -> None:
    (exchange,) = of(shared, "46-frontend-group.log")
    world.groups = {GROUP: (FIRST_UUID, SECOND_UUID, None)}
    world.results_first = True
    types = ("SUCCESS", "IDENTITY_FAILURE", "UNREGISTERED_FAILURE")
    world.script("send", Script(results=types, timestamp=1_900_000_000_200))
    assert client.ask(*exchange.written) == list(exchange.answered)


def test_recorded_framing_of_the_daemon(shared: Path, client: Client) -> None:
    wanted = {
        *("version", "version-string-id", "version-null-params", "version-null-id"),
        *("version-float-id", "empty-line", "garbage", "no-method", "no-jsonrpc"),
        *("jsonrpc-1.0", "unknown-method", "unknown-toplevel-field", "params-array", "scalar"),
        *("string", "null", "empty-batch", "truncated-json"),
    }
    replayed = set()
    for exchange in of(shared, "10-daemon-socket-multi-noaccount.log"):
        if exchange.title in wanted:
            written = exchange.written[0].removesuffix("\\n")
            assert client.ask(written) == list(exchange.answered), exchange.title
            replayed.add(exchange.title)
    assert replayed == wanted


def test_recorded_concurrency_answers_come_out_of_order(
    shared: Path, client: Client, world: World
) -> None:
    exchange = of(shared, "43-frontend-concurrency.log")[0]
    gate = threading.Event()
    world._next = 1_900_000_000_010
    world.script("send", Script(before=gate))
    client.socket.sendall("".join(line + "\n" for line in exchange.written).encode())
    first = client.line()
    gate.set()
    assert [first, client.line()] == list(exchange.answered)


def test_recorded_half_close_still_gets_its_answer(
    shared: Path, client: Client, world: World
) -> None:
    exchange = of(shared, "43-frontend-concurrency.log")[2]
    world._next = 1_900_000_000_012
    client.socket.sendall(exchange.written[0].encode())
    client.socket.shutdown(socket.SHUT_WR)
    assert [client.line(), client.line()] == [*exchange.answered, ""]


def test_request_goes_on_when_its_client_has_gone(client: Client, world: World) -> None:
    gate = threading.Event()
    world.script("send", Script(before=gate))
    body = {"recipient": ["+15550101"], "message": "orphan"}
    request = {"jsonrpc": "2.0", "method": "send", "id": 65, "params": body}
    client.socket.sendall(json.dumps(request).encode() + b"\n")
    client.close()
    gate.set()
    world.wait_for(1)


@pytest.mark.parametrize("line", [b"\xff\n", b'{"x":' * 1100 + b"1" + b"}" * 1100 + b"\n"])
def test_what_the_real_one_dies_of_closes_the_connection(client: Client, line: bytes) -> None:
    client.socket.sendall(line)
    assert client.line() == ""


def test_every_cut_tells_what_it_did(client: Client, simulator: SignalSimulator) -> None:
    effects = {Cut.AFTER_EFFECT: 1, Cut.HALF_ANSWER: 1, Cut.GARBAGE: 1}
    world = simulator.world
    body = {"recipient": [FIRST_UUID], "message": "x"}
    request = json.dumps({"jsonrpc": "2.0", "method": "send", "id": 1, "params": body})
    for cut in (Cut.BEFORE_EFFECT, Cut.NULL_ID, *effects):
        world.arrived.clear()
        world.script("send", Script(cut=cut))
        with contextlib.closing(Client(simulator.path)) as asking:
            asking.ask(request)
        assert len(world.arrived) == effects.get(cut, 0), cut
