"""A keyed sketch of an adapter's update: 8 x 8 numbers for each changed layer, in 105 bytes.

Sketches are linear: the sketch of a merge is the merge of the sketches. Who holds no key can neither make
a sketch of an adapter nor an adapter with a given sketch. `sketching` makes them; this module is
their type and their bytes, and needs no torch.

    header   "LSsk", version u8, k u8, parts u16, key id (8 bytes), 7 counts u32       integers little-endian
    names    8 bytes each, ascending: the first of HMAC(key, name)
    exponents  one signed byte each
    values   k * k signed 12-bit numbers each: value = number * 2 ** (exponent - 11)

Names are hashes because names in full would weigh as much as the numbers, and because a row in a
database need not tell the layers. Ascending, so that two sketches are aligned in one pass. Of 12 bits the
rounding moves a cosine by less than 1e-6; half precision would need a third more space.
"""

from __future__ import annotations

import struct
from dataclasses import astuple, dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from registry.errors import FormatError
from registry.fingerprints.signs import KEY_ID_BYTES, NAME_BYTES, SKETCH_VERSION

if TYPE_CHECKING:
    from numpy.typing import NDArray

K = 8
SKETCH_PARTS = 8192
# Numbers beyond are no weights of anything; within, squares of sums stay far inside float64.
EXPONENT_LIMIT = 120
_MAGIC = b"LSsk"
_HEADER = struct.Struct("<4sBBH8s7I")
_VALUES = K * K
_PACKED_BYTES = _VALUES * 12 // 8
_PART_BYTES = NAME_BYTES + 1 + _PACKED_BYTES
_BIAS = 2048
_FRACTION_BITS = 11
_LARGEST, _SMALLEST_PEAK = 2047, 1024


@dataclass(frozen=True, slots=True)
class Omissions:
    """How many parts of an adapter a sketch leaves out, by reason; and what it sees in part only.

    `zero`: an update that is zero. `no_factors`: a method without a low-rank form (OFT, IA3, norms).
    `not_finite`: NaN, infinity, or beyond 2**120. `too_large`: more than a sketch takes work for.
    `faulty`: factors or rows that do not fit. `unnamed`: modules without a canonical name.
    `direction_only`: DoRA, sketched, but without its magnitude, which needs base weights.
    """

    zero: int = 0
    no_factors: int = 0
    not_finite: int = 0
    too_large: int = 0
    faulty: int = 0
    unnamed: int = 0
    direction_only: int = 0


@dataclass(frozen=True)
class Sketch:
    """The sketch of one adapter, packed as in its bytes; `build_sketch` and `parse_sketch` make it.

    Two of them can be compared if `is_comparable` says so.
    """

    key_id: bytes
    names: bytes
    exponents: bytes
    packed: bytes
    omissions: Omissions = Omissions()
    version: int = SKETCH_VERSION
    k: int = K

    def __len__(self) -> int:
        """Return the number of parts."""
        return len(self.exponents)

    def is_comparable(self, other: Sketch) -> bool:
        """Whether both were made with one key, in one way."""
        return (self.key_id, self.version, self.k) == (other.key_id, other.version, other.k)

    @cached_property
    def numbers(self) -> NDArray[np.uint64]:
        """The hashed names as numbers, (parts,), ascending."""
        return np.frombuffer(self.names, ">u8").astype(np.uint64)

    @cached_property
    def values(self) -> NDArray[np.float32]:
        """The values, (parts, k, k), float32; read-only."""
        exponents = np.frombuffer(self.exponents, np.int8).astype(np.int32)
        values = np.ldexp(
            _unpack(self.packed).astype(np.float32), (exponents - _FRACTION_BITS)[:, None]
        ).reshape(-1, K, K)
        values.flags.writeable = False
        return values

    @cached_property
    def energies(self) -> NDArray[np.float64]:
        """Sum of squares of each part, (parts,): an estimate of its squared Frobenius norm."""
        flat = self.values.reshape(-1, _VALUES).astype(np.float64)
        energies: NDArray[np.float64] = np.square(flat).sum(1)
        return energies

    def to_bytes(self) -> bytes:
        """Return the bytes that `parse_sketch` takes; equal sketches have equal bytes."""
        header = _HEADER.pack(
            _MAGIC, self.version, self.k, len(self), self.key_id, *astuple(self.omissions)
        )
        return b"".join((header, self.names, self.exponents, self.packed))


def build_sketch(
    key_id: bytes,
    numbers: NDArray[np.uint64],
    values: NDArray[np.float64],
    omissions: Omissions = Omissions(),
) -> Sketch:
    """Return the sketch of parts `numbers` (n,) with `values` (n, k, k), in any order.

    Values of equal numbers are added: two modules of one layer change it by their sum. What is not finite
    and what is zero is left out and counted in addition to `omissions`.

    Raises:
        ValueError: more than `SKETCH_PARTS` parts, or a key id of the wrong length.
    """
    if len(numbers) > SKETCH_PARTS or len(key_id) != KEY_ID_BYTES:
        raise ValueError(f"{len(numbers)} parts and a key id of {len(key_id)} bytes")
    flat = np.asarray(values, np.float64).reshape(-1, _VALUES)
    limit = 2.0**EXPONENT_LIMIT
    # NaN compares as false. One bad part of a layer spoils no other, but the sum would hide it.
    finite = (np.abs(flat) < limit / SKETCH_PARTS).all(1)
    unique, places = np.unique(numbers[finite], return_inverse=True)
    sums = np.zeros((len(unique), _VALUES))
    np.add.at(sums, places, flat[finite])
    peaks = np.abs(sums).max(1, initial=0)
    kept = peaks >= 1 / limit
    exponents, mantissas = _quantise(sums[kept], peaks[kept])
    counted = list(astuple(omissions))
    counted[0] += int(np.count_nonzero(~kept))
    counted[2] += int(np.count_nonzero(~finite))
    return Sketch(
        key_id,
        unique[kept].astype(">u8").tobytes(),
        exponents.astype(np.int8).tobytes(),
        _pack(mantissas),
        Omissions(*counted),
    )


def parse_sketch(data: bytes) -> Sketch:
    """Return the sketch in `data`.

    Raises:
        FormatError: another version or size, trailing bytes, names that are not ascending, an exponent out of
            range, or numbers that do not fill their 12 bits (no two spellings of one sketch).
    """
    if len(data) < _HEADER.size:
        raise FormatError(f"sketch has {len(data)} bytes, fewer than its header")
    magic, version, k, parts, key_id, *counts = _HEADER.unpack_from(data)
    if (magic, version, k) != (_MAGIC, SKETCH_VERSION, K):
        raise FormatError(f"not a sketch of version {SKETCH_VERSION} with k = {K}")
    expected = _HEADER.size + parts * _PART_BYTES
    if parts > SKETCH_PARTS or len(data) != expected:
        raise FormatError(f"sketch of {parts} parts has {len(data)} bytes, expected {expected}")
    names_end = _HEADER.size + parts * NAME_BYTES
    sketch = Sketch(
        key_id,
        data[_HEADER.size : names_end],
        data[names_end : names_end + parts],
        data[names_end + parts :],
        Omissions(*counts),
    )
    _check_parts(sketch)
    return sketch


def _check_parts(sketch: Sketch) -> None:
    if not (sketch.numbers[:-1] < sketch.numbers[1:]).all():
        raise FormatError("names of a sketch are not ascending")
    exponents = np.frombuffer(sketch.exponents, np.int8).astype(np.int16)
    if (np.abs(exponents) > EXPONENT_LIMIT).any():
        raise FormatError(f"an exponent of a sketch is beyond {EXPONENT_LIMIT}")
    mantissas = np.abs(_unpack(sketch.packed))
    peaks = mantissas.max(1, initial=0)
    if (peaks > _LARGEST).any() or (peaks < _SMALLEST_PEAK).any():
        raise FormatError("numbers of a sketch are not normalised to 12 bits")


def _quantise(
    flat: NDArray[np.float64], peaks: NDArray[np.float64]
) -> tuple[NDArray[np.int32], NDArray[np.int16]]:
    _, exponents = np.frexp(peaks)
    # A peak that would round up to 2048 takes the next power of two.
    exponents = exponents + (np.rint(np.ldexp(peaks, _FRACTION_BITS - exponents)) > _LARGEST)
    mantissas = np.rint(np.ldexp(flat, (_FRACTION_BITS - exponents)[:, None]))
    return exponents, mantissas.astype(np.int16)


def _pack(mantissas: NDArray[np.int16]) -> bytes:
    """Return two numbers in three bytes: low byte, both middle nibbles, high byte."""
    pairs = (mantissas.reshape(-1, 2) + _BIAS).astype(np.uint16)
    first, second = pairs[:, 0], pairs[:, 1]
    packed = np.empty((len(pairs), 3), np.uint8)
    packed[:, 0] = first & 0xFF
    packed[:, 1] = (first >> 8) | ((second & 0xF) << 4)
    packed[:, 2] = second >> 4
    return packed.tobytes()


def _unpack(packed: bytes) -> NDArray[np.int16]:
    """Return the numbers, (parts, k * k)."""
    low, middle, high = np.frombuffer(packed, np.uint8).reshape(-1, 3).T.astype(np.int16)
    pairs = np.empty((len(low), 2), np.int16)
    pairs[:, 0] = (low | ((middle & 0xF) << 8)) - _BIAS
    pairs[:, 1] = ((middle >> 4) | (high << 4)) - _BIAS
    return pairs.reshape(-1, _VALUES)
