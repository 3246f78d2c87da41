"""What our statements say survives being written; anything else is refused."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.digest import Digest, sha256_of
from registry.errors import FormatError
from registry.formats.canonical import dump_canonical
from registry.formats.findings import Coverage, Outcome, Verdict
from registry.formats.manifest import Manifest, ManifestEntry
from registry.formats.predicates.delivery import Attachments, Delivery
from registry.formats.predicates.enrolment import ChannelPin, Enrolment
from registry.formats.predicates.intake import Intake, Rendition
from registry.formats.predicates.predicate import Predicate, parse_predicate, statement_bytes
from registry.formats.predicates.release import Release, WaiverNote
from registry.formats.predicates.revocation import Revocation
from registry.formats.predicates.verdict import VerdictStatement

H, ID, AT = "ab" * 32, "cd" * 16, "2026-11-21T12:00:00Z"
MANIFEST = Manifest((ManifestEntry("a.safetensors", 7, H),))
ARTIFACT = sha256_of(MANIFEST.to_bytes()).value
INTAKE = Intake(
    ARTIFACT,
    MANIFEST,
    Digest("blake3", H),
    "host",
    AT,
    tensors_digest=Digest("blake3", H),
    body_sha256=H,
    kind="adapter",
    trainer_facts=(("config.toml", H),),
)
VERDICT = VerdictStatement(
    ARTIFACT,
    "original",
    "spectrum",
    "1",
    Verdict.WARN,
    Coverage(1, 2, "modules"),
    H,
    "us",
    False,
    H,
    AT,
)
RELEASE = Release(
    ARTIFACT,
    "original",
    H,
    (H,),
    Outcome.RELEASED,
    "operator",
    False,
    ID,
    AT,
    reason="looked at it",
    waivers=(WaiverNote("spectrum", "f1", "known", AT),),
    labels=("safe-to-publish",),
)
ENROLMENT = Enrolment(ID, "age1x", bytes(32), "voice", "me", ID, AT, (ChannelPin("signal", "p"),))
DELIVERY = Delivery(
    registry="r",
    delivery_id=ID,
    artifact_id=ARTIFACT,
    rendition="original",
    form="raw",
    files=MANIFEST.entries,
    payload_digest=Digest("blake3", H),
    header_digest=H,
    audience=H,
    key_class="x25519",
    release_digest=H,
    created=AT,
    acknowledge_by=AT,
    nonce=H,
    status_id=ID,
    log_origin="log.example/x",
    statement_key_id=H,
    attachments=Attachments(H, None, H),
    supersedes=ID,
)
REVOCATION = Revocation("consent-withdrawn", AT, status_id=ID, superseded_by=ID)
ALL: tuple[Predicate, ...] = (INTAKE, VERDICT, RELEASE, ENROLMENT, DELIVERY, REVOCATION)


# Members that statements of the first release lack, both or none.
YOUNGER = {"rendition", "derived_from"}


def test_intake_of_the_first_release_is_an_original() -> None:
    body = _body(INTAKE)
    rest = {key: value for key, value in body["predicate"].items() if key not in YOUNGER}
    found = parse_predicate(dump_canonical({**body, "predicate": rest}), Intake)
    assert (found.rendition, found.derived_from) == (Rendition.ORIGINAL, None)


def _body(predicate: Predicate) -> dict:  # type: ignore[type-arg]
    return json.loads(statement_bytes(predicate))


@pytest.mark.parametrize("predicate", ALL, ids=lambda item: type(item).__name__)
def test_each_member_is_needed(predicate: Predicate) -> None:
    body = _body(predicate)
    for name in body["predicate"]:
        rest = {key: value for key, value in body["predicate"].items() if key != name}
        with pytest.raises(FormatError):
            parse_predicate(dump_canonical({**body, "predicate": rest}), type(predicate))


@pytest.mark.parametrize("predicate", ALL, ids=lambda item: type(item).__name__)
def test_wrong_types_are_refused(predicate: Predicate) -> None:
    body = _body(predicate)
    for name in body["predicate"]:
        changed = {**body["predicate"], name: {"x": -1}}
        with pytest.raises(FormatError):
            parse_predicate(dump_canonical({**body, "predicate": changed}), type(predicate))


@pytest.mark.parametrize("predicate", ALL, ids=lambda item: type(item).__name__)
def test_subjects_must_be_those_of_the_content(predicate: Predicate) -> None:
    body = _body(predicate)
    body["subject"][0]["digest"]["sha256"] = "ef" * 32
    with pytest.raises(FormatError, match="subjects"):
        parse_predicate(dump_canonical(body), type(predicate))


@pytest.mark.parametrize("predicate", ALL, ids=lambda item: type(item).__name__)
def test_one_kind_is_not_taken_for_another(predicate: Predicate) -> None:
    for other in ALL:
        if type(other) is not type(predicate):
            with pytest.raises(FormatError, match="expected"):
                parse_predicate(statement_bytes(predicate), type(other))


def test_unknown_kind_is_refused() -> None:
    body = {**_body(INTAKE), "predicateType": "https://slsa.dev/provenance/v1"}
    with pytest.raises(FormatError, match="another kind"):
        parse_predicate(dump_canonical(body), Intake)


def test_artifact_id_must_be_the_manifests_digest() -> None:
    with pytest.raises(FormatError, match="artifact id"):
        statement_bytes(replace(INTAKE, artifact_id=H))


def test_raw_payload_is_one_plain_file() -> None:
    two = (*MANIFEST.entries, ManifestEntry("b.txt", 1, H))
    nested = (ManifestEntry("sub/a.safetensors", 7, H),)
    for files in (two, nested):
        with pytest.raises(FormatError, match="raw payload"):
            statement_bytes(replace(DELIVERY, files=files))
        statement_bytes(replace(DELIVERY, files=files, form="tar"))


def test_revocation_names_exactly_one_thing() -> None:
    for change in ({"artifact_id": H}, {"status_id": None}):
        with pytest.raises(FormatError, match="either"):
            statement_bytes(replace(REVOCATION, **change))  # type: ignore[arg-type]
    statement_bytes(replace(REVOCATION, status_id=None, artifact_id=H))


def test_reason_code_is_no_prose() -> None:
    for code in ("", "Li asked for it", "-x", "x" * 65):
        with pytest.raises(FormatError):
            statement_bytes(replace(REVOCATION, reason_code=code))


def test_verdict_listed_twice_is_refused() -> None:
    with pytest.raises(FormatError, match="twice"):
        statement_bytes(replace(RELEASE, verdict_digests=(H, H)))


def test_release_texts_must_be_texts() -> None:
    body = _body(RELEASE)
    body["predicate"]["labels"] = [1]
    with pytest.raises(FormatError, match="strings only"):
        parse_predicate(dump_canonical(body), Release)


def test_signing_key_has_32_bytes() -> None:
    with pytest.raises(FormatError, match="31 bytes"):
        statement_bytes(replace(ENROLMENT, signing_key=bytes(31)))


@pytest.mark.parametrize("predicate", ALL, ids=lambda item: type(item).__name__)
def test_what_is_written_is_read(predicate: Predicate) -> None:
    assert parse_predicate(statement_bytes(predicate), type(predicate)) == predicate
    assert predicate.moment == AT
    assert hash(predicate) == hash(replace(predicate))  # type: ignore[type-var]


def test_unknown_members_are_ignored() -> None:
    body = _body(VERDICT)
    body["predicate"]["later"] = {"x": 1}
    assert parse_predicate(dump_canonical(body), VerdictStatement) == VERDICT


@settings(max_examples=300)
@given(st.sampled_from(ALL), st.integers(0, 100_000), st.integers(0, 7))
def test_flipped_bits_raise_only_our_error(predicate: Predicate, position: int, bit: int) -> None:
    data = bytearray(statement_bytes(predicate))
    data[position % len(data)] ^= 1 << bit
    try:
        assert parse_predicate(bytes(data), type(predicate)) != predicate
    except FormatError:
        return
