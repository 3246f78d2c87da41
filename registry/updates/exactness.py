"""When a Gram matrix is the same bits on every machine, and a digest of spectra that leans on it.

Products of two half-precision values are multiples of 2**-48. While every partial sum stays below 2**5 a
float64 holds it without rounding, so order, blocking, threads and device make no difference; by
Cauchy-Schwarz it is enough that every column's sum of squares does. The same holds for 8-bit floats
with wider bounds, and for no wider type.
"""

from __future__ import annotations

import contextlib
import hashlib
from typing import TYPE_CHECKING

import torch

from registry.formats.canonical import Json, dump_canonical

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from registry.updates.spectra import ModuleSpectrum

DIGITS = 5
# Values below this part of a module's largest are noise of the arithmetic in their fifth digit.
FLOOR = 1e-4
_MANTISSA_BITS = 53
# The smallest positive value of each type is 2 to this power; all others are multiples of it.
_UNIT_EXPONENTS = {
    torch.float16: -24,
    torch.float8_e4m3fn: -9,
    torch.float8_e5m2: -16,
    torch.float8_e4m3fnuz: -10,
    torch.float8_e5m2fnuz: -17,
}


def exact_bound(dtype: torch.dtype) -> float:
    """Return below which sum of squares sums of products are exact in float64; 0: never for sure."""
    unit = _UNIT_EXPONENTS.get(dtype)
    return 0.0 if unit is None else 2.0 ** (_MANTISSA_BITS + 2 * unit)


def sums_exactly(matrix: torch.Tensor) -> bool:
    """Whether the Gram matrix of the smaller side of `matrix` is exact in float64."""
    bound = exact_bound(matrix.dtype)
    if bound == 0:
        return False
    dimension = 1 if matrix.shape[0] <= matrix.shape[1] else 0
    return bool((matrix.double().square_().sum(dimension) < bound).all())


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one CPU thread, so that sums which round do so in one order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def spectrum_digest(spectra: Iterable[ModuleSpectrum]) -> str:
    """Return the SHA-256 (hex) of all measured spectra, in canonical JSON and sorted by place.

    Each value is written with `DIGITS` significant digits, "0" below `FLOOR` of its module's
    largest. Modules without values do not count. Stable only for spectra that were measured with
    `deterministic=True`.
    """
    pairs = sorted(
        (spectrum.place, quantised(spectrum.values))
        for spectrum in spectra
        if spectrum.values is not None
    )
    rows: list[Json] = [[place, text] for place, text in pairs]
    content = dump_canonical(
        {"digits": DIGITS, "floor": f"{FLOOR:g}", "spectra": rows, "version": 1}
    )
    return hashlib.sha256(content).hexdigest()


def quantised(values: torch.Tensor) -> str:
    """Return singular values as text that does not depend on their last bits."""
    numbers = values.tolist()
    floor = FLOOR * numbers[0] if numbers else 0.0
    return " ".join(
        "0" if number == 0 or abs(number) < floor else f"{number:.{DIGITS - 1}e}"
        for number in numbers
    )
