"""Intake: one pass over a settled candidate into the vault, then its artifact's audit is enqueued."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from daemon.custody.opening import signed_intake
from daemon.custody.records import Taken, record_intake
from daemon.engine import Job
from daemon.jobs import AUDIT
from daemon.layouts.found import Layout
from daemon.layouts.names import is_pickle
from registry.artifacts.classifying.kinds import ADAPTER
from registry.artifacts.folders import name_of_pair
from registry.artifacts.inspection import inspect_glimpses, inspect_path
from registry.artifacts.intake import IntakeSource, resume, take_in
from registry.artifacts.merges import reason_not_an_adapter
from registry.artifacts.reading import (
    SourceChangedError,
    SourceRefusedError,
    SourceUnreadableError,
    SourceVanishedError,
)
from registry.errors import FormatError, LorasealError
from registry.formats.predicates.intake import Rendition
from registry.provenance.artifacts import find_payload, get_artifact
from registry.provenance.candidates import Candidate, get_candidate, move_candidate
from registry.provenance.copies import WITHDRAWN
from registry.provenance.events import NewEvent, note_event
from registry.provenance.headers import NewHeader
from registry.provenance.moves import Move
from registry.provenance.rewrites import Rewrite, find_rewritten, note_rewrite
from registry.provenance.states import CandidateState

if TYPE_CHECKING:
    from daemon.pipeline.workshop import Workshop
    from daemon.settings import WatchSettings
    from registry.artifacts.notes import IntakeResult
    from registry.provenance.ledger import Reader

# A refusal of ours is final for this state of the file; when the file changes, it is a new candidate.
# What was gone or not to be read may be back, the same (a share that was away, another user): sighting
# takes it up again.
_ENDS: tuple[tuple[type[LorasealError], CandidateState], ...] = (
    (SourceVanishedError, CandidateState.GONE),
    (SourceChangedError, CandidateState.CHANGED),
    (SourceUnreadableError, CandidateState.UNREADABLE),
    (SourceRefusedError, CandidateState.REFUSED),
    (FormatError, CandidateState.REFUSED),
)


# SimpleTuner writes its weights, and again with a header, within seconds; settling mostly covers that.
REWRITTEN_WITHIN = timedelta(minutes=10)
# What conversion calls the sha256 of the pickle (registry.conversion.intake; loaded only where it is used).
PICKLE_HASH = "pickle_sha256"


def take_in_candidate(shop: Workshop, candidate_id: str) -> str:
    """Seal a candidate into the vault, record it, and enqueue its audit.

    A full disk or a busy ledger raises: the candidate stays open and is taken up again. What is wrong
    with the candidate itself ends it, with a reason.
    """
    with shop.ledger.reading() as reader:
        candidate = get_candidate(reader, candidate_id)
    if candidate.state is not CandidateState.NOTED or candidate.path is None:
        # Perhaps a run was killed after it had recorded the artifact: what it left goes now.
        if candidate.state is not CandidateState.NOTED:
            _clear(shop, candidate, _resumed(shop, candidate))
        return "nothing to do"
    try:
        result = _sealed(shop, candidate)
        _refuse_what_was_pickled(shop, candidate, result)
    except tuple(kind for kind, _ in _ENDS) as error:
        return _end(shop, candidate, error)
    return _record(shop, candidate, result)


def _refuse_other_kinds(candidate: Candidate) -> None:
    # A look before the pass: a 7 GB checkpoint in the folder must not be sealed to be refused.
    for path in _weights_of(candidate):
        inspection = inspect_path(path)
        # An adapter with faults is taken in: that it is rejected, and why, is to be signed.
        if inspection.kind != ADAPTER and (reason := reason_not_an_adapter(inspection)):
            raise FormatError(reason)


def _refuse_what_was_pickled(shop: Workshop, candidate: Candidate, result: IntakeResult) -> None:
    # What a pickle holds is known only once it is converted; nothing of it stays if it is no adapter.
    if not _is_pickled(candidate):
        return
    inspection = inspect_glimpses(result.glimpses)
    if inspection.kind != ADAPTER and (reason := reason_not_an_adapter(inspection)):
        shop.custody.vault.delete(result.payload_digest)
        raise FormatError(reason)


def _weights_of(candidate: Candidate) -> list[Path]:
    """Return what to inspect: a PEFT folder as one, else each file."""
    if candidate.layout == Layout.PEFT:
        return [Path(candidate.path or "")]
    return [Path(file) for _, file in candidate.files]


def _sealed(shop: Workshop, candidate: Candidate) -> IntakeResult:
    custody = shop.custody
    done = _resumed(shop, candidate)
    if done is not None:
        return done
    watch = _watch_of(shop, Path(candidate.path or ""))
    files = tuple((name, Path(file)) for name, file in candidate.files)
    source = IntakeSource(watch.path.absolute(), files)
    recipients = [custody.keyring.vault.recipient()]
    if watch.convert and _is_pickled(candidate):
        from registry.conversion.intake import take_in_converted

        return take_in_converted(source, custody.vault, recipients, candidate.id)[0]
    # Only now: what is sealed already is the artifact, whatever the path holds or lacks by now.
    _refuse_other_kinds(candidate)
    return take_in(source, custody.vault, recipients, candidate.id)


def _is_pickled(candidate: Candidate) -> bool:
    return any(is_pickle(name) for name, _ in candidate.files)


def _watch_of(shop: Workshop, path: Path) -> WatchSettings:
    """Return the watched folder that `path` lies in: no link below it is followed.

    Raises:
        FormatError: in none; a row that names another file must not bring it in.
    """
    for watch in shop.settings.watch:
        if path.is_relative_to(watch.path.absolute()):
            return watch
    raise FormatError("the file is in no folder that the settings watch")


def _record(shop: Workshop, candidate: Candidate, result: IntakeResult) -> str:
    inspection = inspect_glimpses(result.glimpses)
    if candidate.layout == Layout.PAIR and len(candidate.files) == 1:
        found = inspection.found
        warnings = (
            *found.warnings,
            "half of a high- and low-noise pair: the other file was not there",
        )
        inspection = replace(inspection, found=replace(found, warnings=warnings))
    path = Path(candidate.path or "")
    taken = Taken(
        result=result,
        inspection=inspection,
        name=_name_of(candidate, result),
        root=_watch_of(shop, path).path.absolute(),
        rendition=Rendition.CONVERTED if _is_pickled(candidate) else Rendition.ORIGINAL,
        facts=tuple(
            ("pickle", value) for algorithm, value in result.hashes if algorithm == PICKLE_HASH
        ),
    )
    with shop.ledger.transaction() as tx:
        rewrite = _rewrite(shop, tx, candidate, result)
        if rewrite is not None:
            note_rewrite(tx, rewrite, shop.clock())
        else:
            noted = record_intake(shop.custody, tx, candidate.id, taken, shop.clock())
            if noted.is_new:
                shop.jobs.enqueue_in(tx.session, Job(AUDIT, noted.id))
    _clear(shop, candidate, result)
    if rewrite is not None:
        return "rewritten"
    return "sealed" if noted.is_new else "known"


def _name_of(candidate: Candidate, result: IntakeResult) -> str:
    """Return what people call it: the folder or file; of a pair what both share; of a pickle its new name."""
    path = Path(candidate.path or "")
    if candidate.layout == Layout.PAIR:
        return name_of_pair(path.name)
    if _is_pickled(candidate) and candidate.layout != Layout.PEFT:
        return Path(result.manifest.entries[0].path).name
    return path.name


def _rewrite(
    shop: Workshop, reader: Reader, candidate: Candidate, result: IntakeResult
) -> Rewrite | None:
    """Return what to note if these weights came from this path just now, under another header."""
    if result.tensors_digest is None or len(result.manifest.entries) != 1:
        return None
    tensors = result.tensors_digest.value
    artifact_id = find_rewritten(reader, candidate.id, tensors, REWRITTEN_WITHIN)
    if artifact_id is None or artifact_id == result.artifact_id:
        return None
    # A row's hash could be anybody's: other weights must not be dropped as if they were these. What was
    # withdrawn is taken in anew, and then held as a copy of it.
    signed = signed_intake(shop.custody, reader, artifact_id).predicate.tensors_digest
    if signed != result.tensors_digest or get_artifact(reader, artifact_id).state in WITHDRAWN:
        return None
    file_sha256, body_sha256 = result.manifest.entries[0].sha256, result.body_sha256
    headers = tuple(
        NewHeader(glimpse.prefix, file_sha256, body_sha256)
        for glimpse in result.glimpses
        if body_sha256 is not None
    )
    return Rewrite(candidate.id, artifact_id, result.hashes, headers)


def _resumed(shop: Workshop, candidate: Candidate) -> IntakeResult | None:
    return resume(shop.custody.vault, [shop.custody.keyring.vault], candidate.id)


def _clear(shop: Workshop, candidate: Candidate, result: IntakeResult | None) -> None:
    """Remove what the vault keeps beyond the artifact; the notes last, since they say what."""
    vault = shop.custody.vault
    if result is not None:
        with shop.ledger.reading() as reader:
            # A header that was written anew belongs to the artifact that the candidate became.
            row = get_candidate(reader, candidate.id)
            kept = find_payload(reader, row.artifact_id or result.artifact_id)
        if kept is not None and kept.digest != result.payload_digest.value:
            # The same content came again: the payload that counts is the first one's.
            vault.delete(result.payload_digest)
    vault.forget(candidate.id)


def _end(shop: Workshop, candidate: Candidate, error: LorasealError) -> str:
    state = next(state for kind, state in _ENDS if isinstance(error, kind))
    now, reason = shop.clock(), reason_without_paths(error, candidate)
    with shop.ledger.transaction() as tx:
        move_candidate(tx, candidate.id, Move((CandidateState.NOTED,), state, now, reason))
        note_event(tx, NewEvent(f"candidate {state.value}", now, detail=reason))
    shop.custody.vault.forget(candidate.id)
    return state.value


def reason_without_paths(error: LorasealError, candidate: Candidate) -> str:
    """Return the error's words without the candidate's paths and names, which are personal data."""
    text = str(error)
    path = candidate.path or "\0"
    names = [(name, "the file") for pair in candidate.files for name in reversed(pair)]
    # The longest first: a path holds its own name.
    for name, word in (*names, (path, "the candidate"), (Path(path).name, "the candidate")):
        for shown in (repr(name), ascii(name)):
            text = text.replace(shown, word)
        # Bare only as a word of its own: a folder called `lora` must not change `loraseal`.
        text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", word, text)
    return without_names(text)[:500]


_QUOTED = re.compile(r"""(?<!\w)(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")""")


def without_names(text: str) -> str:
    """Return an error's words with every quoted name left out: a tensor can be named after a person."""
    return _QUOTED.sub("(a name)", text)
