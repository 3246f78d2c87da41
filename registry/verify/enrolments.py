"""Enrolment files: made by a recipient, read by an operator who then compares the six words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from registry.digest import sha256_of
from registry.errors import LorasealError, SignatureError
from registry.formats.base64_text import encode_base64
from registry.formats.canonical import Json, dump_canonical
from registry.formats.enrolment_file import PAYLOAD_TYPE, EnrolmentRequest
from registry.formats.envelope import parse_envelope
from registry.formats.keyset import KeyAlgorithm, key_id_of
from registry.formats.words import spoken
from registry.limits import ENROLMENT_BYTES
from registry.sealing.identities import X25519Recipient
from registry.sealing.public_keys import verify_signature
from registry.sealing.signing import SigningKey, sign_envelope
from registry.verify.signed import check_single

if TYPE_CHECKING:
    from pathlib import Path

_WORDS_LABEL = "loraseal/enrolment-words/v1"


@dataclass(frozen=True, slots=True)
class ReadEnrolment:
    """An enrolment file that is whole; whose it is, only the comparison of `words` tells."""

    request: EnrolmentRequest
    words: str


def make_enrolment(request: EnrolmentRequest, key: SigningKey) -> bytes:
    """Return the enrolment file: `request`, signed by the key that it brings.

    Raises:
        ValueError: the request brings another key.
        FormatError: the request would not be read back.
    """
    if request.signing_key != key.public_raw:
        raise ValueError("enrolment request brings another key than signs it")
    payload = request.to_bytes()
    EnrolmentRequest.parse(payload)
    return sign_envelope(PAYLOAD_TYPE, payload, [key]).to_bytes()


def read_enrolment(data: bytes) -> ReadEnrolment:
    """Return what an enrolment file asks for, with the six words to compare.

    Raises:
        FormatError: no enrolment file, or its age recipient is none.
        SignatureError: not signed by the key that it brings.
    """
    envelope = parse_envelope(data, what="enrolment file")
    check_single(envelope)
    if envelope.payload_type != PAYLOAD_TYPE:
        raise SignatureError(f"envelope holds {envelope.payload_type!r}, expected {PAYLOAD_TYPE!r}")
    request = EnrolmentRequest.parse(envelope.payload)
    if envelope.signatures[0].key_id != key_id_of(request.signing_key):
        raise SignatureError("enrolment file is signed by another key than it brings")
    verify_signature(
        KeyAlgorithm.ED25519, request.signing_key, envelope.signatures[0].signature, envelope.pae()
    )
    X25519Recipient.parse(request.age_recipient)
    return ReadEnrolment(request, enrolment_words(request))


def enrolment_words(request: EnrolmentRequest) -> str:
    """Return the six words of a request's name and keys: the same for every file made of them."""
    key = encode_base64(request.signing_key)
    said: list[Json] = [_WORDS_LABEL, request.name, request.age_recipient, key]
    return spoken(bytes.fromhex(sha256_of(dump_canonical(said)).value))


def is_enrolment(path: Path) -> bool:
    """Say whether `path` is an enrolment file, which may be written anew; anything else is not ours."""
    try:
        with path.open("rb") as stream:
            read_enrolment(stream.read(ENROLMENT_BYTES + 1))
    except (OSError, LorasealError):
        return False
    return True
