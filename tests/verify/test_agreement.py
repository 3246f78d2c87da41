"""Step 4: what is genuine each and does not belong together is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from registry.attest import attest
from registry.errors import (
    SignatureError,
    VerificationError,
)
from registry.formats.findings import Outcome, Verdict
from registry.formats.moments import to_text
from registry.formats.predicates.delivery import Delivery
from registry.formats.predicates.intake import Rendition
from registry.formats.predicates.predicate import parse_predicate
from registry.formats.predicates.release import WaiverNote
from registry.verify.steps import verify_bundle
from tests.verify.world import NOW, Delivered, Script, World, replace_logged, report

AT = to_text(NOW)


def test_parts_of_two_deliveries_do_not_mix(
    world: World, delivered: Delivered, archive: Delivered
) -> None:
    for name in ("intake", "release"):
        bundle = replace(delivered.bundle, **{name: getattr(archive.bundle, name)})
        with pytest.raises(VerificationError):
            verify_bundle(world.given(delivered, bundle=bundle.to_bytes()))
    bundle = replace(delivered.bundle, verdicts=archive.bundle.verdicts)
    with pytest.raises(VerificationError, match="verdicts"):
        verify_bundle(world.given(delivered, bundle=bundle.to_bytes()))
    bundle = replace(delivered.bundle, verdicts=delivered.bundle.verdicts[:1])
    with pytest.raises(VerificationError, match="relies on 2 verdicts, and 1"):
        verify_bundle(world.given(delivered, bundle=bundle.to_bytes()))


NOT_RELEASED = {
    "held": Script(outcome=Outcome.HELD),
    "rejected": Script(outcome=Outcome.REJECTED),
    "failed verdict": Script(reports=(report(verdict=Verdict.FAIL),)),
    "review verdict": Script(reports=(report(verdict=Verdict.REVIEW),)),
    "inconclusive verdict": Script(reports=(report(verdict=Verdict.INCONCLUSIVE),)),
    "error verdict": Script(reports=(report(verdict=Verdict.ERROR),)),
    "not applicable": Script(reports=(report(verdict=Verdict.NOT_APPLICABLE),)),
    "failed, by an operator": Script(reports=(report(verdict=Verdict.FAIL),), reason="I say so"),
    "no verdict": Script(reports=()),
    "no reason": Script(reason="  "),
    "privacy claim without an audit": Script(privacy_audited=True),
    "privacy claim on a failed audit": Script(
        privacy_audited=True, reports=(report("mia", Verdict.REVIEW, privacy=True),), reason="x"
    ),
    "waived failure": Script(
        reports=(report(verdict=Verdict.FAIL),),
        waivers=(WaiverNote("structure", "f", "r", "2027-01-01T00:00:00Z"),),
    ),
    "waived crash": Script(
        reports=(report(verdict=Verdict.ERROR),),
        waivers=(WaiverNote("structure", "f", "r", "2027-01-01T00:00:00Z"),),
    ),
    "waiver that had ended": Script(
        reports=(report(verdict=Verdict.REVIEW),),
        waivers=(WaiverNote("structure", "f", "r", AT),),
    ),
    "waiver of another rule": Script(
        reports=(report(verdict=Verdict.REVIEW),),
        waivers=(WaiverNote("spectrum", "f", "r", "2027-01-01T00:00:00Z"),),
    ),
}


@pytest.mark.parametrize("name", NOT_RELEASED)
def test_what_was_not_released_is_refused(world: World, name: str) -> None:
    made = world.deliver(script=replace(NOT_RELEASED[name], skip_chain=True))
    with pytest.raises(VerificationError):
        verify_bundle(world.given(made))


RELEASED = {
    "warning": Script(reports=(report(verdict=Verdict.WARN),)),
    "by an operator, for review": Script(
        reports=(report(verdict=Verdict.REVIEW), report("b", Verdict.ERROR)), reason="looked at it"
    ),
    "waived": Script(
        reports=(report(verdict=Verdict.REVIEW),),
        waivers=(WaiverNote("structure", "f", "r", "2027-01-01T00:00:00Z"),),
    ),
}


@pytest.mark.parametrize("name", RELEASED)
def test_what_may_be_released_verifies(world: World, name: str) -> None:
    verified = verify_bundle(world.given(world.deliver(script=RELEASED[name])))
    assert verified.chain.words == "released; privacy not audited"


def test_privacy_audit_is_said(world: World) -> None:
    script = Script(reports=(report(), report("mia", privacy=True)), privacy_audited=True)
    verified = verify_bundle(world.given(world.deliver(script=script)))
    assert verified.chain.words == "released; privacy audited"


@pytest.mark.parametrize(
    ("judged", "taken"), [("marked", Rendition.ORIGINAL), ("original", Rendition.PUBLIC)]
)
def test_release_of_another_rendition_than_was_taken_in_is_refused(
    world: World, judged: str, taken: Rendition
) -> None:
    made = world.deliver(script=Script(rendition=judged, intake_rendition=taken, skip_chain=True))
    with pytest.raises(VerificationError, match="rendition"):
        verify_bundle(world.given(made))


def test_derived_rendition_is_verified_like_any_artifact(world: World) -> None:
    script = Script(rendition="public", intake_rendition=Rendition.PUBLIC)
    verified = verify_bundle(world.given(world.deliver(script=script)))
    assert verified.chain.intake.predicate.rendition is Rendition.PUBLIC


def _resigned(world: World, made: Delivered, **more: object) -> bytes:
    """The bundle with a delivery statement that says something else, rightly signed."""
    said = parse_predicate(made.bundle.delivery.envelope.payload, Delivery)
    envelope = attest(replace(said, **more), world.statement)  # type: ignore[arg-type]
    return replace_logged(made.bundle, "delivery", envelope=envelope).to_bytes()


@pytest.mark.parametrize(
    "change",
    [
        {"registry": "other.example"},
        {"release_digest": "ab" * 32},
        {"artifact_id": "ab" * 32},
        {"statement_key_id": "ab" * 32},
        {"log_origin": "other.example/log"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_disagreeing_delivery_is_refused(
    world: World, delivered: Delivered, change: dict[str, str]
) -> None:
    bundle = _resigned(world, delivered, **change)
    with pytest.raises(VerificationError, match="another"):
        verify_bundle(world.given(delivered, bundle=bundle))


def test_other_files_than_were_taken_in_are_refused(
    world: World, delivered: Delivered, archive: Delivered
) -> None:
    files = parse_predicate(archive.bundle.delivery.envelope.payload, Delivery).files[:1]
    bundle = _resigned(world, delivered, files=files)
    # The SSH signature is over the files that were released.
    with pytest.raises(SignatureError):
        verify_bundle(world.given(delivered, bundle=bundle))
    bare = world.deliver(script=Script(with_oms=False))
    said = parse_predicate(bare.bundle.delivery.envelope.payload, Delivery)
    unsigned = replace(said.attachments, sshsig=None)
    statement = attest(replace(said, files=files, attachments=unsigned), world.statement)
    changed = replace(replace_logged(bare.bundle, "delivery", envelope=statement), sshsig=None)
    with pytest.raises(VerificationError, match="taken in"):
        verify_bundle(world.given(bare, bundle=changed.to_bytes()))
