"""The signatures for tools of others that a bundle may carry: SSHSIG over SHA256SUMS, OpenSSF OMS."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

from registry.digest import sha256_of
from registry.errors import SignatureError
from registry.formats.keyset import KeyRole, Keyset
from registry.formats.moments import parse_moment
from registry.formats.sha256sums import sha256sums
from registry.sealing.oms import verify_oms_bundle
from registry.sealing.sshsig import verify_sshsig

if TYPE_CHECKING:
    from registry.formats.bundle import Bundle
    from registry.formats.predicates.delivery import Delivery
    from registry.verify.signed import Signed


def verify_attachments(bundle: Bundle, delivery: Signed[Delivery], keyset: Keyset) -> str:
    """Verify what is attached; return words for it, beginning with a comma, or nothing.

    The signed delivery names each by digest, so none can be dropped, exchanged or slipped in.

    Raises:
        SignatureError: one is missing, not the one named, or by another key than its role's.
        FormatError, ContentMismatchError: named by the delivery, and yet no good.
    """
    said = delivery.predicate
    _check_named("SSH signature", bundle.sshsig, said.attachments.sshsig)
    _check_named("OpenSSF model signature", bundle.oms, said.attachments.oms)
    words = ""
    if bundle.sshsig is not None:
        verify_sshsig(bundle.sshsig, sha256sums(said.manifest), delivery.key.public)
        words += ", SSH signature"
    if bundle.oms is not None:
        _verify_oms(bundle.oms, said, keyset)
        words += ", OpenSSF model signature"
    return words


def _check_named(what: str, text: str | None, digest: str | None) -> None:
    if text is None and digest is None:
        return
    if text is None or digest is None:
        state = "is missing" if text is None else "is not one that the delivery names"
        raise SignatureError(f"the bundle's {what} {state}")
    if not hmac.compare_digest(sha256_of(text.encode("utf-8")).value, digest):
        raise SignatureError(
            f"the bundle's {what} is not the one that the delivery names",
            hint="ask the sender for the bundle again",
        )


def _verify_oms(text: str, delivery: Delivery, keyset: Keyset) -> None:
    at = parse_moment(delivery.created)
    keys = [entry for entry in keyset.with_role(KeyRole.OMS) if entry.is_valid_at(at)]
    if not keys:
        raise SignatureError("keyset lists no oms key that was valid when this was made")
    fault: SignatureError | None = None
    for entry in keys:
        try:
            verify_oms_bundle(text.encode("utf-8"), delivery.manifest, entry.public)
        except SignatureError as error:
            fault = error
        else:
            return
    raise fault or SignatureError("OpenSSF model signature is by no oms key of the keyset")
