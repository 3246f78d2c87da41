"""The page of `loraseal audit --report`: what was audited, named by its digest, written for its owner only."""

from __future__ import annotations

import hashlib
import os
import tarfile
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from registry.artifacts.notes import PayloadForm
from registry.audits.report_page.page import render_report
from registry.durable import atomic_write
from registry.limits import READ_BATCH_BYTES

if TYPE_CHECKING:
    from pathlib import Path
    from typing import IO

    from registry.audits.report_page.words import Language
    from registry.audits.task import AuditRun, AuditTask


def write_report(
    target: Path, run: AuditRun, task: AuditTask, *, digest: str, lang: Language
) -> None:
    """Write the page of `run` to `target`, mode 0600: it names parts of a private adapter.

    Raises:
        LorasealError: disk full, no permission, folder missing; nothing is left then.
    """
    made_at = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    page = render_report(run, name=task.name, digest=digest, made_at=made_at, lang=lang)
    # A name that is not UTF-8 on the disk has half characters, which no page can hold.
    atomic_write(target, page.encode("utf-8", errors="replace"))


def digest_lines(task: AuditTask) -> str:
    """Return `sha256:...` of the audited file, or for a folder one line for each of its files.

    Taken from the sealed memory that the audits read, so it cannot be the digest of anything else.
    """
    with os.fdopen(os.dup(task.payload), "rb") as stream:
        stream.seek(0)
        if task.form is PayloadForm.RAW:
            return _digest(stream)
        lines = []
        with tarfile.open(fileobj=stream, mode="r:") as archive:
            for member in archive:
                content = archive.extractfile(member)
                if content is not None:
                    lines.append(f"{_digest(content)}  {member.name}")
        return "\n".join(lines)


def _digest(stream: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while batch := stream.read(READ_BATCH_BYTES):
        digest.update(batch)
    return f"sha256:{digest.hexdigest()}"
