"""What a host says it took in, for the deliveries of `tests.verify.world`."""

from __future__ import annotations

from datetime import datetime

from registry.digest import Digest, sha256_of
from registry.formats.manifest import Manifest, ManifestEntry
from registry.formats.moments import to_text
from registry.formats.predicates.intake import Intake, Rendition


def manifest_of(files: dict[str, bytes]) -> Manifest:
    """The manifest of files in memory."""
    return Manifest.of(
        [ManifestEntry(path, len(data), sha256_of(data).value) for path, data in files.items()]
    )


def manifest_id(files: dict[str, bytes]) -> str:
    return sha256_of(manifest_of(files).to_bytes()).value


def intake_of(
    files: dict[str, bytes], payload_digest: Digest, now: datetime, rendition: Rendition
) -> Intake:
    return Intake(
        artifact_id=manifest_id(files),
        manifest=manifest_of(files),
        payload_digest=payload_digest,
        host="trainer-1",
        taken_at=to_text(now),
        kind="adapter",
        dialect="kohya",
        method="lora",
        family="sd15",
        rendition=rendition,
    )
