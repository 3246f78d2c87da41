"""The secret signs, against literal vectors and against the construction in a few other lines."""

from __future__ import annotations

import hashlib
import hmac

import pytest

pytest.importorskip("numpy")

from registry.fingerprints.signs import (
    derive,
    draw_signs,
    hashed_name,
    key_id_of,
    signs_of,
)

KEY = bytes(range(32))


def _independent(purpose: str, count: int) -> list[int]:
    seed = hmac.new(KEY, b"loraseal/sketch/v1/" + purpose.encode(), hashlib.sha256).digest()
    stream = int.from_bytes(hashlib.shake_256(seed).digest(count // 8 + 1), "little")
    return [-1 if stream >> place & 1 else 1 for place in range(count)]


def test_a_short_key_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 32 bytes"):
        derive(b"k" * 31, "id")


@pytest.mark.parametrize("purpose", ["left/320", "right/768", "flips/320x768/unet.mid.attn.q", "ü"])
@pytest.mark.parametrize("count", [1, 7, 8, 9, 2560])
def test_signs_are_the_bits_of_the_stream(purpose: str, count: int) -> None:
    assert draw_signs(KEY, purpose, count).tolist() == _independent(purpose, count)


def test_vectors_of_version_1() -> None:
    """Literal: a change of any of them is a new version."""
    assert (
        derive(KEY, "left/320").hex()
        == "48725c373425230525904f1d3877ee5eb9c35c3b7a6747b13d8da99dd2a14bcf"
    )
    assert key_id_of(KEY).hex() == "5f186c35a1dce0fa"
    assert f"{hashed_name(KEY, 'unet.mid.attn.q'):016x}" == "028b146c8ed1fea7"
    drawn = draw_signs(KEY, "left/320", 24).tolist()
    assert "".join("+" if sign > 0 else "-" for sign in drawn) == "+-+++--++++++---++-+-+++"
    assert signs_of(b"", 8).tolist() == [
        1,
        -1,
        -1,
        1,
        1,
        1,
        -1,
        1,
    ]  # SHAKE-256("") starts with 0x46


def test_a_longer_draw_continues_a_shorter_one() -> None:
    assert draw_signs(KEY, "x", 5000)[:77].tolist() == draw_signs(KEY, "x", 77).tolist()


def test_a_name_with_half_a_surrogate_is_a_name() -> None:
    assert hashed_name(KEY, "a\ud800") != hashed_name(KEY, "a")


def test_nothing_that_leaves_shows_the_key() -> None:
    assert key_id_of(KEY) not in KEY
    assert key_id_of(KEY) != key_id_of(KEY[::-1])
