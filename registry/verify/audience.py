"""Step 6: whether a delivery was made for the one who holds it.

The delivery statement commits to the recipient's keys under a salt; salt and keys are in the part that
only the recipient can open. So a bundle names nobody, and yet nobody can pass it off as their own.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

from registry.errors import CannotDecryptError, VerificationError
from registry.formats.base64_text import encode_base64
from registry.formats.canonical import dump_canonical
from registry.formats.sealed_part import SealedPart
from registry.limits import SEALED_PART_BYTES
from registry.sealing.identities import X25519Identity
from registry.sealing.seal import open_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from registry.formats.predicates.delivery import Delivery
    from registry.sealing.identities import Identity

_LABEL = "loraseal/audience/v1"
_FOR_SOMEONE_ELSE = "genuine, but made for someone else: no identity given here is its recipient"
_HINT = "give the identity that you enrolled with (-i), or ask the sender to deliver it to you"


def audience_commitment(salt: str, age_recipient: str, signing_key: bytes) -> str:
    """Return the hex commitment to a recipient: HMAC-SHA256 of both public keys under the salt.

    `salt` has 64 hex digits. Without it nobody can test a guess at who a delivery is for.
    """
    message = dump_canonical([_LABEL, age_recipient, encode_base64(signing_key)])
    return hmac.digest(bytes.fromhex(salt), message, "sha256").hex()


def open_audience(
    sealed_part: bytes, delivery: Delivery, identities: Sequence[Identity]
) -> SealedPart:
    """Return the part that was sealed to the recipient, once it is shown to be one of `identities`.

    Raises:
        CannotDecryptError: made for someone else.
        VerificationError: the opened part is not what the delivery statement commits to.
        FormatError: it opens and is malformed.
    """
    try:
        opened = open_bytes(sealed_part, identities, max_bytes=SEALED_PART_BYTES)
    except CannotDecryptError as error:
        raise CannotDecryptError(_FOR_SOMEONE_ELSE, hint=_HINT) from error
    part = SealedPart.parse(opened)
    commitment = audience_commitment(part.audience_salt, part.age_recipient, part.signing_key)
    if not hmac.compare_digest(commitment, delivery.audience):
        raise VerificationError("the sealed part names another audience than the signed delivery")
    # A passphrase has no public half to compare; that it opened the part is all there is.
    mine = {str(item.recipient()) for item in identities if isinstance(item, X25519Identity)}
    if mine and part.age_recipient not in mine:
        raise CannotDecryptError(_FOR_SOMEONE_ELSE, hint=_HINT)
    return part
