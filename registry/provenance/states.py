"""The states that rows of the ledger can be in. Which moves are allowed is the daemon's table."""

from __future__ import annotations

from enum import StrEnum


class CandidateState(StrEnum):
    """A path that the watcher saw settle."""

    NOTED = "noted"
    TAKEN = "taken"  # its artifact is in the vault
    REFUSED = "refused"  # broken or hostile: the reason says how
    UNREADABLE = "unreadable"  # this user may not read it; asked again when it is seen again
    GONE = "gone"  # vanished before it was taken in; asked again when it is seen again
    CHANGED = "changed"  # rewritten before it was taken in; a newer candidate stands for it


class ArtifactState(StrEnum):
    """An artifact, from the vault on."""

    SEALED = "sealed"
    AUDITED = "audited"
    RELEASED = "released"
    HELD = "held"  # a person has to decide
    REJECTED = "rejected"
    REVOKED = "revoked"
    SET_ASIDE = "set_aside"  # killed the audit child too often


class DeliveryState(StrEnum):
    """One rendition on its way to one recipient by one channel."""

    PLANNED = "planned"
    PREPARED = "prepared"  # header re-wrapped, statement logged, bundle made
    SENDING = "sending"  # intent written; the channel may or may not have it
    SENT = "sent"
    ACKNOWLEDGED = "acknowledged"
    WAITING = "waiting"  # a channel needs a person
    UNCONFIRMED = "unconfirmed"  # sent, and no receipt in time
    FAILED = "failed"
    CANCELLED = "cancelled"  # revoked before it was sent


class ParcelState(StrEnum):
    """One message of one attempt at a delivery."""

    INTENDED = "intended"
    SENT = "sent"
    UNKNOWN = "unknown"
    REFUSED = "refused"


class EdgeGrade(StrEnum):
    """How a lineage fact is known."""

    OBSERVED = "observed"
    DECLARED = "declared"
    INFERRED = "inferred"
    RECONSTRUCTED = "reconstructed"
