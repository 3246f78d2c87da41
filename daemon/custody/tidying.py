"""`loraseal tidy` on a registry's host: its policy, to whom it seals, and what the ledger is told.

Events name classes, counts and bytes, never a path or a name. The private identity is read only to prove
that a sealed copy opens; with a recipient in the settings no key of this registry is touched.
"""

from __future__ import annotations

import contextlib
import fcntl
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from daemon.keyring import VAULT_FILE
from registry.artifacts.byproducts.names import Category
from registry.artifacts.byproducts.sealed_beside import SealKeys
from registry.artifacts.byproducts.tidying import Action, TidyPolicy, carry_out
from registry.errors import BusyError, UsageError
from registry.provenance.database import open_database
from registry.provenance.events import NewEvent, note_event
from registry.provenance.ledger import Ledger
from registry.sealing.identities import X25519Identity, parse_identity_file, parse_recipient
from registry.sealing.key_files import read_key_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from daemon.settings import TidySettings
    from registry.artifacts.byproducts.tidying import Outcome, Plan, Step
    from registry.settings import RegistryPaths

_LOCK_NAME = "tidy.lock"


def policy_of(settings: TidySettings) -> TidyPolicy:
    """Return the policy that a settings table says."""
    said = settings.model_dump()
    actions: dict[Category, Action] = {
        category: Action(said[field_name(category)])
        for category in Category
        if category is not Category.TRAINING_DATA
    }
    return TidyPolicy(
        actions=actions,
        redacted_originals=Action(settings.redacted_originals),
        least_records=settings.least_records,
        settle_seconds=settings.settle_seconds,
        quiet_seconds=settings.quiet_seconds,
    )


def field_name(category: Category) -> str:
    """Return what a class is called in the settings."""
    return category.value.replace("-", "_")


def seal_keys(settings: TidySettings, paths: RegistryPaths | None) -> SealKeys | None:
    """Return to whom tidying seals: the settings' recipient, else the registry's own, else nobody.

    Raises:
        FormatError: the recipient is none, or the key file holds something else.
        LorasealError: others can read the key file.
    """
    if settings.recipient is not None:
        return SealKeys(parse_recipient(settings.recipient))
    if paths is None or not (paths.keys / VAULT_FILE).exists():
        return None
    identity = parse_identity_file(read_key_file(paths.keys / VAULT_FILE))[0]
    if not isinstance(identity, X25519Identity):
        return None
    return SealKeys(identity.recipient(), identity)


def refuse_own_state(folder: Path, paths: RegistryPaths | None) -> None:
    """Refuse a folder that holds the registry's own keys and vault, or lies among them.

    Raises:
        UsageError: it does.
    """
    if paths is None:
        return
    state, asked = paths.state.resolve(), folder.resolve()
    if state.is_relative_to(asked) or asked.is_relative_to(state):
        raise UsageError(
            "that folder holds this registry's own state", hint="give the folder of a trainer"
        )


def tidy(
    plan: Plan, policy: TidyPolicy, keys: SealKeys | None, paths: RegistryPaths | None
) -> tuple[Outcome, ...]:
    """Carry out `plan`, tell the ledger before and after, and return what became of each step.

    However it ends, what was done until then is told.

    Raises:
        BusyError: something changed in the folder lately, or another tidying runs on this registry.
        UsageError: something is to be sealed, and there is nobody to seal to.
    """
    if plan.restless:
        raise BusyError(
            f"{plan.restless} files in there changed within {policy.quiet_seconds:g} s",
            hint="wait until the trainer is done; --dry-run looks at it all the same",
        )
    done: list[Outcome] = []
    with _alone(paths), _ledger(paths) as ledger:
        _note(ledger, [("tidy started", _wishes(plan.acting))])
        try:
            # One by one: an interrupt must not lose what was done before it.
            for outcome in carry_out(plan, policy, keys):
                done.append(outcome)  # noqa: PERF402
        finally:
            _note(ledger, _deeds(done))
    return tuple(done)


def _wishes(steps: tuple[Step, ...]) -> str:
    counted = Counter((step.product.category.value, step.action.value) for step in steps)
    return "; ".join(
        f"{category}: {action} {n}" for (category, action), n in sorted(counted.items())
    )


def _deeds(outcomes: list[Outcome]) -> list[tuple[str, str]]:
    files: Counter[tuple[str, str]] = Counter()
    sizes: Counter[tuple[str, str]] = Counter()
    for outcome in outcomes:
        key = outcome.done, outcome.step.product.category.value
        files[key] += 1
        sizes[key] += outcome.step.product.size
    return [
        (f"byproducts {done}", f"{category}: {count} files, {sizes[done, category]} bytes")
        for (done, category), count in sorted(files.items())
    ]


def _note(ledger: Ledger | None, said: list[tuple[str, str]]) -> None:
    if ledger is None or not said:
        return
    now = datetime.now(UTC)
    with ledger.transaction() as tx:
        for kind, detail in said:
            note_event(tx, NewEvent(kind, now, detail=detail))


@contextlib.contextmanager
def _alone(paths: RegistryPaths | None) -> Iterator[None]:
    if paths is None or not paths.state.is_dir():
        yield
        return
    with (paths.state / _LOCK_NAME).open("ab") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BusyError(
                "another tidying runs on this registry", hint="wait until it is done"
            ) from error
        yield


@contextlib.contextmanager
def _ledger(paths: RegistryPaths | None) -> Iterator[Ledger | None]:
    """Yield the ledger where there is one; its sealed columns are not needed for an event."""
    if paths is None or not paths.database.exists():
        yield None
        return
    engine = open_database(paths.database)
    try:
        yield Ledger(engine, None)
    finally:
        engine.dispose()
