"""Scrub: write the header of an adapter anew, without what it tells of people and data.

Only the header changes. The body stays byte for byte, and with it every name that is made of it (AutoV3,
`sshs_model_hash`, the tensor digest); SHA-256, AutoV1, AutoV2, BLAKE3 and CRC32 become others. The new
header is shorter by what was left out: padding it would show how much that was.

A scrubbed header is no anonymity: weights can have memorised what they were trained on.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from registry.artifacts.metadata import find_leaks
from registry.artifacts.scrubbing.configs import scrub_metadata
from registry.artifacts.scrubbing.grammar import is_plain_value, known_switches
from registry.errors import UsageError
from registry.formats.safetensors import dump_header

if TYPE_CHECKING:
    from collections.abc import Mapping

    from registry.formats.safetensors import SafetensorsHeader


class Profile(StrEnum):
    """How much a scrubbed header keeps: what loaders need, or `format` alone."""

    PUBLIC = "public"
    NONE = "none"


class Action(StrEnum):
    """What became of a metadata key."""

    KEPT = "kept"
    CHANGED = "changed"
    ADDED = "added"
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True)
class ScrubRules:
    """What the owner wishes. `keep` and `drop` are keys, and go before the profile; `drop` goes first.

    `licence` and `owner` become `modelspec.license` and `modelspec.author`; None leaves what stands
    there to the profile. Nothing is ever assumed about a licence.
    """

    profile: Profile = Profile.PUBLIC
    keep: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    licence: str | None = field(default=None, repr=False)
    owner: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        both = set(self.keep) & set(self.drop)
        if both:
            raise UsageError(f"{sorted(both)[0]!a} is both to be kept and to be dropped")


@dataclass(frozen=True, slots=True)
class Change:
    """What became of one key, and why. `before` and `after` may name people: never log them."""

    key: str
    action: Action
    why: str
    before: str | None = field(default=None, repr=False)
    after: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class ScrubbedHeader:
    """The new header: `data` are its bytes with the length field, `changes` name every key, sorted."""

    data: bytes = field(repr=False)
    changes: tuple[Change, ...]

    @property
    def is_changed(self) -> bool:
        """Whether any key differs from before."""
        return any(change.action is not Action.KEPT for change in self.changes)


LICENCE_KEY, OWNER_KEY = "modelspec.license", "modelspec.author"
_ADAPTER_METADATA = "lora_adapter_metadata"
_SWITCHES = frozenset({"ss_network_args", "lycoris_config"})
_SSHS, _MODELSPEC_HASH = "sshs_model_hash", "modelspec.hash_sha256"
# What a loader or a web UI needs to use the file, and what tells which base model it belongs to.
_PUBLIC_KEYS = frozenset(
    {
        "format",
        "lycoris_config",
        _ADAPTER_METADATA,
        _SSHS,
        _MODELSPEC_HASH,
        LICENCE_KEY,
        *(
            f"ss_{name}"
            for name in (
                "network_module",
                "network_dim",
                "network_alpha",
                "network_args",
                "network_dropout",
                "base_model_version",
                "v2",
                "sd_model_hash",
                "new_sd_model_hash",
                "vae_hash",
                "new_vae_hash",
            )
        ),
        *(
            f"modelspec.{name}"
            for name in (
                "sai_model_spec",
                "architecture",
                "implementation",
                "resolution",
                "prediction_type",
                "timestep_range",
                "encoder_layer",
            )
        ),
    }
)
_KEYS_OF = {Profile.PUBLIC: _PUBLIC_KEYS, Profile.NONE: frozenset({"format"})}
# What users notice when a key is gone (facts/formats.md section 2).
_EFFECTS = {
    "ss_tag_frequency": "web UIs no longer show trigger words, which they read from ss_tag_frequency",
    "ss_output_name": "sd-webui no longer knows the alias, which it reads from ss_output_name",
    "ss_base_model_version": "A1111's version filter no longer knows the base model",
    "ss_v2": "A1111's version filter no longer knows whether it is for SD 2",
    LICENCE_KEY: "the licence is no longer in the file: state it with --licence",
}


def scrub_header(
    header: SafetensorsHeader, body_sha256: str, rules: ScrubRules | None = None
) -> ScrubbedHeader:
    """Return the header that `rules` leave of `header`; the same bytes for the same input on every run.

    `body_sha256` is the sha256 of the body in hex, computed and not claimed: hashes that the header
    claims are set to it.

    Raises:
        FormatError: a kept PEFT config is malformed or would run code.
    """
    wishes = rules or ScrubRules()
    tensors = tuple(tensor.name for tensor in header.tensors)
    known = (body_sha256, tensors)
    changes = [_judge(key, text, known, wishes) for key, text in header.metadata]
    changes = _with_statements(changes, wishes)
    kept = [(one.key, one.after) for one in changes if one.after is not None]
    data = dump_header(header.tensors, kept)
    return ScrubbedHeader(data, tuple(sorted(changes, key=lambda one: one.key)))


def effects_of(changes: tuple[Change, ...]) -> tuple[str, ...]:
    """Return what people will notice of these changes, for the owner to read before handing it on."""
    return tuple(
        _EFFECTS[one.key]
        for one in changes
        if one.action is Action.DROPPED and one.key in _EFFECTS and one.before
    )


def _judge(key: str, text: str, known: tuple[str, tuple[str, ...]], rules: ScrubRules) -> Change:
    body_sha256, tensors = known
    if key in rules.drop:
        return Change(key, Action.DROPPED, "the owner dropped it", text)
    if key in rules.keep:
        told = find_leaks([(key, text)])
        why = f"the owner kept it; it tells: {told[0].reason}" if told else "the owner kept it"
        return Change(key, Action.KEPT, why, text, text)
    if key not in _KEYS_OF[rules.profile]:
        return Change(key, Action.DROPPED, f"not needed (profile {rules.profile.value})", text)
    if key in (_SSHS, _MODELSPEC_HASH):
        return _recomputed(key, text, body_sha256)
    return _cleaned(key, text, tensors)


def _recomputed(key: str, text: str, body_sha256: str) -> Change:
    after = body_sha256 if key == _SSHS else f"0x{body_sha256}"
    same = text.lower() == after
    why = (
        "is the sha256 of the weights" if same else "computed anew: it was not the weights' sha256"
    )
    return Change(key, Action.KEPT if same else Action.CHANGED, why, text, after)


def _cleaned(key: str, text: str, tensors: tuple[str, ...]) -> Change:
    after = _without_names(key, text, tensors)
    told = find_leaks([(key, after)])
    if told:
        return Change(key, Action.DROPPED, f"its value tells: {told[0].reason}", text)
    if key != _ADAPTER_METADATA and not is_plain_value(key, after):
        why = "its value is more than the key is for; --keep keeps it"
        return Change(key, Action.DROPPED, why, text)
    if after != text:
        return Change(key, Action.CHANGED, "what names more than modules was left out", text, after)
    return Change(key, Action.KEPT, "needed to use the file", text, text)


def _without_names(key: str, text: str, tensors: tuple[str, ...]) -> str:
    # Malformed or hostile configs raise here, so that nothing is rewritten that was not understood.
    if key == _ADAPTER_METADATA:
        return scrub_metadata(text, tensors)
    if key in _SWITCHES:
        return known_switches(text) or text
    return text


def _with_statements(changes: list[Change], rules: ScrubRules) -> list[Change]:
    """Return `changes` with the licence and owner that the owner states."""
    stated: Mapping[str, str | None] = {LICENCE_KEY: rules.licence, OWNER_KEY: rules.owner}
    before = {one.key: one.before for one in changes}
    rest = [one for one in changes if stated.get(one.key) is None]
    for key, text in stated.items():
        if text is None:
            continue
        old = before.get(key)
        action = Action.ADDED if old is None else Action.CHANGED
        rest.append(Change(key, Action.KEPT if old == text else action, "as stated", old, text))
    return rest
