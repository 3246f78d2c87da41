from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.artifacts.leaks.cards import is_card_number, passes_luhn
from registry.artifacts.leaks.chinese import (
    is_credit_code,
    is_identity_number,
    is_old_identity_number,
    is_organisation_code,
    is_registration_number,
)
from registry.artifacts.leaks.scan import scan_text
from tests.artifacts.planted import count, kinds, wide
from tests.sheet import rows

# Published: the annexes of GB 11643-1999, GB 32100-2015, GB 11714-1997 and GS 15-2006, python-stdnum, and
# numbers that companies print on their own pages.
IDENTITIES = ("11010519491231002X", "440524188001010014", "360426199101010071")
CREDIT_CODES = (
    "91350211M000100Y46",
    "91420000737944946L",
    "9144030071526726XG",
    "91110000802100433B",
)
ORGANISATION, REGISTRATION = "D2143569-X", "110108000000016"
CARDS = ("4111111111111111", "5555555555554444", "6222021001116243210")
CREDIT_CHARACTERS = "0123456789ABCDEFGHJKLMNPQRTUWXY"


# -- refused


@pytest.mark.parametrize(
    "text",
    [
        "",
        "110105194912310021",  # check digit
        "990105194912310020",  # no such province
        "11010519491331002X",  # no such month
        "11010519490229002X",  # no such day
        f"1101051949123100{wide('2')}X",
        "11010519491231002",
    ],
)
def test_what_is_no_identity_number(text: str) -> None:
    assert not is_identity_number(text)


@pytest.mark.parametrize(
    "text", ["", "91350211M000100Y43", "91350211I000100Y46", "00350211M000100Y46"]
)
def test_what_is_no_credit_code(text: str) -> None:
    assert not is_credit_code(text)


@pytest.mark.parametrize(
    "text", ["", "4111111111111112", "1234567812345670", "62220210011162432100"]
)
def test_what_is_no_card(text: str) -> None:
    assert not is_card_number(text)


def test_what_is_no_old_number() -> None:
    assert not is_old_identity_number("110105491331002")
    assert not is_old_identity_number("990105491231002")
    assert not is_old_identity_number("1101054912310021")
    assert not is_registration_number("110108000000017")
    assert not is_registration_number("990108000000016")
    assert not is_organisation_code("D2143569-1")
    assert not is_organisation_code("D2143569X1")


@pytest.mark.parametrize(
    "text",
    [
        '{"seed": 13812345678, "noiseSeed": 15512345678}',
        "ss_session_id=13812345678",
        '"total_flos": 17179869184',
        '"file_size": 13812345678',
        "0.13812345678",
        "13812345678.25",
        "138123456789",
        "213812345678",
        "a13812345678",
        "13812345678e",
        "1771234567890",  # a moment in milliseconds
        "1771234567890123",
        "1771234567890123456",
        "12812345678",  # no such network
        "550e8400-e29b-41d4-a716-446655440000",
        "138-1234-5678-9012",
        "138 1234-5678",
        "[960, 544, 1024, 1024, 13, 8123, 45678]",
        '"widgets_values": [156680208700286, "randomize", 20]',
        "2024-01-01 12:00:00",
        "+1000",
        "1e+16170123456",
    ],
)
def test_numbers_of_training_are_nobodys(text: str) -> None:
    assert kinds(text) == set()


@pytest.mark.parametrize("row", rows("adapters"), ids=lambda row: str(row["id"]))
def test_real_headers_hold_no_numbers_of_people(row: dict[str, dict[str, str]]) -> None:
    for key, text in row["metadata"].items():
        assert kinds(text, label=key) == set()


@pytest.mark.parametrize("label", ["organization code", "", "date"])
def test_an_organisation_code_needs_its_word(label: str) -> None:
    text = f"{label} D2143569-X"
    assert kinds(text) == ({"cn-organisation-code"} if "org" in label else set())


def test_a_passport_needs_its_word() -> None:
    assert kinds("E12345678") == set()
    assert kinds("护照号 E12345678") == {"cn-passport"}


# -- found


@pytest.mark.parametrize("text", IDENTITIES)
def test_identity_numbers_are_known(text: str) -> None:
    assert is_identity_number(text)
    assert kinds(f"身份证{text}号") == {"cn-identity-number"}
    assert kinds(f"{text[:6]} {text[6:14]} {text[14:]}") == {"cn-identity-number"}
    (found,) = scan_text(text)
    assert found.certainty == "checked"


def test_a_foreigners_permanent_residence_number_is_known() -> None:
    digits = "93115619900101001"
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    rest = sum(int(d) * w for d, w in zip(digits, weights, strict=True)) % 11
    assert is_identity_number(digits + "10X98765432"[rest])


@pytest.mark.parametrize("text", CREDIT_CODES)
def test_credit_codes_are_known(text: str) -> None:
    assert is_credit_code(text)
    assert kinds(f"公司{text}。") == {"cn-company-number"}


@pytest.mark.parametrize("text", CARDS)
def test_cards_are_known(text: str) -> None:
    assert is_card_number(text)
    grouped = " ".join(text[i : i + 4] for i in range(0, len(text), 4))
    assert kinds(f"card {grouped} thanks") == {"bank-card"}
    assert kinds(grouped.replace(" ", "-")) == {"bank-card"}
    assert kinds(f"卡号{text}") == {"bank-card"}


def test_old_numbers_are_named_with_less_certainty() -> None:
    assert kinds("id 110105491231002") == {"cn-identity-number-old"}
    (found,) = scan_text(REGISTRATION)
    assert (found.kind, found.certainty) == ("cn-company-number-old", "pattern")
    (found,) = scan_text(f"营业执照 {REGISTRATION}")
    assert (found.kind, found.certainty) == ("cn-company-number-old", "checked")
    assert is_organisation_code(ORGANISATION)


@pytest.mark.parametrize(
    "text",
    [
        "13812345678",
        "电话13812345678\uff0c谢谢",
        "10_13812345678_v2",
        "138-1234-5678",
        "138 1234 5678",
        "+86 138 1234 5678",
        "+8613812345678",
        "8613812345678",
        "008613812345678",
        wide("13812345678"),
        "138\u20111234\u20115678",
        "138\u200b1234\u200b5678",
        "13812345678.",
        "\\u624b\\u673a13812345678" + "",
    ],
)
def test_mobile_numbers_are_found_as_people_write_them(text: str) -> None:
    if text.startswith("\\"):
        text = f'{{"tag": "{text}"}}'
    assert kinds(text) == {"cn-mobile"}
    assert count(text, "cn-mobile") == 1


def test_each_of_many_is_counted() -> None:
    assert count("13812345678 13912345678 15812345678", "cn-mobile") == 3


def test_international_numbers_are_found() -> None:
    assert kinds("call +49 170 1234567 or +1 (555) 0123-4567") == {"phone"}
    assert kinds("+83 170 1234567") == set()  # no such country
    assert kinds("+1234567") == set()


# -- all of a kind


digits = st.text("0123456789", min_size=15, max_size=18)


@given(digits)
def test_one_check_digit_fits_luhn(text: str) -> None:
    assert sum(passes_luhn(text + last) for last in "0123456789") == 1


@given(
    st.sampled_from(["11", "31", "44", "50", "65", "71", "81", "82", "83"]),
    st.integers(1, 9999),
    st.dates(),
    st.integers(0, 999),
)
def test_one_check_digit_fits_an_identity_number(
    province: str, region: int, day: object, serial: int
) -> None:
    text = f"{province}{region:04}{str(day).replace('-', '')}{serial:03}"
    fits = sum(is_identity_number(text + last) for last in "0123456789X")
    assert fits == (1 if "1850" <= str(day)[:4] <= "2099" else 0)


@given(
    st.text(CREDIT_CHARACTERS, min_size=9, max_size=9), st.sampled_from(["91", "52", "N2", "Y1"])
)
def test_one_check_character_fits_a_credit_code(body: str, office: str) -> None:
    assert sum(is_credit_code(f"{office}350211{body}{last}") for last in CREDIT_CHARACTERS) == 1


@given(st.text("0123456789", min_size=12, max_size=12))
def test_one_check_digit_fits_a_registration_number(body: str) -> None:
    assert sum(is_registration_number(f"44{body}{last}") for last in "0123456789") == 1


@given(st.text("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", min_size=8, max_size=8))
def test_one_check_character_fits_an_organisation_code(body: str) -> None:
    assert sum(is_organisation_code(f"{body}-{last}") for last in "0123456789X") == 1


@given(st.sampled_from(IDENTITIES), st.integers(0, 17), st.sampled_from("0123456789"))
def test_a_changed_digit_of_an_identity_number_is_seen(text: str, place: int, digit: str) -> None:
    changed = text[:place] + digit + text[place + 1 :]
    assert is_identity_number(changed) == (changed == text)
