"""Inclusion proof of one leaf, as a file that is verified offline.

Spec: C2SP tlog-proof@v1. The checkpoint is carried byte for byte, with the lines of all who signed it.
"""

from __future__ import annotations

from dataclasses import dataclass

from registry.errors import FormatError
from registry.formats.base64_text import decode_base64, encode_base64
from registry.formats.checkpoint import HASH_BYTES, parse_decimal, parse_note
from registry.limits import MAX_SAFE_INTEGER, PROOF_BYTES, PROOF_HASHES

_FIRST_LINE = "c2sp.org/tlog-proof@v1"
_EXTRA = "extra "
_INDEX = "index "


@dataclass(frozen=True, slots=True)
class InclusionProof:
    """Where a leaf stands (`index` from 0) and how its hash leads to a checkpoint's root.

    `hashes` run from the leaf's sibling to the root's child. `checkpoint_note` is a signed note,
    verbatim and not verified; `extra` is covered by no signature: never trust it.
    """

    index: int
    hashes: tuple[bytes, ...]
    checkpoint_note: bytes
    extra: bytes | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.index <= MAX_SAFE_INTEGER:
            raise FormatError(f"inclusion proof has index {self.index}, not 0 to 2**53-1")
        if len(self.hashes) > PROOF_HASHES:
            raise FormatError(
                f"inclusion proof has {len(self.hashes)} hashes, more than {PROOF_HASHES}"
            )
        if any(len(item) != HASH_BYTES for item in self.hashes):
            raise FormatError(f"inclusion proof has a hash that is not {HASH_BYTES} bytes")
        if self.extra is not None and not 0 < len(self.extra) <= PROOF_BYTES // 2:
            raise FormatError("inclusion proof has extra data that is empty or too long")
        parse_note(self.checkpoint_note)

    def to_text(self) -> str:
        """Return the proof as text, which `parse_proof` reads."""
        lines = [_FIRST_LINE]
        if self.extra is not None:
            lines.append(f"{_EXTRA}{encode_base64(self.extra)}")
        lines.append(f"{_INDEX}{self.index}")
        lines.extend(encode_base64(item) for item in self.hashes)
        return "\n".join(lines) + "\n\n" + self.checkpoint_note.decode("utf-8")

    def to_bytes(self) -> bytes:
        """Return the proof as it is stored, `*.tlog-proof`."""
        return self.to_text().encode("utf-8")


def parse_proof(data: bytes) -> InclusionProof:
    """Return the inclusion proof in `data`; `parse_proof(proof.to_bytes()) == proof`, byte for byte.

    Raises:
        FormatError: too long, not UTF-8, another version, a malformed line or note.
    """
    if len(data) > PROOF_BYTES:
        raise FormatError(f"inclusion proof has {len(data)} bytes, more than {PROOF_BYTES}")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise FormatError("inclusion proof is not UTF-8") from error
    head, separator, note = text.partition("\n\n")
    if not separator:
        raise FormatError("inclusion proof has no empty line before its checkpoint")
    first, *lines = head.split("\n")
    if first != _FIRST_LINE:
        raise FormatError(f"inclusion proof does not begin with {_FIRST_LINE}")
    extra = None
    if lines and lines[0].startswith(_EXTRA):
        extra = decode_base64(lines.pop(0).removeprefix(_EXTRA), what="extra data of the proof")
    if not lines or not lines[0].startswith(_INDEX):
        raise FormatError("inclusion proof has no index line")
    if len(lines) - 1 > PROOF_HASHES:
        raise FormatError(f"inclusion proof has {len(lines) - 1} hashes, more than {PROOF_HASHES}")
    index = parse_decimal(lines[0].removeprefix(_INDEX), what="index of the proof")
    hashes = tuple(
        decode_base64(line, what="hash of the proof", size=HASH_BYTES) for line in lines[1:]
    )
    return InclusionProof(index, hashes, note.encode("utf-8"), extra)
