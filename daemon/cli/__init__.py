"""The command `loraseal`. Commands are named by string and loaded late (`daemon.cli.root`)."""

from __future__ import annotations


def main() -> None:
    """Run the command line; exit codes are those of docs/cli.md."""
    from daemon.cli.root import loraseal

    loraseal(prog_name="loraseal")
