"""`fsck` holds every row against the statement that it copies."""

from __future__ import annotations

import pytest

from daemon.custody.checking import check_all
from daemon.custody.comparing import compare_rows
from tests.daemon.rig import Rig, artifact_named, sql

pytestmark = pytest.mark.xdist_group("lived")

_GOOD = "(select artifact_id from reg_decision where outcome='released')"
_RELEASED = f"id = {_GOOD}"
_DELIVERED = "statement_digest is not null"

CHANGED = [
    ("reg_artifact", "kind='embedding'", _RELEASED, "kind"),
    ("reg_artifact", "family='other'", _RELEASED, "family"),
    ("reg_artifact", "method='other'", _RELEASED, "method"),
    ("reg_artifact", "host='elsewhere'", _RELEASED, "host"),
    ("reg_artifact", "state='released'", "state='held'", "state"),
    ("reg_artifact", "state='released'", "state='rejected'", "state"),
    ("reg_artifact", "state='revoked'", _RELEASED, "state"),
    ("reg_artifact", "state='sealed'", _RELEASED, "state"),
    ("reg_artifact", "state='set_aside'", _RELEASED, "state"),
    ("reg_delivery", "state='acknowledged'", _DELIVERED, "no receipt"),
    ("reg_hash", "value=replace(value, 'a', 'b')", "algorithm='tensors'", "tensors"),
    ("reg_manifest_entry", "size=size+1", "true", "files"),
    ("reg_manifest_entry", "sha256=replace(sha256, 'a', 'b')", "true", "files"),
    ("reg_audit", "verdict='pass'", "verdict='fail'", "verdict"),
    ("reg_audit", "privacy=not privacy", "true", "privacy"),
    ("reg_audit", "version='99'", "true", "version"),
    ("reg_decision", "outcome='released'", "outcome='held'", "outcome"),
    ("reg_decision", "decided_by='operator'", "outcome='released'", "decided by"),
    ("reg_decision", "privacy_audited=not privacy_audited", "true", "privacy audited"),
    ("reg_decision", "relied_on=''", "outcome='released'", "verdicts"),
    ("reg_delivery", "header=x'00'", _DELIVERED, "header"),
    ("reg_delivery", "nonce='0'", _DELIVERED, "nonce"),
    ("reg_delivery", "status_id='0'", _DELIVERED, "status id"),
    ("reg_delivery", "bundle_digest='0'", _DELIVERED, "bundle"),
    ("reg_delivery", "statement_digest=null", _DELIVERED, "no signed delivery"),
    ("reg_recipient", "status_id='0'", "name_index=(select max(name_index) from reg_recipient)", "status id"),
]  # fmt: skip


def faults(rig: Rig) -> tuple[str, ...]:
    with rig.shop.ledger.reading() as reader:
        return compare_rows(reader).faults


@pytest.mark.parametrize(("table", "change", "where", "named"), CHANGED)
def test_row_that_says_what_was_not_signed_is_named(
    lived_rig: Rig, table: str, change: str, where: str, named: str
) -> None:
    sql(lived_rig.registry, f"update {table} set {change} where {where}")  # noqa: S608 - constants above
    assert any(named in fault for fault in faults(lived_rig))


def test_planted_hash_is_named(lived_rig: Rig) -> None:
    """`trace` would call a file that was never taken in the released one."""
    sql(
        lived_rig.registry,
        "insert into reg_hash (value, algorithm, artifact_id)"
        " select lower(hex(randomblob(32))), 'sha256', artifact_id from reg_decision",
    )
    assert any("sha256" in fault for fault in faults(lived_rig))


def test_signed_delivery_that_is_gone_is_named(lived_rig: Rig) -> None:
    for table in ("reg_parcel", "reg_receipt", "reg_delivery"):
        sql(lived_rig.registry, f"delete from {table}")  # noqa: S608 - constants above
    assert any("no row of it" in fault for fault in faults(lived_rig))


def test_decision_without_its_statement_is_named(lived_rig: Rig) -> None:
    """A decision row that points to another kind of statement is a fault, not a crash."""
    sql(
        lived_rig.registry,
        "update reg_audit set statement_digest=(select digest from reg_statement where kind like '%intake%')",
    )
    checks = {check.name: check for check in check_all(lived_rig.shop.custody, lived_rig.clock())}
    assert checks["rows"].problems


def test_rows_of_an_honest_registry_say_what_was_signed(lived_rig: Rig) -> None:
    with lived_rig.shop.ledger.reading() as reader:
        compared = compare_rows(reader)
    assert compared.faults == ()
    assert compared.rows >= 3 + 3 * 4 + 1 + 2


def test_faults_name_no_values(lived_rig: Rig) -> None:
    sql(lived_rig.registry, "update reg_artifact set host='a-secret-host'")
    said = " ".join(faults(lived_rig))
    assert artifact_named(lived_rig.registry, "good")[:12] in said
    assert "a-secret-host" not in said
