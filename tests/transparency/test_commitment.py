from __future__ import annotations

import dataclasses
import hashlib
import hmac

import pytest

from registry.formats.envelope import Envelope, EnvelopeSignature
from registry.transparency.commitment import SALT_BYTES, leaf_for, new_salt

ENVELOPE = Envelope("application/x+json", b'{"name":"x"}', (EnvelopeSignature("ab" * 32, b"s"),))
SALT = bytes(range(32))


@pytest.mark.parametrize("size", [0, 16, 31, 33, 64])
def test_salt_of_another_length_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"salt has {size} bytes, expected 32"):
        leaf_for(bytes(size), ENVELOPE)


def test_leaf_changes_with_salt_type_and_payload() -> None:
    leaves = {
        leaf_for(SALT, ENVELOPE),
        leaf_for(bytes(32), ENVELOPE),
        leaf_for(SALT, dataclasses.replace(ENVELOPE, payload_type="application/y+json")),
        leaf_for(SALT, dataclasses.replace(ENVELOPE, payload=b'{"name":"y"}')),
    }
    assert len(leaves) == 4


def test_leaf_is_the_documented_bytes() -> None:
    signed = b'DSSEv1 18 application/x+json 12 {"name":"x"}'
    mac = hmac.new(SALT, signed, hashlib.sha256).digest()
    assert leaf_for(SALT, ENVELOPE) == b"loraseal/leaf/v1\n" + mac


def test_leaf_does_not_depend_on_signatures() -> None:
    again = dataclasses.replace(ENVELOPE, signatures=(EnvelopeSignature("cd" * 32, b"t"),))
    assert leaf_for(SALT, again) == leaf_for(SALT, ENVELOPE)


def test_salts_are_fresh() -> None:
    assert len({new_salt() for _ in range(100)}) == 100
    assert len(new_salt()) == SALT_BYTES
