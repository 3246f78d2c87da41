"""Step 4: ids and digests agree across envelopes, and the release covers what is delivered."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

from registry.digest import sha256_of
from registry.errors import ContentMismatchError, VerificationError
from registry.verify.releases import ReleaseChain, check_release

if TYPE_CHECKING:
    from collections.abc import Sequence

    from registry.formats.keyset import Keyset
    from registry.formats.predicates.delivery import Delivery
    from registry.formats.status_list import StatusList
    from registry.verify.signed import Signed


def check_agreement(
    chain: ReleaseChain, delivery: Signed[Delivery], keyset: Keyset, lists: Sequence[StatusList]
) -> None:
    """Refuse parts that are genuine each, and do not belong together.

    Raises:
        VerificationError: another artifact, release, rendition, registry or key; other files than
            were taken in; or the release does not let the artifact go.
    """
    check_release(chain)
    release, said = chain.release.predicate, delivery.predicate
    pairs = (
        ("release", said.release_digest, chain.release.digest),
        ("artifact", said.artifact_id, release.artifact_id),
        ("rendition", said.rendition, release.rendition),
        ("registry", said.registry, keyset.registry),
        ("statement key", said.statement_key_id, delivery.key.key_id),
        *(("registry (status list)", status.registry, said.registry) for status in lists),
    )
    for what, found, expected in pairs:
        if not hmac.compare_digest(found.encode(), expected.encode()):
            raise VerificationError(f"delivery names another {what} than the rest of the bundle")
    _check_files(chain, said)


def check_sealed_part(sealed_part: bytes, delivery: Delivery) -> None:
    """Refuse a sealed part that is not the one that the signed delivery names.

    Raises:
        ContentMismatchError: it was changed or exchanged.
    """
    found = sha256_of(sealed_part).value
    if not hmac.compare_digest(found, delivery.attachments.sealed_part):
        raise ContentMismatchError(
            "the bundle's sealed part is not the one that was signed",
            hint="ask the sender for the bundle again",
        )


def _check_files(chain: ReleaseChain, delivery: Delivery) -> None:
    if delivery.manifest != chain.intake.predicate.manifest:
        raise VerificationError("delivered files are not those that were taken in and audited")
