"""`make demo`: one artifact, all the way, for real, in a folder of its own.

A daemon with the embedded defaults watches a folder. A small LoRA is trained and saved into it, then a
full-size SDXL adapter is dropped there, and one poisoned with a NaN. A recipient opens and verifies what
was delivered, with `loraseal` and with another implementation of age, and a receipt goes back.
Exit 0 only if all of that really happened.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parents[1]
TRAINED, FULL, POISONED = (
    "pytorch_lora_weights.safetensors",
    "sdxl_style.safetensors",
    "sdxl_broken.safetensors",
)
RECIPIENT = "Alice"
DEADLINE_SECONDS = 420


class DemoError(Exception):
    """The demonstration did not show what it promises."""


@dataclass
class Demo:
    """The folder of one demonstration and what happened in it."""

    home: Path
    started: float = field(default_factory=time.monotonic)
    facts: list[str] = field(default_factory=list)

    @property
    def settings(self) -> Path:
        """The settings of the demonstration's registry."""
        return self.home / "loraseal.toml"

    @property
    def watched(self) -> Path:
        """Where the trainer writes."""
        return self.home / "trainer-output"

    @property
    def stick(self) -> Path:
        """The folder that deliveries go to, as a stick would."""
        return self.home / "usb-stick"

    @property
    def recipient(self) -> Path:
        """The recipient's own folder of keys."""
        return self.home / "alice"

    def say(self, text: str) -> None:
        """Print a line with the seconds since the start."""
        print(f"[{time.monotonic() - self.started:6.1f} s] {text}", flush=True)

    def run(self, *arguments: object, expect: int = 0) -> subprocess.CompletedProcess[str]:
        """Run `loraseal ...` and check its exit code."""
        command = [*PROGRAM, *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=self.home, check=False)
        if done.returncode != expect:
            raise DemoError(
                f"loraseal {arguments[0]} gave exit {done.returncode}, expected {expect}\n"
                f"{done.stdout}{done.stderr}"
            )
        return done

    def json(self, *arguments: object) -> dict[str, object]:
        """Run a command with --json and return what it printed."""
        answer: dict[str, object] = json.loads(self.run(*arguments, "--json").stdout)
        return answer


PROGRAM = [sys.executable, "-c", "from daemon.cli import main; main()"]


def set_up(demo: Demo) -> str:
    """Make the registry and enrol the recipient; return the root key that the recipient pins."""
    for folder in (demo.watched, demo.stick):
        folder.mkdir(parents=True)
    demo.say("a new registry: settings, keys, ledger")
    demo.run(
        *("init", "--yes", "--registry", "demo.studio", "--state", demo.home / "state"),
        *("--watch", demo.watched, "--folder", demo.stick, "--config", demo.settings),
    )
    route = f'\n[[route]]\nto = "{RECIPIENT}"\nchannel = "folder"\n'
    demo.settings.write_text(demo.settings.read_text("utf-8") + route, "utf-8")
    file = demo.home / "alice.enrol"
    demo.say(f"{RECIPIENT} makes her keys and sends an enrolment file; the six words are compared")
    made = demo.json("enrol", "--name", RECIPIENT, "--home", demo.recipient, "-o", file)
    words = str(made["words"])
    demo.run("recipient", "add", RECIPIENT, file, "--words", words, "--config", demo.settings)
    demo.say(f"six words: {words}")
    return str(demo.json("keys", "show", "--config", demo.settings)["root"])


@contextlib.contextmanager
def daemon(demo: Demo) -> Iterator[subprocess.Popen[bytes]]:
    """Run `loraseal up` while the block runs.

    In a pipe it prints a line for each thing that happens; on a terminal we draw the one screen.
    """
    command = [*PROGRAM, "up", "--config", str(demo.settings)]
    process = subprocess.Popen([*command, "--quiet"] if on_terminal() else command, cwd=demo.home)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def screen(demo: Demo) -> Iterator[Callable[[int, int], object]]:
    """Yield a function that shows the trainer's progress, over a live table of what happens."""
    if not on_terminal():
        yield lambda step, total: demo.say(f"training, step {step} of {total}")
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from daemon.cli.screen import Screen
    from registry.cli.queries import open_ledger

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    progress = Progress(*columns)
    task = progress.add_task("training a LoRA", total=1)
    with open_ledger(demo.settings) as (ledger, _), Screen(ledger, above=progress) as live:
        live.start()
        yield lambda step, total: progress.update(task, completed=step, total=total)


def on_terminal() -> bool:
    """Return whether a person watches."""
    return sys.stderr.isatty() and sys.stdout.isatty()


def feed(demo: Demo, show: Callable[[int, int], object]) -> None:
    """Train for real into the watched folder, then drop the two SDXL files there."""
    demo.say("training a small LoRA (tiny diffusers UNet, peft) into the watched folder")
    trainer = [sys.executable, "-m", "bench.train_lora", str(demo.watched)]
    environment = {**os.environ, "TRANSFORMERS_VERBOSITY": "error", "PYTHONWARNINGS": "ignore"}
    with (
        (demo.home / "trainer.log").open("wb") as errors,
        subprocess.Popen(
            trainer, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True
        ) as process,
    ):
        saved = follow(process, show)
    if process.returncode != 0 or not saved:
        raise DemoError(f"the training failed, see {demo.home / 'trainer.log'}")
    demo.say(saved)
    from bench.adapters import write_adapter

    metadata = {"ss_output_name": "style", "ss_base_model_version": "sdxl_base_v1-0"}
    for name, poison in ((FULL, ""), (POISONED, "lora_down")):
        part = demo.watched / f".tmp{name[:6]}"
        size = write_adapter(part, "kohya-sdxl-lora", poison=poison, metadata=metadata)
        part.rename(demo.watched / name)
        demo.say(f"dropped {name} ({size / 1e6:.0f} MB{', one NaN in it' if poison else ''})")


def follow(process: subprocess.Popen[str], show: Callable[[int, int], object]) -> str:
    """Show the trainer's steps as they come; return its last word."""
    saved = ""
    for line in process.stdout or ():
        words = line.split()
        if words[:1] == ["step"]:
            show(int(words[1]), int(words[3]))
        elif words[:1] == ["saved"]:
            saved = line.strip()
    return saved


def wait_for(demo: Demo, process: subprocess.Popen[bytes]) -> None:
    """Wait until two artifacts are released and delivered, and one is rejected."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    expected = {TRAINED: "released", FULL: "released", POISONED: "rejected"}
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise DemoError(f"the daemon ended with exit {process.returncode}")
        rows = demo.json("ls", "--config", demo.settings)["artifacts"]
        states = {row["name"]: row["state"] for row in rows}  # type: ignore[attr-defined] # JSON
        arrived = sorted(path.name for path in demo.stick.rglob("*.loraseal"))
        if states == expected and len(arrived) == len(expected) - 1:
            demo.facts.append(
                "one NaN was enough: the poisoned adapter was rejected, not delivered"
            )
            return
        time.sleep(0.5)
    raise DemoError(f"not there after {DEADLINE_SECONDS} s: {states}, arrived {arrived}")


def receive(demo: Demo, root: str) -> None:
    """Open and verify every delivery with loraseal and with another age, and write receipts."""
    inbox = demo.stick / "receipts"
    inbox.mkdir(exist_ok=True)
    originals = {digest_of(path) for path in demo.watched.glob("*.safetensors")}
    for bundle in sorted(demo.stick.rglob("*.loraseal")):
        sealed = bundle.with_suffix(".age")
        opened = demo.home / "opened" / sealed.stem
        opened.parent.mkdir(exist_ok=True)
        shared = ("--bundle", bundle, "--key", root, "--home", demo.recipient)
        answer = demo.json("open", sealed, *shared, "-o", opened)
        if answer.get("verified") is not True:
            raise DemoError(f"{sealed.name} opened, but is not verified: {answer}")
        demo.run("verify", opened, *shared)
        name = other_age(demo, sealed, opened)
        if digest_of(opened) not in originals:
            raise DemoError(f"{sealed.name} is not what the trainer wrote")
        demo.say(
            f"{RECIPIENT} opened and verified {sealed.name}; {name} opens it to the same bytes"
        )
        receipt = inbox / f"{sealed.stem}.receipt"
        demo.run("receipt", "make", sealed, *shared, "-o", receipt)
    demo.facts.append(
        "both deliveries verified offline, and opened with another age to the same bytes"
    )


def other_age(demo: Demo, sealed: Path, opened: Path) -> str:
    """Open `sealed` with Debian's age, or with pyrage where there is none; compare the bytes."""
    identity = demo.recipient / "identity.txt"
    target = demo.home / "other-age.out"
    program = shutil.which("age")
    if program:
        command = [program, "-d", "-i", str(identity), "-o", str(target), str(sealed)]
        subprocess.run(command, check=True)
        name = "age"
    else:
        import pyrage

        keys = [
            pyrage.x25519.Identity.from_str(line)
            for line in identity.read_text("ascii").split()
            if line.startswith("AGE-SECRET-KEY-")
        ]
        pyrage.decrypt_file(str(sealed), str(target), keys)
        name = "pyrage (age is not installed here)"
    if digest_of(target) != digest_of(opened):
        raise DemoError(f"{name} opens {sealed.name} to other bytes")
    target.unlink()
    return name


def tamper(demo: Demo, root: str) -> None:
    """Flip one bit of a delivery; verification must refuse it."""
    bundle = next(iter(sorted(demo.stick.rglob("*.loraseal"))))
    sealed = bundle.with_suffix(".age")
    copy = demo.home / "tampered.age"
    data = bytearray(sealed.read_bytes())
    data[len(data) // 2] ^= 1
    copy.write_bytes(data)
    shared = ("--bundle", bundle, "--key", root, "--home", demo.recipient)
    demo.run("open", copy, *shared, "-o", demo.home / "never", expect=4)
    if (demo.home / "never").exists():
        raise DemoError("a tampered delivery left a file behind")
    copy.unlink()
    demo.facts.append("one flipped bit in a delivery: refused with exit 4, nothing left behind")


def acknowledged(demo: Demo) -> None:
    """Wait until the daemon has taken the receipts from the stick."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        status = demo.json("status", "--config", demo.settings)
        rows = status["ledger"]["deliveries"]  # type: ignore[index] # JSON
        counts = {row["state"]: row["count"] for row in rows}
        if counts == {"acknowledged": 2}:
            demo.facts.append("her signed receipts came back: both deliveries are acknowledged")
            return
        time.sleep(0.5)
    raise DemoError(f"receipts were not taken: {counts}")


def summary(demo: Demo, root: str) -> None:
    """Check the whole registry and say where to look next."""
    demo.run("fsck", "--config", demo.settings)
    demo.facts.append("loraseal fsck: vault, ledger and log agree")
    print("\nWhat happened:")
    for fact in demo.facts:
        print(f"  - {fact}")
    opened = next(iter(sorted((demo.home / "opened").iterdir())))
    config = f"--config {demo.settings}"
    print("\nWhere to look next:")
    for line in (
        f"loraseal ls {config}",
        f"loraseal trace {opened} {config}",
        f"loraseal log {config}",
        f"loraseal doctor {config}",
        f"ls -R {demo.stick}",
        f"the root key that {RECIPIENT} pinned: {root}",
    ):
        print(f"  {line}")


def digest_of(path: Path) -> str:
    """Return the sha256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def main() -> int:
    """Run the demonstration; 0 only if all of it happened."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, default=ROOT / ".demo")
    demo = Demo(parser.parse_args().home.absolute())
    if demo.home != ROOT / ".demo" and demo.home.exists():
        parser.error(f"{demo.home} exists already: name a folder that does not")
    shutil.rmtree(demo.home, ignore_errors=True)
    demo.home.mkdir(parents=True)
    os.environ.setdefault("PYTHONPATH", str(ROOT))
    try:
        root = set_up(demo)
        with daemon(demo) as process:
            with screen(demo) as show:
                feed(demo, show)
                wait_for(demo, process)
            receive(demo, root)
            tamper(demo, root)
            acknowledged(demo)
        summary(demo, root)
    except DemoError as error:
        print(f"demo failed: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
