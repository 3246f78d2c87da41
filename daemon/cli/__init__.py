"""The command `loraseal`. Commands are named by string and loaded late (`daemon.cli.root`)."""

from __future__ import annotations

import signal
import sys


def main() -> None:
    """Run the command line; exit codes are those of docs/cli.md."""
    from daemon.cli.root import loraseal

    # Ended from outside (a service, a closed terminal), what is half-written goes as it does on Ctrl-C.
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), lambda number, _: sys.exit(128 + number))
    loraseal(prog_name="loraseal")
