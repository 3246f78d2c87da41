from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.errors import FormatError
from registry.formats.checkpoint import (
    Checkpoint,
    NoteSignature,
    SignedNote,
    check_origin,
    parse_decimal,
    parse_note,
)
from registry.limits import NOTE_BYTES, NOTE_SIGNATURES
from tests.mutants import mutants

# C2SP signed-note v1.0.0 and tlog-checkpoint v1.0.0, their examples.
SPEC_NOTE = """Ognuno sta solo sul cuor della terra
trafitto da un raggio di sole:

ed è subito sera.

— quasimodo.example/salvatore NnugSzTjtVAewIS+Z/iJhUPeFDkO/5QQ2i5ddnGITLlC+EhfLW9oJKONrMouFSQU0xMcXxj99ihAQwaqP3ZekRwNtIc=
""".encode()
SPEC_CHECKPOINT = """example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
""".encode()
LINE = "— a.example AAAAAAE=\n"
ROOT = "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I="


@pytest.mark.parametrize("size", range(len(SPEC_CHECKPOINT)))
def test_truncated_note_is_refused(size: int) -> None:
    with pytest.raises(FormatError):
        parse_note(SPEC_CHECKPOINT[:size])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("text\n", "no empty line"),
        ("text\n\n", "newline at its end"),
        (f"text\n{LINE}", "no empty line"),
        (f"text\n\n{LINE[:-1]}", "newline at its end"),
        (f"text\n\n{LINE}\n", "newline at its end"),
        (f"text\n\n{LINE}x\n", "em dash"),
        ("text\n\n— a\x01 AAAAAAE=\n", "control"),
        (f"te\rxt\n\n{LINE}", "control character"),
        (f"te\x00xt\n\n{LINE}", "control character"),
        ("text\n\n- a.example AAAAAAE=\n", "em dash"),
        ("text\n\n—a.example AAAAAAE=\n", "em dash"),
        ("text\n\n— a.example\n", "em dash"),
        ("text\n\n— a+b AAAAAAE=\n", "plus"),
        ("text\n\n— a\u00a0b AAAAAAE=\n", "space"),
        ("text\n\n—  AAAAAAE=\n", "empty"),
        ("text\n\n— a.example AAAAAAE\n", "base64"),
        ("text\n\n— a.example AAAA\n", "key id"),
        ("text\n\n— a.example AAAAAA==\n", "has 0 bytes"),
        ("text\n\n— a.example AAAAAAE= \n", "base64"),
        (f"text\n\n{LINE}{LINE}", "twice"),
        (f"text\n\n{LINE * (NOTE_SIGNATURES + 1)}", "more than"),
        ("x" * NOTE_BYTES + f"\n\n{LINE}", "more than"),
    ],
)
def test_malformed_note_is_refused(text: str, why: str) -> None:
    with pytest.raises(FormatError, match=why):
        parse_note(text.encode())


def test_note_without_signature_or_final_newline_cannot_be_made() -> None:
    with pytest.raises(FormatError, match="0 signatures"):
        SignedNote("text\n", ())
    with pytest.raises(FormatError, match="end in a newline"):
        SignedNote("text", (NoteSignature("a", b"abcd", b"x"),))


def test_note_that_is_not_utf8_is_refused() -> None:
    with pytest.raises(FormatError, match="UTF-8"):
        parse_note(b"\xff\n\n" + LINE.encode())


@settings(max_examples=200)
@given(mutants(SPEC_CHECKPOINT, SPEC_NOTE))
def test_mutated_note_raises_only_format_error_or_keeps_its_bytes(data: bytes) -> None:
    try:
        note = parse_note(data)
    except FormatError:
        return
    assert note.to_bytes() == data


@pytest.mark.parametrize("note", [SPEC_NOTE, SPEC_CHECKPOINT])
def test_examples_of_the_specification_are_read_and_written(note: bytes) -> None:
    assert parse_note(note).to_bytes() == note


def test_text_may_hold_empty_lines_and_what_looks_like_signatures() -> None:
    text = f"one\n\n{LINE}two\n"
    note = SignedNote(text, (NoteSignature("b", b"abcd", b"x"),))
    assert parse_note(note.to_bytes()) == note
    assert parse_note(SPEC_NOTE).text.endswith("ed è subito sera.\n")


def test_lines_of_unknown_signers_are_kept_in_order() -> None:
    note = SPEC_CHECKPOINT + "— witness.example AAAAAP////8=\n".encode()
    assert [line.name for line in parse_note(note).signatures] == [
        "example.com/behind-the-sofa",
        "witness.example",
    ]
    assert parse_note(note).to_bytes() == note


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a.example\n1\n",
        f"a.example\n1\n{ROOT}",
        f"a.example\n1\n{ROOT}\nextension\n",
        f"a.example\n01\n{ROOT}\n",
        f"a.example\n-1\n{ROOT}\n",
        f"a.example\n+1\n{ROOT}\n",
        f"a.example\n1 \n{ROOT}\n",
        f"a.example\n\u0661\n{ROOT}\n",
        f"a.example\n{2**53}\n{ROOT}\n",
        f"a.example\n{'9' * 5000}\n{ROOT}\n",
        "a.example\n1\nAAAA\n",
        f"a.example\n1\n{ROOT[:-1]}\n",
        f"A.example\n1\n{ROOT}\n",
        f"DSSEv1 3\n1\n{ROOT}\n",
    ],
)
def test_malformed_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(FormatError):
        Checkpoint.from_text(text)


@pytest.mark.parametrize(
    "origin", ["", "/a", "a/", "a//b", "a b", "a+b", "SSHSIG", "ü", "a\n", "a" * 256]
)
def test_origin_outside_the_allowed_form_is_refused(origin: str) -> None:
    with pytest.raises(FormatError, match="origin"):
        check_origin(origin)


def test_checkpoint_of_impossible_size_or_root_is_refused() -> None:
    with pytest.raises(FormatError, match="size"):
        Checkpoint("a", -1, bytes(32))
    with pytest.raises(FormatError, match="root has 31 bytes"):
        Checkpoint("a", 0, bytes(31))


def test_checkpoint_of_the_specification_is_read() -> None:
    checkpoint = Checkpoint.from_text(parse_note(SPEC_CHECKPOINT).text)
    assert (checkpoint.origin, checkpoint.size) == ("example.com/behind-the-sofa", 20852163)
    assert checkpoint.root.hex().startswith("0ac5186a91863e8e1d90c808")


@settings(max_examples=50)
@given(
    st.from_regex(r"[a-z0-9.-]{1,20}(/[a-z0-9.-]{1,20}){0,3}", fullmatch=True),
    st.integers(0, 2**53 - 1),
    st.binary(min_size=32, max_size=32),
)
def test_checkpoint_that_was_written_is_read_back(origin: str, size: int, root: bytes) -> None:
    checkpoint = Checkpoint(origin, size, root)
    assert Checkpoint.from_text(checkpoint.to_text()) == checkpoint


def test_numbers_have_one_spelling() -> None:
    assert parse_decimal("0", what="x") == 0
    assert parse_decimal(str(2**53 - 1), what="x") == 2**53 - 1
