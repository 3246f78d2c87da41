"""Seal and open against the age tool, side by side in one run: medians, ratios, peak memory.

    python -m bench.seal [--size MIB] [--rounds N] [--folder DIR]

Every command is a whole process, start-up included. Rounds are interleaved and their order rotates, so
that a slow minute hits all alike. A run during which other processes used more than 20 % of a core is
repeated, and left out where enough clean ones remain. Use a folder in memory (tmpfs): on a disk, the
disk is what is measured.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import secrets
import shutil
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).resolve().parents[1]
DISTURBED_CORES = 0.2
TRIES = 3
MIB = 1024 * 1024
SHELL = "/bin/sh"


@dataclass(frozen=True, slots=True)
class Run:
    """One whole process: seconds of wall time and CPU, peak RSS in MiB, cores that others used."""

    wall: float
    cpu: float
    peak: float
    others: float


@dataclass(frozen=True, slots=True)
class Files:
    """The bench's files in its own folder."""

    folder: Path

    @property
    def plain(self) -> Path:
        """What is sealed."""
        return self.folder / "plain.bin"

    @property
    def sealed(self) -> Path:
        """It, sealed by the age tool."""
        return self.folder / "plain.bin.age"

    @property
    def identity(self) -> Path:
        """The identity that opens it."""
        return self.folder / "identity.txt"

    @property
    def out(self) -> Path:
        """What every command writes."""
        return self.folder / "out"


def commands(files: Files, recipient: str) -> dict[str, list[str]]:
    plain, out, key = str(files.plain), str(files.out), str(files.identity)
    age = f"age -r {recipient} -o {out} {plain}"
    table = {
        "age -r": ["age", "-r", recipient, "-o", out, plain],
        "sha256sum ; age": [SHELL, "-c", f"sha256sum {plain} && {age}"],
        "openssl dgst ; age": [SHELL, "-c", f"openssl dgst -sha256 {plain} && {age}"],
        "loraseal seal": loraseal("seal", plain, "-r", recipient, "-o", out),
        "age -d": ["age", "-d", "-i", key, "-o", out, str(files.sealed)],
        "open + sha256 (library)": [
            *(sys.executable, "-m", "bench.seal", "--inner-open"),
            *(str(files.sealed), key, out),
        ],
    }
    if (ROOT / "registry" / "cli" / "verifying.py").exists():
        table["loraseal open"] = loraseal("open", str(files.sealed), "-i", key, "-o", out)
    return table


def loraseal(*arguments: str) -> list[str]:
    return [sys.executable, "-c", "from daemon.cli import main; main()", *arguments]


def measure(command: list[str]) -> Run:
    """Run `command` once and say what it took and how busy the machine was besides."""
    busy, start = busy_seconds(), time.perf_counter()
    silent = [
        (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
        (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    child = os.posix_spawnp(command[0], command, environment, file_actions=silent)
    _, status, usage = os.wait4(child, 0)
    wall = time.perf_counter() - start
    if status:
        raise SystemExit(f"bench: {' '.join(command[:4])} ... ended with status {status}")
    cpu = usage.ru_utime + usage.ru_stime
    others = max(0.0, busy_seconds() - busy - cpu) / wall
    return Run(wall, cpu, usage.ru_maxrss / 1024, others)


def busy_seconds() -> float:
    """Return the CPU seconds that all processes of the machine have used."""
    fields = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:]
    user, nice, system, _idle, _wait, irq, softirq, *_ = map(int, fields)
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def measure_all(table: Mapping[str, list[str]], out: Path, rounds: int) -> dict[str, list[Run]]:
    runs: dict[str, list[Run]] = defaultdict(list)
    names = list(table)
    for number in range(rounds):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            for _ in range(TRIES):
                out.unlink(missing_ok=True)
                run = measure(table[name])
                runs[name].append(run)
                if run.others < DISTURBED_CORES:
                    break
        print(f"round {number + 1} of {rounds} done", file=sys.stderr)
    out.unlink(missing_ok=True)
    return runs


def clean(runs: list[Run]) -> list[Run]:
    """Return the undisturbed runs; if there are fewer than three, all of them."""
    quiet = [run for run in runs if run.others < DISTURBED_CORES]
    return quiet if len(quiet) >= 3 else runs


def wall(runs: Mapping[str, list[Run]], name: str) -> float:
    return statistics.median(run.wall for run in clean(runs[name]))


def table_text(runs: Mapping[str, list[Run]]) -> str:
    lines = [
        "| command | runs used / made | wall s (median) | min-max | CPU s | peak RSS MiB |",
        "|---|---|---|---|---|---|",
    ]
    for name, made in runs.items():
        used = clean(made)
        walls = [run.wall for run in used]
        cpu = statistics.median(run.cpu for run in used)
        lines.append(
            f"| {name} | {len(used)} / {len(made)} | {statistics.median(walls):.2f} |"
            f" {min(walls):.2f}-{max(walls):.2f} | {cpu:.2f} | {max(r.peak for r in made):.0f} |"
        )
    return "\n".join(lines)


def ratios(runs: Mapping[str, list[Run]]) -> dict[str, float]:
    seal, opened = wall(runs, "loraseal seal"), wall(runs, "open + sha256 (library)")
    result = {
        "seal / age -r": seal / wall(runs, "age -r"),
        "seal / (sha256sum ; age)": seal / wall(runs, "sha256sum ; age"),
        "seal / (openssl dgst ; age)": seal / wall(runs, "openssl dgst ; age"),
        "open + sha256 / age -d": opened / wall(runs, "age -d"),
    }
    if "loraseal open" in runs:
        result["loraseal open / age -d"] = wall(runs, "loraseal open") / wall(runs, "age -d")
    return {name: round(value, 3) for name, value in result.items()}


def rewrap_milliseconds(files: Files) -> float:
    """Return what one more recipient of a sealed file costs: unwrap, wrap, MAC; median of 200."""
    from registry.sealing.identities import X25519Identity, parse_identity_file
    from registry.sealing.seal import read_header, unwrap_file_key, wrap_header

    identities = parse_identity_file(files.identity.read_bytes())
    recipient = X25519Identity.generate().recipient()
    with files.sealed.open("rb") as sealed:
        _, header = read_header(sealed)
    times = []
    for _ in range(200):
        start = time.perf_counter()
        wrap_header(unwrap_file_key(header, identities), [recipient])
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1000


def inner_open(sealed: Path, identity: Path, out: Path) -> None:
    """Open and verify as the library does: decrypt, hash the plaintext, write, rename at the end."""
    from registry.sealing.batches import Crew
    from registry.sealing.identities import parse_identity_file
    from registry.sealing.seal import open_sealed

    part, digest = out.with_suffix(".part"), hashlib.sha256()
    with (
        sealed.open("rb", buffering=0) as source,
        part.open("wb", buffering=0) as sink,
        Crew() as crew,
    ):
        opened = open_sealed(source, parse_identity_file(identity.read_bytes()))
        for batch in crew.observed(opened.batches, digest.update):
            sink.write(batch)
    part.rename(out)
    print(digest.hexdigest())


def prepare(files: Files, size: int) -> str:
    """Write random bytes, an identity and a sealed file; return the recipient."""
    from registry.sealing.identities import X25519Identity

    identity = X25519Identity.generate()
    files.identity.write_text(identity.to_text() + "\n", encoding="ascii")
    with files.plain.open("wb") as plain:
        for _ in range(size):
            plain.write(secrets.token_bytes(MIB))
    recipient = str(identity.recipient())
    measure(["age", "-r", recipient, "-o", str(files.sealed), str(files.plain)])
    return recipient


def bench(folder: Path, size: int, rounds: int) -> None:
    files = Files(folder)
    recipient = prepare(files, size)
    runs = measure_all(commands(files, recipient), files.out, rounds)
    result = {
        "schema": "loraseal/bench-seal.v1",
        "mib": size,
        "ratios": ratios(runs),
        "seal_peak_mib": round(max(run.peak for run in runs["loraseal seal"]), 1),
        "open_peak_mib": round(max(run.peak for run in runs["open + sha256 (library)"]), 1),
        "rewrap_ms": round(rewrap_milliseconds(files), 3),
    }
    print(f"{size} MiB of random bytes, {rounds} rounds\n\n{table_text(runs)}\n")
    print(json.dumps(result, sort_keys=True))


def main() -> None:
    parser = argparse.ArgumentParser(description="Seal and open against the age tool.")
    parser.add_argument("--size", type=int, default=1024, metavar="MIB")
    parser.add_argument("--rounds", type=int, default=5)
    memory = Path("/dev/shm")  # noqa: S108 - a folder of our own is made in it
    parser.add_argument("--folder", type=Path, default=memory if memory.is_dir() else None)
    parser.add_argument("--inner-open", nargs=3, type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inner_open:
        inner_open(*options.inner_open)
        return
    if shutil.which("age") is None:
        raise SystemExit("bench: needs the age tool (Debian package age)")
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="loraseal-bench-") as folder:
        bench(Path(folder), options.size, options.rounds)


if __name__ == "__main__":
    main()
