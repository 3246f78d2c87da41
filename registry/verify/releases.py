"""What a release must rest on: intake and verdicts that were signed, agree, and let it stand.

The one rule for recipients and for custody alike ("deny unless"): nothing but `pass` and `warn`, a
waiver that the release names, or an operator's signed decision moves an artifact on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from registry.errors import SignatureError, VerificationError
from registry.formats.findings import Outcome, Verdict
from registry.formats.keyset import KeyRole, Keyset
from registry.formats.moments import parse_moment
from registry.formats.predicates.intake import Intake
from registry.formats.predicates.release import DECIDED_BY_OPERATOR, Release
from registry.formats.predicates.verdict import VerdictStatement
from registry.verify.signed import Signed, verify_statement

if TYPE_CHECKING:
    from collections.abc import Sequence

    from registry.formats.envelope import Envelope

_STANDING = (Verdict.PASS, Verdict.WARN)
NOT_PRIVACY_AUDITED = "released; privacy not audited"
PRIVACY_AUDITED = "released; privacy audited"


@dataclass(frozen=True, slots=True)
class ReleaseChain:
    """Intake, verdicts and release with valid signatures; whether they agree is another question."""

    intake: Signed[Intake]
    verdicts: tuple[Signed[VerdictStatement], ...]
    release: Signed[Release]

    @property
    def words(self) -> str:
        """What must be shown to whoever receives this."""
        return PRIVACY_AUDITED if self.release.predicate.privacy_audited else NOT_PRIVACY_AUDITED


def verify_release_signatures(
    intake: Envelope, verdicts: Sequence[Envelope], release: Envelope, keyset: Keyset
) -> ReleaseChain:
    """Return the three kinds of statement, each signed by a key whose role may sign it.

    Raises:
        SignatureError: a signature or its key is not right; or who decided is not whose key it is.
        FormatError: rightly signed, and malformed.
    """
    decided = verify_statement(release, Release, keyset, (KeyRole.STATEMENT, KeyRole.OPERATOR))
    by_operator = decided.predicate.decided_by == DECIDED_BY_OPERATOR
    expected = KeyRole.OPERATOR if by_operator else KeyRole.STATEMENT
    if decided.key.role is not expected:
        raise SignatureError(
            f"release says it was decided by {decided.predicate.decided_by!r} and is signed by "
            f"a {decided.key.role} key, expected a {expected} key"
        )
    return ReleaseChain(
        verify_statement(intake, Intake, keyset, (KeyRole.HOST,)),
        tuple(
            verify_statement(item, VerdictStatement, keyset, (KeyRole.AUDITOR,))
            for item in verdicts
        ),
        decided,
    )


def check_release(chain: ReleaseChain) -> None:
    """Refuse a chain that does not agree in itself or does not let the artifact go.

    Raises:
        VerificationError: another artifact or rendition, verdicts missing or of no use, an outcome
            that is not `released`, or a privacy claim that no verdict backs.
    """
    release = chain.release.predicate
    if release.outcome is not Outcome.RELEASED:
        raise VerificationError(
            f"the release statement says {release.outcome.value!r}, expected 'released'",
            hint="do not use it; the registry's operator decides (loraseal release)",
        )
    if chain.intake.predicate.artifact_id != release.artifact_id:
        raise VerificationError("intake and release are about different artifacts")
    if chain.intake.predicate.rendition != release.rendition:
        raise VerificationError("intake and release are about different renditions")
    _check_verdicts(chain)
    if release.decided_by == DECIDED_BY_OPERATOR and not (release.reason or "").strip():
        raise VerificationError("release by an operator gives no reason")
    if release.privacy_audited and not _is_privacy_backed(chain):
        raise VerificationError("release says 'privacy audited', and no passed verdict backs that")


def _check_verdicts(chain: ReleaseChain) -> None:
    release = chain.release.predicate
    digests = tuple(item.digest for item in chain.verdicts)
    if not digests:
        raise VerificationError("release relies on no verdict at all")
    if set(digests) != set(release.verdict_digests) or len(digests) != len(release.verdict_digests):
        raise VerificationError(
            f"release relies on {len(release.verdict_digests)} verdicts, "
            f"and {len(set(digests) & set(release.verdict_digests))} of them are here"
        )
    for item in chain.verdicts:
        verdict = item.predicate
        if (verdict.artifact_id, verdict.rendition) != (release.artifact_id, release.rendition):
            raise VerificationError(
                f"verdict of {verdict.rule!r} is about another artifact or rendition"
            )
        if verdict.auditor_key_id != item.key.key_id:
            raise VerificationError(f"verdict of {verdict.rule!r} names another key than signed it")
        if not is_standing(verdict, release):
            raise VerificationError(
                f"verdict of {verdict.rule!r} is {verdict.verdict.value!r}, and nothing in the "
                "release lets that stand"
            )


def is_standing(verdict: VerdictStatement, release: Release) -> bool:
    """Return whether `release` may rest on `verdict`.

    `pass` and `warn` stand. What is undecided stands if an operator decided, or under a waiver for
    its rule that had not expired; a crashed audit only if an operator decided. `fail` never stands.
    """
    match verdict.verdict:
        case Verdict.PASS | Verdict.WARN:
            return True
        case Verdict.REVIEW | Verdict.INCONCLUSIVE | Verdict.NOT_APPLICABLE:
            return release.decided_by == DECIDED_BY_OPERATOR or _is_waived(verdict, release)
        case Verdict.ERROR:
            return release.decided_by == DECIDED_BY_OPERATOR
        case Verdict.FAIL:
            return False


def _is_waived(verdict: VerdictStatement, release: Release) -> bool:
    return any(
        waiver.rule == verdict.rule and parse_moment(release.at) < parse_moment(waiver.expires)
        for waiver in release.waivers
    )


def _is_privacy_backed(chain: ReleaseChain) -> bool:
    return any(
        item.predicate.privacy and item.predicate.verdict in _STANDING for item in chain.verdicts
    )
