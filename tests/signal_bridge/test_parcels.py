"""Parcels: split, read, join; nothing that is not the offered bytes gets through."""

from __future__ import annotations

import dataclasses
import hashlib
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.errors import (
    ContentMismatchError,
    FormatError,
    LorasealError,
    NotFoundError,
    UsageError,
    VerificationError,
)
from signal_bridge.channel import Parcel
from signal_bridge.parcels import (
    HARD_PARCEL_BYTES,
    PARCEL_BYTES,
    Part,
    PartsManifest,
    Shipment,
    clean_name,
    join_parts,
    plan_parcels,
    read_parcel,
)
from tests.simulators.signal_methods import MAX_CIPHERTEXT_BYTES, ciphertext_bytes

DELIVERY = "ab" * 16


def shipment(folder: Path, sealed: bytes, bundle: bytes = b"bundle") -> Shipment:
    (folder / "sealed").write_bytes(sealed)
    (folder / "bundle").write_bytes(bundle)
    return Shipment(DELIVERY, "name", folder / "sealed", folder / "bundle", folder)


def manifest_of(parcels: tuple[Parcel, ...]) -> PartsManifest:
    (listed,) = (p for p in parcels if p.clean_name.endswith(".parts.json"))
    return PartsManifest.parse(b"".join(read_parcel(listed)))


def save(parcels: tuple[Parcel, ...], folder: Path) -> list[Path]:
    """Save parcels as a messenger does: under names of its own."""
    folder.mkdir()
    paths = []
    for parcel in parcels:
        paths.append(folder / f"signal-2026-11-21-{parcel.number}.bin")
        paths[-1].write_bytes(b"".join(read_parcel(parcel)))
    return paths


@pytest.mark.parametrize(("sealed", "bundle"), [(b"", b"x"), (b"x", b"")])
def test_empty_files_are_refused(tmp_path: Path, sealed: bytes, bundle: bytes) -> None:
    with pytest.raises(FormatError, match="empty"):
        plan_parcels(shipment(tmp_path, sealed, bundle), max_bytes=None)


def test_bundle_that_fits_no_parcel_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LorasealError, match="bundle has 6 bytes"):
        plan_parcels(shipment(tmp_path, b"x" * 12), max_bytes=5)


def test_too_many_parts_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LorasealError, match="1000 parcels"):
        plan_parcels(shipment(tmp_path, b"x" * 1000, b"b"), max_bytes=1)


def test_name_that_is_not_clean_is_a_bug(tmp_path: Path) -> None:
    wrong = dataclasses.replace(shipment(tmp_path, b"x"), name="../x")
    with pytest.raises(ValueError, match="clean"):
        plan_parcels(wrong, max_bytes=None)


def test_changed_parcel_never_yields_its_last_batch(tmp_path: Path) -> None:
    parcel = plan_parcels(shipment(tmp_path, b"x" * 1_200_000), max_bytes=None)[0]
    parcel.path.write_bytes(b"x" * 1_199_999 + b"y")
    seen: list[bytes] = []
    with pytest.raises(ContentMismatchError, match="no longer what was offered"):
        seen.extend(read_parcel(parcel))
    assert sum(len(batch) for batch in seen) < 1_200_000


def test_shortened_vanished_and_replaced_parcels_are_refused(tmp_path: Path) -> None:
    parcel = plan_parcels(shipment(tmp_path, b"x" * 100), max_bytes=None)[0]
    parcel.path.write_bytes(b"x" * 99)
    with pytest.raises(ContentMismatchError, match="1 bytes too early"):
        list(read_parcel(parcel))
    parcel.path.unlink()
    with pytest.raises(NotFoundError):
        list(read_parcel(parcel))
    parcel.path.symlink_to(tmp_path / "bundle")
    with pytest.raises(NotFoundError):
        list(read_parcel(parcel))


def test_missing_parts_are_named(tmp_path: Path) -> None:
    parcels = plan_parcels(shipment(tmp_path, bytes(range(250))), max_bytes=100)
    saved = save(parcels, tmp_path / "in")
    with pytest.raises(NotFoundError, match=r"1 of 3 parts .*name\.age\.002-of-003"):
        join_parts(manifest_of(parcels), [saved[0], *saved[2:]], tmp_path / "out.age")
    assert not (tmp_path / "out.age").exists()


def test_joined_file_that_is_not_what_the_list_says_is_refused(tmp_path: Path) -> None:
    parcels = plan_parcels(shipment(tmp_path, bytes(range(250))), max_bytes=100)
    lying = dataclasses.replace(manifest_of(parcels), sha256="0" * 64)
    with pytest.raises(ContentMismatchError):
        join_parts(lying, save(parcels, tmp_path / "in"), tmp_path / "out.age")
    assert [p.name for p in tmp_path.iterdir() if "out.age" in p.name] == []


def test_joining_overwrites_nothing(tmp_path: Path) -> None:
    parcels = plan_parcels(shipment(tmp_path, bytes(range(250))), max_bytes=100)
    (tmp_path / "out.age").write_bytes(b"mine")
    with pytest.raises(UsageError):
        join_parts(manifest_of(parcels), [], tmp_path / "out.age")


@pytest.mark.parametrize(
    "change",
    [
        {"schema": "loraseal/parts.v2"},
        {"parts": []},
        {"parts": "x"},
        {"size": 1},
        {"size": True},
        {"sha256": "0" * 63},
        {"name": "../evil"},
        {"name": ".hidden"},
        {"delivery": 5},
    ],
)
def test_bad_list_of_parts_is_refused(change: dict[str, object]) -> None:
    from registry.formats.canonical import dump_canonical, parse_canonical

    good = PartsManifest(DELIVERY, "n.age", 3, "0" * 64, (Part("n.age.001-of-001", 3, "1" * 64),))
    body = parse_canonical(good.to_bytes(), what="list")
    assert isinstance(body, dict)
    with pytest.raises(FormatError):
        PartsManifest.parse(dump_canonical(body | change))  # type: ignore[operator]  # bad on purpose


@settings(max_examples=60)
@given(st.binary(max_size=300))
def test_any_bytes_are_a_list_of_parts_or_a_format_error(data: bytes) -> None:
    with pytest.raises((FormatError, VerificationError)):
        PartsManifest.parse(data)


@settings(max_examples=60)
@given(st.data())
def test_mutated_list_of_parts_raises_only_our_errors(data: st.DataObject) -> None:
    good = PartsManifest(DELIVERY, "n.age", 3, "0" * 64, (Part("n.age.001-of-001", 3, "1" * 64),))
    mutant = bytearray(good.to_bytes())
    at = data.draw(st.integers(0, len(mutant) - 1))
    mutant[at] ^= 1 << data.draw(st.integers(0, 7))
    try:
        PartsManifest.parse(bytes(mutant))
    except (FormatError, VerificationError):
        return


def test_list_of_parts_survives_a_round_trip() -> None:
    parts = (Part("n.age.001-of-002", 3, "1" * 64), Part("n.age.002-of-002", 1, "2" * 64))
    good = PartsManifest(DELIVERY, "n.age", 4, "0" * 64, parts)
    assert PartsManifest.parse(good.to_bytes()) == good


def test_limits_fit_what_signal_takes() -> None:
    assert ciphertext_bytes(HARD_PARCEL_BYTES) <= MAX_CIPHERTEXT_BYTES
    assert ciphertext_bytes(HARD_PARCEL_BYTES + 1) > MAX_CIPHERTEXT_BYTES
    assert PARCEL_BYTES <= HARD_PARCEL_BYTES


def test_small_delivery_is_the_file_and_the_bundle(tmp_path: Path) -> None:
    for limit in (None, 1000):
        parcels = plan_parcels(shipment(tmp_path, b"x" * 1000), max_bytes=limit)
        assert [p.clean_name for p in parcels] == ["name.age", "name.loraseal"]
        assert [p.number for p in parcels] == [1, 2]


@settings(max_examples=25, deadline=None)
@given(st.binary(min_size=1, max_size=2000), st.integers(6, 700))
def test_what_was_split_joins_to_the_same_bytes(sealed: bytes, limit: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plan = shipment(folder, sealed)
        parcels = plan_parcels(plan, max_bytes=limit)
        assert plan_parcels(plan, max_bytes=limit) == parcels
        parts = [p for p in parcels if ".parts" not in p.clean_name and p is not parcels[-1]]
        assert all(p.size <= limit for p in parts)
        assert b"".join(b for p in parts for b in read_parcel(p)) == sealed
        assert sorted(p.clean_name for p in parts) == [p.clean_name for p in parts]
        if len(parts) > 1:
            saved = save(parcels, folder / "in")
            join_parts(manifest_of(parcels), [*reversed(saved), *saved], folder / "joined")
            assert (folder / "joined").read_bytes() == sealed


@settings(max_examples=80)
@given(st.text(max_size=300))
def test_clean_name_is_safe_and_stays(text: str) -> None:
    name = clean_name(text)
    assert 1 <= len(name) <= 100
    assert name.isascii()
    assert not name.startswith((".", "-"))
    assert "/" not in name
    assert clean_name(name) == name


def test_parts_of_equal_content_join_from_one_saved_copy(tmp_path: Path) -> None:
    parcels = plan_parcels(shipment(tmp_path, bytes(200)), max_bytes=100)
    saved = save(parcels, tmp_path / "in")
    join_parts(manifest_of(parcels), [saved[0]], tmp_path / "out")
    assert (
        hashlib.sha256((tmp_path / "out").read_bytes()).digest()
        == hashlib.sha256(bytes(200)).digest()
    )
