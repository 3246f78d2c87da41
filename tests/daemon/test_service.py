"""The whole daemon once, in this process: three fates, and a marked secret that must stand nowhere in the clear.

The canary goes through everything: file and folder names, metadata, tensor bytes, the recipient's
name and identities, a broken file, a forged receipt; with logs at DEBUG as `--verbose` makes them.
"""

from __future__ import annotations

import logging
import struct
from dataclasses import dataclass
from pathlib import Path

import pytest

from daemon.engine import is_locked
from daemon.service import open_service
from daemon.settings import load_settings
from registry.errors import BusyError
from registry.formats.safetensors import dump_header, lay_out
from tests.daemon.registry_on_disk import Registry, make_registry, write_adapter
from tests.daemon.rig import carried, sql

pytestmark = pytest.mark.xdist_group("engine")

MARK = "Canary"
# Text that is also four small float32 numbers, so that it passes every audit.
TENSOR_MARK = b"can<nry<-in<ten<"
PERSON = "Canary Person"


@dataclass
class Lived:
    """A registry after `run_once`, and every log record of it as text."""

    registry: Registry
    log: str


class Everything(logging.Handler):
    """Keeps each record whole: message, arguments, extra fields, traceback."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record) + repr(record.__dict__))


def canary_adapter(path: Path) -> Path:
    """An adapter with the mark in its metadata and in a tensor's bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    entries: list[tuple[str, str, tuple[int, ...]]] = []
    for number in range(4):
        base = f"lora_unet_down_blocks_0_attentions_0_transformer_blocks_{number}_attn1_to_q"
        entries += [
            (f"{base}.lora_down.weight", "F32", (4, 16)),
            (f"{base}.lora_up.weight", "F32", (16, 4)),
            (f"{base}.alpha", "F32", ()),
        ]
    tensors = lay_out(entries)
    metadata = {"ss_output_name": f"{MARK}-trigger", "ss_network_dim": "4", "ss_dataset_dirs": MARK}
    body = b""
    for number, tensor in enumerate(tensors):
        count = (tensor.end - tensor.start) // 4
        values = (
            [4.0]
            if not tensor.shape
            else [((7 * i * i + 3 * i + number) % 101 - 50) / 500 for i in range(count)]
        )
        content = struct.pack(f"<{count}f", *values)
        if number == 1:
            content = TENSOR_MARK + content[16:]
        body += content
    path.write_bytes(dump_header(tensors, metadata.items()) + body)
    return path


@pytest.fixture(scope="module")
def lived_once(tmp_path_factory: pytest.TempPathFactory) -> Lived:
    pytest.importorskip("torch", reason="the audits need torch")
    registry = make_registry(tmp_path_factory.mktemp("service") / f"{MARK}Home")
    enrolment = registry.home / "canary.enrol"
    registry.run("enrol", "--name", PERSON, "--home", registry.home / "canary", "-o", enrolment)
    registry.run("recipient", "add", PERSON, enrolment, "--yes", "--config", registry.settings)
    with registry.settings.open("a") as file:
        file.write(f'\n[[route]]\nto = "{PERSON}"\nchannel = "folder"\n')
    canary_adapter(registry.watched / f"{MARK}Folder" / f"{MARK}Name.safetensors")
    write_adapter(registry.watched / f"{MARK}Held.safetensors", dead=3)
    write_adapter(registry.watched / f"{MARK}Bad.safetensors", nan=True)
    (registry.stick / "receipts").mkdir(exist_ok=True)
    (registry.stick / "receipts" / "forged.receipt").write_bytes(MARK.encode() * 9)
    handler = Everything()
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        settings, paths = load_settings(registry.settings)
        with open_service(settings, paths) as service:
            assert is_locked(paths.lock)
            with pytest.raises(BusyError), open_service(settings, paths):
                raise AssertionError("a second daemon")
            service.run_once()
    finally:
        root.removeHandler(handler)
        root.setLevel(before)
    return Lived(registry, "\n".join(handler.lines))


def test_everything_there_came_to_its_end(lived_once: Lived) -> None:
    states = sorted(
        str(row[0]) for row in sql(lived_once.registry, "select state from reg_artifact")
    )
    assert states == ["held", "rejected", "released"]
    assert {row[0] for row in sql(lived_once.registry, "select state from reg_delivery")} == {
        "sent"
    }
    assert len(carried(lived_once.registry)) == 4


def test_lock_is_free_after_the_service(lived_once: Lived) -> None:
    assert not is_locked(load_settings(lived_once.registry.settings)[1].lock)


def secrets_of(registry: Registry) -> list[bytes]:
    """Return what must stand nowhere: names, and every line of every private key."""
    found = [MARK.encode(), TENSOR_MARK]
    keys = registry.home / "state" / "keys"
    private = [path for path in keys.iterdir() if path.name != "keyset.json"]
    private += [registry.home / who / "identity.txt" for who in ("alice", "canary")]
    private += [registry.home / who / "signing-key.pem" for who in ("alice", "canary")]
    lines = [line for path in private for line in path.read_bytes().splitlines()]
    found += [line for line in lines if len(line) >= 32 and not line.startswith((b"-----", b"#"))]
    assert len(found) > 10
    return found


def test_no_secret_is_logged_even_at_debug(lived_once: Lived) -> None:
    text = lived_once.log.encode("utf-8", "replace")
    assert len(text) > 1000
    allowed = str(lived_once.registry.home).encode()
    for secret in secrets_of(lived_once.registry):
        lines = [line for line in text.split(b"\n") if secret in line.replace(allowed, b"")]
        assert lines[:3] == [], secret[:12]


def test_no_secret_stands_in_the_database_file(lived_once: Lived) -> None:
    state = lived_once.registry.home / "state"
    files = list(state.glob("registry.sqlite*"))
    assert files
    for path in files:
        data = path.read_bytes()
        for secret in secrets_of(lived_once.registry):
            assert secret not in data, (path.name, secret[:12])
            assert secret.decode("latin-1").encode("utf-16-le") not in data


def test_no_secret_stands_in_events_reasons_or_workflow_arguments(lived_once: Lived) -> None:
    queries = (
        "select * from reg_event",
        "select state, reason from reg_candidate",
        "select state, reason from reg_artifact",
        "select * from workflow_status",
        "select * from workflow_input",
        "select * from workflow_output",
    )
    for query in queries:
        rows = sql(lived_once.registry, query)
        assert rows, query
        text = repr(rows).encode()
        for secret in secrets_of(lived_once.registry):
            assert secret not in text, query


def test_no_plaintext_is_left_anywhere_in_the_state(lived_once: Lived) -> None:
    for path in (lived_once.registry.home / "state").rglob("*"):
        if path.is_file():
            assert TENSOR_MARK not in path.read_bytes(), path.name


def test_bundle_names_no_recipient(lived_once: Lived) -> None:
    bundles = list(lived_once.registry.stick.rglob("*.loraseal"))
    assert len(bundles) == 2
    for bundle in bundles:
        data = bundle.read_bytes()
        assert PERSON.encode() not in data
        assert b"Alice" not in data


def test_the_canary_would_be_found(lived_once: Lived) -> None:
    """The watched folder does hold the mark, so the searches above can fail."""
    found = b"".join(p.read_bytes() for p in lived_once.registry.watched.rglob("*") if p.is_file())
    assert MARK.encode() in found
    assert TENSOR_MARK in found
