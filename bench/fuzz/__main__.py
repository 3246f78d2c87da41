"""A fuzzer led by coverage (atheris) on one target: `make fuzz`, or python -m bench.fuzz PARSER [OPTIONS].

OPTIONS are libFuzzer's, such as -max_total_time=60. Half of its mutants are made by our own edits, which
know the format; the promises are those of `bench.mutants`. It ends with 77 at the first broken promise
or any exception that is not ours, and leaves the input as `.fuzz/PARSER-crash-...`; run it on that file
alone to see it again. What it learns is kept in `.fuzz/PARSER`.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from bench.mutants import PARSERS

if TYPE_CHECKING:
    from bench.fuzz.target import Target

_KEPT = Path(".fuzz")
_MEMORY_MIB = 1024
_MOST_BYTES = 64 * 1024
# What may raise in our name or must be watched, beside the target's own module.
_WATCHED = ("registry.formats", "registry.artifacts")


def load_watched(name: str) -> Target[object]:
    """Return the target of one parser, with the code under it instrumented for coverage."""
    import atheris

    with atheris.instrument_imports(include=list(_WATCHED)):
        for module in ("safetensors", "safetensors_rows", "adapter_config", "gguf"):
            importlib.import_module(f"registry.formats.{module}")
        target: Target[object] = importlib.import_module(PARSERS[name]).TARGET
    return target


def write_corpus(target: Target[object], folder: Path) -> None:
    """Write the target's examples into `folder`, where libFuzzer begins."""
    folder.mkdir(parents=True, exist_ok=True)
    for data in target.examples:
        (folder / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)


def fuzz(name: str, options: list[str]) -> None:
    """Fuzz until libFuzzer's options end it; does not return."""
    import atheris

    from bench.fuzz.dice import Dice

    target = load_watched(name)
    write_corpus(target, _KEPT / name)

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        dice = Dice(seed, len(data))
        if dice.one_in(2):
            return bytes(atheris.Mutate(data, most))
        return target.edit(data, dice)[:most]

    arguments = [
        f"-artifact_prefix={_KEPT / name}-",
        f"-rss_limit_mb={_MEMORY_MIB}",
        f"-max_len={_MOST_BYTES}",
        "-timeout=10",
        "-print_final_stats=1",
        *options,
    ]
    # A file to run again takes the place of the corpus.
    if not any(not option.startswith("-") for option in options):
        arguments.append(str(_KEPT / name))
    atheris.Setup([sys.argv[0], *arguments], target.examine, custom_mutator=mutate)
    atheris.Fuzz()


def main() -> int:
    """Fuzz the parser that is named first; 2 for bad usage, or where there is no atheris."""
    if len(sys.argv) < 2 or sys.argv[1] not in PARSERS:
        print(
            f"usage: python -m bench.fuzz {{{','.join(sorted(PARSERS))}}} [OPTIONS]",
            file=sys.stderr,
        )
        return 2
    if importlib.util.find_spec("atheris") is None:
        print(
            "atheris is not installed: `make fuzz` does it where there is a wheel for this Python; "
            "without it: python -m bench.mutants",
            file=sys.stderr,
        )
        return 2
    fuzz(sys.argv[1], sys.argv[2:])
    return 0


if __name__ == "__main__":
    sys.exit(main())
