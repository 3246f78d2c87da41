"""Signed notes and log checkpoints, as bytes and as data. Nothing here verifies a signature.

Spec: C2SP signed-note v1.0.0 and tlog-checkpoint v1.0.0. Stricter than the spec: origins are restricted
(PROTOCOL section 1), a checkpoint has no extension lines, a signer stands once in a note.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from registry.errors import FormatError
from registry.formats.base64_text import decode_base64, encode_base64
from registry.limits import (
    MAX_SAFE_INTEGER,
    NOTE_BYTES,
    NOTE_SIGNATURES,
    ORIGIN_CHARS,
    SIGNATURE_BYTES,
)

HASH_BYTES = 32
NOTE_KEY_ID_BYTES = 4

_ORIGIN = re.compile(r"[a-z0-9.-]+(/[a-z0-9.-]+)*")
_DECIMAL = re.compile(r"0|[1-9][0-9]{0,15}")
_MARK = "\u2014 "  # em dash and a space begin every signature line
_CHECKPOINT_LINES = 3


@dataclass(frozen=True, slots=True)
class NoteSignature:
    """One signature line. `key_id` has four bytes and is a hint; `name` is the signer's key name."""

    name: str
    key_id: bytes
    signature: bytes

    def __post_init__(self) -> None:
        if not self.name or any(char.isspace() or char < " " or char == "+" for char in self.name):
            raise FormatError(
                "note has a key name that is empty or holds a space, a plus or a control character"
            )
        if len(self.key_id) != NOTE_KEY_ID_BYTES:
            raise FormatError(f"note key id must have {NOTE_KEY_ID_BYTES} bytes")
        if not 0 < len(self.signature) <= SIGNATURE_BYTES:
            raise FormatError(
                f"note signature has {len(self.signature)} bytes, expected 1 to {SIGNATURE_BYTES}"
            )

    def to_line(self) -> str:
        """Return the signature line with its newline."""
        return f"{_MARK}{self.name} {encode_base64(self.key_id + self.signature)}\n"


@dataclass(frozen=True, slots=True)
class SignedNote:
    """A text and its signature lines, in their order; lines of unknown signers are kept.

    `text` ends in a newline; exactly its UTF-8 bytes are what each signer signed.
    """

    text: str
    signatures: tuple[NoteSignature, ...]

    def __post_init__(self) -> None:
        _check_text(self.text)
        if not 0 < len(self.signatures) <= NOTE_SIGNATURES:
            raise FormatError(
                f"note has {len(self.signatures)} signatures, expected 1 to {NOTE_SIGNATURES}"
            )
        signers = {(item.name, item.key_id) for item in self.signatures}
        if len(signers) != len(self.signatures):
            raise FormatError("note is signed twice under the same key name and key id")

    def to_bytes(self) -> bytes:
        """Return the note as it is stored and sent."""
        lines = "".join(item.to_line() for item in self.signatures)
        return f"{self.text}\n{lines}".encode()


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The head of a log: origin, number of leaves, root hash (32 bytes)."""

    origin: str
    size: int
    root: bytes

    def __post_init__(self) -> None:
        check_origin(self.origin)
        if not 0 <= self.size <= MAX_SAFE_INTEGER:
            raise FormatError(f"checkpoint size {self.size} is not between 0 and 2**53-1")
        if len(self.root) != HASH_BYTES:
            raise FormatError(f"checkpoint root has {len(self.root)} bytes, expected {HASH_BYTES}")

    def to_text(self) -> str:
        """Return the note text, with its final newline."""
        return f"{self.origin}\n{self.size}\n{encode_base64(self.root)}\n"

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Return the checkpoint in the text of a note.

        Raises:
            FormatError: not exactly three lines, size or root not in canonical form, bad origin.
        """
        lines = text.split("\n")
        if len(lines) != _CHECKPOINT_LINES + 1 or lines[-1]:
            raise FormatError(
                f"checkpoint has {len(lines) - 1} lines, expected {_CHECKPOINT_LINES}"
            )
        return cls(
            lines[0],
            parse_decimal(lines[1], what="checkpoint size"),
            decode_base64(lines[2], what="checkpoint root", size=HASH_BYTES),
        )


def parse_note(data: bytes) -> SignedNote:
    """Return the signed note in `data`; `parse_note(note.to_bytes()) == note`, byte for byte.

    Raises:
        FormatError: too long, not UTF-8, control characters, no signature, malformed line.
    """
    if len(data) > NOTE_BYTES:
        raise FormatError(f"note has {len(data)} bytes, more than {NOTE_BYTES}")
    try:
        whole = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise FormatError("note is not UTF-8") from error
    # The last empty line splits text from signatures, so a text cannot bring signatures of its own.
    text, separator, lines = whole.rpartition("\n\n")
    if not separator or not lines.endswith("\n"):
        raise FormatError("note has no empty line before its signatures, or no newline at its end")
    rows = lines[:-1].split("\n")
    if len(rows) > NOTE_SIGNATURES:
        raise FormatError(f"note has {len(rows)} signatures, more than {NOTE_SIGNATURES}")
    return SignedNote(f"{text}\n", tuple(_signature_from(row) for row in rows))


def check_origin(origin: str) -> None:
    """Refuse an origin (name of a log) outside `[a-z0-9.-]+(/[a-z0-9.-]+)*`.

    So restricted, the text of a checkpoint can never begin like the signed bytes of DSSE
    (`DSSEv1 `) or of an SSH signature (`SSHSIG`): a signature cannot move from one to the other.

    Raises:
        FormatError: another character, empty part, too long.
    """
    if len(origin) > ORIGIN_CHARS or not _ORIGIN.fullmatch(origin):
        raise FormatError(
            "log origin must be lower-case letters, digits, dots and dashes, in parts joined by /, "
            f"at most {ORIGIN_CHARS} characters",
            hint="choose an origin like example.org/loraseal",
        )


def parse_decimal(text: str, *, what: str) -> int:
    """Return the number that `text` writes in ASCII digits without leading zeroes.

    Raises:
        FormatError: anything else, or beyond 2**53-1.
    """
    if not _DECIMAL.fullmatch(text) or int(text) > MAX_SAFE_INTEGER:
        raise FormatError(f"{what} is not a plain decimal number up to 2**53-1")
    return int(text)


def _signature_from(row: str) -> NoteSignature:
    name, space, encoded = row.removeprefix(_MARK).partition(" ")
    if not row.startswith(_MARK) or not space:
        raise FormatError("note has a signature line that is not an em dash, a name and base64")
    data = decode_base64(encoded, what="note signature")
    return NoteSignature(name, data[:NOTE_KEY_ID_BYTES], data[NOTE_KEY_ID_BYTES:])


def _check_text(text: str) -> None:
    if not text.endswith("\n"):
        raise FormatError("note text does not end in a newline")
    if any(char < " " and char != "\n" for char in text):
        raise FormatError("note holds a control character other than newline")
