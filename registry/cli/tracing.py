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

    from registry.audits.runner import AuditWorker
    from registry.audits.task import AuditTask
    from registry.provenance.ledger import Reader
    from registry.provenance.views import (
        ArtifactSummary,
        MarkView,
        MergeView,
        SimilarMatch,
        TraceAnswer,
        TraceMatch,
    )
    from registry.settings import RegistryPaths

_SEALED = "(sealed)"
_DIGEST_DIGITS = 64
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
    if similar and not hashes:
        raise UsageError(
            "likeness is looked for from a file or folder only",
            hint="give the file itself, or drop --similar",
        )
    with open_ledger(config) as (ledger, paths), ledger.reading() as reader:
        answer = trace(reader, hashes or (evidence,))
        if hashes and (not answer.matches if similar is None else similar):
            answer = _with_similar(reader, paths, followed(Path(evidence)), answer)
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


def _with_similar(
    reader: Reader, paths: RegistryPaths, path: Path, answer: TraceAnswer
) -> TraceAnswer:
    """Return `answer` with what resembles the adapter at `path`, or why that was not looked for."""
    from registry.errors import LorasealError
    from registry.provenance.sketches import sketch_count

    if sketch_count(reader) == 0:
        return dataclasses.replace(answer, not_searched="no artifact has a sketch yet")
    try:
        return _compared(reader, paths, path, answer)
    except LorasealError as error:
        return dataclasses.replace(answer, not_searched=str(error))


def _compared(reader: Reader, paths: RegistryPaths, path: Path, answer: TraceAnswer) -> TraceAnswer:
    """Sketch the adapter in an isolated process, search, and look for marks of what it resembles."""
    from registry.audits.runner import AuditWorker
    from registry.cli.auditing import open_task
    from registry.provenance.similarity import find_similar
    from registry.provenance.sketches import sketch_key

    key = sketch_key(reader)
    task = open_task(path, ())
    try:
        with AuditWorker() as worker:
            found = find_similar(reader, _sketch_of(worker, task, key))
            alike = [one.artifact.id for one in found.similar]
            alike += [part.artifact.id for part in (found.merge.parts if found.merge else ())]
            marks, unmarked = _marks(reader, paths, worker, task, alike)
    finally:
        os.close(task.payload)
    return dataclasses.replace(
        answer,
        similar=found.similar,
        merge=found.merge,
        marks=marks,
        marks_not_searched=unmarked,
        sketches_searched=found.searched,
    )


def _marks(
    reader: Reader,
    paths: RegistryPaths,
    worker: AuditWorker,
    task: AuditTask,
    alike: list[str],
) -> tuple[tuple[MarkView, ...], str]:
    """Return whose marks it bears, and why that could not be looked for; likeness stands without it."""
    from registry.cli.mark_search import find_marked
    from registry.errors import LorasealError

    try:
        return find_marked(reader, paths, worker, task, alike), ""
    except LorasealError as error:
        return (), str(error)


def _sketch_of(worker: AuditWorker, task: AuditTask, key: bytes) -> bytes:
    """Return the sketch of what `task` holds.

    Raises:
        LorasealError: it is no adapter, or the process that reads it did not finish.
    """
    from registry.audits.details import Wanted
    from registry.audits.task import Lent
    from registry.errors import FormatError, LorasealError

    wanted = frozenset({Wanted.SKETCH})
    run = worker.audit(dataclasses.replace(task, lent=Lent(sketch_key=key), wanted=wanted))
    if run.broken is not None:
        raise FormatError(run.broken)
    if run.death is not None:
        raise LorasealError(f"the process that read it did not finish: {run.death.detail}")
    if not run.details.sketch:
        raise LorasealError(run.details.absent or "it holds nothing that can be sketched")
    return run.details.sketch


def _lines(answer: TraceAnswer) -> Iterator[str]:
    for match in answer.matches:
        yield from _match_lines(match)
    if not answer.matches:
        yield from _not_found_lines(answer)
    yield from _mark_lines(answer.marks)
    for similar in answer.similar:
        yield from _similar_lines(similar)
    if answer.merge is not None:
        yield from _merge_lines(answer.merge)
    if answer.sketches_searched and not answer.similar and not answer.merge:
        yield (
            f"it resembles none of {answer.sketches_searched} sketched artifacts "
            f"(of {answer.artifacts_searched})"
        )
    if answer.marks_not_searched:
        yield f"marks could not be looked for: {plain(answer.marks_not_searched)}"
    if answer.not_searched:
        yield f"resemblance was not looked for: {plain(answer.not_searched)}"


def _not_found_lines(answer: TraceAnswer) -> Iterator[str]:
    shown = [item[:12] if len(item) == _DIGEST_DIGITS else plain(item) for item in answer.compared]
    compared = ", ".join(shown) or "nothing"
    yield f"not found among {answer.artifacts_searched} artifacts by bytes (compared: {compared})"
    for item in answer.compared:
        if os.sep in item or Path(item).suffix == ".safetensors":
            yield f"there is no file {plain(item)!r}: it was looked for as a name"


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
        f"SIMILAR   {words}{negated}: score {similar.score}; "
        f"{similar.score_shared} over the {similar.layers} layers in common "
        f"(of {similar.layers_here} here and {similar.layers_there} there)"
    )
    if similar.not_compared:
        yield f"          not compared: {similar.not_compared}"
    yield f"          unrelated adapters would look so alike at a rate of {similar.false_match_rate} at most"
    yield _artifact_line(similar.artifact)
    for row in similar.deliveries:
        yield f"          that one was delivered to {row.recipient or _SEALED} by {row.channel}: {row.state}"


def _merge_lines(merge: MergeView) -> Iterator[str]:
    if len(merge.parts) == 1:
        yield f"PART OF   one known, or mixed with what is not: {merge.unexplained} of its norm unexplained"
    else:
        yield f"MERGE OF  {len(merge.parts)} known, {merge.unexplained} of its norm unexplained"
    for part in merge.parts:
        yield f"  {part.weight} (+-{part.error}) times {part.artifact.id[:12]}  {part.artifact.name or _SEALED}"


def _mark_lines(marks: tuple[MarkView, ...]) -> Iterator[str]:
    said: set[str] = set()
    for mark in marks:
        for one in mark.named:
            yield f"MARK OF   {one.recipient or _SEALED} ({one.recipient_id[:12]}), z = {one.z}"
        yield (
            f"marks     in copies of {mark.artifact_id[:12]}: {mark.modules} of {mark.modules_of} modules "
            f"compared, threshold z = {mark.threshold} for {mark.recipients} recipients"
        )
        for sentence in mark.words:
            if sentence not in said:
                yield f"          {sentence}"
        said.update(mark.words)


def _artifact_line(artifact: ArtifactSummary) -> str:
    return f"artifact  {artifact.id[:12]}  {artifact.name or _SEALED}  {artifact.state}"
