"""Start-up times of whole processes: `loraseal --help` and a real `loraseal verify`, beside `python -c pass`.

Targets (DESIGN section 8): 200 ms and 300 ms. Run: python -m bench.startup
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.verify.world import written_delivery

ROUNDS = 9
PROGRAM = [sys.executable, "-c", "from daemon.cli import main; main()"]


def main() -> int:
    """Time each command in turn, several rounds; print a table and one JSON line."""
    with tempfile.TemporaryDirectory() as folder:
        sealed, bundle, root = written_delivery(Path(folder))
        verify = [*PROGRAM, "verify", str(sealed), "--bundle", str(bundle), "--key", root]
        commands = {
            "python -c pass": [sys.executable, "-c", "pass"],
            "loraseal --help": [*PROGRAM, "--help"],
            "loraseal verify": [*verify, "--no-memory"],
            "python -m registry.verify": [sys.executable, "-m", "registry.verify", *verify[4:]],
        }
        times: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(ROUNDS + 1):
            for name, command in commands.items():
                times[name].append(_seconds(command))
    medians = {name: statistics.median(rows[1:]) * 1000 for name, rows in times.items()}
    print("| command | median ms |\n|---|---|")
    for name, value in medians.items():
        print(f"| `{name}` | {value:.0f} |")
    print(json.dumps({"bench": "startup", "milliseconds": medians}))
    return 0


def _seconds(command: list[str]) -> float:
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{command} gave exit {done.returncode}: {done.stderr.decode()}")
    return time.perf_counter() - start


if __name__ == "__main__":
    sys.exit(main())
