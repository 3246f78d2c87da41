"""What the kernel allows of inotify and what of it is in use: limits, needs, and what to do about them.

A watcher needs one instance, and one watch for each folder of its tree. Both are counted for all programs
of a user together, so an editor or a synchroniser can use them up. Past the limit a folder goes unheard,
and watchdog does not say so: what is really watched stands in /proc/PID/fdinfo.
"""

from __future__ import annotations

import contextlib
import errno
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

PROC = Path("/proc")
WATCHES = "max_user_watches"
INSTANCES = "max_user_instances"
QUEUE = "max_queued_events"
# Twice what is needed, at least what distributions have set since 2021.
_GENEROUS_WATCHES = 524_288
_GENEROUS_INSTANCES = 1024
_LINK = "anon_inode:inotify"


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit: the sysctl that sets it, and its value now."""

    sysctl: str
    value: int

    def command(self, needed: int) -> str:
        """Return the command that raises it far enough for `needed`."""
        generous = _GENEROUS_INSTANCES if "instances" in self.sysctl else _GENEROUS_WATCHES
        return f"sudo sysctl {self.sysctl}={max(generous, 2 * needed)}"


@dataclass(frozen=True, slots=True)
class InUse:
    """Instances and watches of inotify that the processes which we may look at hold now."""

    instances: int
    watches: int


@dataclass(frozen=True, slots=True)
class Budget:
    """A limit, what our folders need of it, and what the programs of this user hold of it now.

    `wanted` is what still has to come out of the limit: 0 while the daemon runs, and has its share.
    """

    limit: Limit
    what: str
    needed: int
    used: int
    wanted: int

    @property
    def is_short(self) -> bool:
        """Whether a folder will go unheard, or may go already."""
        return self.used + self.wanted > self.limit.value or (
            self.used >= self.limit.value and not self.wanted
        )

    @property
    def words(self) -> str:
        """Say how it stands."""
        return (
            f"{self.what}: {self.needed} needed, {self.used} in use by programs of this user,"
            f" {self.limit.value} allowed ({self.limit.sysctl})"
        )

    @property
    def advice(self) -> str:
        """Say how to get more, and what happens until then."""
        return (
            f"{self.limit.command(self.needed + self.used)} (to keep it, also in"
            " /etc/sysctl.d/60-loraseal.conf); until then folders are scanned every few seconds"
        )


def read_limit(name: str, *, proc: Path = PROC) -> Limit | None:
    """Return the limit called `name` that binds this process; None where the system tells none.

    In a container (user namespace) a second one holds beside the machine's own: the smaller binds.
    """
    places = {f"fs.inotify.{name}": proc / "sys" / "fs" / "inotify" / name}
    if name in (WATCHES, INSTANCES):
        inner = name.replace("_user_", "_inotify_")
        places[f"user.{inner}"] = proc / "sys" / "user" / inner
    found = []
    for sysctl, path in places.items():
        with contextlib.suppress(OSError, ValueError):
            found.append(Limit(sysctl, int(path.read_text("ascii"))))
    return min(found, key=lambda limit: limit.value, default=None)


def folders_below(root: Path) -> Iterator[Path]:
    """Yield `root` and every folder below it that can be listed; links are not followed."""
    waiting = [root]
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(folder) as entries:
                inner = [Path(entry.path) for entry in entries if _is_folder(entry)]
        except OSError:
            continue
        yield folder
        waiting.extend(inner)


def count_folders(root: Path) -> int:
    """Return how many watches the tree of `root` needs: one for each folder."""
    return sum(1 for _ in folders_below(root))


def unheard(root: Path, matters: Callable[[str], bool], *, proc: Path = PROC) -> frozenset[Path]:
    """Return the folders of `root` that no inotify instance of this process watches.

    A folder for whose name `matters` is false is left out with all below it. Nothing is returned where
    the system does not tell what is watched. A folder made this instant may not be watched yet.
    """
    heard = _inodes(proc / "self")
    if heard is None:
        return frozenset()
    found = set()
    for folder in folders_below(root):
        inside = folder.relative_to(root).parts
        with contextlib.suppress(OSError):
            if all(matters(name) for name in inside) and folder.stat().st_ino not in heard:
                found.add(folder)
    return frozenset(found)


def in_use(*, proc: Path = PROC) -> InUse:
    """Return what the processes of this user hold; those of others cannot be looked into."""
    instances = watches = 0
    for process in proc.glob("[0-9]*"):
        for lines in _instances(process) if _is_ours(process) else ():
            instances += 1
            watches += len(lines)
    return InUse(instances, watches)


def budgets_for(roots: Sequence[Path], *, running: bool, proc: Path = PROC) -> tuple[Budget, ...]:
    """Return how instances and watches stand for watching `roots`; () where the system tells none.

    `running` says whether a daemon watches them already.
    """
    used = in_use(proc=proc)
    needs = {
        INSTANCES: ("inotify instances", len(roots), used.instances),
        WATCHES: ("inotify watches", sum(map(count_folders, roots)), used.watches),
    }
    found = []
    for name, (what, needed, held) in needs.items():
        if (limit := read_limit(name, proc=proc)) is not None:
            found.append(Budget(limit, what, needed, held, 0 if running else needed))
    return tuple(found)


def explain(error: OSError, root: Path, *, proc: Path = PROC) -> str:
    """Return which limit a failed start of a watcher has met, and how to raise it; "" if none."""
    if error.errno == errno.EMFILE and not _can_open_more():
        return "this process may open no more files; raise LimitNOFILE of the service, or ulimit -n"
    if error.errno == errno.EMFILE:
        return _too_few(read_limit(INSTANCES, proc=proc), "instances", 1)
    if error.errno == errno.ENOSPC:
        return explain_watches(root, proc=proc)
    return ""


def explain_watches(root: Path, *, proc: Path = PROC) -> str:
    """Return that there are not enough watches for the tree of `root`, and how to get them."""
    return _too_few(read_limit(WATCHES, proc=proc), "watches", count_folders(root))


def explain_overflow(*, proc: Path = PROC) -> str:
    """Return what an overflow of the event queue means, and how to make it rarer."""
    limit = read_limit(QUEUE, proc=proc)
    if limit is None:
        return "more events came at once than the system keeps"
    return f"more than {limit.value} events came at once ({limit.sysctl})"


def _can_open_more() -> bool:
    # One error number stands for two limits.
    try:
        os.close(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def _too_few(limit: Limit | None, what: str, needed: int) -> str:
    if limit is None:
        return f"the system has no inotify {what} left"
    return (
        f"no inotify {what} left: {limit.sysctl} is {limit.value} for all programs of this user,"
        f" this folder needs {needed}; raise it: {limit.command(needed)}"
    )


def _inodes(process: Path) -> frozenset[int] | None:
    found: set[int] = set()
    if not (process / "fdinfo").is_dir():
        return None
    for lines in _instances(process):
        for line in lines:
            fields = dict(part.partition(":")[::2] for part in line.split()[1:])
            with contextlib.suppress(KeyError, ValueError):
                found.add(int(fields["ino"], 16))
    return frozenset(found)


def _instances(process: Path) -> Iterator[list[str]]:
    """Yield, for each inotify instance of a process, the lines that say what it watches."""
    try:
        numbers = os.listdir(process / "fd")  # noqa: PTH208 - names, not paths
    except OSError:
        return
    for number in numbers:
        # Descriptors come and go while we look.
        with contextlib.suppress(OSError):
            if os.readlink(process / "fd" / number) == _LINK:  # noqa: PTH115 - of a number, not a path
                text = (process / "fdinfo" / number).read_text("ascii", "replace")
                yield [line for line in text.splitlines() if line.startswith("inotify ")]


def _is_ours(process: Path) -> bool:
    try:
        return process.stat().st_uid == os.geteuid()
    except OSError:
        return False


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:
        return False
