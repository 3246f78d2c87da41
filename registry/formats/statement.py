"""in-toto Statement v1 (in-toto/attestation, spec/v1/statement.md), in canonical JSON."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from registry.errors import FormatError
from registry.formats.canonical import Json, dump_canonical, parse_canonical
from registry.formats.fields import Fields
from registry.limits import STATEMENT_BYTES, STATEMENT_SUBJECTS

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
_ALGORITHM = re.compile(r"[a-zA-Z0-9_]{1,32}")
_HEX = re.compile(r"(?:[0-9a-f]{2}){1,128}")


@dataclass(frozen=True, slots=True)
class Subject:
    """What a statement is about. It is matched by digest; `name` is only for people."""

    name: str
    digests: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement; its meaning depends on `predicate_type`, see `registry.formats.predicates`.

    Not signed: an `Envelope` around `to_bytes()` is.
    """

    predicate_type: str
    subjects: tuple[Subject, ...]
    predicate: dict[str, Json] = field(hash=False)

    def to_bytes(self) -> bytes:
        """Return the canonical bytes, which are what is signed and what digests name."""
        subjects: list[Json] = [
            {"name": subject.name, "digest": dict(subject.digests)} for subject in self.subjects
        ]
        return dump_canonical(
            {
                "_type": STATEMENT_TYPE,
                "subject": subjects,
                "predicateType": self.predicate_type,
                "predicate": self.predicate,
            }
        )


def parse_statement(data: bytes) -> Statement:
    """Return the statement in `data`. Unknown fields are ignored, as in-toto asks.

    Raises:
        FormatError: not canonical JSON, not a Statement v1, no subject, a malformed digest.
    """
    fields = Fields.of(
        parse_canonical(data, what="statement", max_bytes=STATEMENT_BYTES), "statement"
    )
    if fields.text("_type") != STATEMENT_TYPE:
        raise FormatError(f"statement is not an in-toto statement of type {STATEMENT_TYPE}")
    rows = fields.items("subject", most=STATEMENT_SUBJECTS)
    if not rows:
        raise FormatError("statement has no subject")
    predicate = fields.member("predicate")
    if not isinstance(predicate, dict):
        raise FormatError("statement: 'predicate' must be an object")
    return Statement(
        fields.text("predicateType"), tuple(_subject_from(row) for row in rows), predicate
    )


def _subject_from(row: Json) -> Subject:
    fields = Fields.of(row, "statement subject")
    digests = fields.member("digest")
    if not isinstance(digests, dict) or not digests:
        raise FormatError("statement subject has no digest")
    pairs = []
    for algorithm, value in sorted(digests.items()):
        good = isinstance(value, str) and _ALGORITHM.fullmatch(algorithm) and _HEX.fullmatch(value)
        if not good or not isinstance(value, str):
            raise FormatError("statement subject has a malformed digest")
        pairs.append((algorithm, value))
    return Subject(fields.text("name"), tuple(pairs))
