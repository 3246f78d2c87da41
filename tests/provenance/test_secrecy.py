from __future__ import annotations

from pathlib import Path

from registry.formats.findings import Outcome
from registry.provenance.parcels import (
    NewParcel,
    NewReceipt,
    ParcelFate,
    ParcelKey,
    intend_parcel,
    record_receipt,
    record_send,
)
from registry.provenance.states import ParcelState
from registry.provenance.verdicts import NewWaiver, record_waiver
from tests.provenance.world import NOW, World, at, digest_of

CANARY = "k4n4ri"


def test_no_personal_text_stands_in_the_files_of_the_database(world: World, database: Path) -> None:
    artifact = world.artifact(f"{CANARY}.safetensors", inspection=f'{{"leak": "{CANARY}"}}')
    world.audit(artifact)
    released = world.decision(artifact, Outcome.RELEASED)
    delivery = world.prepared(artifact, world.recipient(CANARY))
    key = ParcelKey(delivery, 1, 1)
    with world.ledger.transaction() as tx:
        record_waiver(tx, NewWaiver(artifact, "f1", f"{CANARY} said yes", at(5), released, NOW))
        intend_parcel(tx, NewParcel(key, 1, digest_of("parcel"), 5), NOW)
        record_send(tx, key, ParcelFate(ParcelState.SENT, NOW, f"{CANARY}-reference"))
        record_receipt(tx, NewReceipt(delivery, "opened", CANARY.encode(), NOW))
    with world.ledger.engine.connect() as connection:
        names = {str(path.name) for path in database.parent.iterdir()}
        assert "ledger.sqlite-wal" in names
        files = b"".join(path.read_bytes() for path in database.parent.iterdir())
        assert connection.exec_driver_sql("SELECT count(*) FROM reg_receipt").scalar() == 1
    # Names (and those inside statements, findings and bundles), addresses, phone numbers, keys.
    personal = (CANARY, "kiki", "box-of", "+1555", "age1", "05 12 77", "/train/out", "because of")
    assert [word for word in personal if word.encode() in files] == []
    assert b"structure" in files
