"""picklescan in strict mode: the second opinion, given before our own reader looks at the pickle.

A scanner is no guarantee (CVE-2025-10155 to -10157 passed it), and our reader is younger: a file is
converted only if neither objects.
"""

from __future__ import annotations

import importlib.util
import io
from importlib import metadata
from typing import TYPE_CHECKING, BinaryIO

from registry.conversion.refusals import PickleRefusedError, Reason, shown
from registry.conversion.symbols import (
    REBUILD_PARAMETER,
    REBUILD_TYPED_TENSOR,
    TENSOR_DTYPES,
    UNTYPED_STORAGE,
)
from registry.conversion.values import Symbol
from registry.errors import LorasealError

if TYPE_CHECKING:
    from collections.abc import Callable

    from picklescan.scanner import ScanResult

_PACKAGE = "picklescan"
_LEAST_MAJOR = 1
_INSTALL = "install what a host needs: pip install 'loraseal[host]'"
_FORM = ".pt"
# Pure data that picklescan 1.0.5 does not know: strict mode promotes the unknown to dangerous. Only
# what it calls unknown is let pass by this list; what it calls dangerous never is.
_UNKNOWN_TO_IT = frozenset(
    (symbol.module, symbol.name)
    for symbol in (REBUILD_PARAMETER, REBUILD_TYPED_TENSOR, UNTYPED_STORAGE, *TENSOR_DTYPES)
)


def scanner_version() -> str:
    """Return the version of the installed picklescan.

    Raises:
        LorasealError: it is not installed, or too old.
    """
    if importlib.util.find_spec(_PACKAGE) is None:
        raise LorasealError("converting a pickle needs the package 'picklescan'", hint=_INSTALL)
    version = metadata.version(_PACKAGE)
    if int(version.partition(".")[0]) < _LEAST_MAJOR:
        raise LorasealError(
            f"picklescan is {version}, expected {_LEAST_MAJOR}.0 or newer", hint=_INSTALL
        )
    return version


def check_file(stream: BinaryIO) -> frozenset[Symbol]:
    """Let picklescan look at the whole file, as a file of torch; return the names that it found.

    Raises:
        PickleRefusedError: it finds something, cannot read it, or finds nothing to look at.
    """
    from picklescan.scanner import scan_bytes

    def scan(strict: bool) -> ScanResult:
        stream.seek(0)
        return scan_bytes(stream, "file", _FORM, strict=strict)

    return _judge(_tried(scan, strict=False), _tried(scan, strict=True))


def check_pickle(pickle: bytes) -> frozenset[Symbol]:
    """Let picklescan look at exactly the bytes that our own reader is going to read.

    Returns the names that it found.

    Raises:
        PickleRefusedError: as `check_file`.
    """
    from picklescan.scanner import scan_pickle_bytes

    def scan(strict: bool) -> ScanResult:
        return scan_pickle_bytes(io.BytesIO(pickle), "pickle", strict=strict)

    return _judge(_tried(scan, strict=False), _tried(scan, strict=True))


def _tried(scan: Callable[[bool], ScanResult], *, strict: bool) -> ScanResult:
    try:
        return scan(strict)
    except Exception as error:
        # Whatever a scanner stumbles over, it has not said that the file is clean.
        kind = type(error).__name__
    # Outside of the handler, where all that the scan had in memory is free again.
    raise PickleRefusedError(Reason.SCAN, f"picklescan cannot read it: {kind}")


def check_agreement(found: frozenset[Symbol], read: frozenset[Symbol]) -> None:
    """Compare the names that picklescan found with those that our reader met.

    picklescan calls clean what it cannot take apart; what it did not see it has not judged.

    Raises:
        PickleRefusedError: they are not the same.
    """
    if found != read:
        raise PickleRefusedError(
            Reason.SCAN, f"picklescan finds {len(found)} names in it, and our reader {len(read)}"
        )


def _judge(usual: ScanResult, strict: ScanResult) -> frozenset[Symbol]:
    if usual.scan_err or strict.scan_err:
        raise PickleRefusedError(Reason.SCAN, "picklescan finds a part of it broken")
    flagged = _flagged(usual, {"dangerous"})
    flagged |= _flagged(strict, {"dangerous", "suspicious"}) - _UNKNOWN_TO_IT
    if flagged:
        names = ", ".join(shown(f"{module}.{name}") for module, name in sorted(flagged)[:3])
        raise PickleRefusedError(Reason.SCAN, f"picklescan finds {names} in it")
    if not strict.scanned_files:
        raise PickleRefusedError(Reason.SCAN, "picklescan finds no pickle in it to look at")
    return frozenset(Symbol(each.module, each.name) for each in strict.globals)


def _flagged(result: ScanResult, levels: set[str]) -> set[tuple[str, str]]:
    found = {(each.module, each.name) for each in result.globals if each.safety.value in levels}
    if result.issues_count and not found:
        raise PickleRefusedError(Reason.SCAN, "picklescan finds an issue that it does not name")
    return found
