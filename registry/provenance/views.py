"""What commands show: frozen dataclasses whose fields are the JSON. Times are RFC 3339, UTC.

Personal fields (names, paths, messages of findings) are None where no key is at hand.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, is_dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from registry.formats.moments import to_text

if TYPE_CHECKING:
    from registry.formats.canonical import Json


@dataclass(frozen=True, slots=True)
class ArtifactSummary:
    """One line of `ls`."""

    id: str
    name: str | None = field(repr=False)
    state: str
    reason: str | None
    kind: str
    dialect: str | None
    method: str | None
    family: str | None
    rank: int | None
    alpha: str | None
    modules: int
    tensors: int
    files: int
    size: int
    taken_at: str
    moved_at: str
    rendition: str


@dataclass(frozen=True, slots=True)
class FileView:
    """One file of an artifact."""

    path: str | None = field(repr=False)
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class HashView:
    """One value by which others know an artifact."""

    algorithm: str
    value: str


@dataclass(frozen=True, slots=True)
class FindingView:
    """One thing that an audit saw."""

    rule: str
    verdict: str
    message: str | None = field(repr=False)
    advice: str | None = field(repr=False)
    place: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class MetricView:
    """One measured value, as text with its unit."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class AuditView:
    """What one audit said, with what it looked at."""

    rule: str
    version: str
    verdict: str
    run: int
    examined: int
    total: int
    unit: str
    privacy: bool
    supplier: str
    summary: str | None = field(repr=False)
    metrics: tuple[MetricView, ...] = field(repr=False)
    findings: tuple[FindingView, ...]
    at: str


@dataclass(frozen=True, slots=True)
class DecisionView:
    """What was decided, by whom, and why."""

    outcome: str
    decided_by: str
    privacy_audited: bool
    reasons: tuple[str, ...] | None = field(repr=False)
    policy_digest: str
    statement_digest: str
    at: str


@dataclass(frozen=True, slots=True)
class DeliveryView:
    """Where one delivery stands."""

    id: str
    artifact_id: str
    recipient_id: str
    recipient: str | None = field(repr=False)
    channel: str
    ordinal: int
    state: str
    reason: str | None
    attempts: int
    planned_at: str
    acknowledge_by: str | None
    acknowledged_at: str | None
    revoked: bool


@dataclass(frozen=True, slots=True)
class EdgeView:
    """A lineage fact and how it is known."""

    child_id: str
    relation: str
    parent: str
    grade: str
    source: str


@dataclass(frozen=True, slots=True)
class StatementView:
    """A signed statement and its place in the log."""

    digest: str
    kind: str
    leaf_index: int
    at: str


@dataclass(frozen=True, slots=True)
class ArtifactDetail:
    """All that `show` says of an artifact."""

    summary: ArtifactSummary
    base_model: str | None
    host: str
    paths: tuple[str, ...] = field(repr=False)
    files: tuple[FileView, ...]
    hashes: tuple[HashView, ...]
    payload_digest: str | None
    payload_form: str | None
    audits: tuple[AuditView, ...]
    decisions: tuple[DecisionView, ...]
    deliveries: tuple[DeliveryView, ...]
    edges: tuple[EdgeView, ...]
    statements: tuple[StatementView, ...]


@dataclass(frozen=True, slots=True)
class TraceMatch:
    """An artifact that a piece of evidence matched.

    `answer` is `exact` (these bytes), `same_tensors` (this content, saved again) or `named` (an id, name
    or path, and no byte was compared); they are never mixed, and similarity is none of them.
    """

    answer: str
    matched_by: tuple[str, ...]
    artifact: ArtifactSummary
    decisions: tuple[DecisionView, ...]
    deliveries: tuple[DeliveryView, ...]
    edges: tuple[EdgeView, ...]
    log_leaves: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SimilarMatch:
    """An artifact whose update resembles a content, by sketch: an estimate and no identity.

    `kinship` is `same_function`, `re_encoded`, `derived` or `weak`; `score` the cosine over the layers of
    both, `score_shared` over those in common (`layers` of `layers_here` and `layers_there`).
    `false_match_rate` bounds how often, in all comparisons made, unrelated adapters would look so alike.
    `not_compared` names what of either is in no sketch, "" if nothing.
    """

    artifact: ArtifactSummary
    kinship: str
    score: str
    score_shared: str
    layers: int
    layers_here: int
    layers_there: int
    is_negated: bool
    false_match_rate: str
    not_compared: str
    deliveries: tuple[DeliveryView, ...]


@dataclass(frozen=True, slots=True)
class MergePart:
    """An artifact in a merge and its weight; `share` is how much of it lies in layers of the merge."""

    artifact: ArtifactSummary
    weight: str
    error: str
    share: str


@dataclass(frozen=True, slots=True)
class MergeView:
    """Of which artifacts a content is made; `unexplained` is the rest's norm as a part of its own."""

    parts: tuple[MergePart, ...]
    unexplained: str


@dataclass(frozen=True, slots=True)
class MarkedFor:
    """A recipient whose mark a content bears, with its z."""

    recipient_id: str
    recipient: str | None = field(repr=False)
    z: str


@dataclass(frozen=True, slots=True)
class MarkView:
    """What the marks in copies of one artifact say of a content that resembles it.

    `recipients` have marked copies, of all artifacts that were looked at; `named` are those whose z reaches `threshold`, which the chance that
    any innocent one does bounds by `false_accusation`. `modules` of `modules_of` could be compared.
    """

    artifact_id: str
    recipients: int
    modules: int
    modules_of: int
    threshold: str
    false_accusation: str
    named: tuple[MarkedFor, ...]
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TraceAnswer:
    """What `trace` found, and among how many artifacts it looked.

    Three classes that are never mixed: `matches` (exact bytes, or same tensors; or a name), and `similar` with
    `merge` and `marks`. `not_searched` says why resemblance was not looked for, "" if it was, and
    `marks_not_searched` the same of marks.
    """

    matches: tuple[TraceMatch, ...]
    compared: tuple[str, ...]
    artifacts_searched: int
    similar: tuple[SimilarMatch, ...] = ()
    merge: MergeView | None = None
    marks: tuple[MarkView, ...] = ()
    sketches_searched: int = 0
    not_searched: str = ""
    marks_not_searched: str = ""


@dataclass(frozen=True, slots=True)
class Need:
    """Something that waits for a person: what, which one, why, and what to do."""

    kind: str
    id: str
    name: str | None = field(repr=False)
    reason: str
    what_to_do: str
    since: str


@dataclass(frozen=True, slots=True)
class StateCount:
    """How many are in a state."""

    state: str
    count: int


@dataclass(frozen=True, slots=True)
class LedgerStatus:
    """Counts by state, the log, the last sign of life, and what needs a person, oldest first."""

    candidates: tuple[StateCount, ...]
    artifacts: tuple[StateCount, ...]
    marked_copies: tuple[StateCount, ...]
    deliveries: tuple[StateCount, ...]
    recipients: int
    log_size: int
    checkpoint_size: int
    status_list_counter: int
    status_list_valid_until: str | None
    last_beat: str | None
    needs: tuple[Need, ...]


def as_json(value: object) -> Json:
    """Return a view as JSON data: dataclasses as objects, tuples as lists.

    Raises:
        TypeError: something in it is no view.
    """
    if value is None or isinstance(value, bool | int | str):
        return str(value) if isinstance(value, StrEnum) else value
    if isinstance(value, datetime):
        return to_text(value)
    if isinstance(value, tuple):
        return [as_json(item) for item in value]
    if is_dataclass(value) and not isinstance(value, type):
        return {item.name: as_json(getattr(value, item.name)) for item in fields(value)}
    raise TypeError(f"{type(value).__name__} is no view")
