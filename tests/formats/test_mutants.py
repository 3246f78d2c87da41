"""Twenty thousand mutants of each parser on every run; a million of them: `python -m bench.mutants`."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from bench.fuzz.dice import Dice
from bench.fuzz.target import ACCEPTED, BrokenPromiseError, Target, kind_of, promise
from bench.mutants import PARSERS, load_target, run_slice
from registry.errors import FormatError

COUNT, SEED = 20_000, 20
CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", sorted(PARSERS))
@pytest.mark.parametrize("part", range(2))
def test_mutants_are_refused_by_our_error_or_keep_every_promise(name: str, part: int) -> None:
    half = COUNT // 2
    tally = run_slice(name, SEED, part * half, (part + 1) * half)
    assert tally.findings == []
    assert tally.reasons.total() == half
    # The edits are worth something: much is refused, for many reasons, and some is still sound.
    assert half // 20 < tally.reasons[ACCEPTED] < half // 2
    assert len(tally.reasons) > 20


@pytest.mark.parametrize("name", sorted(PARSERS))
def test_examples_are_sound_and_a_mutant_is_the_same_on_every_run(name: str) -> None:
    target = load_target(name)
    assert {target.examine(data) for data in target.examples} == {ACCEPTED}
    first = [target.mutant(Dice(SEED, number)) for number in range(200)]
    assert first == [target.mutant(Dice(SEED, number)) for number in range(200)]
    assert first != [target.mutant(Dice(SEED + 1, number)) for number in range(200)]


def toy(**changes: object) -> Target[bytes]:
    def parse(data: bytes) -> bytes:
        if not data:
            raise FormatError("nothing 'x' in 12 bytes")
        return data

    target = Target("toy", (b"a",), lambda data, _: data, parse, lambda _data, _value: None)
    return replace(target, **changes)  # type: ignore[arg-type]


def test_a_parser_that_works_too_much_is_found() -> None:
    def busy(data: bytes) -> bytes:
        return b"".join(bytes([byte]) for byte in range(200)) + data

    with pytest.raises(BrokenPromiseError, match="over 102 calls"):
        toy(parse=busy, calls=100).examine_counted(b"a")
    assert toy(parse=busy).examine_counted(b"a")[0] == ACCEPTED
    assert sys.getprofile() is None


def test_a_parser_that_takes_too_much_memory_is_found() -> None:
    with pytest.raises(BrokenPromiseError, match="bytes of memory for 1 bytes"):
        toy(parse=lambda data: data * 10_000_000).peak_of(b"a")


def test_a_broken_promise_and_another_exception_are_findings() -> None:
    def refuse(_data: bytes, reason: str) -> None:
        promise("nothing" not in reason, "must be taken")

    with pytest.raises(BrokenPromiseError, match="must be taken"):
        toy(check_refused=refuse).examine(b"")

    def crash(_data: bytes) -> bytes:
        raise KeyError("x")

    with pytest.raises(KeyError):
        toy(parse=crash).examine(b"a")


def test_reasons_are_counted_without_names_and_numbers() -> None:
    assert kind_of("tensor 'a\\'b' has -3 bytes, not 0x1f, 1e9") == "tensor X has N bytes, not N, N"


def test_fuzzing_of_no_known_parser_is_bad_usage() -> None:
    command = [sys.executable, "-m", "bench.fuzz", "elf"]
    done = subprocess.run(command, capture_output=True, check=False, cwd=CHECKOUT)
    assert done.returncode == 2
    assert b"usage: python -m bench.fuzz {adapter-config,gguf,safetensors}" in done.stderr


def test_the_command_prints_one_json_object() -> None:
    command = [sys.executable, "-m", "bench.mutants", "--parser", "gguf", "--count", "300"]
    done = subprocess.run(command, capture_output=True, check=True, cwd=CHECKOUT)
    found = json.loads(done.stdout)
    assert (found["schema"], found["count"]) == ("loraseal/bench-mutants.v1", 300)
    assert (found["broken"], found["accepted"] + found["refused"]) == (0, 300)
