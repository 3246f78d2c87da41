"""The file key stays out of texts and job arguments."""

from __future__ import annotations

import copy

import pytest

from registry.sealing.file_key import FileKey


def test_key_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="16"):
        FileKey(bytes(15))


def test_key_is_neither_shown_nor_copied() -> None:
    key = FileKey(b"0123456789abcdef")
    assert "0123" not in f"{key!r} {key!s}"
    with pytest.raises(TypeError):
        copy.copy(key)


def test_each_use_has_its_own_derivation() -> None:
    key = FileKey(bytes(16))
    outputs = {key.header_mac(b"x"), key.receipt_mac(b"x"), key.payload_key(b"")}
    assert len(outputs) == 3
    assert key.payload_key(bytes(16)) != key.payload_key(bytes(15) + b"\x01")
