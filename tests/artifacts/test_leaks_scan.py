"""What all scanners promise together, and the ones for tokens, machines and places."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from re import _constants as ops  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.artifacts.leaks import digits, hosts, passages, paths, places, scan, tokens
from registry.artifacts.leaks.kinds import KINDS
from registry.artifacts.leaks.passages import Passage, decoded, normalised, printable, readings
from registry.artifacts.leaks.scan import leaks_in_text, scan_text
from registry.artifacts.leaks.token_forms import DISTINCT_FORMS, NAMED_FORMS
from registry.artifacts.leaks.tokens import entropy_bits
from tests.artifacts.planted import count, hexes, kinds, letters, secrets, wide, wrapped

# -- what is none


@pytest.mark.parametrize(
    "text",
    [
        "48d368fa00000000000000000000000000000000",  # a git commit
        hexes(64),  # a digest
        "wandb run " + hexes(40),  # named after wandb, but no key
        "task-" + letters(40),
        "sk-" + "a" * 40,  # nothing drawn by lot
        "hf_short",
        "hub_token: <HUB_TOKEN>",
        'api_key: "${API_KEY_OF_SOMEBODY}"',
        "password = self.get_password()",
        "password: None",
        "token_count: 12345678901234567",
        "class_tokens: alice_woman_in_wonderland",
        "sk_learn_live_demo",
        "modelspec stable-diffusion-xl-v1-base/lora",
        "https://huggingface.co/a/b/c",
        "https://github.com/home/alice/x",
        "https://github.com/ostris/ai-toolkit",
        "and/or, 1/2, 512x512/64",
        ":/ ;/ D:/ \\m/ >_< @_@ ^_^",
        "git@github.com:a/b.git",
        "someone@example.com",
        "@torch.no_grad()",
        "model@v1.2",
        "~3.5",
        "/home/ubuntu",
        "threading.local, config.local",
        "host: localhost",
        "version 10.1.2.3",
        "weights 0.1234, 0.5678",
        "loss: 31.230416, 121.473701",
        "latent: 31.2304",
        "flat: 1.2345",
        "data:image/png;base64," + letters(400),
    ],
)
def test_what_tells_nothing(text: str) -> None:
    assert kinds(text) - {"path"} == set()
    if "ubuntu" not in text:
        assert kinds(text) == set()


# -- what is found


@pytest.mark.parametrize("kind", secrets())
def test_each_kind_is_found_wherever_it_stands(kind: str) -> None:
    text = secrets()[kind]
    assert kind in kinds(text)
    assert kind in kinds(f"a photo of {text} at night")
    assert kind in kinds(wrapped(text))
    assert kind in kinds(printable(b"\x80\x02X" + len(text).to_bytes(4, "little") + text.encode()))
    assert count(f"{text}\n{text}", kind) == 2


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("WANDB_API_KEY=" + hexes(40), "token:wandb"),
        (json.dumps({"wandb": {"api_key": hexes(40)}}), "token:wandb"),
        ("aws_secret_access_key = " + letters(40), "token:aws"),
        ("civitai_api_key: " + hexes(32), "token:civitai"),
        ("https://civitai.com/api/download/models/1?token=" + hexes(32), "token:civitai"),
        ("accessKeySecret: " + letters(30), "token:aliyun"),
        ("TENCENT_SECRET_KEY=" + letters(32), "token:tencent"),
        ("HUAWEI_ACCESS_KEY=" + letters(20, "ABC1DEF2GHI3"), "token:huawei"),
        ("swanlab_api_key: " + letters(21), "token:swanlab"),
        ("hub_token: " + letters(24), "token:generic"),
        (json.dumps({"api_key": letters(24)}), "token:generic"),
        ("passwd=hunter2hunter", "password"),
        ("AGE-SECRET-KEY-1" + letters(58, "QPZRY9X8GF2TVDW0"), "private-key"),
    ],
)
def test_loose_forms_are_found_where_they_are_named(text: str, kind: str) -> None:
    assert kinds(text) == {kind}


def test_a_token_is_counted_once_whatever_it_is_called() -> None:
    assert kinds("hf_token: hf_" + letters(34)) == {"token:huggingface"}
    assert kinds("OPENAI_API_KEY=sk-proj-" + letters(60)) == {"token:openai"}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("/home/aliddell/x", {"path", "user-name"}),
        ("/cluster/home/aliddell/x", {"path", "user-name"}),
        ("file:///home/aliddell/x", {"path", "user-name"}),
        ("dir=/mnt/d/x", {"path"}),
        ("路径\uff1a/data/客户/图", {"path"}),
        ("/odd/place/x", {"path"}),
        ("/only/two", set()),
        ("~/sets", {"path"}),
        ("~aliddell/sets", {"path", "user-name"}),
        ("C:\\Users\\aliddell\\x", {"path", "user-name"}),
        ("D:/sets/x", {"path"}),
        ("D:\\训练\\x", {"path"}),
        ("\\\\nas-1\\share\\x", {"path", "host-name"}),
        ("aliddell@gpu-3:~$ ls", {"user-name", "host-name"}),
        ("events.out.tfevents.1771234567.gpu-box.12.0", {"host-name"}),
        ("Alices-MacBook-Pro.local", {"host-name"}),
        ("DESKTOP-A1B2C3D", {"host-name"}),
        ("ip-10-0-13-7", {"host-name"}),
        ('"hostname": "gpubox"', {"host-name"}),
        ("http://10.1.2.3:8000", {"ip-address"}),
        ("wandb_entity: aliddell", {"user-name"}),
    ],
)
def test_paths_users_and_machines(text: str, found: set[str]) -> None:
    assert kinds(text) == found
    assert kinds(json.dumps({"x": text})) == found


@pytest.mark.parametrize(
    "text",
    [
        "+31.2304+121.4737/",
        "geo:31.2304,121.4737",
        "31°13'49\"N",
        "北纬31度13分49秒北",
        '{"lat": 31.23041, "lon": 121.47370}',
        "经度\uff0c纬度: 121.473701, 31.230416",
        "coordinates [31.230416, 121.473701]",
    ],
)
def test_places_are_found_where_they_are_named(text: str) -> None:
    assert kinds(text) == {"gps"}


def test_gbk_logs_and_utf16_are_read() -> None:
    text = "训练集\uff1aD:\\客户\\图 13812345678"
    for data in (text.encode("gb18030"), text.encode("utf-16"), text.encode("utf-8")[:-1]):
        assert "path" in kinds(decoded(data))


def test_a_character_cut_at_the_end_does_not_change_the_encoding() -> None:
    data = ("图" * 50).encode()
    assert decoded(data[:-1]) == "图" * 49
    assert decoded(data[:-2]) == "图" * 49


# -- nothing is repeated, nothing raises


@given(st.sampled_from(sorted(secrets())), st.text(max_size=20), st.text(max_size=20))
def test_no_finding_repeats_what_it_found(kind: str, before: str, after: str) -> None:
    secret = secrets()[kind]
    said = repr(leaks_in_text("place", f"{before} {secret} {after}"))
    assert secret not in said
    assert all(part not in said for part in re.findall(r"[0-9]{4,}|[A-Za-z0-9]{14,}", secret))


PIECES = st.sampled_from(
    [
        *secrets().values(),
        "/",
        "\\",
        "@",
        "+",
        "{",
        '"',
        ":",
        "=",
        "。",
        "\ud800",
        "İ",
        "ﷺ",
        wide("A"),
        "1" * 30,
    ]
)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(PIECES, st.text(max_size=30)), max_size=12).map("".join))
def test_no_text_is_too_odd(text: str) -> None:
    for found in scan_text(text, label="key"):
        assert found.kind in KINDS
        assert found.count > 0


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_no_bytes_are_too_odd(data: bytes) -> None:
    scan_text(decoded(data))
    scan_text(printable(data))


@given(st.text())
def test_nothing_grows_while_it_is_made_plain(text: str) -> None:
    assert len(normalised(text)) <= len(text)
    assert all(len(reading) <= len(text) for reading in readings("{" + text[1:] if text else ""))


@given(st.text(max_size=40))
def test_entropy_is_between_none_and_that_of_all_different(text: str) -> None:
    assert 0 <= entropy_bits(text) <= len(text).bit_length()


# -- work


def patterns() -> list[tuple[str, re.Pattern[str]]]:
    found = [
        (f"{module.__name__}.{name}", value)
        for module in (digits, hosts, passages, paths, places, scan, tokens)
        for name, value in vars(module).items()
        if isinstance(value, re.Pattern) and isinstance(value.pattern, str)
    ]
    found += [(form.issuer, form.pattern) for form in (*DISTINCT_FORMS, *NAMED_FORMS)]
    found += [(str(words), pattern) for words, pattern in hosts._HOST_FORMS]
    return found


def repeats(tree: Any, inside: bool = False) -> list[tuple[bool, int, int]]:
    """Return (is within a repeat that gives back, fewest, most) of every repeat that can give back."""
    found = []
    for op, argument in tree:
        if op in (ops.MAX_REPEAT, ops.MIN_REPEAT):
            low, high, part = argument
            varies = low != high
            if varies:
                found.append((inside, low, high))
            found += repeats(part, inside or varies)
        elif op is ops.POSSESSIVE_REPEAT:
            found += repeats(argument[2], False)
        elif op is ops.SUBPATTERN:
            found += repeats(argument[3], inside)
        elif op is ops.ATOMIC_GROUP:
            found += repeats(argument, False)
        elif op is ops.BRANCH:
            for branch in argument[1]:
                found += repeats(branch, inside)
        elif op in (ops.ASSERT, ops.ASSERT_NOT):
            found += repeats(argument[1], inside)
    return found


@pytest.mark.parametrize(("name", "pattern"), patterns(), ids=[name for name, _ in patterns()])
def test_no_pattern_can_go_back_far(name: str, pattern: re.Pattern[str]) -> None:
    tree = parser.parse(
        pattern.pattern, pattern.flags & ~re.UNICODE if pattern.flags & re.ASCII else 0
    )
    for inside, _, most in repeats(tree):
        # A repeat that may give back is short, and none of some length lies within another.
        assert most <= 100, name
        assert not inside or most <= 8, name


def calls(work: Callable[[], object]) -> int:
    """Return how many Python and C functions are called by `work`."""
    total = 0

    def count_one(_frame: object, event: str, _argument: object) -> None:
        nonlocal total
        total += event in ("call", "c_call")

    sys.setprofile(count_one)
    try:
        work()
    finally:
        sys.setprofile(None)
    return total


HOSTILE = [
    "a", "1", "1 ", "12345678901 ", "138-1234-5678-", "/", "/a", "/home/x ", "@", "a@b.c ", "a.a@", "eyJ", "sk-",
    "MNO", "\\", "\\u4e2d", '{"\\\\', "key: ", "password=a1b2c3", "wandb key " + "a" * 40 + " ", "+1 ", "lat=1.2345 ",
    "gps 1.2345,", "://a:", "a-1.local ", "host=a1 ", wide("A"), "AccountKey=", "aws secret " + "Ab1" * 13 + "c ", "C:/", " ~/a",
]  # fmt: skip


@pytest.mark.parametrize("unit", HOSTILE)
def test_work_grows_as_the_text_does(unit: str) -> None:
    def scanned(size: int) -> Callable[[], object]:
        text = "{" + unit * (size // len(unit))
        return lambda: scan_text(text, label="key")

    scanned(100)()
    small, large = calls(scanned(2_000)), calls(scanned(8_000))
    assert large <= 4.5 * small + 200
    assert large <= 60 * 8_000


def test_windows_do_not_multiply_the_text() -> None:
    text = "key" * 10_000
    covered = sum(end - start for start, end in Passage.of(text).windows(("key",), 16, 640))
    assert covered <= 3 * len(text)
