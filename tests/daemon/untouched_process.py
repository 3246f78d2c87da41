"""Watch a tree and take all of it in, in a process of its own, and tell what it did to files.

`python -m tests.daemon.untouched_process ROOT VAULT [readonly]` prints a line of JSON: the names that were
taken, and every attempt to change something outside of VAULT, as Python's audit events tell. With
`readonly` the tree is first mounted read-only (under `unshare -Urm`).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from daemon.scan import NS_PER_SECOND, Candidate, WatchRules
from daemon.watcher import Watcher
from registry.artifacts.intake import IntakeSource, take_in
from registry.artifacts.vault import Vault
from registry.errors import LorasealError
from registry.sealing.identities import X25519Identity

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGING = frozenset(
    (
        *(
            "os.chmod",
            "os.chown",
            "os.link",
            "os.mkdir",
            "os.remove",
            "os.removexattr",
            "os.rename",
        ),
        *("os.rmdir", "os.setxattr", "os.symlink", "os.truncate", "os.utime", "fcntl.flock"),
        *("fcntl.lockf", "os.lockf", "shutil.move", "shutil.rmtree", "mmap.__new__"),
    )
)


class Changes:
    """Collects what would change a file that is not in `vault`."""

    def __init__(self, vault: Path) -> None:
        self.seen: list[str] = []
        self._vault = str(vault)

    def __call__(self, event: str, arguments: tuple[object, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if isinstance(flags, int) and flags & WRITING and not self._is_ours(path):
                self.seen.append(f"{event} {path!r} {flags:o}")
        elif event in CHANGING and not self._is_ours(arguments[0]):
            self.seen.append(f"{event} {arguments!r}")

    def _is_ours(self, path: object) -> bool:
        if isinstance(path, int):
            # A file that is open already gets a stream; its own opening was seen.
            return True
        return isinstance(path, str | bytes | os.PathLike) and os.fsdecode(path).startswith(
            self._vault
        )


def main() -> None:
    root, vault_root, *rest = sys.argv[1:]
    if rest:
        subprocess.run(["mount", "--bind", root, root], check=True)
        subprocess.run(["mount", "-o", "remount,bind,ro", root], check=True)
    vault = Vault(Path(vault_root))
    vault.create()
    recipients = [X25519Identity.generate().recipient()]
    taken, refused = [], []

    def take(seen: Candidate) -> None:
        name = str(seen.path.relative_to(root))
        try:
            take_in(IntakeSource(seen.root, seen.files), vault, recipients, "0" * 32)
            taken.append(name)
        except LorasealError as error:
            refused.append([name, type(error).__name__])

    later = time.time_ns() + 3600 * NS_PER_SECOND
    watcher = Watcher(Path(root), WatchRules(), take, clock=lambda: later)
    changes = Changes(vault.root)
    sys.addaudithook(changes)
    watcher.reconcile()
    watcher.reconcile()
    seen = tuple(changes.seen)
    answer = {"taken": sorted(taken), "refused": sorted(refused), "changes": seen}
    sys.stdout.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
