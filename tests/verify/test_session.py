"""A whole verification: files, folders, sealed files; what is written and what is remembered."""

from __future__ import annotations

import io
import json
import os
import tarfile
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from registry.errors import InconclusiveError
from registry.formats.status_list import StatusEntry, StatusState
from registry.sealing.seal import wrap_header
from registry.verify import content as content_module
from registry.verify.checklist import StepState
from registry.verify.memory import load_memory
from registry.verify.report import VerifyReport
from registry.verify.session import Task, run_verification
from tests.verify.world import NOW, RAW_FILES, TAR_FILES, Delivered, Recipient, Script, World


def _run(task: Task) -> VerifyReport:
    return run_verification(task)[0]


def _names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


# -- refusals ---------------------------------------------------------------------------------------


def test_missing_file_is_not_found(world: World, delivered: Delivered, tmp_path: Path) -> None:
    assert _run(Task(world.given(delivered), tmp_path / "none.age")).exit_code == 3


def test_special_file_is_refused(world: World, delivered: Delivered, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert _run(Task(world.given(delivered), tmp_path / "pipe")).exit_code == 1


def test_someone_else_gets_exit_12_and_no_file(
    world: World, delivered: Delivered, tmp_path: Path
) -> None:
    sealed, _ = delivered.write(tmp_path)
    given = world.given(delivered, identities=(Recipient().identity,))
    report = _run(Task(given, sealed, out=tmp_path / "out"))
    assert report.exit_code == 12
    assert "made for someone else" in report.to_text()
    assert _names(tmp_path) == ["kiki.age", "kiki.loraseal"]


def test_another_deliverys_file_is_content_mismatch(
    world: World, delivered: Delivered, archive: Delivered, tmp_path: Path
) -> None:
    sealed, _ = archive.write(tmp_path)
    assert _run(Task(world.given(delivered), sealed)).exit_code == 4


def test_header_rewrapped_by_a_co_recipient_is_refused(
    world: World, delivered: Delivered, tmp_path: Path
) -> None:
    header = wrap_header(delivered.file_key, [delivered.recipient.identity.recipient()])
    payload = delivered.sealed[-len(RAW_FILES["kiki_v3.safetensors"]) - 16 * 4 :]
    (tmp_path / "x.age").write_bytes(header + payload)
    report = _run(Task(world.given(delivered), tmp_path / "x.age"))
    assert report.exit_code == 4
    assert report.steps[6].state is StepState.FAILED


def test_payload_replaced_by_who_knows_the_file_key_is_refused(
    world: World, tmp_path: Path
) -> None:
    """A co-recipient can seal other content under the same file key and keep the header."""
    from registry.sealing.stream import seal_batches

    for files, out in ((RAW_FILES, b"other" * 30_000), (TAR_FILES, b"not a tar" * 99)):
        made = world.deliver(files)
        from registry.sealing.seal import read_header

        _, header = read_header(io.BytesIO(made.sealed))
        key = made.file_key.payload_key(bytes(16))
        forged = header + bytes(16) + b"".join(map(bytes, seal_batches([out], key)))
        (tmp_path / "x.age").write_bytes(forged)
        report = _run(Task(world.given(made), tmp_path / "x.age", out=tmp_path / "out"))
        assert report.exit_code == 4
        assert _names(tmp_path) == ["x.age"]


def _tar(members: list[tarfile.TarInfo], data: bytes = b"") -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for member in members:
            archive.addfile(member, io.BytesIO(data[: member.size]))
    return sink.getvalue()


def _member(
    name: str, size: int = 0, kind: bytes = tarfile.REGTYPE, **more: object
) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    for key, value in more.items():
        setattr(info, key, value)
    return info


HOSTILE = {
    "escape": [_member("../escape")],
    "absolute": [_member("/tmp/escape")],  # noqa: S108 - a name inside a tar
    "link": [_member("sub/notes.txt", kind=tarfile.SYMTYPE, linkname="/etc/passwd")],
    "hard link": [_member("sub/notes.txt", kind=tarfile.LNKTYPE, linkname="adapter_config.json")],
    "device": [_member("sub/notes.txt", kind=tarfile.CHRTYPE)],
    "twice": [_member("sub/notes.txt"), _member("sub/notes.txt")],
    "wrong size": [_member("sub/notes.txt", size=5)],
    "missing": [_member("sub/notes.txt")],
    "huge header": [_member("sub/notes.txt", pax_headers={"comment": "x" * 3_000_000})],
    "endless": [_member("sub/notes.txt"), _member("adapter_config.json", size=2**40)],
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_archive_is_refused(world: World, name: str, tmp_path: Path) -> None:
    from registry.sealing.seal import read_header
    from registry.sealing.stream import seal_batches

    made = world.deliver(TAR_FILES)
    _, header = read_header(io.BytesIO(made.sealed))
    key = made.file_key.payload_key(bytes(16))
    if name == "endless":
        data = b"".join(member.tobuf() for member in HOSTILE[name]) + bytes(100_000)
    else:
        data = _tar(HOSTILE[name], bytes(10_000))
    forged = header + bytes(16) + b"".join(map(bytes, seal_batches([data], key)))
    (tmp_path / "x.age").write_bytes(forged)
    report = _run(Task(world.given(made), tmp_path / "x.age", out=tmp_path / "out"))
    assert report.exit_code == 4, report.to_text()
    assert _names(tmp_path) == ["x.age"]


def test_damage_comes_before_revocation(world: World, tmp_path: Path) -> None:
    made = world.deliver(script=Script(entries=_revoke_delivery))
    sealed, _ = made.write(tmp_path)
    assert _run(Task(world.given(made), sealed)).exit_code == 6
    sealed.write_bytes(made.sealed[:-1])
    assert _run(Task(world.given(made), sealed)).exit_code == 4


def _revoke_delivery(delivery: str, _release: str) -> tuple[StatusEntry, ...]:
    return (StatusEntry(delivery, StatusState.REVOKED, "2026-11-20T00:00:00Z"),)


def test_revoked_delivery_is_not_opened_and_is_remembered(world: World, tmp_path: Path) -> None:
    made = world.deliver()
    sealed, _ = made.write(tmp_path)
    revoked = world.signed_status(_revoke_delivery(_status_id(made), ""))
    memory = tmp_path / "memory.json"
    given = world.given(made, status=revoked)
    report = _run(Task(given, sealed, out=tmp_path / "out", memory=memory))
    assert report.exit_code == 6
    assert "please delete" in report.to_text()
    assert not (tmp_path / "out").exists()
    # Without the fresh list it is still refused: the revocation was remembered.
    assert _run(Task(world.given(made), sealed, memory=memory)).exit_code == 6


def _status_id(made: Delivered) -> str:
    from registry.formats.predicates.delivery import Delivery
    from registry.formats.predicates.predicate import parse_predicate

    return parse_predicate(made.bundle.delivery.envelope.payload, Delivery).status_id


def test_changed_and_missing_and_extra_files_are_listed_apart(
    world: World, archive: Delivered, tmp_path: Path
) -> None:
    sealed, _ = archive.write(tmp_path)
    out = tmp_path / "opened"
    assert _run(Task(world.given(archive), sealed, out=out)).exit_code == 0
    (out / "README").write_text("mine")
    report = _run(Task(world.given(archive), out))
    assert (report.exit_code, report.notes) == (0, ("1 files that nobody signed: README",))
    assert _run(Task(world.given(archive), out, strict=True)).exit_code == 4
    (out / "adapter_config.json").write_bytes(b"changed")
    (out / "sub" / "notes.txt").unlink()
    report = _run(Task(world.given(archive), out))
    assert report.exit_code == 4
    assert "missing 'sub/notes.txt'; changed 'adapter_config.json'" in str(report.error)


def test_link_in_the_folder_is_not_the_file(
    world: World, archive: Delivered, tmp_path: Path
) -> None:
    sealed, _ = archive.write(tmp_path)
    out = tmp_path / "opened"
    _run(Task(world.given(archive), sealed, out=out))
    (out / "adapter_config.json").rename(tmp_path / "elsewhere")
    (out / "adapter_config.json").symlink_to(tmp_path / "elsewhere")
    assert _run(Task(world.given(archive), out)).exit_code == 4


def test_folder_that_holds_something_is_not_written_into(
    world: World, archive: Delivered, tmp_path: Path
) -> None:
    sealed, _ = archive.write(tmp_path)
    report = _run(Task(world.given(archive), sealed, out=tmp_path))
    assert report.exit_code == 2
    assert _names(tmp_path) == ["kiki.age", "kiki.loraseal"]


def test_unwritable_place_says_what_to_do(
    world: World, delivered: Delivered, tmp_path: Path
) -> None:
    sealed, _ = delivered.write(tmp_path)
    report = _run(Task(world.given(delivered), sealed, out=tmp_path / "no" / "folder" / "out"))
    assert report.exit_code == 1
    assert "create that folder first" in str(report.error.hint if report.error else "")


def test_full_disk_leaves_nothing(
    world: World, delivered: Delivered, archive: Delivered, tmp_path: Path
) -> None:
    import resource

    for made in (delivered, archive):
        sealed, _ = made.write(tmp_path)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
        try:
            report = _run(Task(world.given(made), sealed, out=tmp_path / "out"))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert report.exit_code == 1
        assert "cannot write" in str(report.error)
        assert _names(tmp_path) == ["kiki.age", "kiki.loraseal"]


def test_sealed_file_without_identity_and_blake3_is_inconclusive(
    world: World, delivered: Delivered, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "blake3", None)
    sealed, _ = delivered.write(tmp_path)
    report = _run(Task(world.given(delivered, identities=()), sealed))
    assert (report.exit_code, report.verified) == (9, None)
    assert isinstance(report.error, InconclusiveError)
    assert content_module.kind_of(sealed) is content_module.ContentKind.SEALED


def test_damaged_memory_is_not_taken_for_absent(
    world: World, delivered: Delivered, tmp_path: Path
) -> None:
    sealed, _ = delivered.write(tmp_path)
    memory = tmp_path / "memory.json"
    memory.write_bytes(b"{}")
    assert _run(Task(world.given(delivered), sealed, memory=memory)).exit_code == 4


# -- successes --------------------------------------------------------------------------------------


def test_raw_delivery_opens_to_a_file_or_into_a_folder(
    world: World, delivered: Delivered, tmp_path: Path
) -> None:
    sealed, _ = delivered.write(tmp_path)
    (tmp_path / "folder").mkdir()
    for out, expected in (
        (tmp_path / "a.safetensors", tmp_path / "a.safetensors"),
        (tmp_path / "folder", tmp_path / "folder" / "kiki_v3.safetensors"),
    ):
        report, file_key = run_verification(Task(world.given(delivered), sealed, out=out))
        assert report.exit_code == 0
        assert file_key is not None
        assert file_key.secret == delivered.file_key.secret
        assert expected.read_bytes() == delivered.files["kiki_v3.safetensors"]
        assert expected.stat().st_mode & 0o777 == 0o600
        assert _run(Task(world.given(delivered), expected)).exit_code == 0
    assert _run(Task(world.given(delivered), tmp_path / "folder")).exit_code == 0


def test_archive_opens_to_a_folder(world: World, archive: Delivered, tmp_path: Path) -> None:
    sealed, _ = archive.write(tmp_path)
    report = _run(Task(world.given(archive), sealed, out=tmp_path / "opened"))
    assert report.exit_code == 0
    for path, data in TAR_FILES.items():
        assert (tmp_path / "opened" / path).read_bytes() == data
    assert _names(tmp_path / "opened") == sorted([*TAR_FILES, "sub"])
    one = _run(Task(world.given(archive), tmp_path / "opened" / "adapter_config.json"))
    assert one.exit_code == 0
    assert "one of 3 signed files" in one.to_text()


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 65_537, 1_000_003])
def test_every_size_opens(world: World, size: int, tmp_path: Path) -> None:
    made = world.deliver({"a.safetensors": bytes(size)})
    sealed, _ = made.write(tmp_path)
    assert _run(Task(world.given(made), sealed, out=tmp_path / "out")).exit_code == 0
    assert (tmp_path / "out").stat().st_size == size


def test_sealed_file_without_identity_is_judged_by_its_bytes(
    world: World, delivered: Delivered, tmp_path: Path
) -> None:
    sealed, _ = delivered.write(tmp_path)
    report = _run(Task(world.given(delivered, identities=()), sealed))
    assert report.exit_code == 0
    assert "not opened" in report.steps[7].detail


def test_stale_delivery_opens_with_exit_13(world: World, tmp_path: Path) -> None:
    made = world.deliver()
    sealed, _ = made.write(tmp_path)
    given = world.given(made, now=NOW + timedelta(days=30))
    report, file_key = run_verification(Task(given, sealed, out=tmp_path / "out"))
    assert (report.exit_code, report.verified) == (13, None)
    assert file_key is not None
    assert (tmp_path / "out").read_bytes() == made.files["kiki_v3.safetensors"]
    assert "STATUS UNKNOWN" in report.to_text()
    assert report.steps[8].state is StepState.UNKNOWN


def test_two_deliveries_verify_in_either_order(tmp_path: Path) -> None:
    world = World.make()
    first, second = world.deliver(), world.deliver()
    for number, order in enumerate(((first, second), (second, first))):
        memory = tmp_path / f"memory{number}.json"
        for made in (*order, *order):
            sealed, _ = made.write(tmp_path)
            assert _run(Task(world.given(made), sealed, memory=memory)).exit_code == 0


def test_memory_is_private_and_reports_what_is_newest(tmp_path: Path) -> None:
    world = World.make()
    first = world.deliver()
    sealed, _ = first.write(tmp_path)
    path = tmp_path / "deep" / "memory.json"
    _run(Task(world.given(first), sealed, memory=path))
    assert path.stat().st_mode & 0o777 == 0o600
    memory = load_memory(path)
    assert memory is not None
    second = world.deliver(script=Script(old_checkpoint=memory.checkpoint))
    sealed, _ = second.write(tmp_path)
    report = _run(Task(world.given(second), sealed, memory=path))
    assert "continues the one remembered" in report.to_text()
    newer = load_memory(path)
    assert newer is not None
    assert newer.status == second.bundle.status


def test_memory_that_cannot_be_written_is_a_note(
    world: World, delivered: Delivered, tmp_path: Path
) -> None:
    sealed, _ = delivered.write(tmp_path)
    (tmp_path / "file").write_text("")
    report = _run(Task(world.given(delivered), sealed, memory=tmp_path / "new" / "m.json"))
    assert (report.exit_code, report.notes) == (0, ())
    blocked = Task(world.given(delivered), sealed, memory=Path("/proc/nothing/m.json"))
    report = _run(blocked)
    assert report.exit_code == 0
    assert "could not remember" in report.notes[0]


def test_report_is_json_with_a_schema(world: World, delivered: Delivered, tmp_path: Path) -> None:
    sealed, _ = delivered.write(tmp_path)
    body = json.loads(json.dumps(_run(Task(world.given(delivered), sealed)).to_json()))
    assert body["schema"] == "loraseal/verify.v1"
    assert (body["verified"], body["exit"], len(body["steps"])) == (True, 0, 10)
    assert body["delivery"]["release"]["words"] == "released; privacy not audited"
    assert body["delivery"]["recipient"] == "Li W."
    bad = _run(Task(replace(world.given(delivered), bundle=b"x"), sealed)).to_json()
    assert (bad["verified"], bad["exit"], bad["delivery"]) == (False, 4, None)


def test_screen_says_that_privacy_was_not_audited(
    world: World, delivered: Delivered, tmp_path: Path
) -> None:
    sealed, _ = delivered.write(tmp_path)
    assert "released; privacy not audited" in _run(Task(world.given(delivered), sealed)).to_text()


def test_plain_age_opens_the_same_delivery(
    archive: Delivered, tmp_path: Path, oracle: object
) -> None:
    import subprocess

    age = oracle("age")  # type: ignore[operator]
    sealed, _ = archive.write(tmp_path)
    identity = tmp_path / "id.txt"
    identity.write_text(archive.recipient.identity.to_text() + "\n")
    plain = subprocess.run(
        [age, "-d", "-i", str(identity), str(sealed)], check=True, capture_output=True
    ).stdout
    with tarfile.open(fileobj=io.BytesIO(plain)) as tar:
        assert tar.getnames() == sorted(TAR_FILES)
