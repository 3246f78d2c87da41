"""Read the recorded transcripts of a real signal-cli front end: title, lines in, lines out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Exchange:
    """What was written (without line ends) and what came back, as bytes of whole lines."""

    title: str
    written: tuple[str, ...]
    answered: tuple[str, ...]


def read_transcript(path: Path) -> tuple[Exchange, ...]:
    """Return the exchanges of one transcript, in order."""
    found = []
    for block in path.read_text("utf-8", errors="surrogateescape").split("### ")[1:]:
        title, _, rest = block.partition("\n")
        before, _, after = rest.partition("<<< ")
        written = before.removeprefix(">>> ").removesuffix("\n")
        answered = [line for line in after.splitlines() if line.startswith(("{", "["))]
        found.append(Exchange(title, tuple(written.split("\n")), tuple(answered)))
    return tuple(found)
