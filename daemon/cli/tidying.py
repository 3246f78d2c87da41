"""`loraseal tidy`: find what training left beside adapters; redact, seal or remove it as the settings say."""

from __future__ import annotations

import sys
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from registry.cli.output import emit, followed, guarded, json_option, plain, say

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from daemon.settings import TidySettings
    from registry.artifacts.byproducts.looking import FolderLook
    from registry.artifacts.byproducts.names import Category
    from registry.artifacts.byproducts.tidying import Outcome, Plan, Step, TidyPolicy
    from registry.settings import RegistryPaths

SCHEMA = "loraseal/tidy.v1"
_PARTLY = 14
_MOST_NAMES = 5


@click.command("tidy")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Say what is there and what would happen.")
@click.option("--config", type=click.Path(path_type=Path), help="Settings file.")
@json_option
@guarded
def tidy_command(
    folder: Path, yes: bool, dry_run: bool, config: Path | None, as_json: bool
) -> None:
    """Find what training left in FOLDER: logs, states, caches, samples, configs.

    What happens to each class the settings say ([tidy]); by default all of it is kept and only
    reported. Logs can be redacted to trends, anything can be sealed to the registry or deleted.
    Adapters are never touched. Exits 14 if something was left alone that should not have been.
    """
    from daemon.custody.tidying import policy_of, refuse_own_state, seal_keys, tidy
    from registry.artifacts.byproducts.looking import look_at
    from registry.artifacts.byproducts.tidying import Action, plan_tidying
    from registry.errors import UsageError

    settings, paths = _settings(config)
    root = followed(folder).absolute()
    if root.exists() and not root.is_dir():
        raise UsageError(f"{str(folder)!r} is no folder", hint="give the folder of a training run")
    refuse_own_state(root, paths)
    policy, look = policy_of(settings), look_at(root)
    plan = plan_tidying(look, policy, time.time_ns())
    outcomes: tuple[Outcome, ...] = ()
    if plan.acting and not dry_run:
        keys = seal_keys(settings, paths)
        _confirm(plan, yes=yes)
        outcomes = tidy(plan, policy, keys, paths)
    payload = _payload(look, plan, outcomes, dry_run=dry_run)
    lines = [*_table(plan, policy), *_remarks(look, plan), *_deeds(outcomes)]
    emit(payload, as_json=as_json, human="\n".join(lines))
    if outcomes or (dry_run and plan.acting):
        _say_limits(root, outcomes)
    waiting = any(step.action is not Action.KEEP for step in _young(plan))
    if not dry_run and (waiting or any(outcome.done == "left" for outcome in outcomes)):
        sys.exit(_PARTLY)


def _settings(config: Path | None) -> tuple[TidySettings, RegistryPaths | None]:
    """Return the settings; without any, those that keep everything: looking needs no registry."""
    from daemon.settings import TidySettings, load_settings
    from registry.errors import NotFoundError

    try:
        settings, paths = load_settings(config)
    except NotFoundError:
        if config is not None:
            raise
        return TidySettings(), None
    return settings.tidy, paths


def _confirm(plan: Plan, *, yes: bool) -> None:
    from registry.errors import UsageError

    if yes:
        return
    counted = Counter(step.action.value for step in plan.acting)
    asked = ", ".join(f"{action} {count}" for action, count in sorted(counted.items()))
    if not _is_terminal():
        raise UsageError(
            f"this would {asked} files", hint="look first with --dry-run; add --yes in a script"
        )
    click.confirm(f"{asked} files", abort=True, err=True)


def _is_terminal() -> bool:
    return sys.stdin.isatty()


def _young(plan: Plan) -> tuple[Step, ...]:
    from registry.artifacts.byproducts.tidying import STILL_WRITTEN

    return tuple(step for step in plan.steps if step.held == STILL_WRITTEN)


def _by_class(plan: Plan) -> Iterator[tuple[Category, tuple[Step, ...]]]:
    classes: dict[Category, list[Step]] = defaultdict(list)
    for step in plan.steps:
        classes[step.product.category].append(step)
    for category in sorted(classes):
        yield category, tuple(classes[category])


def _size(steps: Iterable[Step]) -> int:
    return sum(step.product.size for step in steps)


def _table(plan: Plan, policy: TidyPolicy) -> list[str]:
    from registry.artifacts.byproducts.finding import EXPOSURES

    if not plan.steps:
        return ["nothing that training leaves behind was found"]
    lines = [f"{'class':<16} {'files':>6} {'bytes':>15}  {'policy':<7} what it leaks"]
    for category, steps in _by_class(plan):
        exposure, action = EXPOSURES[category], policy.action_for(category)
        figures = f"{category.value:<16} {len(steps):>6} {_size(steps):>15,}"
        lines.append(f"{figures}  {action.value:<7} {exposure.leaks}")
        lines.append(f"{'':<48}why: {exposure.why}")
        lines.append(f"{'':<48}-> {exposure.advice}")
        lines += [f"    {plain(str(step.product.path))}" for step in steps[:_MOST_NAMES]]
        if len(steps) > _MOST_NAMES:
            lines.append(f"    and {len(steps) - _MOST_NAMES} more (--json lists them)")
    lines.append(f"{'total':<16} {len(plan.steps):>6} {_size(plan.steps):>15,}")
    return lines


def _remarks(look: FolderLook, plan: Plan) -> Iterator[str]:
    if look.trainers:
        yield f"layouts: {', '.join(look.trainers)}"
    doubts = Counter(step.product.doubt for step in plan.steps if step.product.doubt)
    for doubt, count in sorted(doubts.items()):
        yield f"only reported, {count} files: {doubt}"
    if young := _young(plan):
        yield f"left alone, {len(young)} files: still being written, or changed too lately"
    if plan.restless:
        yield f"{plan.restless} files changed lately: nothing is touched until the folder is quiet"
    telling = [step for step in plan.steps if step.product.name_tells]
    if telling:
        yield f"{len(telling)} files bear names, or lie in folders, that may tell a prompt or a host"
    out = look.left_out
    if out.links or out.special or out.closed_folders or out.deep_folders:
        yield (
            f"not looked at: {out.links} links, {out.special} special files,"
            f" {out.closed_folders} closed folders, {out.deep_folders} too deep"
        )


def _deeds(outcomes: tuple[Outcome, ...]) -> Iterator[str]:
    counted = Counter(outcome.done for outcome in outcomes)
    for done, count in sorted(counted.items()):
        yield f"{done}: {count} files"
    for outcome in outcomes:
        if outcome.reason:
            path = plain(str(outcome.step.product.path))
            yield f"! {path} was {outcome.done}: {outcome.reason}"
        if outcome.links:
            path = plain(str(outcome.step.product.path))
            yield f"! {path}: its content is still there under {outcome.links} other names"


def _say_limits(root: Path, outcomes: tuple[Outcome, ...]) -> None:
    from daemon.mounts import file_system_of
    from registry.artifacts.byproducts.removal import WORDS

    kind = file_system_of(root)
    say(f"note: {WORDS}" + (f"; this folder is on {kind}" if kind else ""))
    if any(outcome.done in ("sealed", "redacted") for outcome in outcomes):
        say("open a sealed file: loraseal open FILE.age -i STATE/keys/vault-identity.txt -o FILE")


def _payload(
    look: FolderLook, plan: Plan, outcomes: tuple[Outcome, ...], *, dry_run: bool
) -> dict[str, object]:
    from registry.artifacts.byproducts.removal import WORDS

    became = {outcome.step.product.path: outcome for outcome in outcomes}
    out = look.left_out
    return {
        "schema": SCHEMA,
        "folder": str(look.root),
        "dry_run": dry_run,
        "layouts": [trainer.value for trainer in look.trainers],
        "classes": [_class(category, steps) for category, steps in _by_class(plan)],
        "total": {"files": len(plan.steps), "bytes": _size(plan.steps)},
        "restless": plan.restless,
        "left_out": {
            "links": out.links,
            "special": out.special,
            "closed_folders": out.closed_folders,
            "deep_folders": out.deep_folders,
        },
        "files": [_file(step, became.get(step.product.path)) for step in plan.steps],
        "done": dict(sorted(Counter(outcome.done for outcome in outcomes).items())),
        "limits": WORDS,
    }


def _class(category: Category, steps: tuple[Step, ...]) -> dict[str, object]:
    from registry.artifacts.byproducts.finding import EXPOSURES

    exposure = EXPOSURES[category]
    return {
        "class": category.value,
        "files": len(steps),
        "bytes": _size(steps),
        "actions": dict(sorted(Counter(step.action.value for step in steps if step.acts).items())),
        "held": sum(bool(step.held) for step in steps),
        "leaks": exposure.leaks,
        "why": exposure.why,
        "what_to_do": exposure.advice,
    }


def _file(step: Step, outcome: Outcome | None) -> dict[str, object]:
    return {
        "path": str(step.product.path),
        "class": step.product.category.value,
        "layout": step.product.trainer,
        "bytes": step.product.size,
        "action": step.action.value,
        "held": step.held,
        "done": "kept" if outcome is None else outcome.done,
        "reason": "" if outcome is None else outcome.reason,
        "other_names": step.seen.links - 1 if outcome is None else outcome.links,
    }
