"""Signed notes and checkpoints, signed and verified with the log's Ed25519 key.

Spec: C2SP signed-note v1.0.0, signature type 1. The key's name is the log's origin.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from registry.errors import FormatError, SignatureError, VerificationError
from registry.formats.base64_text import encode_base64
from registry.formats.checkpoint import (
    NOTE_KEY_ID_BYTES,
    Checkpoint,
    NoteSignature,
    SignedNote,
    parse_note,
)
from registry.formats.envelope import PAE_PREFIX
from registry.formats.keyset import KeyAlgorithm, KeyEntry, KeyRole
from registry.sealing.public_keys import verify_signature

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from registry.sealing.signing import SigningKey

_ED25519_TYPE = b"\x01"
_FOREIGN_PREFIXES = (PAE_PREFIX.decode(), "SSHSIG")


def note_key_id(name: str, public: bytes) -> bytes:
    """Return the four-byte key id of an Ed25519 key under a name: a hint, no proof of anything."""
    digest = hashlib.sha256(name.encode("utf-8") + b"\n" + _ED25519_TYPE + public).digest()
    return digest[:NOTE_KEY_ID_BYTES]


def note_verifier_key(name: str, public: bytes) -> str:
    """Return the key in the text form that Go's sumdb tools and witnesses take: `name+id+key`."""
    encoded = encode_base64(_ED25519_TYPE + public)
    return f"{name}+{note_key_id(name, public).hex()}+{encoded}"


def sign_note(text: str, name: str, key: SigningKey) -> SignedNote:
    """Return `text`, which ends in a newline, signed by `key` under `name`.

    Raises:
        FormatError: the text cannot be a note, or begins like the signed bytes of DSSE or SSHSIG;
            or the name holds a space or a plus.
    """
    _refuse_foreign(text)
    signature = key.sign(text.encode("utf-8"))
    line = NoteSignature(name, note_key_id(name, key.public_raw), signature)
    return SignedNote(text, (line,))


def verify_note(note: SignedNote, name: str, public: bytes) -> str:
    """Return the note's text once the line of the raw Ed25519 key under `name` holds.

    Lines of other signers are ignored, as the spec demands.

    Raises:
        SignatureError: that key has not signed, or its signature does not fit.
        FormatError: the text begins like the signed bytes of DSSE or SSHSIG.
    """
    _refuse_foreign(note.text)
    key_id = note_key_id(name, public)
    for line in note.signatures:
        if (line.name, line.key_id) == (name, key_id):
            message = note.text.encode("utf-8")
            verify_signature(KeyAlgorithm.ED25519, public, line.signature, message)
            return note.text
    raise SignatureError(f"note is not signed by {name!r} with the key that is known for it")


def sign_checkpoint(checkpoint: Checkpoint, key: SigningKey) -> bytes:
    """Return the checkpoint as a signed note, under its origin as the key's name.

    The caller must have seen that it continues the last one signed; else the log forks.
    """
    return sign_note(checkpoint.to_text(), checkpoint.origin, key).to_bytes()


def verify_checkpoint(
    note: bytes, keys: Sequence[KeyEntry], *, origin: str, at: datetime
) -> Checkpoint:
    """Return the checkpoint of log `origin` once a log key, valid `at` that moment, has signed it.

    Whether it continues an earlier one is the caller's to check (`merkle.verify_consistency`).

    Raises:
        FormatError: not a note, or not a checkpoint.
        VerificationError: the checkpoint of another log.
        SignatureError: no log key of `keys` that is valid has signed it, or a signature is false.
    """
    signed = parse_note(note)
    checkpoint = Checkpoint.from_text(signed.text)
    if checkpoint.origin != origin:
        raise VerificationError(f"checkpoint is of log {checkpoint.origin!r}, expected {origin!r}")
    lines = {(line.name, line.key_id) for line in signed.signatures}
    signers = [
        entry
        for entry in keys
        if entry.role is KeyRole.LOG and (origin, note_key_id(origin, entry.public)) in lines
    ]
    valid = [entry for entry in signers if entry.is_valid_at(at)]
    if not valid:
        raise SignatureError(
            f"checkpoint of log {origin!r} is signed by "
            + ("a log key outside its time" if signers else "no log key of the keyset"),
            hint="ask the registry for its current keyset and a bundle made with it",
        )
    # Every known key's line must hold: a false one beside a true one means that somebody edits.
    for entry in valid:
        verify_note(signed, origin, entry.public)
    return checkpoint


def _refuse_foreign(text: str) -> None:
    # A log key's signature over such a text could be presented as a statement or an SSH signature.
    if text.startswith(_FOREIGN_PREFIXES):
        raise FormatError("note begins like a DSSE payload or an SSH signature")
