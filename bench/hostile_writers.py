"""Intake against writers that write slowly, rename, rewrite, cut, delete and are killed: 0 partial intakes.

    python -m bench.hostile_writers [--cases N] [--seed TEXT] [--no-leases] [--hard N] [--folder DIR]

A real process writes (`bench.hostile_writer`), step by step or as fast as it can, and is killed (SIGKILL)
in every third case. Between the steps, during them, and in the middle of an intake the folder is scanned
by the daemon's own rules, and every candidate that these call ready is taken into a real vault. Then the
sealed payload is opened: it must be, byte for byte, one of the contents that the writer had finished.

Time is only moved forward: each scan is made as if it were half a second, three seconds or two minutes
after the last change, so every pause of a writer is tried as a long one, and no case has to wait.

`--no-leases` is a file system that gives none (a network share). `--hard` counts apart what no reader can
tell from a finished save: it is reported and does not fail the run.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import os
import select
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from bench.hostile_scripts import HARD, KINDS, UNTELLABLE_WHEN_KILLED, Dice, Script
from daemon.scan import NS_PER_SECOND, Candidate, Readiness, WatchRules, scan
from registry.artifacts import leases
from registry.artifacts.intake import IntakeSource, take_in
from registry.artifacts.notes import PayloadForm
from registry.artifacts.vault import Vault
from registry.errors import LorasealError
from registry.sealing.identities import X25519Identity
from registry.sealing.seal import open_sealed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench.hostile_scripts import State, Step
    from registry.artifacts.notes import IntakeResult
    from registry.formats.age_header import Stanza

PROGRAM = Path(__file__).with_name("hostile_writer.py")
RULES = WatchRules()
CANDIDATE = "0" * 32
# Still settling; settled; so long quiet that it is handed on whatever it looks like.
LOOKS_SECONDS = (0.5, 3.0, 120.0)
ANSWER_SECONDS = 60.0
MEDDLE_SECONDS = 0.002
KILLED_PERCENT, RACING_PERCENT, MEDDLED_PERCENT = 33, 40, 30


class Process:
    """One writer process; `sent` and `done` count its steps."""

    def __init__(self) -> None:
        command = [sys.executable, "-I", "-S", str(PROGRAM)]
        self._pipe = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        if self._pipe.stdin is None or self._pipe.stdout is None:
            raise RuntimeError("a pipe was asked for")
        self._orders, self._reports = self._pipe.stdin, self._pipe.stdout
        self._answers = b""
        self.sent = self.done = 0

    def begin(self) -> None:
        """Count from nothing again: a case begins."""
        self.sent = self.done = 0

    def ask(self, steps: list[Step]) -> None:
        """Have `steps` done; `wait` tells when they are."""
        self._orders.write(json.dumps(steps).encode() + b"\n")
        self._orders.flush()
        self.sent += len(steps)

    def wait(self, seconds: float = ANSWER_SECONDS) -> bool:
        """Wait until all that was asked for is done, so long at most; return whether it is."""
        descriptor = self._reports.fileno()
        while self.done < self.sent:
            if not select.select([descriptor], [], [], seconds)[0]:
                return False
            self._answers += os.read(descriptor, 65536)
            *answers, self._answers = self._answers.split(b"\n")
            if wrong := [answer for answer in answers if answer != b"."]:
                raise SystemExit(f"bench: a writer failed: {wrong[0].decode()}")
            self.done += len(answers)
        return True

    def kill(self) -> None:
        """End it as `kill -9` does, wherever it is."""
        self._pipe.kill()
        self._pipe.communicate()


@dataclass
class Meddler:
    """The registry's recipient; before it wraps, which is in the middle of an intake, it lets act."""

    identity: X25519Identity
    act: Callable[[], object] = lambda: None

    @property
    def key_class(self) -> str:
        """As the real recipient's."""
        return self.identity.recipient().key_class

    def wrap(self, file_key: bytes) -> Stanza:
        """Act once, then wrap for the real recipient."""
        act, self.act = self.act, lambda: None
        act()
        return self.identity.recipient().wrap(file_key)


@dataclass(frozen=True, slots=True)
class Sealed:
    """One intake that went through: what was sealed, and the steps that the writer was told by then."""

    state: State
    sent: int


@dataclass
class Bench:
    """The folders, the vault and the writer that all cases use, and what was counted."""

    watched: Path
    home: Path
    vault: Vault
    meddler: Meddler
    counts: Counter[str] = field(default_factory=Counter)
    partial: Counter[str] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)
    writer: Process = field(default_factory=Process)
    _spare: Process = field(default_factory=Process)

    def case(self, kind: str, script: Script, *, killed: bool) -> bool:
        """Play one case; return whether all that was sealed is whole."""
        case = _Case(self, script)
        self.writer.begin()
        if script.dice.percent(RACING_PERCENT):
            case.race(killed=killed)
        else:
            case.step_by_step(killed=killed)
        if killed:
            self.writer.kill()
        case.look(LOOKS_SECONDS[1])
        case.look(LOOKS_SECONDS[2])
        if killed:
            # One is always on its way up: Python takes longer to start than a case to play.
            self.writer, self._spare = self._spare, Process()
        self.counts["killed"] += killed
        wrong = [each for each in case.sealed if not _is_whole(each, script)]
        self.partial[kind] += len(wrong)
        if not killed and not _is_last_there(script, case.sealed):
            self.missed[kind] += 1
        self._clear()
        return not wrong

    def close(self) -> None:
        """End the writers."""
        self.writer.kill()
        self._spare.kill()

    def _clear(self) -> None:
        for folder in (self.watched, self.home):
            shutil.rmtree(folder)
            folder.mkdir()


class _Case:
    """One case being played; `known` is what was taken, as the watcher has it."""

    def __init__(self, bench: Bench, script: Script) -> None:
        self.sealed: list[Sealed] = []
        self._bench = bench
        self._script = script
        self._known: set[tuple[Path, str]] = set()
        self._left = list(script.steps)

    def step_by_step(self, *, killed: bool) -> None:
        """Look after every step; `killed`: stop after one of them."""
        dice = self._script.dice
        last = dice.below(len(self._left)) if killed else -1
        while self._left:
            self._next_step(ANSWER_SECONDS)
            if dice.percent(MEDDLED_PERCENT) and not killed:
                self._bench.meddler.act = lambda: self._next_step(MEDDLE_SECONDS)
            self.look(LOOKS_SECONDS[dice.below(3)])
            self._bench.meddler.act = lambda: None
            self._bench.writer.wait()
            if killed and len(self._script.steps) - len(self._left) > last:
                return

    def race(self, *, killed: bool) -> None:
        """Let the writer run and look as often as it takes; `killed`: end it after some looks."""
        writer, dice = self._bench.writer, self._script.dice
        looks = dice.below(3) if killed else -1
        writer.ask(self._left)
        while not writer.wait(0):
            if looks == 0:
                writer.kill()
                return
            looks -= 1
            self.look(LOOKS_SECONDS[1 + dice.below(2)])

    def look(self, seconds: float) -> None:
        """Scan as if `seconds` had passed since the last change, and take in what is ready."""
        watched, counts = self._script.watched, self._bench.counts
        counts["scans"] += 1
        now_ns = time.time_ns() + int(seconds * NS_PER_SECOND)
        for seen in scan(watched, now_ns, RULES, known=self._known):
            if seen.readiness is Readiness.READY:
                self._take(seen.candidate)
            else:
                counts[f"scan: {seen.readiness}"] += 1

    def _next_step(self, seconds: float) -> None:
        if self._left:
            self._bench.writer.ask([self._left.pop(0)])
            self._bench.writer.wait(seconds)

    def _take(self, candidate: Candidate) -> None:
        bench = self._bench
        bench.counts["intakes"] += 1
        try:
            source = IntakeSource(candidate.root, candidate.files)
            result = take_in(source, bench.vault, [bench.meddler], CANDIDATE)
        except LorasealError as error:
            bench.counts[f"intake: {type(error).__name__}"] += 1
            return
        bench.counts["intake: taken"] += 1
        self._known.add((candidate.path, candidate.signature))
        state = _opened(bench.vault, bench.meddler.identity, result)
        self.sealed.append(Sealed(state, bench.writer.sent))
        bench.vault.delete(result.payload_digest)
        bench.vault.forget(CANDIDATE)


def _opened(vault: Vault, identity: X25519Identity, result: IntakeResult) -> State:
    """Return what the sealed payload holds, by opening it; the notes of intake are not believed."""
    with vault.open(result.payload_digest) as sealed:
        plain = b"".join(map(bytes, open_sealed(sealed, [identity]).batches))
    if result.payload_form is PayloadForm.RAW:
        (entry,) = result.manifest.entries
        return frozenset(((entry.path, hashlib.sha256(plain).hexdigest()),))
    with tarfile.open(fileobj=io.BytesIO(plain)) as tar:
        files = {member.name: tar.extractfile(member) for member in tar.getmembers()}
        return frozenset(
            (name, hashlib.sha256(file.read()).hexdigest())
            for name, file in files.items()
            if file is not None
        )


def _is_whole(sealed: Sealed, script: Script) -> bool:
    wholes = (whole for whole in script.wholes if whole.step <= sealed.sent)
    return any(whole.state == sealed.state for whole in wholes)


def _is_last_there(script: Script, sealed: list[Sealed]) -> bool:
    """Return whether the content that the writer left was taken in; true where it left none."""
    last = script.wholes[-1]
    left = script.path.is_file() or script.path.with_name("adapter_config.json").is_file()
    gone = script.path.is_symlink() or not left
    return gone or any(each.state == last.state for each in sealed)


@contextlib.contextmanager
def opened_bench(folder: Path, vault_folder: Path) -> Iterator[Bench]:
    """Yield a bench in empty folders of its own below `folder`."""
    for name in ("watched", "home"):
        (folder / name).mkdir(parents=True)
    vault = Vault(vault_folder)
    vault.create()
    bench = Bench(folder / "watched", folder / "home", vault, Meddler(X25519Identity.generate()))
    try:
        yield bench
    finally:
        bench.close()


def play(bench: Bench, kinds: dict[str, Callable[[Script], None]], cases: int, seed: str) -> None:
    """Play `cases` cases of all kinds in turn."""
    names = list(kinds)
    for number in range(cases):
        kind = names[number % len(names)]
        dice = Dice(f"{seed} {kind} {number}")
        script = Script(bench.watched, bench.home, dice)
        kinds[kind](script)
        tellable = kind in KINDS and kind not in UNTELLABLE_WHEN_KILLED
        killed = dice.percent(KILLED_PERCENT) if tellable else kind.endswith("killed")
        bench.counts["cases"] += 1
        if not bench.case(kind, script, killed=killed):
            bench.counts["cases with a partial intake"] += 1
            print(f"partial intake: {kind}, case {number} of seed {seed!r}", file=sys.stderr)


def summary_of(bench: Bench, seconds: float) -> dict[str, object]:
    """Return what was counted, for printing."""
    counts = bench.counts
    return {
        "cases": counts["cases"],
        "killed": counts["killed"],
        "scans": counts["scans"],
        "intakes": counts["intakes"],
        "taken": counts["intake: taken"],
        "refused": {
            name.removeprefix("intake: "): count
            for name, count in sorted(counts.items())
            if name.startswith("intake: ") and name != "intake: taken"
        },
        "not_ready": {
            name.removeprefix("scan: "): count
            for name, count in sorted(counts.items())
            if name.startswith("scan: ")
        },
        "partial_intakes": bench.partial.total(),
        "partial_by_kind": dict(+bench.partial),
        "missed": bench.missed.total(),
        "missed_by_kind": dict(+bench.missed),
        "seconds": round(seconds, 1),
    }


def _run(
    options: argparse.Namespace, kinds: dict[str, Callable[[Script], None]], cases: int
) -> dict[str, object]:
    memory = Path("/dev/shm")  # noqa: S108 - a folder of our own is made in it
    vault_in = memory if memory.is_dir() else None
    with (
        tempfile.TemporaryDirectory(dir=options.folder, prefix="loraseal-bench-") as folder,
        tempfile.TemporaryDirectory(dir=vault_in, prefix="loraseal-bench-") as vault,
        opened_bench(Path(folder), Path(vault) / "vault") as bench,
    ):
        begun = time.perf_counter()
        play(bench, kinds, cases, options.seed)
        return summary_of(bench, time.perf_counter() - begun)


def main() -> int:
    """Play, print a JSON summary, and return 1 if a partial content was sealed or a whole one missed."""
    parser = argparse.ArgumentParser(description="Intake against hostile writers.")
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--hard", type=int, default=300, metavar="N")
    parser.add_argument("--seed", default="loraseal")
    parser.add_argument("--no-leases", action="store_true", help="as on a network share")
    parser.add_argument("--folder", type=Path, help="on the disk to watch (default: temporary)")
    options = parser.parse_args()
    if options.no_leases:
        # For this process, which measures only.
        vars(leases)["take_read_lease"] = lambda _descriptor: False
    found = _run(options, KINDS, options.cases)
    hard = _run(options, HARD, options.hard)
    row = {"schema": "loraseal/bench-hostile-writers.v1", "seed": options.seed}
    print(json.dumps({**row, "leases": not options.no_leases, **found, "hard": hard}, indent=1))
    return 1 if found["partial_intakes"] or found["missed"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
