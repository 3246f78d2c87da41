"""Steps 5 and 6: the log, and for whom it was made."""

from __future__ import annotations

from dataclasses import replace

import pytest

from registry.attest import attest, issue_status_list
from registry.errors import (
    CannotDecryptError,
    ContentMismatchError,
    SignatureError,
    VerificationError,
)
from registry.formats.predicates.delivery import Delivery
from registry.formats.predicates.predicate import parse_predicate
from registry.verify.checklist import Checklist, StepState
from registry.verify.memory import Memory
from registry.verify.steps import VerifiedDelivery, remember, verify_bundle
from tests.verify.world import Delivered, Recipient, Script, World, replace_logged


def _memory(verified: VerifiedDelivery, memory: Memory | None = None) -> Memory:
    return remember(verified, memory)


def _resigned(world: World, made: Delivered, **more: object) -> bytes:
    """The bundle with a delivery statement that says something else, rightly signed."""
    said = parse_predicate(made.bundle.delivery.envelope.payload, Delivery)
    envelope = attest(replace(said, **more), world.statement)  # type: ignore[arg-type]
    return replace_logged(made.bundle, "delivery", envelope=envelope).to_bytes()


def test_statement_that_is_not_in_the_log_is_refused(world: World, delivered: Delivered) -> None:
    bundle = _resigned(world, delivered, nonce="ab" * 32)
    with pytest.raises(VerificationError, match=r"inclusion|leaf|proof"):
        verify_bundle(world.given(delivered, bundle=bundle))


def test_proof_of_another_statement_is_refused(world: World, delivered: Delivered) -> None:
    bundle = replace_logged(delivered.bundle, "delivery", proof=delivered.bundle.release.proof)
    with pytest.raises(VerificationError):
        verify_bundle(world.given(delivered, bundle=bundle.to_bytes()))


def test_proofs_to_two_checkpoints_are_refused(
    world: World, delivered: Delivered, archive: Delivered
) -> None:
    bundle = replace_logged(delivered.bundle, "intake", proof=archive.bundle.intake.proof)
    with pytest.raises(VerificationError, match="different checkpoints"):
        verify_bundle(world.given(delivered, bundle=bundle.to_bytes()))


def test_checkpoint_by_the_statement_key_is_refused() -> None:
    world = World.make()
    impostor = replace(world, log_key=world.statement)
    with pytest.raises(SignatureError, match="no log key"):
        verify_bundle(world.given(impostor.deliver()))


def test_extra_data_in_a_proof_is_refused(world: World, delivered: Delivered) -> None:
    proof = delivered.bundle.release.proof.replace("@v1\n", "@v1\nextra eA==\n", 1)
    bundle = replace_logged(delivered.bundle, "release", proof=proof)
    with pytest.raises(VerificationError, match="extra"):
        verify_bundle(world.given(delivered, bundle=bundle.to_bytes()))


def test_fork_of_the_log_is_shown() -> None:
    world = World.make()
    first = world.deliver()
    memory = _memory(verify_bundle(world.given(first)))
    restored = replace(world, log=type(world.log)())
    forked = restored.deliver()
    assert restored.log.size == world.log.size
    with pytest.raises(VerificationError, match="two roots"):
        verify_bundle(restored.given(forked, memory=memory))


def test_growth_of_the_log_is_proved_with_a_link_and_not_checked_without() -> None:
    world = World.make()
    memory = _memory(verify_bundle(world.given(world.deliver())))
    loose = world.deliver()
    verified = verify_bundle(world.given(loose, memory=memory))
    assert verified.position.continues_stored is None
    # What cannot be compared does not replace what is remembered.
    assert remember(verified, memory).checkpoint == memory.checkpoint
    linked = world.deliver(script=Script(old_checkpoint=memory.checkpoint))
    verified = verify_bundle(world.given(linked, memory=memory))
    assert verified.position.continues_stored is True
    assert remember(verified, memory).checkpoint == verified.position.note


def test_link_that_proves_nothing_is_refused() -> None:
    world = World.make()
    memory = _memory(verify_bundle(world.given(world.deliver())))
    made = world.deliver(script=Script(old_checkpoint=memory.checkpoint))
    link = made.bundle.consistency[0]
    for hashes in (
        link.hashes[:-1],
        (*link.hashes, bytes(32)),
        tuple(bytes(32) for _ in link.hashes),
    ):
        bundle = replace(made.bundle, consistency=(replace(link, hashes=hashes),))
        with pytest.raises(VerificationError):
            verify_bundle(world.given(made, bundle=bundle.to_bytes()))


def test_status_list_of_another_log_is_refused(world: World, delivered: Delivered) -> None:
    status = issue_status_list(replace(delivered.status, log_root="ab" * 32), world.statement)
    bundle = replace(delivered.bundle, status=status)
    with pytest.raises(VerificationError, match="two roots"):
        verify_bundle(world.given(delivered, bundle=bundle.to_bytes()))


def test_someone_elses_delivery_is_its_own_error(world: World, delivered: Delivered) -> None:
    given = world.given(delivered, identities=(Recipient().identity,))
    with pytest.raises(CannotDecryptError, match="made for someone else"):
        verify_bundle(given)


def test_exchanged_sealed_part_is_refused(
    world: World, delivered: Delivered, archive: Delivered
) -> None:
    bundle = replace(delivered.bundle, sealed_part=archive.bundle.sealed_part)
    for identities in ((), (delivered.recipient.identity,)):
        given = world.given(delivered, bundle=bundle.to_bytes(), identities=identities)
        with pytest.raises(ContentMismatchError, match="sealed part"):
            verify_bundle(given)


def test_without_an_identity_the_audience_is_not_checked(
    world: World, delivered: Delivered
) -> None:
    steps = Checklist()
    verified = verify_bundle(world.given(delivered, identities=()), steps)
    assert verified.sealed_part is None
    assert steps.results()[5].state is StepState.NOT_CHECKED


def test_sealed_part_tells_the_recipient_its_terms(world: World, delivered: Delivered) -> None:
    part = verify_bundle(world.given(delivered)).sealed_part
    assert part is not None
    assert (part.recipient_name, part.licence) == ("Li W.", "research only")


def test_bundle_names_nobody_in_the_clear(delivered: Delivered) -> None:
    import base64
    import re

    text = delivered.bundle_bytes
    inner = b"".join(base64.b64decode(match) for match in re.findall(rb'"payload":"([^"]+)"', text))
    recipient = str(delivered.recipient.identity.recipient()).encode()
    signing = base64.b64encode(delivered.recipient.signing.public_raw)
    for secret in (b"Li W.", recipient, signing, delivered.recipient.signing.key_id.encode()):
        assert secret not in text + inner
