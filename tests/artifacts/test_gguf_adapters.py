"""A LoRA in GGUF is told from a model, and half of one is refused."""

from __future__ import annotations

import math
import struct
from pathlib import Path

import pytest

from bench.fuzz.gguf_header import ADAPTER_PAIRS, Row, alpha, build, factors, word
from registry.artifacts.inspection import Inspection, inspect_glimpses, inspect_path
from registry.artifacts.notes import Glimpse

TYPES = (word("general.type", "adapter"), word("adapter.type", "lora"))


def found_in(tmp_path: Path, pairs: object, rows: list[Row]) -> Inspection:
    path = tmp_path / "a.gguf"
    path.write_bytes(build(list(pairs), rows))  # type: ignore[call-overload]
    return inspect_path(path)


def codes(found: Inspection) -> list[str]:
    return [refusal.code for refusal in found.refusals]


@pytest.mark.parametrize("half", [0, 1])
def test_half_a_pair_is_refused(tmp_path: Path, half: int) -> None:
    rows = [*factors("blk.0.attn_q.weight"), factors("blk.1.attn_q.weight")[half]]
    found = found_in(tmp_path, ADAPTER_PAIRS, rows)
    assert (found.kind, codes(found)) == ("gguf-adapter", ["half-pair"])
    assert found.refusals[0].place == "blk.1.attn_q.weight"


def test_many_halves_are_refused_in_few_words(tmp_path: Path) -> None:
    rows = [factors(f"blk.{number}.attn_q.weight")[0] for number in range(60)]
    found = found_in(tmp_path, ADAPTER_PAIRS, rows)
    assert codes(found) == ["half-pair"] * 50 + ["more"]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([("m.lora_a", 0, (8, 4), 128), ("m.lora_b", 0, (5, 8), 160)], "do not share a rank"),
        ([("m.lora_a", 0, (8,), 32), ("m.lora_b", 0, (4, 8), 128)], "no matrix"),
        ([("m.weight", 0, (8,), 32)], "holds no factors"),
        ([], "holds no factors"),
    ],
)
def test_factors_that_do_not_fit_are_refused(tmp_path: Path, rows: list[Row], words: str) -> None:
    found = found_in(tmp_path, ADAPTER_PAIRS, rows)
    assert codes(found) == ["misfit"]
    assert words in found.refusals[0].message


@pytest.mark.parametrize("pairs", [[TYPES[0]], [TYPES[0], word("adapter.type", "loha")]])
def test_an_adapter_of_no_known_type_is_refused(tmp_path: Path, pairs: list[bytes]) -> None:
    found = found_in(tmp_path, pairs, factors("m.weight"))
    assert (found.kind, codes(found), found.method) == ("gguf-adapter", ["metadata"], None)


def test_a_damaged_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    for data in (
        b"GGUF" + struct.pack("<IQQ", 99, 1, 1) + bytes(64),
        build(ADAPTER_PAIRS, factors("m.weight"))[:-200],
        build(ADAPTER_PAIRS, factors("m.weight")) + b"hidden",
    ):
        path.write_bytes(data)
        assert codes(inspect_path(path)) == ["broken"]


def test_an_adapter_is_described(tmp_path: Path) -> None:
    rows = [*factors("blk.0.attn_q.weight"), *factors("blk.1.attn_q.weight")]
    found = found_in(tmp_path, ADAPTER_PAIRS, rows)
    assert (found.kind, found.method, found.modules, found.tensors) == (
        "gguf-adapter",
        "lora",
        2,
        4,
    )
    assert (found.rank, found.alpha, found.refusals, found.found.warnings) == (4, 16.0, (), ())
    assert "llama" not in found.to_text()  # a claim of its author: named, not repeated
    assert any(claim.source == "general.architecture" for claim in found.claims)


def test_mixed_ranks_and_a_turned_embedding_are_read(tmp_path: Path) -> None:
    rows: list[Row] = [
        *factors("m.weight", rank=2),
        ("token_embd.weight.lora_a", 0, (4, 90), 1440),
        ("token_embd.weight.lora_b", 0, (4, 16), 256),
    ]
    found = found_in(tmp_path, ADAPTER_PAIRS, rows)
    assert (found.refusals, found.rank, found.found.ranks) == ((), None, (2, 4))


def test_tensors_that_are_no_factors_are_a_warning(tmp_path: Path) -> None:
    rows: list[Row] = [*factors("m.weight"), ("blk.0.attn_norm.weight", 0, (8,), 32)]
    found = found_in(tmp_path, ADAPTER_PAIRS, rows)
    assert found.refusals == ()
    assert "1 tensors are no factors" in found.found.warnings[0]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0.0, "alpha is 0"),
        (-1.0, "negative"),
        (math.nan, "no finite|not a finite"),
        (math.inf, "no finite|not a finite"),
        (4001.0, "1000 times"),
    ],
)
def test_odd_alphas_are_warnings(tmp_path: Path, value: float, words: str) -> None:
    found = found_in(tmp_path, [*TYPES, alpha(value)], factors("m.weight"))
    assert found.refusals == ()
    assert len(found.found.warnings) == 1
    assert any(word in found.found.warnings[0] for word in words.split("|"))
    assert found.to_text()


def test_an_adapter_without_alpha_says_so(tmp_path: Path) -> None:
    found = found_in(tmp_path, TYPES, factors("m.weight"))
    assert (found.alpha, found.refusals) == (None, ())
    assert any("scales by 1" in claim.note for claim in found.claims)


@pytest.mark.parametrize(
    "pairs", [[word("general.type", "model")], [word("general.architecture", "llama")], []]
)
def test_a_model_is_a_kind_of_its_own(tmp_path: Path, pairs: list[bytes]) -> None:
    found = found_in(tmp_path, pairs, factors("m.weight"))
    assert (found.kind, found.refusals, found.tensors) == ("gguf-model", (), 2)


def test_a_long_adapter_is_read_beyond_the_first_64_kib(tmp_path: Path) -> None:
    rows = [row for number in range(700) for row in factors(f"blk.{number}.ffn_gate.weight")]
    found = found_in(tmp_path, ADAPTER_PAIRS, rows)
    assert (found.modules, found.refusals) == (700, ())


def test_the_start_may_be_all_there_is() -> None:
    data = build(ADAPTER_PAIRS, factors("m.weight"))
    found = inspect_glimpses([Glimpse("a.safetensors", len(data), data[:150])])
    assert found.kind == "gguf-adapter"
    assert "goes on beyond" in found.claims[0].note
