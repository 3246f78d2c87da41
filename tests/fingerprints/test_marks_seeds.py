"""Seeds and commitments: the same for ever, apart for every recipient, opened by nothing else."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import VerificationError
from registry.fingerprints.marks.seeds import commitment, module_key, seed_of, verify_opening
from registry.fingerprints.marks.stream import derive_key, key_stream

MASTER = bytes(range(32))
ARTIFACT = "sha256:" + "ab" * 32
SEED = bytes.fromhex("d17ec81bfad8e11e68bcdf6191fd1dba5af42f8776c999105ba91bb81d32b462")


def test_short_master_secret_is_refused():
    with pytest.raises(ValueError, match="31 bytes, expected at least 32"):
        seed_of(bytes(31), ARTIFACT, "r")


@pytest.mark.parametrize(("artifact", "recipient"), [("", "r"), (ARTIFACT, "")])
def test_mark_for_nobody_is_refused(artifact, recipient):
    with pytest.raises(ValueError, match="needs an artifact and a recipient"):
        seed_of(MASTER, artifact, recipient)


@pytest.mark.parametrize("other", [b"", bytes(32), SEED[:-1], SEED + b"\0", SEED[::-1]])
def test_other_seed_does_not_open_a_commitment(other):
    with pytest.raises(VerificationError):
        verify_opening(commitment(SEED), other)


def test_seed_does_not_open_another_commitment():
    with pytest.raises(VerificationError):
        verify_opening(hashlib.sha256(SEED).digest(), SEED)


def test_commitment_to_no_seed_is_refused():
    with pytest.raises(ValueError, match="31 bytes"):
        commitment(SEED[1:])


def test_seed_opens_its_commitment():
    verify_opening(commitment(SEED), SEED)


def test_known_answers():
    assert seed_of(MASTER, ARTIFACT, "recipient-1") == SEED
    assert commitment(SEED).hex() == (
        "68c22ba2217571d6d63293d55fe4e6f1cd6c2b4e8fe79fc29331745f4e369f4c"
    )
    assert module_key(SEED, "lora_unet_x").hex() == (
        "cbb8d39cb807ce1c90278bf828de052e08a5aaa58a04aed905a32baffefebd55"
    )
    assert key_stream(MASTER, "label", 16).hex() == "9b92eb5df31890397094ea395045c2c1"


def test_seed_is_hmac_of_lengths_and_fields():
    fields = b"".join(len(one).to_bytes(8, "big") + one for one in (ARTIFACT.encode(), b"r"))
    expected = hmac.new(MASTER, b"loraseal/mark/v1/seed\n" + fields, "sha256").digest()
    assert seed_of(MASTER, ARTIFACT, "r") == expected


def test_modules_of_one_name_have_keys_of_their_own():
    assert module_key(SEED, "x", 0) != module_key(SEED, "x", 1)


@given(st.lists(st.binary(max_size=6), max_size=4), st.lists(st.binary(max_size=6), max_size=4))
def test_no_two_lists_of_fields_share_a_key(first, second):
    same = derive_key(MASTER, "l", *first) == derive_key(MASTER, "l", *second)
    assert same == (first == second)


@given(st.binary(max_size=40), st.integers(0, 64), st.integers(0, 64))
def test_longer_stream_begins_with_the_shorter(key, short, more):
    assert key_stream(key, "l", short + more)[:short] == key_stream(key, "l", short)
