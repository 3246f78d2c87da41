"""Step 9: whether a delivery still stands. Order of answers: invalid, then revoked, then stale."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from registry.errors import RevokedError, StaleStatusError, VerificationError
from registry.formats.moments import parse_moment
from registry.formats.status_list import StatusEntry, StatusList, StatusState
from registry.limits import CLOCK_SKEW_SECONDS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from registry.formats.predicates.delivery import Delivery
    from registry.formats.predicates.release import Release

_FRESH = "ask the sender for its present status list and give it with --status FILE"
_SKEW = timedelta(seconds=CLOCK_SKEW_SECONDS)


@dataclass(frozen=True, slots=True)
class StatusAnswer:
    """It stands; `superseded` is the entry that names a newer delivery, if there is one."""

    source: StatusList
    superseded: StatusEntry | None = None


@dataclass(frozen=True, slots=True)
class StatusQuestion:
    """What is asked of the lists: the signed ids, the delivery's leaf, and the time now."""

    delivery: Delivery
    release: Release
    delivery_index: int
    now: datetime


def judge_status(question: StatusQuestion, lists: Sequence[StatusList]) -> StatusAnswer:
    """Return the answer of the newest of `lists` (signatures verified, at least one).

    What any list revokes stays revoked, so an older list cannot take a revocation back.

    Raises:
        VerificationError: two different lists have one counter.
        RevokedError: delivery or release was revoked.
        StaleStatusError: not revoked as far as known; the list is too old, or has not seen this.
    """
    newest = _newest(lists)
    for status in lists:
        _refuse_revoked(question, status)
    _refuse_stale(question, newest)
    return StatusAnswer(newest, newest.find(question.delivery.status_id))


def _newest(lists: Sequence[StatusList]) -> StatusList:
    newest = max(lists, key=lambda status: status.counter)
    if any(status.counter == newest.counter and status != newest for status in lists):
        raise VerificationError(
            f"two different status lists have the counter {newest.counter}",
            hint="keep both files and tell the registry's operator: one of them hides something",
        )
    return newest


def _refuse_revoked(question: StatusQuestion, status: StatusList) -> None:
    for what, status_id in (
        ("this delivery", question.delivery.status_id),
        ("this adapter", question.release.status_id),
    ):
        entry = status.find(status_id)
        if entry is not None and entry.state is StatusState.REVOKED:
            raise RevokedError(
                f"{what} was withdrawn by {status.registry} on {entry.at[:10]}",
                hint="please delete the file and every copy; ask the sender if you need it",
            )


def _refuse_stale(question: StatusQuestion, status: StatusList) -> None:
    if question.now < parse_moment(status.issued) - _SKEW:
        raise StaleStatusError(
            f"genuine, status unknown: the status list is from {status.issued}, in the future",
            hint="check this machine's clock",
        )
    if status.log_size <= question.delivery_index:
        raise StaleStatusError(
            "genuine, status unknown: the status list was made before this delivery", hint=_FRESH
        )
    if question.now >= parse_moment(status.valid_until):
        raise StaleStatusError(f"genuine, status unknown since {status.valid_until}", hint=_FRESH)
