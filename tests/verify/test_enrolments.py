"""Enrolment: keys made once, and a file that proves possession."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.errors import (
    CannotDecryptError,
    FormatError,
    LorasealError,
    NotFoundError,
    SignatureError,
    UsageError,
)
from registry.formats.enrolment_file import PAYLOAD_TYPE, EnrolmentRequest
from registry.formats.moments import to_text
from registry.sealing.signing import SigningKey, sign_envelope
from registry.verify.enrolments import make_enrolment, read_enrolment
from registry.verify.home import enrolment_file, ensure_keys, load_signing_key, write_enrolment
from tests.verify.world import NOW, Recipient


def _request(recipient: Recipient) -> EnrolmentRequest:
    return EnrolmentRequest(
        "Li W.",
        str(recipient.identity.recipient()),
        recipient.signing.public_raw,
        to_text(NOW),
    )


def test_file_signed_by_another_key_is_refused() -> None:
    request = _request(Recipient())
    with pytest.raises(ValueError, match="another key"):
        make_enrolment(request, SigningKey.generate())
    forged = sign_envelope(PAYLOAD_TYPE, request.to_bytes(), [SigningKey.generate()])
    with pytest.raises(SignatureError, match="another key"):
        read_enrolment(forged.to_bytes())


def test_age_recipient_must_be_one() -> None:
    recipient = Recipient()
    request = replace(_request(recipient), age_recipient="age1nonsense")
    with pytest.raises(FormatError):
        read_enrolment(make_enrolment(request, recipient.signing))


def test_other_envelope_is_no_enrolment_file() -> None:
    recipient = Recipient()
    data = sign_envelope("text/x", _request(recipient).to_bytes(), [recipient.signing]).to_bytes()
    with pytest.raises(SignatureError, match="expected"):
        read_enrolment(data)


@settings(max_examples=150, deadline=None)
@given(position=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_flipped_bit_is_refused_by_our_errors_only(position: int, bit: int) -> None:
    data = bytearray(_FILE)
    data[position % len(data)] ^= 1 << bit
    with pytest.raises(LorasealError) as caught:
        read_enrolment(bytes(data))
    assert caught.value.exit_code in (4, 5)


_RECIPIENT = Recipient()
_FILE = make_enrolment(_request(_RECIPIENT), _RECIPIENT.signing)


def test_words_cover_name_and_both_keys() -> None:
    words = read_enrolment(_FILE).words
    assert len(words.split("-")) == 6
    other = Recipient()
    requests = (
        replace(_request(_RECIPIENT), name="Li X."),
        replace(_request(_RECIPIENT), age_recipient=str(other.identity.recipient())),
    )
    for request in requests:
        assert read_enrolment(make_enrolment(request, _RECIPIENT.signing)).words != words


def test_keys_are_made_once_and_are_private(tmp_path: Path) -> None:
    home = tmp_path / "home"
    first = ensure_keys(home, NOW)
    again = ensure_keys(home, NOW)
    assert (first.made, again.made) == (True, False)
    assert first.identity.secret == again.identity.secret
    assert first.signing.key_id == again.signing.key_id
    for name in ("identity.txt", "signing-key.pem"):
        assert (home / name).stat().st_mode & 0o777 == 0o600
    assert first.identity.to_text() not in repr(first)


def test_half_a_home_is_refused(tmp_path: Path) -> None:
    ensure_keys(tmp_path, NOW)
    (tmp_path / "signing-key.pem").unlink()
    with pytest.raises(UsageError, match=r"identity\.txt and not"):
        ensure_keys(tmp_path, NOW)
    with pytest.raises(NotFoundError, match="no signing key"):
        load_signing_key(tmp_path / "signing-key.pem")


def test_identity_file_with_several_keys_is_refused(tmp_path: Path) -> None:
    keys = ensure_keys(tmp_path, NOW)
    (tmp_path / "identity.txt").write_text(f"{keys.identity.to_text()}\n" * 2)
    with pytest.raises(UsageError, match="2 identities"):
        ensure_keys(tmp_path, NOW)


def test_passphrase_protects_both_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from registry.sealing import identities

    monkeypatch.setattr(identities.ScryptRecipient.__init__, "__defaults__", (10,))
    keys = ensure_keys(tmp_path, NOW, b"six words or so")
    assert keys.identity.to_text().encode() not in (tmp_path / "identity.txt").read_bytes()
    again = ensure_keys(tmp_path, NOW, b"six words or so")
    assert again.signing.key_id == keys.signing.key_id
    with pytest.raises(CannotDecryptError):
        ensure_keys(tmp_path, NOW, b"wrong")


def test_written_file_is_read_back(tmp_path: Path) -> None:
    keys = ensure_keys(tmp_path, NOW)
    data, words = enrolment_file(keys, "李薇", NOW)
    write_enrolment(tmp_path / "enrolment.json", data)
    read = read_enrolment((tmp_path / "enrolment.json").read_bytes())
    assert (read.request.name, read.words) == ("李薇", words)
    assert read.request.signing_key == keys.signing.public_raw
    with pytest.raises(FormatError):
        enrolment_file(keys, "a\nb", NOW)
