"""Recipients and identities: low-order points, costly work factors and foreign keys are refused."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.errors import FormatError, UsageError
from registry.formats.age_header import Stanza, encode_base64
from registry.formats.bech32 import encode_bech32
from registry.limits import AGE_SCRYPT_MAX_LOG_N, IDENTITY_FILE_BYTES
from registry.sealing.identities import (
    ScryptIdentity,
    ScryptRecipient,
    X25519Identity,
    X25519Recipient,
    key_classes,
    parse_identity_file,
    parse_recipient,
    parse_recipients_file,
)

FILE_KEY = bytes(range(16))
# All low-order points of Curve25519 (RFC 7748 section 7, and the list in libsodium), little-endian.
LOW_ORDER = (
    bytes(32),
    bytes([1]) + bytes(31),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    bytes.fromhex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    bytes.fromhex("edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    bytes.fromhex("eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
)
SHARE = encode_base64(X25519Identity.generate().recipient().public)
SALT = encode_base64(bytes(16))


@pytest.mark.parametrize("point", LOW_ORDER)
def test_low_order_recipient_is_refused(point: bytes) -> None:
    with pytest.raises(FormatError, match="low-order"):
        parse_recipient(encode_bech32("age", point))


@pytest.mark.parametrize("point", LOW_ORDER)
def test_low_order_share_is_an_error_and_not_another_recipients(point: bytes) -> None:
    stanza = Stanza("X25519", (encode_base64(point),), bytes(32))
    with pytest.raises(FormatError, match="low-order"):
        X25519Identity.generate().unwrap([stanza])


@pytest.mark.parametrize(
    "stanza",
    [
        Stanza("X25519", (), bytes(32)),
        Stanza("X25519", (SHARE, "x"), bytes(32)),
        Stanza("X25519", (SHARE[:-4],), bytes(32)),
        Stanza("X25519", (SHARE + "=",), bytes(32)),
        Stanza("X25519", (SHARE,), bytes(31)),
        Stanza("X25519", (SHARE,), bytes(48)),
    ],
)
def test_malformed_x25519_stanza_is_refused(stanza: Stanza) -> None:
    with pytest.raises(FormatError):
        X25519Identity.generate().unwrap([stanza])


@pytest.mark.parametrize(
    "stanza",
    [
        Stanza("scrypt", (SALT,), bytes(32)),
        Stanza("scrypt", (SALT, "10", "x"), bytes(32)),
        Stanza("scrypt", (SALT[:-2], "10"), bytes(32)),
        *(
            Stanza("scrypt", (SALT, n), bytes(32))
            for n in ("0", "01", "+1", "-1", "0x1", "1e1", "٣")
        ),
        Stanza("scrypt", (SALT, str(AGE_SCRYPT_MAX_LOG_N + 1)), bytes(32)),
        Stanza("scrypt", (SALT, "9" * 30), bytes(32)),
        Stanza("scrypt", (SALT, "1"), bytes(31)),
    ],
)
def test_malformed_or_costly_scrypt_stanza_is_refused(stanza: Stanza) -> None:
    with pytest.raises(FormatError):
        ScryptIdentity(b"phrase").unwrap([stanza])


def test_scrypt_stanza_beside_another_is_refused() -> None:
    stanza = ScryptRecipient(b"phrase", log_n=1).wrap(FILE_KEY)
    with pytest.raises(FormatError, match="alone"):
        ScryptIdentity(b"phrase").unwrap([stanza, Stanza("grease", (), b"")])


def test_empty_passphrase_and_absurd_cost_are_refused() -> None:
    with pytest.raises(UsageError):
        ScryptRecipient(b"")
    with pytest.raises(ValueError, match="log_n"):
        ScryptRecipient(b"x", log_n=AGE_SCRYPT_MAX_LOG_N + 1)


def test_stanzas_of_others_are_not_mine() -> None:
    mine, other = X25519Identity.generate(), X25519Identity.generate()
    stanzas = [Stanza("grease", ("a",), b""), other.recipient().wrap(FILE_KEY)]
    assert mine.unwrap(stanzas) is None
    assert ScryptIdentity(b"x").unwrap(stanzas) is None
    assert ScryptIdentity(b"x").unwrap([ScryptRecipient(b"y", log_n=1).wrap(FILE_KEY)]) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "age1",
        "ssh-ed25519 AAAA",
        encode_bech32("age1pq", bytes(1216)),
        encode_bech32("age1yubikey", bytes(33)),
        encode_bech32("age", bytes(31)),
        encode_bech32("AGE", bytes(32)),
    ],
)
def test_what_is_no_x25519_recipient_is_refused(text: str) -> None:
    with pytest.raises(FormatError) as caught:
        parse_recipient(text)
    assert text == "" or text not in str(caught.value)


def test_keys_of_another_kind_or_length_are_refused() -> None:
    with pytest.raises(FormatError, match="age1"):
        X25519Recipient.parse(X25519Identity.generate().to_text())
    with pytest.raises(FormatError, match="32"):
        X25519Identity(bytes(31))


def test_secret_given_as_a_recipient_is_refused_and_not_shown() -> None:
    secret = X25519Identity.generate().to_text()
    with pytest.raises(FormatError, match="secret identity") as caught:
        parse_recipient(secret)
    assert secret[16:30] not in f"{caught.value} {caught.value.hint}"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"# only a comment\n",
        b"\xff\xfe\n",
        b"AGE-SECRET-KEY-1AAAA\n",
        b"age1qqqq\n",
        encode_bech32("AGE-SECRET-KEY-PQ-", bytes(32)).encode(),
        encode_bech32("AGE-PLUGIN-X-", bytes(32)).encode(),
        encode_bech32("AGE-SECRET-KEY-", bytes(33)).encode(),
        b"#" * (IDENTITY_FILE_BYTES + 1),
    ],
)
def test_what_is_no_identity_file_is_refused(data: bytes) -> None:
    with pytest.raises(FormatError):
        parse_identity_file(data)


def test_line_of_a_bad_key_is_named_and_not_shown() -> None:
    good = X25519Identity.generate()
    bad = X25519Identity.generate().to_text()[:-1]
    with pytest.raises(FormatError, match="line 3") as caught:
        parse_identity_file(f"# c\n{good.to_text()}\n{bad}\n".encode())
    assert bad[16:30] not in str(caught.value)


def test_secrets_do_not_appear_in_repr() -> None:
    identity = X25519Identity.generate()
    for value in (identity, ScryptIdentity(b"hush-hush"), ScryptRecipient(b"hush-hush", log_n=1)):
        assert "hush" not in repr(value)
        assert repr(identity.secret) not in repr(value)
        assert identity.to_text() not in f"{value!r} {value!s}"


def test_files_of_keys_are_read_with_comments_and_both_line_ends() -> None:
    first, second = X25519Identity.generate(), X25519Identity.generate()
    text = f"# made today\r\n\r\n{first.to_text()}\r\n  {second.to_text()}  \n"
    parsed = parse_identity_file(text.encode())
    assert [one.secret for one in parsed if isinstance(one, X25519Identity)] == [
        first.secret,
        second.secret,
    ]
    listed = f"#\n{first.recipient()}\n{second.recipient()}\n".encode()
    assert parse_recipients_file(listed) == (first.recipient(), second.recipient())


def test_key_classes_name_what_guards_a_file_key() -> None:
    x25519 = X25519Identity.generate().recipient().wrap(FILE_KEY)
    scrypt = ScryptRecipient(b"x", log_n=1).wrap(FILE_KEY)
    assert key_classes([x25519, x25519, Stanza("grease", (), b"")]) == {"x25519"}
    assert key_classes([scrypt]) == {"scrypt"}


@given(st.binary(min_size=16, max_size=16))
@settings(max_examples=20)
def test_what_was_wrapped_is_unwrapped(file_key: bytes) -> None:
    identity = X25519Identity.generate()
    other = X25519Identity.generate().recipient()
    stanzas = [other.wrap(file_key), identity.recipient().wrap(file_key)]
    assert identity.unwrap(stanzas) == file_key
    phrase = ScryptRecipient(b"phrase", log_n=1).wrap(file_key)
    assert ScryptIdentity(b"phrase").unwrap([phrase]) == file_key


def test_text_of_keys_is_read_back() -> None:
    identity = X25519Identity.generate()
    assert X25519Identity.parse(identity.to_text()).secret == identity.secret
    assert X25519Recipient.parse(str(identity.recipient())) == identity.recipient()
    assert parse_recipient(f" {identity.recipient()}\n") == identity.recipient()
    assert len(identity.recipient().key_id) == 64
