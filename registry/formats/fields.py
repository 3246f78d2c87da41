"""Typed access to the members of a JSON object from outside; unknown members are left alone."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Self

from registry.digest import Digest
from registry.errors import FormatError
from registry.formats.base64_text import decode_base64
from registry.formats.moments import parse_moment
from registry.limits import FIELD_TEXT_CHARS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from registry.formats.canonical import Json

_HEX = re.compile(r"[0-9a-f]*")
SHA256_DIGITS = 64
ID_DIGITS = 32


class Fields:
    """One JSON object. Every reader raises `FormatError` that names the object and the member."""

    __slots__ = ("_value", "what")

    def __init__(self, value: dict[str, Json], what: str) -> None:
        self._value = value
        self.what = what

    @classmethod
    def of(cls, value: Json, what: str) -> Self:
        """Return the fields of `value`, which `what` names in messages.

        Raises:
            FormatError: `value` is not an object.
        """
        if not isinstance(value, dict):
            raise FormatError(f"{what} is not an object")
        return cls(value, what)

    def schema(self, expected: str) -> None:
        """Refuse an object that does not say it is `expected`."""
        found = self._value.get("schema")
        if found != expected:
            shown = (
                repr(found) if isinstance(found, str) and len(found) < len(expected) * 2 else "?"
            )
            raise FormatError(
                f"{self.what} says schema {shown}, expected {expected!r}",
                hint="it is another kind of file, or made by a newer release of loraseal",
            )

    def member(self, name: str) -> Json:
        """Return the member, of any type; absent is an error, null is not."""
        if name not in self._value:
            raise FormatError(f"{self.what} lacks {name!r}")
        return self._value[name]

    def exactly(self, *names: str) -> None:
        """Refuse a member that is not among `names`, or the lack of one that is.

        Raises:
            FormatError: another set of members.
        """
        if set(self._value) != set(names):
            raise FormatError(f"{self.what} needs exactly the members {', '.join(sorted(names))}")

    def has(self, name: str) -> bool:
        """Return whether the member is there; for those that older statements lack."""
        return name in self._value

    def text(self, name: str, *, max_chars: int = FIELD_TEXT_CHARS) -> str:
        """Return a string of at most `max_chars` characters."""
        value = self.member(name)
        if not isinstance(value, str):
            raise self._wrong(name, "a string")
        if len(value) > max_chars:
            raise self._wrong(name, f"at most {max_chars} characters long")
        return value

    def optional_text(self, name: str) -> str | None:
        """Return a string, or None for null."""
        return None if self.member(name) is None else self.text(name)

    def integer(self, name: str) -> int:
        """Return an integer that is not negative."""
        value = self.member(name)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise self._wrong(name, "an integer that is not negative")
        return value

    def flag(self, name: str) -> bool:
        """Return true or false."""
        value = self.member(name)
        if not isinstance(value, bool):
            raise self._wrong(name, "true or false")
        return value

    def items(self, name: str, *, most: int) -> list[Json]:
        """Return a list of at most `most` items."""
        value = self.member(name)
        if not isinstance(value, list) or len(value) > most:
            raise self._wrong(name, f"a list of at most {most} items")
        return value

    def choice(self, name: str, allowed: Iterable[str]) -> str:
        """Return a string that is one of `allowed`."""
        options = list(allowed)
        value = self.text(name)
        if value not in options:
            raise self._wrong(name, f"one of {', '.join(options)}")
        return value

    def hexadecimal(self, name: str, digits: int = SHA256_DIGITS) -> str:
        """Return exactly `digits` lower-case hex digits."""
        value = self.text(name)
        if len(value) != digits or not _HEX.fullmatch(value):
            raise self._wrong(name, f"{digits} lower-case hex digits")
        return value

    def optional_hexadecimal(self, name: str, digits: int = SHA256_DIGITS) -> str | None:
        """Return exactly `digits` lower-case hex digits, or None for null."""
        return None if self.member(name) is None else self.hexadecimal(name, digits)

    def digest(self, name: str) -> Digest:
        """Return a digest written `algorithm:hex`."""
        return Digest.parse(self.text(name))

    def optional_digest(self, name: str) -> Digest | None:
        """Return a digest written `algorithm:hex`, or None for null."""
        return None if self.member(name) is None else self.digest(name)

    def moment(self, name: str) -> str:
        """Return a moment as it is written, after checking that it is one."""
        value = self.text(name)
        try:
            parse_moment(value)
        except FormatError as error:
            raise FormatError(f"{self.what}: {name!r}: {error}") from error
        return value

    def encoded(self, name: str, *, max_chars: int = FIELD_TEXT_CHARS) -> bytes:
        """Return the bytes of a member in padded standard base64, canonical form only."""
        return decode_base64(self.text(name, max_chars=max_chars), what=f"{self.what}: {name!r}")

    def _wrong(self, name: str, expected: str) -> FormatError:
        return FormatError(f"{self.what}: {name!r} must be {expected}")
