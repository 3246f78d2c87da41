from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.errors import CannotDecryptError, ContentMismatchError, VerificationError
from registry.limits import SUBJECT_KEYS_CACHED
from registry.provenance.columns import Cell, ColumnKeeper, WrappedKey, key_id_of, new_index_key
from registry.sealing.identities import X25519Identity

CELL = Cell("reg_recipient", "r1", "name")
IDENTITY = X25519Identity.generate()
KEEPER = ColumnKeeper(IDENTITY.recipient(), new_index_key(), [IDENTITY])
KEY = KEEPER.new_key()


@pytest.mark.parametrize(
    "elsewhere",
    [
        Cell("reg_recipient", "r2", "name"),
        Cell("reg_recipient", "r1", "age_recipient"),
        Cell("reg_address", "r1", "name"),
        Cell("reg_recipient", "r1\0name", ""),
    ],
)
def test_value_moved_to_another_cell_is_refused(elsewhere: Cell) -> None:
    sealed = KEEPER.seal(KEY, CELL, b"Li Wei")
    with pytest.raises(ContentMismatchError, match="was changed, or belongs to another row"):
        KEEPER.open(KEY, elsewhere, sealed)


def test_value_under_another_subjects_key_is_refused() -> None:
    sealed = KEEPER.seal(KEY, CELL, b"Li Wei")
    with pytest.raises(ContentMismatchError):
        KEEPER.open(KEEPER.new_key(), CELL, sealed)


def test_wrapped_key_in_another_keys_row_is_refused(
    keeper: ColumnKeeper, identity: X25519Identity, index_key: bytes
) -> None:
    first, second = keeper.new_key(), keeper.new_key()
    swapped = WrappedKey(first.key_id, second.wrapped)
    fresh = ColumnKeeper(identity.recipient(), index_key, [identity])
    with pytest.raises(ContentMismatchError, match="not the one that its row names"):
        fresh.open(swapped, CELL, keeper.seal(first, CELL, b"x"))


def test_host_without_identity_opens_nothing_that_others_sealed(
    keeper: ColumnKeeper, identity: X25519Identity, index_key: bytes
) -> None:
    theirs = keeper.new_key()
    watcher = ColumnKeeper(identity.recipient(), index_key)
    assert not watcher.holds(theirs)
    with pytest.raises(CannotDecryptError):
        watcher.open(theirs, CELL, keeper.seal(theirs, CELL, b"Li Wei"))


def test_host_without_identity_seals_for_those_who_have_it(
    keeper: ColumnKeeper, identity: X25519Identity, index_key: bytes
) -> None:
    watcher = ColumnKeeper(identity.recipient(), index_key)
    mine = watcher.new_key()
    assert keeper.open(mine, CELL, watcher.seal(mine, CELL, b"Li Wei")) == b"Li Wei"


def test_sealed_value_truncated_at_each_byte_is_refused() -> None:
    sealed = KEEPER.seal(KEY, CELL, b"Li")
    for length in range(len(sealed)):
        with pytest.raises(VerificationError):
            _read(sealed[:length])


@given(st.data())
@settings(max_examples=200)
def test_flipped_bit_raises_only_our_errors(data: st.DataObject) -> None:
    sealed = bytearray(KEEPER.seal(KEY, CELL, b"Li Wei"))
    bit = data.draw(st.integers(0, len(sealed) * 8 - 1))
    sealed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(ContentMismatchError):
        _read(bytes(sealed))


def _read(sealed: bytes) -> bytes:
    """Open as the ledger does: the key is looked up by the id in the value."""
    if key_id_of(sealed, CELL) != KEY.key_id:
        raise ContentMismatchError("no such key")
    return KEEPER.open(KEY, CELL, sealed)


@given(st.binary(max_size=2000))
@settings(max_examples=100)
def test_open_returns_what_was_sealed(value: bytes) -> None:
    sealed = KEEPER.seal(KEY, CELL, value)
    assert KEEPER.open(KEY, CELL, sealed) == value
    assert key_id_of(sealed, CELL) == KEY.key_id


def test_equal_values_seal_differently() -> None:
    assert KEEPER.seal(KEY, CELL, b"x") != KEEPER.seal(KEY, CELL, b"x")


def test_index_depends_on_field_value_and_key() -> None:
    other = ColumnKeeper(IDENTITY.recipient(), new_index_key(), [IDENTITY])
    found = {
        KEEPER.index("name", "kiki"),
        KEEPER.index("name", "kiki2"),
        KEEPER.index("stem", "kiki"),
        KEEPER.index("na", "mekiki"),
        other.index("name", "kiki"),
    }
    assert len(found) == 5
    assert KEEPER.index("name", "kiki") == KEEPER.index("name", b"kiki")


def test_index_key_of_another_length_is_a_bug() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        ColumnKeeper(IDENTITY.recipient(), b"short")


def test_repr_shows_no_key(keeper: ColumnKeeper, index_key: bytes) -> None:
    assert repr(keeper) == "ColumnKeeper(can_open=True)"
    assert index_key.hex() not in repr(keeper)


def test_opened_keys_are_forgotten_beyond_a_bound(
    identity: X25519Identity, index_key: bytes
) -> None:
    watcher = ColumnKeeper(identity.recipient(), index_key)
    first = watcher.new_key()
    for number in range(SUBJECT_KEYS_CACHED):
        watcher._remember(f"{number:032x}", watcher._keys[first.key_id])
        watcher._cipher(first) if number % 100 == 0 else None
    assert len(watcher._keys) == SUBJECT_KEYS_CACHED
    assert watcher.holds(first)
