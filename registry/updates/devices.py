"""The accelerator as this process sees it: exact arithmetic, bounded memory, the last place in the queue.

Everything that talks to CUDA is here. Between processes a GPU is shared by time slices, so what gives way
to a training job is the size of a chunk; stream priority counts only inside one process or under MPS.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import torch

from registry.limits import AUDIT_DEVICE_BYTES
from registry.updates.memory import MemoryCap

if TYPE_CHECKING:
    from collections.abc import Iterator


def memory_cap(device: str, hard_bytes: int = AUDIT_DEVICE_BYTES) -> MemoryCap:
    """Return the cap for `device`; on CUDA it follows what is free at the moment."""
    place = torch.device(device)
    if place.type != "cuda":
        return MemoryCap(lambda: 4 * hard_bytes, hard_bytes=hard_bytes)

    def free() -> int:
        unused = torch.cuda.memory_reserved(place) - torch.cuda.memory_allocated(place)
        return int(torch.cuda.mem_get_info(place)[0]) + unused

    return MemoryCap(free, hard_bytes=hard_bytes)


@contextlib.contextmanager
def modest_use(device: str, hard_bytes: int = AUDIT_DEVICE_BYTES) -> Iterator[None]:
    """Within it torch takes at most `hard_bytes` of a CUDA device and queues on its lowest priority.

    Float32 products keep all their bits. Nothing is done for other devices.
    """
    place = torch.device(device)
    if place.type != "cuda":
        yield
        return
    torch.backends.cuda.matmul.allow_tf32 = False
    total = torch.cuda.mem_get_info(place)[1]
    torch.cuda.set_per_process_memory_fraction(min(1.0, hard_bytes / total), place)
    # 0 is the lowest priority there is.
    stream = torch.cuda.Stream(place, priority=0)  # type: ignore[no-untyped-call] # torch's own
    with torch.cuda.stream(stream):
        yield
        torch.cuda.current_stream(place).synchronize()
