"""For whom a delivery was made."""

from __future__ import annotations

from dataclasses import replace

import pytest

from registry.errors import CannotDecryptError, VerificationError
from registry.formats.predicates.delivery import Delivery
from registry.formats.predicates.predicate import parse_predicate
from registry.sealing.seal import open_bytes, seal_bytes
from registry.verify.audience import audience_commitment, open_audience
from tests.verify.world import Delivered, Recipient

SALT, OTHER = "ab" * 32, "cd" * 32


def _statement(delivered: Delivered) -> Delivery:
    return parse_predicate(delivered.bundle.delivery.envelope.payload, Delivery)


def test_commitment_depends_on_salt_and_both_keys() -> None:
    values = {
        audience_commitment(SALT, "age1a", bytes(32)),
        audience_commitment(OTHER, "age1a", bytes(32)),
        audience_commitment(SALT, "age1b", bytes(32)),
        audience_commitment(SALT, "age1a", bytes(31) + b"\1"),
    }
    assert len(values) == 4


def test_part_that_names_another_audience_is_refused(delivered: Delivered) -> None:
    identity = delivered.recipient.identity
    said = replace(_statement(delivered), audience="ab" * 32)
    with pytest.raises(VerificationError, match="another audience"):
        open_audience(delivered.bundle.sealed_part, said, [identity])


def test_part_that_was_sealed_on_to_someone_else_is_not_theirs(delivered: Delivered) -> None:
    mine = delivered.recipient.identity
    plain = open_bytes(delivered.bundle.sealed_part, [mine], max_bytes=100_000)
    other = Recipient().identity
    passed_on = seal_bytes(plain, [other.recipient()])
    with pytest.raises(CannotDecryptError, match="made for someone else"):
        open_audience(passed_on, _statement(delivered), [other])
    assert open_audience(passed_on, _statement(delivered), [other, mine]).recipient_name == "Li W."
