"""A kill between two writes that belong together: after the next start there is exactly one result."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from tests.crash.daemon_process import Daemon
from tests.crash.end_state import (
    check_all_final,
    check_deliveries,
    check_nothing_left,
    check_opened,
    check_vault,
    read_account,
)
from tests.crash.kill_points import Seam
from tests.crash.test_kill_signal import SEND_SECONDS, check_messages, make_signal_registry
from tests.crash.trainer import Work, train
from tests.daemon.registry_on_disk import Registry, make_registry
from tests.simulators.signal_cli import SignalSimulator
from tests.simulators.signal_world import World

VAULT, PENDING = "registry.artifacts.vault:Vault", "registry.durable:PendingFile"
SEAMS = {
    "sealed, notes not written": Seam(VAULT, "write_sidecar"),
    "notes half-written": Seam(PENDING, "commit"),
    "notes written, payload unnamed": Seam(VAULT, "publish"),
    "payload in the vault, ledger knows nothing": Seam(VAULT, "publish", after=True),
    "ledger has it, notes still there": Seam(VAULT, "forget"),
    "audited, verdicts not committed": Seam(
        "daemon.pipeline.audit_step", "record_verdicts", after=True
    ),
    "decided, not committed": Seam("daemon.pipeline.decide_step", "decide_by_policy", after=True),
    "delivery logged, no head signed": Seam("daemon.custody.loghead:LogHead", "advance"),
    "head on disk, ledger lacks it": Seam("registry.provenance.log", "save_checkpoint"),
    "head in the ledger, no bundle": Seam("daemon.custody.deliveries", "set_delivery_prepared"),
    "sealed file shipped, bundle not": Seam("daemon.pipeline.shipping", "atomic_write"),
    "attempt begun, nothing intended": Seam("daemon.pipeline.deliver_step", "intend_parcel"),
    "on the stick, channel's journal lacks it": Seam("signal_bridge.book:Book", "accept"),
    "in the channel's journal, ledger lacks it": Seam(
        "daemon.pipeline.deliver_step", "record_send"
    ),
    "first parcel out, second not": Seam("signal_bridge.folder:FolderChannel", "send", call=2),
    "both recorded, delivery not moved": Seam("daemon.pipeline.deliver_step", "_sent"),
}

pytestmark = [pytest.mark.crash, pytest.mark.xdist_group("crash-points")]


def killed_at(registry: Registry, seam: Seam, log: Path) -> None:
    """Run a daemon that dies at `seam`; it must really get there."""
    status = Daemon(registry.settings, log, "--once", program=seam.program).end()
    assert status == -signal.SIGKILL, f"ended with {status} before it came to {seam}"


def settled(registry: Registry, log: Path) -> None:
    assert Daemon(registry.settings, log, "--once").end() == 0


def check_one_result(registry: Registry, work: Work) -> None:
    account = read_account(registry)
    check_all_final(account, [work])
    check_deliveries(account)
    check_nothing_left(registry)
    check_vault(registry, account)
    assert len(account.payloads) == 1


@pytest.mark.parametrize("seam", SEAMS.values(), ids=SEAMS)
def test_one_kill_leaves_exactly_one_result(tmp_path: Path, seam: Seam) -> None:
    registry, log = make_registry(tmp_path / "r"), tmp_path / "log"
    work = train(0, registry.home / "making", registry.watched)
    killed_at(registry, seam, log)
    settled(registry, log)
    check_one_result(registry, work)
    sealed, bundle = (registry.stick / "Alice" / f"wave-000.{end}" for end in ("age", "loraseal"))
    assert sorted(path.name for path in sealed.parent.iterdir()) == [sealed.name, bundle.name]
    check_opened(registry, work, sealed, bundle, registry.alice)


def test_a_source_gone_after_it_was_sealed_is_not_lost(tmp_path: Path) -> None:
    registry, log = make_registry(tmp_path / "r"), tmp_path / "log"
    work = train(0, registry.home / "making", registry.watched)
    killed_at(registry, Seam(VAULT, "publish", after=True), log)
    (registry.watched / work.name).unlink()
    settled(registry, log)
    check_one_result(registry, work)


def test_a_second_copy_of_known_content_leaves_no_second_payload(tmp_path: Path) -> None:
    registry, log = make_registry(tmp_path / "r"), tmp_path / "log"
    work = train(0, registry.home / "making", registry.watched)
    settled(registry, log)
    (registry.watched / "again").mkdir()
    (registry.watched / "again" / work.name).write_bytes(work.files[work.name])
    killed_at(registry, Seam(VAULT, "delete"), log)
    settled(registry, log)
    account = read_account(registry)
    assert (list(account.states), len(account.shipped)) == ([work.name], 1)
    check_nothing_left(registry)
    check_vault(registry, account)


@pytest.mark.parametrize("receipt", [True, False], ids=["receipt", "silence"])
def test_a_message_that_left_unrecorded_is_found_or_counted(tmp_path: Path, receipt: bool) -> None:
    world, home = World(), tmp_path / "r"
    registry, log = make_signal_registry(home, world), tmp_path / "log"
    with SignalSimulator(home / "socket", world=world) as simulator:
        work = train(0, registry.home / "making", registry.watched)
        killed_at(registry, Seam("signal_bridge.signal_cli", "read_result"), log)
        (message,) = world.arrived
        if receipt:
            simulator.receive_receipt(world.contacts[0], [message.timestamp])
        # Until the channel no longer takes the earlier send for running: from then on it would send.
        time.sleep(SEND_SECONDS + 1)
        settled(registry, log)
    check_one_result(registry, work)
    check_messages(registry, world)
    # A receipt proves that the message left; without one it goes again, as an attempt of its own.
    assert len(world.arrived) == (2 if receipt else 3)
