"""Steps 1 to 3: bundle, keyset and every signature."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from registry.attest import issue_status_list
from registry.errors import (
    FormatError,
    SignatureError,
)
from registry.formats.keyset import KeyEntry, KeyRole
from registry.formats.moments import to_text
from registry.sealing.signing import P256Key, SigningKey, sign_envelope
from registry.verify.memory import Memory
from registry.verify.pin import KeyPin
from registry.verify.steps import VerifiedDelivery, remember, verify_bundle
from tests.verify.world import NOW, Delivered, Script, World, replace_logged

AT = to_text(NOW)


def _memory(verified: VerifiedDelivery, memory: Memory | None = None) -> Memory:
    return remember(verified, memory)


def test_bytes_after_the_bundle_are_refused(world: World, delivered: Delivered) -> None:
    given = world.given(delivered, bundle=delivered.bundle_bytes + b"\n")
    with pytest.raises(FormatError):
        verify_bundle(given)


def test_keyset_under_another_root_is_refused(world: World, delivered: Delivered) -> None:
    pin = KeyPin((SigningKey.generate().public_raw,))
    with pytest.raises(SignatureError, match="root key that you pinned") as caught:
        verify_bundle(world.given(delivered, pin=pin))
    assert pin.words in str(caught.value.hint)


def test_keyset_older_than_the_pinned_one_is_refused(world: World, delivered: Delivered) -> None:
    pin = KeyPin(world.pin.roots, version=2)
    with pytest.raises(SignatureError, match="older than the pinned"):
        verify_bundle(world.given(delivered, pin=pin))


def test_withdrawn_key_is_not_brought_back_by_an_old_keyset() -> None:
    world = World.make()
    stale = world.deliver()
    entries = tuple(
        replace(entry, valid_until=to_text(NOW - timedelta(days=1)))
        if entry.role is KeyRole.HOST
        else entry
        for entry in world.keyset.keys
    )
    later = world.with_keyset(replace(world.keyset, version=2, keys=entries))
    host = SigningKey.generate()
    fresh_keys = (*entries, KeyEntry.of(KeyRole.HOST, host.public_raw, valid_from=NOW))
    later = later.with_keyset(replace(later.keyset, keys=fresh_keys))
    fresh = later.deliver(script=Script(intake_key=host))
    memory = _memory(verify_bundle(later.given(fresh)))
    verify_bundle(world.given(stale))
    with pytest.raises(SignatureError, match="host key"):
        verify_bundle(world.given(stale, memory=memory))


def test_older_bundle_is_judged_by_the_newer_keyset() -> None:
    world = World.make()
    older = world.deliver()
    later = world.with_keyset(replace(world.keyset, version=2))
    newer = later.deliver()
    memory = _memory(verify_bundle(later.given(newer)))
    assert verify_bundle(world.given(older, memory=memory)).keyset.version == 2


def test_two_keysets_of_one_version_are_refused() -> None:
    world = World.make()
    first = world.deliver()
    other = world.with_keyset(replace(world.keyset, issued=AT))
    second = other.deliver()
    memory = _memory(verify_bundle(world.given(first)))
    with pytest.raises(SignatureError, match="two different keysets"):
        verify_bundle(other.given(second, memory=memory))


WRONG_KEYS = {
    "release by the operator's key for the policy": Script(skip_chain=True, release_key="operator"),  # type: ignore[arg-type]
    "release by a host": Script(skip_chain=True, release_key="host"),  # type: ignore[arg-type]
    "intake by the statement key": Script(skip_chain=True, intake_key="statement"),  # type: ignore[arg-type]
    "verdict by the host": Script(skip_chain=True, auditor_key="host"),  # type: ignore[arg-type]
    "delivery by the operator": Script(custody_key="operator"),  # type: ignore[arg-type]
    "delivery by the log": Script(custody_key="log_key"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("name", WRONG_KEYS)
def test_key_of_another_role_is_refused(world: World, name: str) -> None:
    script = WRONG_KEYS[name]
    keys = {
        key: getattr(world, value)
        for key in ("release_key", "intake_key", "auditor_key", "custody_key")
        if isinstance(value := getattr(script, key), str)
    }
    made = world.deliver(script=replace(script, **keys))
    with pytest.raises(SignatureError, match=r"role|expected a"):
        verify_bundle(world.given(made))


def test_unknown_key_is_refused(world: World) -> None:
    made = world.deliver(script=Script(skip_chain=True, intake_key=SigningKey.generate()))
    with pytest.raises(SignatureError):
        verify_bundle(world.given(made))


def test_signature_before_its_keys_time_is_refused() -> None:
    world = World.make()
    entries = tuple(
        replace(entry, valid_from=to_text(NOW + timedelta(days=1)))
        if entry.role is KeyRole.AUDITOR
        else entry
        for entry in world.keyset.keys
    )
    world = world.with_keyset(replace(world.keyset, keys=entries))
    made = world.deliver(script=Script(skip_chain=True))
    with pytest.raises(SignatureError, match="valid from"):
        verify_bundle(world.given(made))


def test_second_signature_is_refused(world: World, delivered: Delivered) -> None:
    inner = delivered.bundle.intake.envelope
    double = sign_envelope(inner.payload_type, inner.payload, [world.host, world.operator])
    bundle = replace_logged(delivered.bundle, "intake", envelope=double)
    with pytest.raises(SignatureError, match="2 signatures"):
        verify_bundle(world.given(delivered, bundle=bundle.to_bytes()))


def test_rightly_signed_nonsense_is_a_format_error(world: World, delivered: Delivered) -> None:
    nonsense = sign_envelope("application/vnd.in-toto+json", b"{}", [world.host])
    bundle = replace_logged(delivered.bundle, "intake", envelope=nonsense)
    with pytest.raises(FormatError):
        verify_bundle(world.given(delivered, bundle=bundle.to_bytes()))
    status = sign_envelope(delivered.bundle.status.payload_type, b"{}", [world.statement])
    bundle = replace(delivered.bundle, status=status)
    with pytest.raises(FormatError):
        verify_bundle(world.given(delivered, bundle=bundle.to_bytes()))


def test_status_list_by_the_operator_is_refused(world: World, delivered: Delivered) -> None:
    status = issue_status_list(delivered.status, world.operator)
    bundle = replace(delivered.bundle, status=status)
    with pytest.raises(SignatureError, match="role operator"):
        verify_bundle(world.given(delivered, bundle=bundle.to_bytes()))


def test_statement_is_not_taken_for_a_status_list(world: World, delivered: Delivered) -> None:
    bundle = replace(delivered.bundle, status=delivered.bundle.delivery.envelope)
    with pytest.raises(SignatureError, match="expected"):
        verify_bundle(world.given(delivered, bundle=bundle.to_bytes()))


@pytest.mark.parametrize("name", ["sshsig", "oms"])
def test_attached_signature_cannot_be_dropped_or_exchanged(
    world: World, delivered: Delivered, archive: Delivered, name: str
) -> None:
    for value in (None, getattr(archive.bundle, name)):
        bundle = replace(delivered.bundle, **{name: value})
        with pytest.raises(SignatureError):
            verify_bundle(world.given(delivered, bundle=bundle.to_bytes()))


def test_attached_signature_cannot_be_slipped_in(world: World, delivered: Delivered) -> None:
    made = world.deliver(script=Script(with_oms=False))
    bundle = replace(made.bundle, oms=delivered.bundle.oms)
    with pytest.raises(SignatureError, match="not one that the delivery names"):
        verify_bundle(world.given(made, bundle=bundle.to_bytes()))


def test_model_signature_without_a_valid_key_is_refused() -> None:
    world = World.make()
    entries = tuple(entry for entry in world.keyset.keys if entry.role is not KeyRole.OMS)
    world = world.with_keyset(replace(world.keyset, keys=entries))
    with pytest.raises(SignatureError, match="no oms key"):
        verify_bundle(world.given(world.deliver()))


def test_model_signature_by_the_older_of_two_valid_keys_holds() -> None:
    world = World.make()
    other = P256Key.generate()
    since = NOW - timedelta(days=1)
    for at in (0, len(world.keyset.keys)):
        keys = list(world.keyset.keys)
        keys.insert(at, KeyEntry.of(KeyRole.OMS, other.public_raw, valid_from=since))
        both = world.with_keyset(replace(world.keyset, keys=tuple(keys)))
        verify_bundle(both.given(both.deliver()))
        foreign = replace(both, oms=P256Key.generate())
        with pytest.raises(SignatureError):
            verify_bundle(both.given(foreign.deliver()))
