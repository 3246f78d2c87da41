"""Intake with the full set of digests against the age tool, side by side in one run.

    python -m bench.intake [--size MIB] [--rounds N] [--folder DIR]

Intake makes one sealed payload, its blake3, and of the plaintext: sha256, body sha256 (AutoV3), blake3,
CRC32, AutoV1, the legacy kohya hash and the canonical tensor digest; then fsync, sealed notes, rename.
`age -r` only seals. The target of DESIGN section 8 names the digests of the issue's intake (file, body,
tensors, payload); BLAKE3 and CRC32 of the file come on top, so intake is measured with and without them.
How runs are made and judged: see `bench.seal`. A daemon starts once and takes in many files, so the
start-up of Python is measured too, as an intake of 1 MiB, and given apart.
"""

from __future__ import annotations

import argparse
import json
import secrets
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from bench.seal import measure_all, table_text, wall

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from registry.formats.safetensors import TensorInfo

MIB = 1024 * 1024
CANDIDATE = "0" * 32
TARGET = 1.45
AGE, SHELL_WAY, INTAKE, HASH = "age -r", "sha256sum ; age", "intake", "loraseal hash"
NAMED = "intake, named digests only"
START = "intake of 1 MiB (start-up)"


def lay_out_of(size: int) -> tuple[TensorInfo, ...]:
    """Return the tensors of an adapter with `size` MiB of weights and an alpha for each module."""
    from registry.formats.safetensors import lay_out

    entries: list[tuple[str, str, tuple[int, ...]]] = []
    for number in range(size):
        base = f"lora_unet_input_blocks_{number}_attn1_to_q"
        entries.append((f"{base}.lora_down.weight", "F16", (128, 2048)))
        entries.append((f"{base}.lora_up.weight", "F16", (2048, 128)))
        entries.append((f"{base}.alpha", "F16", ()))
    return lay_out(entries)


def write_weights(path: Path, size: int) -> None:
    from registry.formats.safetensors import dump_header

    tensors = lay_out_of(size)
    with path.open("wb") as sink:
        sink.write(dump_header(tensors, [("ss_network_dim", "128")]))
        left = tensors[-1].end
        while left:
            part = min(left, MIB)
            sink.write(secrets.token_bytes(part))
            left -= part


def leave_out_extras() -> None:
    """Make a pass compute the digests that the target names, and no BLAKE3 or CRC32 of the file."""
    from registry.artifacts.digesting import FilePass

    whole = FilePass._observers  # noqa: SLF001 - a bench leaves a part out

    def named(self: FilePass) -> Iterator[Callable[[memoryview], object]]:
        extras = (self._blake3.update, self._observe_short)
        return (each for each in whole(self) if each not in extras)

    # For this process, which measures only.
    FilePass._observers = named  # type: ignore[method-assign]  # noqa: SLF001


def inner(plain: Path, vault_root: Path, recipient: str, out: Path) -> None:
    """Take `plain` in, then move the payload to `out`, so that every run begins alike."""
    from registry.artifacts.intake import IntakeSource, take_in
    from registry.artifacts.vault import Vault
    from registry.sealing.identities import X25519Recipient

    vault = Vault(vault_root)
    vault.create()
    recipients = [X25519Recipient.parse(recipient)]
    result = take_in(IntakeSource.of_file(plain), vault, recipients, CANDIDATE)
    vault.path_of(result.payload_digest).rename(out)


def bench(folder: Path, size: int, rounds: int) -> None:
    from registry.sealing.identities import X25519Identity

    recipient = str(X25519Identity.generate().recipient())
    plain, small, out = folder / "plain.safetensors", folder / "small.safetensors", folder / "out"
    write_weights(plain, size)
    write_weights(small, 1)
    age = ["age", "-r", recipient, "-o", str(out), str(plain)]
    us = [sys.executable, "-m", "bench.intake", "--inner"]
    named = [sys.executable, "-m", "bench.intake", "--named", "--inner"]
    there = [str(folder / "vault"), recipient, str(out)]
    hashing = "from registry.cli.hashing import hash_command as main; main()"
    table = {
        AGE: age,
        SHELL_WAY: ["/bin/sh", "-c", f"sha256sum {plain} && {' '.join(age)}"],
        INTAKE: [*us, str(plain), *there],
        NAMED: [*named, str(plain), *there],
        START: [*us, str(small), *there],
        HASH: [sys.executable, "-c", hashing, str(plain)],
    }
    runs = measure_all(table, out, rounds)
    alone = wall(runs, INTAKE) - wall(runs, START)
    result = {
        "schema": "loraseal/bench-intake.v1",
        "mib": size,
        "intake, named digests only / age -r": round(wall(runs, NAMED) / wall(runs, AGE), 3),
        "intake without start-up / age -r": round(alone / wall(runs, AGE), 3),
        "intake / age -r": round(wall(runs, INTAKE) / wall(runs, AGE), 3),
        "target": TARGET,
        "intake / (sha256sum ; age)": round(wall(runs, INTAKE) / wall(runs, SHELL_WAY), 3),
        "intake_peak_mib": round(max(run.peak for run in runs[INTAKE]), 1),
    }
    print(f"{size} MiB of weights, {rounds} rounds\n\n{table_text(runs)}\n")
    print(json.dumps(result, sort_keys=True))


def main() -> None:
    parser = argparse.ArgumentParser(description="Intake against the age tool.")
    parser.add_argument("--size", type=int, default=1024, metavar="MIB")
    parser.add_argument("--rounds", type=int, default=5)
    memory = Path("/dev/shm")  # noqa: S108 - a folder of our own is made in it
    parser.add_argument("--folder", type=Path, default=memory if memory.is_dir() else None)
    parser.add_argument("--inner", nargs=4, help=argparse.SUPPRESS)
    parser.add_argument("--named", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inner:
        if options.named:
            leave_out_extras()
        plain, vault, recipient, out = options.inner
        inner(Path(plain), Path(vault), recipient, Path(out))
        return
    if shutil.which("age") is None:
        raise SystemExit("bench: needs the age tool (Debian package age)")
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="loraseal-bench-") as folder:
        bench(Path(folder), options.size, options.rounds)


if __name__ == "__main__":
    main()
