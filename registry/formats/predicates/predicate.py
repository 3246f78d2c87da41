"""Predicates to statements and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Protocol, Self, TypeVar

from registry.digest import sha256_of
from registry.errors import FormatError
from registry.formats.fields import Fields
from registry.formats.statement import Statement, Subject, parse_statement

if TYPE_CHECKING:
    from registry.formats.canonical import Json

PREFIX = "urn:loraseal:predicate:"


class Predicate(Protocol):
    """What every predicate offers."""

    TYPE: ClassVar[str]

    @property
    def moment(self) -> str:
        """When it was said; the signing key must have been valid then."""
        ...

    def subjects(self) -> tuple[Subject, ...]:
        """What it is about, by digest."""
        ...

    def to_json(self) -> dict[str, Json]:
        """Return its members."""
        ...

    @classmethod
    def from_json(cls, fields: Fields) -> Self:
        """Return the predicate; unknown members are ignored; raises `FormatError`."""
        ...


P = TypeVar("P", bound=Predicate)


def statement_bytes(predicate: Predicate) -> bytes:
    """Return the canonical statement of `predicate`, ready to be signed.

    Raises:
        FormatError: it would not be read back as the same thing: never sign what nobody can read.
    """
    data = Statement(predicate.TYPE, predicate.subjects(), predicate.to_json()).to_bytes()
    if parse_predicate(data, type(predicate)) != predicate:
        raise FormatError(f"{predicate.TYPE} does not survive being written and read")
    return data


def parse_predicate(data: bytes, kind: type[P]) -> P:
    """Return the predicate of type `kind` in the statement `data`.

    Its subjects must be those that its content implies, so that a tool which looks only at subjects
    and one which looks only at the predicate judge the same artifact.

    Raises:
        FormatError: not a statement, another predicate, wrong members, or other subjects.
    """
    statement = parse_statement(data)
    if statement.predicate_type != kind.TYPE:
        raise FormatError(
            f"statement is a {_short(statement.predicate_type)}, expected {_short(kind.TYPE)}"
        )
    predicate = kind.from_json(Fields.of(statement.predicate, _short(kind.TYPE)))
    if predicate.subjects() != statement.subjects:
        raise FormatError(f"{_short(kind.TYPE)}: subjects are not those of its content")
    return predicate


def artifact_subject(artifact_id: str) -> Subject:
    """Return the subject of an artifact: the sha256 of its canonical manifest."""
    return Subject("manifest", (("sha256", artifact_id),))


def id_subject(name: str, identifier: str) -> Subject:
    """Return the subject of something known by a random id only."""
    return Subject(name, (("sha256", sha256_of(identifier.encode("ascii")).value),))


def _short(predicate_type: str) -> str:
    if predicate_type.startswith(PREFIX):
        return predicate_type.removeprefix(PREFIX)[:64] + " statement"
    return "statement of another kind"
