"""The age header: one spelling for one header, and only FormatError for anything else."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.errors import FormatError
from registry.formats.age_header import (
    VERSION_LINE,
    Header,
    Stanza,
    dump_header,
    encode_base64,
    mac_input,
    parse_header,
)
from registry.limits import AGE_HEADER_BYTES, AGE_STANZAS
from tests.mutants import mutants

MAC = bytes(range(32))
HEADER = Header((Stanza("X25519", ("TEiF0ypqr",), bytes(32)), Stanza("grease", (), bytes(48))), MAC)
TEXT = dump_header(HEADER)
MAC_LINE = b"--- " + encode_base64(MAC).encode() + b"\n"


@pytest.mark.parametrize("length", range(len(TEXT)))
def test_header_cut_at_any_byte_is_refused(length: int) -> None:
    with pytest.raises(FormatError):
        parse_header(TEXT[:length])


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"age-encryption.org/v2\n" + TEXT[len(VERSION_LINE) :],
        TEXT.replace(b"\n", b"\r\n"),
        TEXT + b"\n",
        TEXT + b"x",
        VERSION_LINE + MAC_LINE,
        VERSION_LINE + b"-> \n\n" + MAC_LINE,
        VERSION_LINE + b"-> a  b\n\n" + MAC_LINE,
        VERSION_LINE + b"-> a\xff\n\n" + MAC_LINE,
        VERSION_LINE + b"->a\n\n" + MAC_LINE,
        VERSION_LINE + b"-> a\n" + MAC_LINE,
        VERSION_LINE + b"-> a\n" + b"A" * 64 + b"\n" + MAC_LINE,
        VERSION_LINE + b"-> a\n" + b"A" * 68 + b"\n\n" + MAC_LINE,
        VERSION_LINE + b"-> a\nAB\n" + MAC_LINE,
        VERSION_LINE + b"-> a\nAA==\n" + MAC_LINE,
        VERSION_LINE + b"-> a\nA\n" + MAC_LINE,
        VERSION_LINE + b"-> a\n\n---\n",
        VERSION_LINE + b"-> a\n\n--- AAAA\n",
        VERSION_LINE + b"-> a\n\n---  " + MAC_LINE[4:],
        VERSION_LINE + b"-> a\n\n" * (AGE_STANZAS + 1) + MAC_LINE,
        VERSION_LINE + b"-> a\n\n" * (AGE_HEADER_BYTES // 6) + MAC_LINE,
    ],
)
def test_header_of_another_form_is_refused(text: bytes) -> None:
    with pytest.raises(FormatError):
        parse_header(text)


@pytest.mark.parametrize("stanza", [Stanza("", (), b""), Stanza("a", ("b c",), b"")])
def test_stanza_that_could_not_be_read_back_is_not_written(stanza: Stanza) -> None:
    with pytest.raises(ValueError, match="printable"):
        mac_input((stanza,))


def test_mac_covers_all_up_to_the_dashes() -> None:
    assert mac_input(HEADER.stanzas) == TEXT[: TEXT.index(b"---") + 3]


WORDS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=20)
STANZAS = st.builds(Stanza, WORDS, st.lists(WORDS, max_size=3).map(tuple), st.binary(max_size=100))


@given(st.lists(STANZAS, min_size=1, max_size=4), st.binary(min_size=32, max_size=32))
@settings(max_examples=100)
def test_what_was_written_is_read(stanzas: list[Stanza], mac: bytes) -> None:
    header = Header(tuple(stanzas), mac)
    assert parse_header(dump_header(header)) == header


@given(mutants(TEXT))
@settings(max_examples=400)
def test_damaged_header_is_refused_or_says_something_else(data: bytes) -> None:
    try:
        header = parse_header(data)
    except FormatError:
        return
    assert header != HEADER
    assert dump_header(header) == data
