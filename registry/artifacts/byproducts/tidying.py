"""What is done with by-products: a plan from a look and a policy, and carrying it out file by file.

Whatever ends the run, at any instant each file is there as it was, or its sealed copy is, unless the policy
says to delete it. What is not sure, was written to lately, or changed since the look is left alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from registry.artifacts.byproducts.logs import form_of, parse_log
from registry.artifacts.byproducts.names import Category
from registry.artifacts.byproducts.removal import remove_emptied, remove_exactly
from registry.artifacts.byproducts.sealed_beside import (
    TREND_SUFFIX,
    SealKeys,
    seal_beside,
    write_beside,
)
from registry.artifacts.byproducts.trends import LEAST_RECORDS, dump_trend, trend_of
from registry.artifacts.reading import Source, SourceChangedError, open_source
from registry.errors import FormatError, LorasealError, UsageError
from registry.limits import TRAINING_LOG_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path, PurePosixPath

    from registry.artifacts.byproducts.finding import ByProduct
    from registry.artifacts.byproducts.looking import FolderLook, SeenFile
    from registry.artifacts.reading import Stamp

NS_PER_SECOND = 1_000_000_000
_WRITE_AHEAD = "-wal"


class Action(StrEnum):
    """What a policy says of one class."""

    KEEP = "keep"
    REDACT = "redact"
    SEAL = "seal"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class TidyPolicy:
    """One action a class; a class that is not named is kept. Times in seconds.

    A folder in which anything changed within `quiet_seconds` is not touched at all, a file that changed
    within `settle_seconds` is left alone. `redacted_originals` is `SEAL` or `DELETE`.
    """

    actions: Mapping[Category, Action] = field(default_factory=dict)
    redacted_originals: Action = Action.SEAL
    least_records: int = LEAST_RECORDS
    settle_seconds: float = 600.0
    quiet_seconds: float = 300.0

    def action_for(self, category: Category) -> Action:
        """Return what is to be done with a class."""
        return self.actions.get(category, Action.KEEP)


@dataclass(frozen=True, slots=True)
class Step:
    """What is to be done with one by-product. `held` says why it is left alone, "" if it is not."""

    product: ByProduct
    seen: SeenFile
    action: Action
    held: str = ""

    @property
    def acts(self) -> bool:
        """Whether the file will change."""
        return self.action is not Action.KEEP and not self.held


@dataclass(frozen=True, slots=True)
class Plan:
    """Every by-product of a folder with what is to be done, in order of paths.

    `restless` counts the files that changed within the quiet time: a trainer may be at work.
    """

    root: Path
    steps: tuple[Step, ...]
    restless: int

    @property
    def acting(self) -> tuple[Step, ...]:
        """The steps that change something."""
        return tuple(step for step in self.steps if step.acts)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one step: `done` is `sealed`, `redacted`, `deleted` or `left`, with the reason.

    `links` counts the other names under which the content is still there.
    """

    step: Step
    done: str
    reason: str = ""
    links: int = 0


STILL_WRITTEN = "still being written"


def plan_tidying(look: FolderLook, policy: TidyPolicy, now_ns: int) -> Plan:
    """Return what `policy` makes of `look` at `now_ns`, which is wall-clock time as files have it."""
    seen = {file.path: file for file in look.files}
    quiet_ns = int(policy.quiet_seconds * NS_PER_SECOND)
    settle_ns = int(policy.settle_seconds * NS_PER_SECOND)
    restless = sum(_age_ns(file.stamp, now_ns) < quiet_ns for file in look.files)
    steps = []
    for product in look.products:
        file, action = seen[product.path], policy.action_for(product.category)
        held = product.doubt
        if not held and _age_ns(file.stamp, now_ns) < settle_ns:
            held = STILL_WRITTEN
        steps.append(Step(product, file, *_judged(product, (action, held), policy, seen)))
    return Plan(look.root, tuple(steps), restless)


def carry_out(plan: Plan, policy: TidyPolicy, keys: SealKeys | None) -> Iterator[Outcome]:
    """Do the acting steps of `plan`, one after the other, and yield what became of each.

    Raises:
        UsageError: something is to be sealed, and no key is given; nothing was done then.
    """
    if keys is None and any(_needs_key(step, policy) for step in plan.acting):
        raise UsageError(
            "nobody to seal to: no registry is set up here",
            hint="run loraseal init, or name a recipient in the settings: [tidy] recipient",
        )
    work = _Work(plan.root, policy, keys)
    for step in plan.acting:
        try:
            yield work.do(step)
        except LorasealError as error:
            yield Outcome(step, "left", str(error))


def _judged(
    product: ByProduct,
    wish: tuple[Action, str],
    policy: TidyPolicy,
    seen: Mapping[PurePosixPath, SeenFile],
) -> tuple[Action, str]:
    """Return action and reason to hold; a log that gives no trend is treated as its original would be."""
    action, held = wish
    if product.category is Category.TRAINING_DATA:
        return Action.KEEP, held
    if action is not Action.REDACT or held:
        return action, held
    if form_of(product.path) is not None and not _has_write_ahead(product, seen):
        return action, ""
    if policy.redacted_originals is Action.SEAL:
        return Action.SEAL, ""
    return action, "no trend can be made of it, and nothing is deleted without one"


def _has_write_ahead(product: ByProduct, seen: Mapping[PurePosixPath, SeenFile]) -> bool:
    """Return whether a database has rows that are not in it yet: a trend would miss the newest."""
    beside = seen.get(product.path.with_name(product.path.name + _WRITE_AHEAD))
    return beside is not None and beside.stamp.size > 0


def _age_ns(stamp: Stamp, now_ns: int) -> int:
    # mtime can be set to anything, also to the future by an unpacker; ctime is the system's own.
    changed = stamp.ctime_ns if stamp.mtime_ns > now_ns else max(stamp.mtime_ns, stamp.ctime_ns)
    return now_ns - changed


def _needs_key(step: Step, policy: TidyPolicy) -> bool:
    redacts = step.action is Action.REDACT and policy.redacted_originals is Action.SEAL
    return step.action is Action.SEAL or redacts


@dataclass(slots=True)
class _Work:
    """One run over a folder; remembers which files lost a name here, since that changes their ctime."""

    root: Path
    policy: TidyPolicy
    keys: SealKeys | None
    _unlinked: set[tuple[int, int]] = field(default_factory=set)

    def do(self, step: Step) -> Outcome:
        """Do one step; the original goes last, and only if it is what was looked at."""
        path, product = self.root / step.product.path, step.product
        with open_source(path, root=self.root) as source:
            self._check(source, step)
            done, last, reason = self._redact(source, step)
            if last is Action.SEAL and self.keys is not None:
                seal_beside(source, self.root, self.keys)
            source.check_unchanged()
            remove_exactly(self.root, product.path, source.stamp)
            self._unlinked.add(_inode(source.stamp))
        if last is Action.DELETE and product.name_tells:
            remove_emptied(self.root, product.path.parent)
        return Outcome(step, done, reason, links=source.links - 1)

    def _check(self, source: Source, step: Step) -> None:
        then, now = step.seen.stamp, source.stamp
        if _inode(then) in self._unlinked:
            then = replace(then, ctime_ns=now.ctime_ns)
        if then != now:
            raise SourceChangedError(
                f"{str(step.product.path)!r} changed since it was looked at", hint="run it again"
            )

    def _redact(self, source: Source, step: Step) -> tuple[str, Action, str]:
        """Write the trend, if that is asked for; return what is done, what becomes of the original, a remark."""
        if step.action is not Action.REDACT:
            return _PAST[step.action], step.action, ""
        last = self.policy.redacted_originals
        try:
            data = _trend(source, self.policy.least_records)
        except FormatError as error:
            if last is not Action.SEAL:
                raise
            return _PAST[last], last, str(error)
        write_beside(source.path, data, TREND_SUFFIX)
        return _PAST[step.action], last, ""


_PAST = {Action.REDACT: "redacted", Action.SEAL: "sealed", Action.DELETE: "deleted"}


def _inode(stamp: Stamp) -> tuple[int, int]:
    return stamp.device, stamp.inode


def _trend(source: Source, least: int) -> bytes:
    form = form_of(source.path)
    if form is None:
        raise FormatError("no trend can be made of it")
    if source.size > TRAINING_LOG_BYTES:
        raise FormatError(f"log has more than {TRAINING_LOG_BYTES} bytes: no trend is made of it")
    data = b"".join(bytes(batch) for batch in source.batches())
    return dump_trend(trend_of(parse_log(form, data), least))
