"""Intake of an artifact whose weights are pickles: they are converted on the way into the vault."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from registry.artifacts.intake import check_names, take_in_opened
from registry.artifacts.reading import open_source
from registry.conversion.converting import convert, converted_name, is_pickle_name

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from registry.artifacts.intake import IntakeSource
    from registry.artifacts.notes import IntakeResult
    from registry.artifacts.reading import OpenFile
    from registry.artifacts.vault import Vault
    from registry.conversion.converting import Conversion
    from registry.conversion.task import ConversionLimits
    from registry.sealing.identities import Recipient

# The algorithm of a hash in the ledger: the sha256 of the pickle that the artifact was made from.
ORIGINAL_HASH = "pickle_sha256"


def take_in_converted(
    source: IntakeSource,
    vault: Vault,
    recipients: Sequence[Recipient],
    candidate: str,
    *,
    limits: ConversionLimits | None = None,
) -> tuple[IntakeResult, tuple[Conversion, ...]]:
    """Seal the files of `source` as `take_in` does, each torch file as STEM.safetensors.

    Returns what was learnt of the artifact, and one conversion for each torch file, in order. The
    sha256 of each original is among the hashes of the result as `pickle_sha256`, so that the artifact
    is found by the file it came from; `registry.artifacts.intake.resume` finishes a killed one.

    Raises:
        PickleRefusedError: see `convert`.
        LorasealError: see `take_in`; picklescan is not installed.
    """
    names = [converted_name(name) if is_pickle_name(name) else name for name, _ in source.files]
    check_names(names)
    facts: list[Conversion] = []

    def opened(stack: ExitStack, name: str, path: Path) -> OpenFile:
        if not is_pickle_name(name):
            return stack.enter_context(open_source(path, root=source.root))
        with open_source(path, root=source.root) as original:
            converted = stack.enter_context(convert(original, limits))
        facts.append(converted.facts)
        return converted.content

    with ExitStack() as stack:
        files = [
            (inside, opened(stack, name, path))
            for inside, (name, path) in zip(names, source.files, strict=True)
        ]
        known = [(ORIGINAL_HASH, each.original_sha256) for each in facts]
        result = take_in_opened(files, vault, recipients, candidate, also_known=known)
    return result, tuple(facts)
