"""What a header or config claims, set against what the tensors show.

A claim is its author's word. It never decides against shapes; where it disagrees or cannot be checked,
that is said. Values of metadata are not repeated: they may name people, so only known words, numbers
and digests are compared, and none of them is printed.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# The sha256 of nothing: a trainer once wrote it into every file, and short windows yield it too.
EMPTY_SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
_SAYS_NOTHING = ("", "none")


class ClaimStatus(StrEnum):
    """What became of a claim, or why a field is empty."""

    DISAGREES = "disagrees"
    FALSE = "false"
    UNVERIFIED = "unverified"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Claim:
    """One remark on one field of an inspection.

    `source` is a metadata key, a side file's key, or "tensors"; `note` says what does not fit or why
    it is unknown.
    """

    field: str
    status: ClaimStatus
    source: str
    note: str


# What is wrong with a claimed hash, None if nothing is.
_Verdict: TypeAlias = tuple[ClaimStatus, str] | None


@dataclass(frozen=True, slots=True)
class BodyHashes:
    """What was computed of the weights of one file, lower-case hex, to hold its claims against.

    `sha256` is that of the body; `by_name` that of the tensors' bytes in the order of their names, None
    if it was not computed; `legacy` kohya's short hash, None where the file does not allow it.
    """

    sha256: str
    by_name: str | None = None
    legacy: str | None = None


# What the words of trainers mean; the first that fits counts. Spellings differ between trainers
# (`flux-1-dev/lora`, `Flux.1-dev/lora`, `flux.1`), so these are searched in lower case.
_FAMILY_WORDS: tuple[tuple[str, str], ...] = (
    (r"sdxl|stable-diffusion-xl|pony|illustrious|noobai", "sdxl"),
    (r"sd_?3\.?5.*large|stable-diffusion-3\.5-large|sd3\.5l", "sd3.5-large"),
    (r"sd_?3\.?5.*medium|stable-diffusion-3\.5-medium", "sd3.5-medium"),
    (r"^sd_?3\b|stable-diffusion-3", "sd3-medium"),
    (r"^sd_?v?2|stable-diffusion-v2|stable-diffusion-2", "sd2"),
    (r"^sd_?v?1|stable-diffusion-v1", "sd1"),
    (r"chroma", "chroma"),
    (r"flux[._-]?2", "flux2"),
    (r"flux", "flux1"),
    (r"hunyuan[._-]?video", "hunyuan-video"),
    (r"\bwan", "wan"),
    (r"qwen[._-]?image", "qwen-image"),
    (r"z[._-]?image", "z-image"),
    (r"lumina[._-]?2", "lumina2"),
    (r"ltx", "ltx-video"),
    (r"pixart", "pixart"),
    (r"sana", "sana"),
    (r"krea[._-]?2", "krea2"),
    (r"qwen[._-]?2\.?5?", "llm-qwen25"),
    (r"llama[._-]?3", "llm-llama31"),
    (r"mistral", "llm-mistral"),
    (r"gpt[._-]?2", "llm-gpt2"),
)
_FAMILY_PATTERNS = tuple((re.compile(words), family) for words, family in _FAMILY_WORDS)


def family_in(text: str) -> str | None:
    """Return the family that a trainer's word or a base model's name speaks of, or None.

    `wan` alone means any of its sizes.
    """
    lowered = text.lower()
    return next((family for pattern, family in _FAMILY_PATTERNS if pattern.search(lowered)), None)


def is_same_family(claimed: str, found: str) -> bool:
    """Return whether a claimed family allows the found one."""
    return found == claimed or (claimed == "wan" and found.startswith("wan-"))


def check_family(found: str | None, words: Mapping[str, str]) -> tuple[Claim, ...]:
    """Return the claims of `words` (source to text) that disagree with the family of the tensors."""
    return tuple(
        Claim("family", ClaimStatus.DISAGREES, source, f"speaks of {claimed}, tensors are {found}")
        for source, text in words.items()
        if found is not None
        and (claimed := family_in(text)) is not None
        and not is_same_family(claimed, found)
    )


def check_number(
    name: str, found: tuple[float, ...], source: str, text: str | float | None
) -> tuple[Claim, ...]:
    """Return the disagreement of a claimed number with the values found; nothing if they agree.

    kohya writes numbers as text, and "None" for none; what is no number claims nothing.
    """
    try:
        claimed = float(text) if text is not None else math.nan
    except ValueError:
        return ()
    if not found or not math.isfinite(claimed) or claimed in found:
        return ()
    shown = ", ".join(f"{value:g}" for value in found[:8])
    note = f"says {claimed:g}, tensors have {shown}"
    return (Claim(name, ClaimStatus.DISAGREES, source, note),)


def check_hash_claims(
    metadata: Mapping[str, str], length: int, known: BodyHashes | None
) -> tuple[Claim, ...]:
    """Return what is wrong with the hashes that a header claims of its weights; nothing if they are true.

    `length` is that of the body in bytes; `known` what was computed of it, None if nothing was.
    """
    found = []
    for key, judge in _HASH_CLAIMS:
        claimed = metadata.get(key, "").lower().removeprefix("0x")
        if claimed in _SAYS_NOTHING:
            continue
        if length and claimed == EMPTY_SHA256:
            # Some releases of trainers wrote this into every file.
            note = "is the sha256 of nothing, and the file has weights"
            found.append(Claim(key, ClaimStatus.FALSE, key, note))
        elif known is None:
            found.append(Claim(key, ClaimStatus.UNVERIFIED, key, "the weights were not hashed"))
        elif (verdict := judge(claimed, known)) is not None:
            found.append(Claim(key, verdict[0], key, verdict[1]))
    return tuple(found)


def _judge_body(claimed: str, known: BodyHashes) -> _Verdict:
    if claimed == known.sha256:
        return None
    return ClaimStatus.FALSE, "is not the sha256 of the weights"


def _judge_modelspec(claimed: str, known: BodyHashes) -> _Verdict:
    # The standard means all tensors as they stand; OneTrainer hashes them in the order of their names.
    if claimed in (known.sha256, known.by_name):
        return None
    if known.by_name is None:
        note = "is not the sha256 of the body; that of the tensors by name takes a second read"
        return ClaimStatus.UNVERIFIED, note
    return ClaimStatus.FALSE, "is not the sha256 of the weights, neither as they stand nor by name"


def _judge_legacy(claimed: str, known: BodyHashes) -> _Verdict:
    if claimed == known.legacy:
        return None
    if known.legacy is None:
        note = "cannot be computed: the tensors do not stand as the writer of this hash puts them"
        return ClaimStatus.UNVERIFIED, note
    return ClaimStatus.FALSE, "is not the short hash of these weights and metadata"


_HASH_CLAIMS: tuple[tuple[str, Callable[[str, BodyHashes], _Verdict]], ...] = (
    ("sshs_model_hash", _judge_body),
    ("sshs_legacy_hash", _judge_legacy),
    ("modelspec.hash_sha256", _judge_modelspec),
)
