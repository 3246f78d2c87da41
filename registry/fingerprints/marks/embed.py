"""Mark a copy of a payload for one recipient: only the bytes of factors change, all sizes stay.

How each module is changed is told in `remake.py`. A module that cannot bear a mark stays as it is
and is counted; an adapter that could not accuse anyone is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from registry.fingerprints.marks.basis import Left, study
from registry.fingerprints.marks.options import BOTH, MarkOptions
from registry.fingerprints.marks.remake import remake
from registry.fingerprints.marks.report import MarkReport, Tally
from registry.fingerprints.marks.seeds import SEED_BYTES
from registry.updates.payload import read_payload

if TYPE_CHECKING:
    from collections.abc import Iterable

    from registry.artifacts.notes import PayloadForm
    from registry.fingerprints.marks.basis import Studied
    from registry.updates.files import Payload


def mark_payload(
    data: memoryview,
    form: PayloadForm,
    name: str,
    seed: bytes,
    options: MarkOptions = BOTH,
) -> tuple[bytearray, MarkReport]:
    """Return a marked copy of the payload `data`, of the same size, and what was done to it.

    `name` is what errors call the file of a raw payload.

    Raises:
        FormatError: the payload is malformed, or cannot carry a mark that would accuse anyone.
        UsageError: see `MarkOptions.check`.
    """
    copy = bytearray(data)
    return copy, mark_in_place(memoryview(copy), form, name, seed, options)


def mark_in_place(
    target: memoryview,
    form: PayloadForm,
    name: str,
    seed: bytes,
    options: MarkOptions = BOTH,
) -> MarkReport:
    """Mark `target`, writable memory that holds the payload. When this raises, throw it away.

    Raises:
        FormatError, UsageError: see `mark_payload`.
    """
    copy = read_payload(target, form, name)
    return mark_copy(copy, study(copy), seed, options)


def mark_copy(
    copy: Payload, bases: Iterable[Studied], seed: bytes, options: MarkOptions = BOTH
) -> MarkReport:
    """Mark `copy`, a payload over writable memory, by the bases of its modules.

    `bases` are those of the original or of the copy before, in order; kept in a tuple they serve for many
    copies of the same bytes. When this raises, throw the copy away.

    Raises:
        FormatError, UsageError: see `mark_payload`.
    """
    options.check()
    if len(seed) != SEED_BYTES:
        raise ValueError(f"seed has {len(seed)} bytes, expected {SEED_BYTES}")
    if any(file.data.readonly for file in copy.files):
        raise ValueError("a mark is written into the copy, and its memory is read-only")
    tally = Tally()
    for located, basis in zip(copy.modules, bases, strict=True):
        if isinstance(basis, Left):
            tally.leave(basis.reason)
        elif not (options.gauge or basis.takes_spread):
            tally.leave("DoRA, which bears the gauge mark only")
        else:
            tally.take(basis, remake(basis, located, seed, options), options)
    return tally.report(options)
