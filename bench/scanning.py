"""What one look at a folder of very many adapters costs.

    python -m bench.scanning [--files N] [--rounds N] [--folder DIR]

Small adapters in folders of a hundred. `new`: all are settled and unknown, so each is opened and its header
read. `known`: all were handed on before, which is what every later look finds. `settling`: all are fresh.
A watcher rests four times as long as its last scan took, at most 5 s.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

from daemon.scan import NS_PER_SECOND, WatchRules, scan

RULES = WatchRules()
LATER_SECONDS = 3600
_FOLDER_FILES = 100


def seconds_of(root: Path, later: float, known: set[tuple[Path, str]]) -> tuple[float, int]:
    """Return how long a scan takes, and how many sightings it gives."""
    now_ns = time.time_ns() + int(later * NS_PER_SECOND)
    begun = time.perf_counter()
    count = len(scan(root, now_ns, RULES, known=known))
    return time.perf_counter() - begun, count


def measure(root: Path, files: int, rounds: int) -> dict[str, float]:
    """Write `files` adapters and return the median seconds of each kind of scan."""
    from tests.weights_files import lora_bytes

    data = lora_bytes()
    for number in range(files):
        folder = root / f"run{number // _FOLDER_FILES:04}"
        if number % _FOLDER_FILES == 0:
            folder.mkdir()
        (folder / f"a{number:06}.safetensors").write_bytes(data)
    later = time.time_ns() + LATER_SECONDS * NS_PER_SECOND
    seen = scan(root, later, RULES)
    known = {(each.candidate.path, each.candidate.signature) for each in seen}
    times: dict[str, list[float]] = {"new": [], "known": [], "settling": []}
    for _ in range(rounds):
        for name, after, handed_on, expected in (
            ("new", LATER_SECONDS, set(), files),
            ("known", LATER_SECONDS, known, 0),
            ("settling", -LATER_SECONDS, set(), files),
        ):
            seconds, count = seconds_of(root, after, handed_on)
            if count != expected:
                raise SystemExit(f"bench: {count} sightings, expected {expected}")
            times[name].append(seconds)
    return {name: statistics.median(each) for name, each in times.items()}


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="One scan of very many adapters.")
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="on the disk to measure (default: temporary)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="loraseal-bench-") as folder:
        found = measure(Path(folder), options.files, options.rounds)
    print(f"| scan of {options.files} adapters | seconds |\n|---|---|")
    for name, seconds in found.items():
        print(f"| {name} | {seconds:.2f} |")
    rounded = {name: round(seconds, 3) for name, seconds in found.items()}
    row = {"schema": "loraseal/bench-scanning.v1", "files": options.files, "seconds": rounded}
    print(json.dumps(row))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
