"""A watched mount that goes and comes back, in a process with mounts of its own (`unshare -Urm`).

`python -m tests.daemon.mounting_process HOME` prints a line of JSON for each look: its presence, and the
names and signatures that were handed on.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

from daemon.scan import NS_PER_SECOND, WatchRules
from daemon.watcher import Watcher
from tests.weights_files import write_lora


def main() -> None:
    home = Path(sys.argv[1])
    root, share = home / "out", home / "share"
    for folder in (root, share):
        folder.mkdir()

    def run(*command: object) -> None:
        subprocess.run([str(part) for part in command], check=True)

    later = time.time_ns() + 3600 * NS_PER_SECOND
    watcher = Watcher(root, WatchRules(), lambda _seen: None, clock=lambda: later)

    def look() -> None:
        seen = watcher.reconcile()
        files = {str(each.path.relative_to(root)): each.signature for each in seen.handed_on}
        sys.stdout.write(json.dumps([seen.presence, files]) + "\n")

    run("mount", "-t", "tmpfs", "none", share)
    run("mount", "--bind", share, root)
    write_lora(root / "a.safetensors")
    look()
    run("umount", root)
    look()
    look()
    write_lora(share / "run" / "b.safetensors")
    run("mount", "--bind", share, root)
    look()
    look()
    # Another file system on top of the folder that is watched.
    run("mount", "-t", "tmpfs", "none", root)
    write_lora(root / "c.safetensors")
    look()


if __name__ == "__main__":
    main()
