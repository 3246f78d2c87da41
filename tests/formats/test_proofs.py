from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.errors import FormatError
from registry.formats.proofs import InclusionProof, parse_proof
from registry.limits import PROOF_BYTES, PROOF_HASHES
from tests.mutants import mutants

NOTE = """example.com/fancylog
109482
sFodV/vSp5O8n9a8QpW6PRY97tfOSW5bsc2Xl/EQi08=

— example.com/fancylog hI2DJwAB
— witness1.example mJirIkk=
""".encode()
# The example of C2SP tlog-proof@v1, with short signatures in place of its elided ones.
SPEC = (
    b"c2sp.org/tlog-proof@v1\n"
    b"extra YWdlLXYxLjIuMS1kYXJ3aW4tYXJtNjQudGFyLmd6kYXJ3aW4tYXJ\n"
    b"index 73894\n"
    b"gSKyXoYZUgZ6jduWYrkDOARinOMGJveXjgMkBTcdPlQ=\n"
    b"B95lDa8R83lS8n0eG+o0buTxRKQTYFi//1U8anccXmA=\n"
    b"EKNzoDWG8LGC0Yp9o+sv3qllpMP9uHQ9B20KNL+Q1zs=\n"
    b"RoopEkOdqkYqMB4MJXrbt/hMjOxsVn0IrWjpz1ZMMes=\n"
    b"AHCioX9nLjsrse6YhjRRmk1WUEirVOLLRoOQ6vfO5vk=\n"
    b"\n" + NOTE
)
HASH_LINE = b"gSKyXoYZUgZ6jduWYrkDOARinOMGJveXjgMkBTcdPlQ=\n"


def _proof(head: bytes) -> bytes:
    return b"c2sp.org/tlog-proof@v1\n" + head + b"\n" + NOTE


# The lines of witnesses may be missing at the end; up to the log's own line nothing may.
@pytest.mark.parametrize("size", range(SPEC.index("— witness1".encode())))
def test_truncated_proof_is_refused(size: int) -> None:
    with pytest.raises(FormatError):
        parse_proof(SPEC[:size])


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (SPEC.replace(b"@v1", b"@v2"), "does not begin"),
        (_proof(b""), "no index"),
        (_proof(HASH_LINE), "no index"),
        (_proof(b"index 1\nextra QQ==\n"), "base64"),
        (_proof(b"extra \nindex 1\n"), "extra"),
        (_proof(b"extra QQ==\nextra QQ==\nindex 1\n"), "no index"),
        (_proof(b"index 01\n"), "decimal"),
        (_proof(b"index -1\n"), "decimal"),
        (_proof(b"index 9007199254740992\n"), "decimal"),
        (_proof(b"Index 1\n"), "no index"),
        (_proof(b"index 1\nQQ==\n"), "hash"),
        (_proof(b"index 1\n" + HASH_LINE * (PROOF_HASHES + 1)), "more than"),
        (_proof(b"index 1\n").replace(b"\n", b"\r\n"), "empty line"),
        (b"c2sp.org/tlog-proof@v1\nindex 1\n\nnot a note\n", "note"),
        (b"\xff" + SPEC, "UTF-8"),
        (SPEC + b"x" * PROOF_BYTES, "more than"),
    ],
)
def test_malformed_proof_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(FormatError, match=why):
        parse_proof(data)


@pytest.mark.parametrize(
    ("index", "hashes", "extra"),
    [
        (-1, (), None),
        (0, (bytes(32),) * (PROOF_HASHES + 1), None),
        (2**53, (), None),
        (0, (bytes(31),), None),
        (0, (), b""),
    ],
)
def test_impossible_values_are_refused(
    index: int, hashes: tuple[bytes, ...], extra: bytes | None
) -> None:
    with pytest.raises(FormatError):
        InclusionProof(index, hashes, NOTE, extra)


@settings(max_examples=200)
@given(mutants(SPEC))
def test_mutated_proof_raises_only_format_error_or_keeps_its_bytes(data: bytes) -> None:
    try:
        proof = parse_proof(data)
    except FormatError:
        return
    assert proof.to_bytes() == data


def test_example_of_the_specification_is_read() -> None:
    proof = parse_proof(SPEC)
    assert (proof.index, len(proof.hashes), proof.checkpoint_note) == (73894, 5, NOTE)
    assert proof.extra is not None
    assert proof.extra.startswith(b"age-v1.2.1-darwin-arm64.tar.gz")


@settings(max_examples=50)
@given(
    st.integers(0, 2**53 - 1),
    st.lists(st.binary(min_size=32, max_size=32), max_size=PROOF_HASHES),
    st.none() | st.binary(min_size=1, max_size=100),
)
def test_proof_that_was_written_is_read_back(
    index: int, hashes: list[bytes], extra: bytes | None
) -> None:
    proof = InclusionProof(index, tuple(hashes), NOTE, extra)
    assert parse_proof(proof.to_bytes()) == proof
    assert proof.to_text().encode() == proof.to_bytes()
