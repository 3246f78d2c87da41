"""`loraseal trace`: which artifact a file, a hash or a name is; failing that, what it resembles."""

from __future__ import annotations

import dataclasses
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from registry.cli.output import emit, followed, guarded, json_option, plain
from registry.cli.queries import config_option, open_ledger

if TYPE_CHECKING:
    from collections.abc import Iterator

    from registry.provenance.ledger import Reader
    from registry.provenance.views import (
        ArtifactSummary,
        MarkView,
        MergeView,
        SimilarMatch,
        TraceAnswer,
        TraceMatch,
    )

_SEALED = "(sealed)"
_ANSWERS = {
    "exact": "exact bytes",
    "same_tensors": "same tensors, other bytes",
    "named": "by name only, no bytes compared",
}
_KINSHIPS = {
    "same_function": "the same update up to its strength, stored anew",
    "re_encoded": "quantised, resized, lightly pruned or trained on a little",
    "derived": "a derivative, or a merge that it is part of",
    "weak": "more alike than chance, too little to say how",
}


@click.command("trace")
@click.argument("evidence")
@config_option
@click.option(
    "--similar/--no-similar",
    default=None,
    help="Also look for what resembles it. Default: only if nothing has its bytes or tensors.",
)
@json_option
@guarded
def trace_command(evidence: str, config: Path | None, similar: bool | None, as_json: bool) -> None:
    """Find what a file, folder, hash, name or id is, or what it resembles.

    Three classes that are never mixed: exact bytes, same tensors, similar. Exit 0: bytes, tensors or name
    are known; 3: nothing; 6: it was revoked; 9: it only resembles something.
    """
    from registry.errors import UsageError
    from registry.provenance.tracing import trace
    from registry.provenance.views import as_json as as_data

    if not evidence.strip():
        raise UsageError("nothing to look for", hint="give a file, a hash, a name or an id")
    hashes = _hashes_of(evidence)
    with open_ledger(config) as (ledger, _), ledger.reading() as reader:
        answer = trace(reader, hashes or (evidence,))
        if hashes and (not answer.matches if similar is None else similar):
            answer = _with_similar(reader, followed(Path(evidence)), answer)
    payload = {"schema": "loraseal/trace.v1", "answer": as_data(answer)}
    emit(payload, as_json=as_json, human="\n".join(_lines(answer)))
    if any(match.artifact.state == "revoked" for match in answer.matches):
        sys.exit(6)
    if not answer.matches:
        sys.exit(9 if answer.similar or answer.merge else 3)


def _hashes_of(evidence: str) -> tuple[str, ...]:
    path = Path(evidence)
    if not path.exists():
        return ()
    from registry.fingerprints.exact import search_values

    return search_values(followed(path))


def _with_similar(reader: Reader, path: Path, answer: TraceAnswer) -> TraceAnswer:
    """Return `answer` with what resembles the adapter at `path`, or why that was not looked for."""
    from registry.errors import LorasealError
    from registry.provenance.similarity import find_similar
    from registry.provenance.sketches import sketch_count, sketch_key

    if sketch_count(reader) == 0:
        return dataclasses.replace(answer, not_searched="no artifact has a sketch yet")
    try:
        sketch, reason = _sketch_of(path, sketch_key(reader))
    except LorasealError as error:
        sketch, reason = b"", str(error)
    if not sketch:
        return dataclasses.replace(answer, not_searched=reason or "it could not be sketched")
    found = find_similar(reader, sketch)
    return dataclasses.replace(
        answer, similar=found.similar, merge=found.merge, sketches_searched=found.searched
    )


def _sketch_of(path: Path, key: bytes) -> tuple[bytes, str]:
    """Return the sketch of a file or folder, made in an isolated process, or why there is none."""
    from registry.audits.details import Wanted
    from registry.audits.runner import run_audits
    from registry.audits.task import Lent
    from registry.cli.auditing import open_task

    task = dataclasses.replace(
        open_task(path, ()), lent=Lent(sketch_key=key), wanted=frozenset({Wanted.SKETCH})
    )
    try:
        run = run_audits(task)
    finally:
        os.close(task.payload)
    if run.broken is not None:
        return b"", run.broken
    if run.death is not None:
        return b"", f"the process that read it did not finish: {run.death.detail}"
    return run.details.sketch, run.details.absent


def _lines(answer: TraceAnswer) -> Iterator[str]:
    for match in answer.matches:
        yield from _match_lines(match)
    if not answer.matches:
        compared = ", ".join(answer.compared) or "nothing"
        yield f"not found among {answer.artifacts_searched} artifacts by bytes (compared: {compared})"
    for similar in answer.similar:
        yield from _similar_lines(similar)
    if answer.merge is not None:
        yield from _merge_lines(answer.merge)
    yield from _mark_lines(answer.marks)
    if answer.sketches_searched and not answer.similar and not answer.merge:
        yield f"it resembles none of {answer.sketches_searched} sketched artifacts"
    if answer.not_searched:
        yield f"resemblance was not looked for: {plain(answer.not_searched)}"


def _match_lines(match: TraceMatch) -> Iterator[str]:
    words = _ANSWERS.get(match.answer, match.answer)
    yield f"MATCH     {words} (by {', '.join(match.matched_by)})"
    yield _artifact_line(match.artifact)
    for decision in match.decisions:
        yield f"decided   {decision.outcome} by {decision.decided_by} at {decision.at}"
    for row in match.deliveries:
        yield f"delivered to {row.recipient or _SEALED} by {row.channel}: {row.state}"
    yield f"log       entries {', '.join(map(str, match.log_leaves)) or 'none'}"


def _similar_lines(similar: SimilarMatch) -> Iterator[str]:
    words = _KINSHIPS.get(similar.kinship, similar.kinship)
    negated = ", negated" if similar.is_negated else ""
    yield (
        f"SIMILAR   {words}{negated}: score {similar.score}, "
        f"{similar.layers} layers in common of {similar.layers_here} here and {similar.layers_there} there"
    )
    yield f"          unrelated adapters would look so alike at a rate of {similar.false_match_rate} at most"
    yield _artifact_line(similar.artifact)
    for row in similar.deliveries:
        yield f"          that one was delivered to {row.recipient or _SEALED} by {row.channel}: {row.state}"


def _merge_lines(merge: MergeView) -> Iterator[str]:
    yield f"MERGE OF  {len(merge.parts)} known, {merge.unexplained} of its norm unexplained"
    for part in merge.parts:
        yield f"  {part.weight} (+-{part.error}) times {part.artifact.id[:12]}  {part.artifact.name or _SEALED}"


def _mark_lines(marks: tuple[MarkView, ...]) -> Iterator[str]:
    for mark in marks:
        word = "MARKED" if mark.accused else "no mark"
        yield f"{word:<9} {mark.recipient or mark.recipient_id[:12]}: {mark.words}"


def _artifact_line(artifact: ArtifactSummary) -> str:
    return f"artifact  {artifact.id[:12]}  {artifact.name or _SEALED}  {artifact.state}"
