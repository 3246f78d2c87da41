from __future__ import annotations

import base64
import dataclasses
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings

from registry.errors import FormatError, SignatureError, VerificationError
from registry.formats.checkpoint import Checkpoint, NoteSignature, parse_note
from registry.formats.keyset import KeyEntry, KeyRole
from registry.sealing.notes import (
    note_key_id,
    note_verifier_key,
    sign_checkpoint,
    sign_note,
    verify_checkpoint,
    verify_note,
)
from registry.sealing.signing import SigningKey
from tests.mutants import mutants

# The example of Go's golang.org/x/mod/sumdb/note.
GO_NAME = "PeterNeumann"
GO_VERIFIER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_NOTE = """If you think cryptography is the answer to your problem,
then you don't know what your problem is.

— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=
""".encode()
GO_PUBLIC = base64.b64decode(GO_VERIFIER.rsplit("+", 1)[1])[1:]

NOW = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)
ORIGIN = "example.org/log"
KEY, OTHER = SigningKey.generate(), SigningKey.generate()
ENTRY = KeyEntry.of(
    KeyRole.LOG, KEY.public_raw, valid_from=NOW, valid_until=NOW + timedelta(days=1)
)
CHECKPOINT = Checkpoint(ORIGIN, 7, bytes(range(32)))
NOTE = sign_checkpoint(CHECKPOINT, KEY)


def _verify(note: bytes, *keys: KeyEntry, origin: str = ORIGIN, at: datetime = NOW) -> Checkpoint:
    return verify_checkpoint(note, keys or (ENTRY,), origin=origin, at=at)


def _with_line(line: NoteSignature) -> bytes:
    note = parse_note(NOTE)
    return dataclasses.replace(note, signatures=(*note.signatures, line)).to_bytes()


def test_note_that_begins_like_a_dsse_payload_or_ssh_signature_is_refused() -> None:
    for text in ("DSSEv1 1 a 1 b\n", "SSHSIG\nx\n"):
        with pytest.raises(FormatError, match="note begins like"):
            sign_note(text, ORIGIN, KEY)
        line = NoteSignature(ORIGIN, note_key_id(ORIGIN, KEY.public_raw), KEY.sign(text.encode()))
        forged = f"{text}\n{line.to_line()}".encode()
        with pytest.raises(FormatError, match="note begins like"):
            verify_note(parse_note(forged), ORIGIN, KEY.public_raw)


def test_checkpoint_of_another_log_is_refused() -> None:
    with pytest.raises(VerificationError, match=r"of log 'example.org/log', expected 'b.example'"):
        _verify(NOTE, origin="b.example")


def test_checkpoint_that_no_log_key_signed_is_refused() -> None:
    with pytest.raises(SignatureError, match="no log key of the keyset"):
        _verify(sign_checkpoint(CHECKPOINT, OTHER))


def test_statement_key_cannot_sign_checkpoints() -> None:
    entry = KeyEntry.of(KeyRole.STATEMENT, KEY.public_raw, valid_from=NOW)
    with pytest.raises(SignatureError, match="no log key"):
        _verify(NOTE, entry)


@pytest.mark.parametrize("at", [NOW - timedelta(seconds=1), NOW + timedelta(days=1)])
def test_log_key_outside_its_time_is_refused(at: datetime) -> None:
    with pytest.raises(SignatureError, match="outside its time"):
        _verify(NOTE, at=at)


def test_log_key_under_another_name_is_refused() -> None:
    note = sign_note(CHECKPOINT.to_text(), "other.example", KEY).to_bytes()
    with pytest.raises(SignatureError, match="no log key"):
        _verify(note)


def test_changed_size_or_root_is_refused() -> None:
    for changed in (Checkpoint(ORIGIN, 8, CHECKPOINT.root), Checkpoint(ORIGIN, 7, bytes(32))):
        note = parse_note(NOTE)
        forged = dataclasses.replace(note, text=changed.to_text())
        with pytest.raises(SignatureError, match="does not fit"):
            _verify(forged.to_bytes())


def test_false_line_of_a_known_key_beside_a_true_one_is_refused() -> None:
    second = KeyEntry.of(KeyRole.LOG, OTHER.public_raw, valid_from=NOW)
    line = NoteSignature(ORIGIN, note_key_id(ORIGIN, OTHER.public_raw), bytes(64))
    with pytest.raises(SignatureError, match="does not fit"):
        _verify(_with_line(line), ENTRY, second)


def test_note_without_the_asked_signer_is_refused() -> None:
    with pytest.raises(SignatureError, match="not signed by 'b'"):
        verify_note(parse_note(NOTE), "b", KEY.public_raw)


@settings(max_examples=150)
@given(mutants(NOTE))
def test_mutated_checkpoint_never_verifies_as_another(note: bytes) -> None:
    try:
        checkpoint = _verify(note)
    except (FormatError, VerificationError):
        return
    # Lines of unknown signers may be added; what was signed stays what it was.
    assert checkpoint == CHECKPOINT


def test_signed_checkpoint_is_verified_and_lines_of_witnesses_are_ignored() -> None:
    assert _verify(NOTE) == CHECKPOINT
    assert _verify(_with_line(NoteSignature("witness.example", b"abcd", b"x"))) == CHECKPOINT
    # The same name with another key id is an unknown key (signed-note, "Signatures").
    assert _verify(_with_line(NoteSignature(ORIGIN, b"abcd", b"x"))) == CHECKPOINT


def test_example_of_go_sumdb_is_verified() -> None:
    assert note_verifier_key(GO_NAME, GO_PUBLIC) == GO_VERIFIER
    assert verify_note(parse_note(GO_NOTE), GO_NAME, GO_PUBLIC).startswith("If you think")
