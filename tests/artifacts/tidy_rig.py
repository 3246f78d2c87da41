"""Keys, policies and one tidying, for the tests of it."""

from __future__ import annotations

from pathlib import Path

from registry.artifacts.byproducts.looking import look_at
from registry.artifacts.byproducts.names import Category
from registry.artifacts.byproducts.sealed_beside import SealKeys
from registry.artifacts.byproducts.tidying import (
    Action,
    Outcome,
    Plan,
    TidyPolicy,
    carry_out,
    plan_tidying,
)
from registry.sealing.identities import X25519Identity
from registry.sealing.seal import open_bytes

ME = X25519Identity.generate()
KEYS = SealKeys(ME.recipient(), ME)
PUBLIC = SealKeys(ME.recipient())
DAY_NS = 86_400 * 10**9
EVERYTHING = dict.fromkeys(Category, Action.SEAL)
DELETING = TidyPolicy(dict.fromkeys(Category, Action.DELETE))
SEALING = TidyPolicy(EVERYTHING)
REDACTING = TidyPolicy({Category.TRAINING_LOG: Action.REDACT})


def later(root: Path) -> int:
    """Return a moment a day after the newest change in `root`."""
    return max((path.lstat().st_ctime_ns for path in root.rglob("*")), default=0) + DAY_NS


def planned(root: Path, policy: TidyPolicy) -> Plan:
    return plan_tidying(look_at(root), policy, later(root))


def tidied(root: Path, policy: TidyPolicy, keys: SealKeys | None = KEYS) -> tuple[Outcome, ...]:
    return tuple(carry_out(planned(root, policy), policy, keys))


def opened(path: Path) -> bytes:
    return open_bytes(path.read_bytes(), [ME], max_bytes=1 << 30)
