"""The two layers of a conversion, each alone, and both in one process without the cage."""

from __future__ import annotations

import io
import os

from registry.audits.sealed_memory import open_memory, seal_memory
from registry.conversion.child import convert
from registry.conversion.refusals import PickleRefusedError, Reason
from registry.conversion.scanning import check_file
from registry.conversion.task import ConversionLimits
from registry.conversion.torch_file import read_torch_file


def scanner_objects(data: bytes) -> bool:
    """Return whether picklescan alone refuses the file."""
    try:
        check_file(io.BytesIO(data))
    except PickleRefusedError:
        return True
    return False


def reader_objects(data: bytes) -> bool:
    """Return whether our reader alone refuses the file."""
    try:
        read_torch_file(memoryview(data))
    except PickleRefusedError:
        return True
    return False


def converted(data: bytes) -> bytes:
    """Return what the caged process would write, done in this process.

    Raises:
        PickleRefusedError: refused.
    """
    payload, result = seal_memory([data]), open_memory()
    try:
        convert(payload, result, most=ConversionLimits().output_bytes(len(data)))
        return os.pread(result, os.fstat(result).st_size, 0)
    finally:
        os.close(payload)
        os.close(result)


def refusal(data: bytes) -> Reason | None:
    """Return why both layers together refuse the file; None if they convert it."""
    try:
        converted(data)
    except PickleRefusedError as error:
        return error.reason
    return None
