"""What `loraseal doctor` looks at: one function a probe, each with what to do about it.

A probe changes nothing that is yours (a folder channel leaves its mark) and never prints a secret; it answers in words that a person who has
not read the documentation understands.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import shutil
import stat
from typing import TYPE_CHECKING

from daemon.probes.answers import Answer, Level, ok
from daemon.probes.watching import probe_conversion, probe_inotify, probe_watched
from registry.errors import LorasealError
from signal_bridge.channel import Health

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from daemon.settings import RouteSettings, Settings
    from registry.settings import RegistryPaths

FREE_WARN_BYTES = 20 * 1024**3
FREE_PROBLEM_BYTES = 2 * 1024**3


def probe_all(settings: Settings, paths: RegistryPaths) -> Iterator[Answer]:
    """Run every probe in order; one that breaks says so and the others go on."""
    for name, probe in PROBES:
        try:
            yield from probe(settings, paths)
        except (LorasealError, OSError) as error:
            hint = getattr(error, "hint", None) or "see the message, then run doctor again"
            yield Answer(name, Level.PROBLEM, str(error), hint)


def probe_settings(settings: Settings, paths: RegistryPaths) -> Iterator[Answer]:
    """Settings parse, and ask for something."""
    if not settings.watch:
        yield Answer(
            "settings",
            Level.WARNING,
            f"{paths.settings} watches no folder",
            "add a [[watch]] block with path = the folder your trainer writes to",
        )
        return
    yield ok(
        "settings", f"{paths.settings}, {len(settings.watch)} watched, {len(settings.route)} routes"
    )


def probe_packages(settings: Settings, _paths: RegistryPaths) -> Iterator[Answer]:
    """The crypto library is new enough, and audits have what they need."""
    version = importlib.metadata.version("cryptography")
    if int(version.split(".")[0]) < 50:  # noqa: PLR2004 - the version that stopped holding the GIL
        yield Answer("cryptography", Level.PROBLEM, version, "pip install 'cryptography>=50'")
    else:
        yield ok("cryptography", version)
    if importlib.util.find_spec("torch") is None:
        yield Answer(
            "torch",
            Level.PROBLEM,
            "not installed: weight audits cannot run, so nothing is released",
            "pip install 'loraseal[audit]'",
        )
    else:
        yield from _devices(settings)


def probe_state(_settings: Settings, paths: RegistryPaths) -> Iterator[Answer]:
    """The state directory is ours alone and on a disk with room."""
    try:
        status = paths.state.stat()
    except FileNotFoundError:
        yield Answer("state", Level.PROBLEM, f"{paths.state} is missing", "run: loraseal init")
        return
    if stat.S_IMODE(status.st_mode) & 0o077:
        yield Answer(
            "state",
            Level.PROBLEM,
            f"{paths.state} can be read by others (mode {stat.S_IMODE(status.st_mode):04o})",
            f"chmod 700 {paths.state}",
        )
    else:
        yield ok("state", f"{paths.state}, mode 0700")


def probe_disk(_settings: Settings, paths: RegistryPaths) -> Iterator[Answer]:
    """The vault's disk has room: a full disk stops intake (nothing is lost, but nothing moves)."""
    free = shutil.disk_usage(paths.state).free
    found = f"{free / 1024**3:.1f} GiB free"
    if free < FREE_PROBLEM_BYTES:
        yield Answer("disk", Level.PROBLEM, found, "make room or move the state directory")
    elif free < FREE_WARN_BYTES:
        yield Answer("disk", Level.WARNING, found, "plan for more room")
    else:
        yield ok("disk", found)


def probe_keys(_settings: Settings, paths: RegistryPaths) -> Iterator[Answer]:
    """Every key is there, nobody else can read it, and the root has been moved away."""
    from daemon.keyring import KEY_FILES, ROOT_FILE

    missing = [name for name in KEY_FILES if not (paths.keys / name).is_file()]
    if missing:
        yield Answer(
            "keys",
            Level.PROBLEM,
            f"missing in {paths.keys}: {', '.join(missing)}",
            "restore them from your backup; without them nothing can be opened or signed",
        )
        return
    here = [name for name in (*KEY_FILES, ROOT_FILE) if (paths.keys / name).exists()]
    loose = [name for name in here if (paths.keys / name).stat().st_mode & 0o077]
    if loose:
        yield Answer(
            "keys",
            Level.PROBLEM,
            f"others can read: {', '.join(loose)}",
            f"chmod 600 {paths.keys}/* and think about who has read them",
        )
    else:
        yield ok("keys", f"{len(here)} keys, mode 0600")
    if (paths.keys / ROOT_FILE).exists():
        yield Answer(
            "root key",
            Level.WARNING,
            "the root key is still on this machine",
            "loraseal keys export-root FILE (to a stick that you put away)",
        )
    else:
        yield ok("root key", "not on this machine")


def probe_database(_settings: Settings, paths: RegistryPaths) -> Iterator[Answer]:
    """The ledger opens, is of this version, and is whole."""
    from registry.provenance.check import is_whole
    from registry.provenance.database import open_database
    from registry.provenance.migration import is_current

    if not paths.database.exists():
        yield Answer("ledger", Level.PROBLEM, f"{paths.database} is missing", "run: loraseal init")
        return
    database = open_database(paths.database)
    try:
        if not is_whole(database):
            yield Answer(
                "ledger",
                Level.PROBLEM,
                "SQLite finds damage",
                "stop the daemon, keep the file, restore a backup, then: loraseal fsck",
            )
        elif not is_current(database):
            yield Answer(
                "ledger",
                Level.WARNING,
                "of an older version",
                "start the daemon once: it upgrades it",
            )
        else:
            yield ok("ledger", f"{paths.database}, whole")
    finally:
        database.dispose()


def probe_daemon(_settings: Settings, paths: RegistryPaths) -> Iterator[Answer]:
    """Whether a daemon works in this state directory now."""
    from daemon.engine import is_locked

    if is_locked(paths.lock):
        yield ok("daemon", "running")
    else:
        yield Answer(
            "daemon", Level.WARNING, "not running", "loraseal up (or systemctl start loraseal)"
        )


def probe_channels(settings: Settings, paths: RegistryPaths) -> Iterator[Answer]:
    """Every channel in use answers."""
    from daemon.routes import open_channels

    channels = open_channels(settings, paths)
    if not channels:
        yield Answer(
            "channels", Level.WARNING, "none is set", "add [channel.folder] or [channel.signal]"
        )
    for name, channel in channels.items():
        status = channel.check()
        advice = status.what_to_do or ""
        level = _LEVEL_OF[status.health]
        yield Answer(f"channel {name}", level, status.message, advice)
        channel.close()


def probe_routes(settings: Settings, paths: RegistryPaths) -> Iterator[Answer]:
    """Every route names a recipient that is enrolled and a channel that is set."""
    from daemon.custody.holder import open_custody
    from registry.provenance.recipients import list_recipients

    if not settings.route:
        yield Answer(
            "routes",
            Level.WARNING,
            "nobody gets anything by itself",
            "add [[route]] blocks, or deliver by hand: loraseal deliver ID --to NAME --by CHANNEL",
        )
        return
    with open_custody(paths, to_look=True) as custody, custody.ledger.reading() as reader:
        known = {row.name.casefold() for row in list_recipients(reader)}
    for route in settings.route:
        yield _answer_for_route(route, settings, known)


def _answer_for_route(route: RouteSettings, settings: Settings, known: set[str]) -> Answer:
    if route.to.casefold() not in known:
        return Answer(
            "routes",
            Level.PROBLEM,
            f"{route.to} is not enrolled",
            f"loraseal recipient add {route.to} FILE (the file they made with loraseal enrol)",
        )
    if route.channel not in settings.channel:
        return Answer(
            "routes",
            Level.PROBLEM,
            f"{route.to} by {route.channel}, which is no channel",
            f"add a [channel.{route.channel}] block, or correct the route",
        )
    return ok("routes", f"{route.to} by {route.channel}")


_LEVEL_OF = {
    Health.READY: Level.OK,
    Health.WARNING: Level.WARNING,
    Health.UNAVAILABLE: Level.PROBLEM,
    Health.NEEDS_PERSON: Level.PROBLEM,
}


def _devices(settings: Settings) -> Iterator[Answer]:
    """Start a worker on each device that is no CPU: whether there is one is known to torch only."""
    from registry.audits.runner import AuditWorker, WorkerOptions, uses_cpu
    from registry.errors import LorasealError

    devices = ", ".join(settings.audit.workers)
    yield ok("torch", f"{importlib.metadata.version('torch')}, audits on {devices}")
    for device in settings.audit.workers:
        if not uses_cpu(device):
            try:
                with AuditWorker(WorkerOptions(device)):
                    yield ok("device", device)
            except LorasealError as error:
                advice = error.hint or "set [audit] device"
                yield Answer("device", Level.PROBLEM, str(error), advice)


def probe_policy(settings: Settings, paths: RegistryPaths) -> Iterator[Answer]:
    """The policy parses."""
    from daemon.settings import load_policy

    policy = load_policy(settings, paths)
    yield ok("policy", f"{policy.name}: requires {', '.join(policy.required)}")


def probe_bases(settings: Settings, paths: RegistryPaths) -> Iterator[Answer]:
    """Every base model's cache that the settings name is there and readable."""
    from registry.audits.bases.store import find_base, read_facts
    from registry.errors import LorasealError

    for family, name in sorted(settings.audit.bases.items()):
        try:
            read_facts(find_base(paths.bases, name))
        except LorasealError as error:
            add = f"loraseal base add MODEL --name {name}, or drop {family} from [audit.bases]"
            yield Answer("bases", Level.PROBLEM, f"{family}: {error}", add)
        else:
            yield ok("bases", f"{family}: {name}")


def probe_log_head(_settings: Settings, paths: RegistryPaths) -> Iterator[Answer]:
    """The log continues the head that was signed last, which is kept outside the database."""
    from datetime import UTC, datetime

    from daemon.custody.holder import open_custody

    with open_custody(paths, to_look=True) as custody, custody.ledger.reading() as reader:
        custody.check(reader, datetime.now(UTC))
        head = custody.head.read(datetime.now(UTC))
    yield ok("log head", f"signed at {head.size if head else 0} entries")


PROBES: tuple[tuple[str, Callable[[Settings, RegistryPaths], Iterator[Answer]]], ...] = (
    ("settings", probe_settings),
    ("packages", probe_packages),
    ("state", probe_state),
    ("disk", probe_disk),
    ("keys", probe_keys),
    ("ledger", probe_database),
    ("bases", probe_bases),
    ("log head", probe_log_head),
    ("policy", probe_policy),
    ("watch", probe_watched),
    ("conversion", probe_conversion),
    ("inotify", probe_inotify),
    ("daemon", probe_daemon),
    ("channels", probe_channels),
    ("routes", probe_routes),
)
