"""What a recipient remembers of a registry, so that nothing older can be shown to it later.

One small JSON file per pinned root key: the newest keyset and status list (their signed envelopes) and
the log's checkpoint. Losing it loses the protection against roll-back, nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from registry.durable import atomic_write, ensure_directory
from registry.errors import FormatError, LorasealError
from registry.formats.canonical import Json, dump_canonical, parse_canonical
from registry.formats.envelope import Envelope
from registry.formats.fields import Fields
from registry.limits import MEMORY_BYTES, PROOF_BYTES

if TYPE_CHECKING:
    from pathlib import Path

SCHEMA = "loraseal/memory.v1"


@dataclass(frozen=True, slots=True)
class Memory:
    """The newest of each kind that was seen and verified. `checkpoint` is a signed note as text."""

    keyset: Envelope
    status: Envelope
    checkpoint: str

    def to_bytes(self) -> bytes:
        """Return the canonical bytes of the file."""
        body: dict[str, Json] = {
            "schema": SCHEMA,
            "keyset": self.keyset.to_json(),
            "status": self.status.to_json(),
            "checkpoint": self.checkpoint,
        }
        return dump_canonical(body)


def parse_memory(data: bytes) -> Memory:
    """Return the memory in `data`; its signatures are checked whenever it is used.

    Raises:
        FormatError: not canonical, wrong schema or members.
    """
    fields = Fields.of(parse_canonical(data, what="memory", max_bytes=MEMORY_BYTES), "memory")
    fields.schema(SCHEMA)
    return Memory(
        Envelope.from_json(fields.member("keyset"), what="remembered keyset"),
        Envelope.from_json(fields.member("status"), what="remembered status list"),
        fields.text("checkpoint", max_chars=PROOF_BYTES),
    )


def memory_path(home: Path, pin_name: str) -> Path:
    """Return where the memory of the registry with this pinned root key id is kept."""
    return home / "memory" / f"{pin_name}.json"


def load_memory(path: Path) -> Memory | None:
    """Return what is remembered, None if this registry was never seen.

    Raises:
        FormatError: the file is damaged. It is not taken for absent: that would allow a roll-back.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(MEMORY_BYTES + 1)
    except FileNotFoundError:
        return None
    try:
        return parse_memory(data)
    except FormatError as error:
        raise FormatError(
            f"memory file {path} is damaged: {error}",
            hint="restore it, or move it away to start anew (older lists could then be shown to you)",
        ) from error


def save_memory(path: Path, memory: Memory) -> None:
    """Write `memory` durably.

    Raises:
        LorasealError: no permission, disk full; what was remembered before still is.
    """
    ensure_directory(path.parent)
    atomic_write(path, memory.to_bytes())


def try_save_memory(path: Path, memory: Memory) -> str | None:
    """Write `memory`; return why that failed, None if it did not. The answer itself does not change."""
    try:
        save_memory(path, memory)
    except (LorasealError, OSError) as error:
        return str(error)
    return None
