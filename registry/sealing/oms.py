"""OpenSSF Model Signing v1.0: a signature that `model_signing verify key` checks.

A Sigstore bundle v0.3 around a DSSE envelope around an in-toto statement of predicate type
`https://model_signing/signature/v1.0`. It takes elliptic-curve keys only, so the key is P-256.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from registry.errors import ContentMismatchError, FormatError, SignatureError
from registry.formats.base64_text import decode_base64, encode_base64
from registry.formats.canonical import Json, dump_canonical, parse_canonical
from registry.formats.envelope import IN_TOTO_PAYLOAD_TYPE, pae
from registry.formats.fields import Fields
from registry.formats.keyset import KeyAlgorithm
from registry.limits import ENVELOPE_BYTES
from registry.sealing.public_keys import verify_signature

if TYPE_CHECKING:
    from registry.formats.manifest import Manifest
    from registry.sealing.signing import P256Key

MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://model_signing/signature/v1.0"


def oms_root(manifest: Manifest) -> str:
    """Return the model's root digest in hex: sha256 over the files' raw sha256, in manifest order.

    That order is by path components, as model-signing's own, so both find the same root.
    """
    digests = (bytes.fromhex(entry.sha256) for entry in manifest.entries)
    return hashlib.sha256(b"".join(digests)).hexdigest()


def oms_bundle(manifest: Manifest, key: P256Key, name: str) -> bytes:
    """Return the signature file for the files of `manifest`; `name` is the model's name in it.

    Canonical JSON. The name stands in clear: give one that tells nothing of a person.
    """
    payload = _payload(manifest, name)
    signature = key.sign(pae(IN_TOTO_PAYLOAD_TYPE, payload))
    return dump_canonical(_bundle(payload, signature, key.public_raw))


def verify_oms_bundle(data: bytes, manifest: Manifest, public: bytes) -> str:
    """Return the model's name once the raw P-256 key has signed exactly the files of `manifest`.

    Only the form that `oms_bundle` writes is accepted.

    Raises:
        FormatError: not such a file.
        SignatureError: made by another key, or it does not fit.
        ContentMismatchError: genuine, and for other files.
    """
    value = parse_canonical(data, what="model signature", max_bytes=ENVELOPE_BYTES)
    outer = Fields.of(value, "model signature")
    envelope = Fields.of(outer.member("dsseEnvelope"), "envelope of the model signature")
    rows = envelope.items("signatures", most=1)
    if not rows:
        raise FormatError("model signature holds no signature")
    row = Fields.of(rows[0], "signature of the model signature")
    payload = _decoded(envelope, "payload")
    signature = _decoded(row, "sig")
    verify_signature(KeyAlgorithm.ECDSA_P256, public, signature, pae(IN_TOTO_PAYLOAD_TYPE, payload))
    # All that stands outside the signature must be what it has to be, the key's hint included.
    if value != _bundle(payload, signature, public):
        raise SignatureError("model signature says more or other than what its key signed")
    name = _subject_name(payload)
    if payload != _payload(manifest, name):
        raise ContentMismatchError("model signature is genuine, but for other files than these")
    return name


def public_pem(public: bytes) -> bytes:
    """Return a raw P-256 key as the PEM that `model_signing verify key --public_key` takes.

    Raises:
        SignatureError: the bytes are no point of P-256.
    """
    try:
        point = EllipticCurvePublicKey.from_encoded_point(SECP256R1(), public)
    except ValueError as error:
        raise SignatureError("public ecdsa-p256 key is not a valid one") from error
    return point.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _payload(manifest: Manifest, name: str) -> bytes:
    resources: list[Json] = [
        {"algorithm": "sha256", "digest": entry.sha256, "name": entry.path}
        for entry in manifest.entries
    ]
    serialization: Json = {
        "allow_symlinks": False,
        "hash_type": "sha256",
        "ignore_paths": [],
        "method": "files",
    }
    return dump_canonical(
        {
            "_type": STATEMENT_TYPE,
            "predicate": {"resources": resources, "serialization": serialization},
            "predicateType": PREDICATE_TYPE,
            "subject": [{"digest": {"sha256": oms_root(manifest)}, "name": name}],
        }
    )


def _bundle(payload: bytes, signature: bytes, public: bytes) -> Json:
    return {
        "dsseEnvelope": {
            "payload": encode_base64(payload),
            "payloadType": IN_TOTO_PAYLOAD_TYPE,
            "signatures": [{"keyid": "", "sig": encode_base64(signature)}],
        },
        "mediaType": MEDIA_TYPE,
        "verificationMaterial": {
            # model-signing compares this hint with the sha256 of the PEM *text* that it is given.
            "publicKey": {"hint": hashlib.sha256(public_pem(public)).hexdigest()},
            "tlogEntries": [],
        },
    }


def _decoded(fields: Fields, name: str) -> bytes:
    text = fields.text(name, max_chars=ENVELOPE_BYTES)
    return decode_base64(text, what=f"{name} of the model signature")


def _subject_name(payload: bytes) -> str:
    value = parse_canonical(payload, what="statement of the model signature")
    statement = Fields.of(value, "statement of the model signature")
    subjects = statement.items("subject", most=1)
    if not subjects:
        raise FormatError("statement of the model signature has no subject")
    return Fields.of(subjects[0], "subject of the model signature").text("name")
