"""What an audit run measured beyond verdicts: numbers per module, features, the place among peers.

Numbers are decimal text with five significant digits: canonical JSON has no floats, and a digest of
details must not depend on the last bits of one machine's arithmetic.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Wanted(StrEnum):
    """Which details a caller wants back; each costs time and room."""

    MODULES = "modules"
    FEATURES = "features"
    SKETCH = "sketch"


@dataclass(frozen=True, slots=True)
class ModuleDetail:
    """One module: singular values of its update (descending, scale included), and its Frobenius norm.

    `kind` is the module class (`attn.q`, ...; "" unknown). `values` are at most the 256 largest.
    `caveat` says what the numbers are not (`dora: direction only`); `reason` why there are none.
    """

    place: str
    kind: str
    values: tuple[str, ...] = ()
    frobenius: str = ""
    caveat: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class FeaturePosition:
    """One feature of the adapter among its peers: its value, their median, and the robust z."""

    name: str
    value: str
    median: str
    z: str


@dataclass(frozen=True, slots=True)
class CohortPosition:
    """Where the adapter stands among `peers` others of the group called `label`."""

    label: str
    peers: int
    distance: str
    features: tuple[FeaturePosition, ...] = ()


@dataclass(frozen=True, slots=True)
class AuditDetails:
    """Everything measured of one adapter. `sketch` is the keyed sketch and `code` its 2,048-bit code.

    Both are empty where none was asked for. `absent` says why nothing of this could be measured.
    """

    modules: tuple[ModuleDetail, ...] = ()
    features: tuple[tuple[str, str], ...] = ()
    position: CohortPosition | None = None
    sketch: bytes = b""
    code: bytes = b""
    absent: str = ""


NO_DETAILS = AuditDetails()
