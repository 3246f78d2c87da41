"""Every broken file of the fixture sheet, built from a real adapter of it, with its expected outcome.

`tests.broken_files.REFUSED` holds what must be refused, as files; `OUTCOMES` what is accepted with a remark, and what is no
matter of bytes but of time or rights. An id that the sheet gains without a test here fails.
"""

from __future__ import annotations

import os
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from registry.artifacts.inspection import Inspection, inspect_path
from registry.artifacts.notes import PayloadForm
from registry.errors import NotFoundError
from tests.broken_files import REFUSED, Tensors, expander, first, header_of, rebuilt, with_metadata
from tests.daemon.registry_on_disk import write_adapter
from tests.daemon.rig import Rig, sql
from tests.other_user import MODE, looks_at
from tests.sheet import rows

FIXTURE = "kohya-sd15-dora"
IDS = [str(row["id"]) for row in rows("broken_files")]

needs_sheet = pytest.mark.skipif(not IDS, reason="needs the vectors in ../shared")


@pytest.fixture(scope="session")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    pytest.importorskip("numpy", reason="the sheet's expander needs it")
    path = tmp_path_factory.mktemp("sheet") / "good.safetensors"
    fixture = next(row for row in rows("adapters") if row["id"] == FIXTURE)
    expander().build(fixture, str(path), modules=1)
    return path.read_bytes()


# A file of this kind may only be unfinished: the refusal says to wait, or to fetch it again.
PERHAPS_LATER = ("truncated", "preallocated-zero", "zero-length", "html-or-lfs-pointer")


def inspected(folder: Path, data: bytes) -> Inspection:
    path = folder / "a.safetensors"
    path.write_bytes(data)
    return inspect_path(path)


@needs_sheet
@pytest.mark.parametrize("broken", sorted(REFUSED))
def test_broken_file_is_refused_with_what_is_wrong(
    broken: str, good: bytes, tmp_path: Path
) -> None:
    for data, code in REFUSED[broken](good):
        found = inspected(tmp_path, data)
        assert [refusal.code for refusal in found.refusals] == [code], found.refusals
        assert not found.is_sound_adapter
        message = found.refusals[0].message
        assert broken not in PERHAPS_LATER or any(
            w in message for w in ("wait", "again", "git lfs")
        )


@needs_sheet
def test_header_too_large_is_refused_before_anything_is_allocated(
    good: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", 100_000_001) + good[8:])
    os.truncate(path, 200_000_000)  # long enough for the header, and nothing on the disk
    tracemalloc.start()
    found = inspect_path(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [refusal.code for refusal in found.refusals] == ["broken"]
    assert peak < 1024 * 1024


@needs_sheet
def test_nothing_that_is_refused_goes_out(good: bytes, rig: Rig) -> None:
    names = {}
    for broken, variants in REFUSED.items():
        for number, (data, _) in enumerate(variants(good)):
            # A folder for each, so that nothing is taken for the side file of another.
            path = rig.registry.watched / f"{broken}-{number}" / "lora.safetensors"
            path.parent.mkdir()
            path.write_bytes(data)
            names[rig.drop(path)] = broken
    rig.work()
    states = {names[candidate]: rig.candidate(candidate)[0] for candidate in names}
    # What is an adapter and an unfit one is kept, with the verdict that says why: it never goes out.
    kept = {"half-pair": "taken", "rank-mismatch": "taken"}
    assert states == {**dict.fromkeys(REFUSED, "refused"), **kept}
    assert {row[0] for row in rig.rows("select state from reg_artifact")} == {"rejected"}
    assert len(list(rig.shop.custody.vault.payloads())) == 3
    assert rig.carried() == set()


# -- what is accepted with a remark, and what is a matter of time or rights

Outcome = Callable[[bytes, Path, Callable[[], Rig]], None]
OUTCOMES: dict[str, Outcome] = {}


def outcome(broken: str) -> Callable[[Outcome], Outcome]:
    def note(check: Outcome) -> Outcome:
        OUTCOMES[broken] = check
        return check

    return note


@outcome("preallocated-header-only")
def _(good: bytes, folder: Path, make_rig: Callable[[], Rig]) -> None:
    head = header_of(good).header_bytes
    found = inspected(folder, good[:head] + bytes(len(good) - head))
    assert found.is_sound_adapter  # structurally it is; only its content tells
    assert any("may not be written yet" in warning for warning in found.found.warnings)
    assert not any("may not be" in warning for warning in inspected(folder, good).found.warnings)
    # If it is taken in all the same, the audits keep it from being released.
    rig = make_rig()
    path = rig.registry.watched / "zero.safetensors"
    path.write_bytes(good[:head] + bytes(len(good) - head))
    rig.drop(path)
    rig.work()
    assert rig.one("select state from reg_artifact")[0] in ("held", "rejected")


@outcome("nan-inf")
def _(good: bytes, folder: Path, make_rig: Callable[[], Rig]) -> None:
    name, alpha = first(good, ".lora_up.weight"), first(good, ".alpha")
    for half in (b"\x00\x7e", b"\x00\x7c", b"\x00\xfc"):  # NaN and both infinities of F16

        def poison(tensors: Tensors, half: bytes = half) -> None:
            tensors[alpha] = (*tensors[alpha][:2], half)

        found = inspected(folder, rebuilt(good, poison))
        assert found.refusals == ()
        assert any("alpha is not a finite number" in item for item in found.found.warnings)
    pytest.importorskip("torch", reason="audits need torch")
    from registry.audits.weights.nonfinite import NonfiniteAudit
    from registry.updates.payload import read_payload

    def poison_weights(tensors: Tensors) -> None:
        dtype, shape, content = tensors[name]
        tensors[name] = (dtype, shape, content[:-2] + b"\x00\x7e")

    data = rebuilt(good, poison_weights)
    assert inspected(folder, data).is_sound_adapter  # the weights are not read to inspect a file
    view = memoryview(bytearray(data))
    report = NonfiniteAudit().run(read_payload(view, PayloadForm.RAW, "a.safetensors"))
    assert [finding.place for finding in report.findings] == [name]


@outcome("alpha-zero-or-huge")
def _(good: bytes, folder: Path, make_rig: Callable[[], Rig]) -> None:
    alpha = first(good, ".alpha")
    for value, words in ((0.0, "alpha is 0"), (60_000.0, "more than 1000 times the rank")):

        def change(tensors: Tensors, value: float = value) -> None:
            tensors[alpha] = ("F16", (), struct.pack("<e", value))

        found = inspected(folder, rebuilt(good, change))
        assert found.refusals == ()
        assert any(words in warning for warning in found.found.warnings)


@outcome("false-hash-claim")
def _(good: bytes, folder: Path, make_rig: Callable[[], Rig]) -> None:
    def statuses(**claim: str) -> list[str]:
        path = folder / "a.safetensors"
        path.write_bytes(with_metadata(good, **claim))
        found = inspect_path(path, check_hash=True)
        assert found.is_sound_adapter
        return [str(item.status) for item in found.found.claims if item.field.startswith("sshs")]

    nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert statuses() == []  # the sheet's own claims are true
    assert statuses(sshs_model_hash=nothing) == ["false"]
    assert statuses(sshs_model_hash="ab" * 32) == ["false"]
    assert statuses(sshs_legacy_hash="abababab") == ["false"]


@outcome("mode-0600")
def _(good: bytes, folder: Path, make_rig: Callable[[], Rig]) -> None:
    looks = looks_at(good)
    assert len(looks) == 2
    for look in looks:
        assert f"mode {MODE:04o}, owner uid {os.geteuid()}" in look
        assert "run this as the file's owner" in look
        assert "broken" not in look


@outcome("rewrite-in-place")
def _(good: bytes, folder: Path, make_rig: Callable[[], Rig]) -> None:
    rig = make_rig()
    path = write_adapter(rig.registry.watched / "lora.safetensors", seed="first")
    rig.drop(path)
    rig.work()
    old = rig.one("select id from reg_artifact")[0]
    size, before = path.stat().st_size, path.read_bytes()
    path.write_bytes(write_adapter(folder / "other.safetensors", seed="second").read_bytes())
    assert (path.stat().st_size, path.read_bytes() != before) == (size, True)
    rig.drop(path)
    rig.work()
    assert {row[0] for row in rig.rows("select state from reg_artifact")} == {"released"}
    ids = {row[0] for row in rig.rows("select id from reg_artifact")}
    assert old in ids
    assert len(ids) == len(list(rig.shop.custody.vault.payloads())) == 2
    for payload in rig.shop.custody.vault.payloads():
        rig.shop.custody.vault.check(payload)


@outcome("vanish")
def _(good: bytes, folder: Path, make_rig: Callable[[], Rig]) -> None:
    rig = make_rig()
    path = write_adapter(rig.registry.watched / "lora.safetensors")
    candidate = rig.drop(path)
    path.unlink()
    rig.work()
    state, reason = rig.candidate(candidate)
    assert state == "gone"
    assert "is not there" in str(reason)
    assert list(rig.shop.custody.vault.payloads()) == []
    assert sql(rig.registry, "select count(*) from reg_artifact") == [(0,)]
    with pytest.raises(NotFoundError):
        inspect_path(path)


@needs_sheet
@pytest.mark.parametrize("broken", sorted(OUTCOMES))
def test_broken_file_has_its_outcome(
    broken: str, good: bytes, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    OUTCOMES[broken](good, tmp_path, lambda: request.getfixturevalue("rig"))


@needs_sheet
def test_the_adapter_that_all_are_made_from_is_sound(good: bytes, tmp_path: Path) -> None:
    found = inspected(tmp_path, good)
    assert (found.kind, found.method, found.refusals) == ("adapter", "dora", ())


@needs_sheet
def test_every_broken_file_of_the_sheet_has_its_test() -> None:
    assert sorted(IDS) == sorted([*REFUSED, *OUTCOMES])
    assert len(IDS) == 21
