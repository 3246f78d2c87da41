"""Opening a sealed artifact, into memory only."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from daemon.custody.records import payload_of
from registry.audits.sealed_memory import seal_memory
from registry.digest import Digest
from registry.errors import DeniedError
from registry.formats.keyset import KeyRole
from registry.formats.predicates.intake import Intake
from registry.provenance.statements import statements_of
from registry.sealing.seal import open_sealed
from registry.verify.signed import Signed, verify_statement

if TYPE_CHECKING:
    from collections.abc import Iterator

    from daemon.custody.holder import Custody
    from registry.provenance.ledger import Reader


@dataclass(frozen=True, slots=True)
class OpenPayload:
    """A payload in sealed memory. `form` is `raw` or `tar`, `name` the path of a raw payload's file."""

    descriptor: int
    form: str
    name: str


@contextlib.contextmanager
def payload_in_memory(custody: Custody, artifact_id: str) -> Iterator[OpenPayload]:
    """Yield the opened payload of an artifact as a sealed memfd; nothing touches the disk.

    Which payload it is comes from the signed intake, not from a row.

    Raises:
        DeniedError: no signed intake, or the row names another payload than was signed.
        ContentMismatchError: the payload is damaged.
    """
    with custody.ledger.reading() as reader:
        intake = signed_intake(custody, reader, artifact_id).predicate
        _, form = payload_of(reader, artifact_id)
    digest = Digest("blake3", intake.payload_digest.value)
    with custody.vault.open(digest) as sealed:
        descriptor = seal_memory(open_sealed(sealed, [custody.keyring.vault]).batches)
    try:
        yield OpenPayload(descriptor, form, intake.manifest.entries[0].path)
    finally:
        os.close(descriptor)


def signed_intake(custody: Custody, reader: Reader, artifact_id: str) -> Signed[Intake]:
    """Return the intake of an artifact that a host key has signed.

    Raises:
        DeniedError: there is none.
        SignatureError: what is stored as one is not rightly signed.
    """
    for row in statements_of(reader, artifact_id):
        if row.kind == Intake.TYPE:
            intake = verify_statement(row.envelope, Intake, custody.keyring.keyset, (KeyRole.HOST,))
            if intake.predicate.artifact_id == artifact_id:
                return intake
    raise DeniedError(
        f"artifact {artifact_id[:12]} has no signed intake",
        hint="rows alone are not believed: run loraseal fsck",
    )
