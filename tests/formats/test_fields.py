"""Typed members of JSON objects."""

from __future__ import annotations

import pytest

from registry.errors import FormatError
from registry.formats.fields import Fields


def test_what_is_not_an_object_is_refused() -> None:
    for value in (None, [], "x", 1, True):
        with pytest.raises(FormatError, match="thing is not an object"):
            Fields.of(value, "thing")


@pytest.mark.parametrize(
    ("reader", "value"),
    [
        ("text", 1),
        ("text", "x" * 10_000),
        ("integer", True),
        ("integer", -1),
        ("integer", "1"),
        ("flag", 1),
        ("hexadecimal", "A" * 64),
        ("hexadecimal", "a" * 63),
        ("digest", "sha256:zz"),
        ("digest", "md5:" + "a" * 32),
        ("moment", "yesterday"),
        ("encoded", "AA"),
        ("encoded", "AB=="),
        ("optional_text", 5),
        ("optional_digest", 5),
        ("optional_hexadecimal", "x"),
    ],
)
def test_wrong_type_is_refused_by_name(reader: str, value: object) -> None:
    fields = Fields.of({"name": value}, "thing")  # type: ignore[dict-item]
    with pytest.raises(FormatError, match=r"name|digest"):
        getattr(fields, reader)("name")


def test_absent_is_not_null() -> None:
    fields = Fields.of({"there": None}, "thing")
    assert fields.optional_text("there") is None
    assert fields.optional_digest("there") is None
    assert fields.optional_hexadecimal("there") is None
    with pytest.raises(FormatError, match="thing lacks 'absent'"):
        fields.optional_text("absent")


def test_list_is_bounded_and_choice_is_one_of_the_named() -> None:
    fields = Fields.of({"list": [1, 2], "word": "a"}, "thing")
    assert fields.items("list", most=2) == [1, 2]
    assert fields.choice("word", ("a", "b")) == "a"
    with pytest.raises(FormatError, match="at most 1"):
        fields.items("list", most=1)
    with pytest.raises(FormatError, match="one of b, c"):
        fields.choice("word", ("b", "c"))


def test_another_schema_is_named_and_never_quoted_at_length() -> None:
    with pytest.raises(FormatError, match=r"loraseal/bundle\.v2"):
        Fields.of({"schema": "loraseal/bundle.v2"}, "bundle").schema("loraseal/bundle.v1")
    with pytest.raises(FormatError) as caught:
        Fields.of({"schema": "x" * 10_000}, "bundle").schema("loraseal/bundle.v1")
    assert len(str(caught.value)) < 200
