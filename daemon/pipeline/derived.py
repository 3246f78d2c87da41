"""What making any rendition of an artifact takes: its name, its folder, where the vault files it."""

from __future__ import annotations

import hashlib
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from daemon.custody.opening import signed_intake
from daemon.tags import origin_tag
from registry.provenance.artifacts import find_payload

if TYPE_CHECKING:
    from pathlib import Path

    from daemon.pipeline.workshop import Workshop
    from registry.artifacts.notes import IntakeResult
    from registry.provenance.ledger import Reader

_ID_DIGITS = 32


def named_after(name: str, word: str) -> str:
    """Return what people call the rendition: names must tell it from the original."""
    path = PurePosixPath(name)
    return path.with_name(f"{path.stem}-{word}{path.suffix}").name


def root_of(shop: Workshop, reader: Reader, artifact_id: str) -> Path | None:
    """Return the watched folder that the source came from, as its signed intake says, not a row."""
    origin = signed_intake(shop.custody, reader, artifact_id).predicate.origin
    roots = (watch.path.absolute() for watch in shop.settings.watch)
    keyring = shop.custody.keyring
    return next((root for root in roots if origin_tag(keyring, artifact_id, root) == origin), None)


def drop_extra(shop: Workshop, filed: str, result: IntakeResult) -> None:
    """Remove what the vault keeps beyond the rendition; the notes last, since they say what."""
    vault = shop.custody.vault
    with shop.ledger.reading() as reader:
        kept = find_payload(reader, result.artifact_id)
    if kept is None or kept.digest != result.payload_digest.value:
        vault.delete(result.payload_digest)
    vault.forget(filed)


def filed_under(what: str, *ids: str) -> str:
    """Return what the vault files the making under: always the same, so that a killed one is finished."""
    words = "\n".join((f"loraseal/render/{what}", *ids))
    return hashlib.sha256(words.encode()).hexdigest()[:_ID_DIGITS]
