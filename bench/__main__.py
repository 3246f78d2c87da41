"""`make bench`: every measurement, one after the other, as tables for docs/benchmarks.md."""

from __future__ import annotations

import platform
import subprocess
import sys

BENCHES = (
    "startup",
    "classify",
    "seal",
    "intake",
    "spectra",
    "cohort",
    "bases",
    "audits",
    "threads",
    "beside_training",
    "gpu_audit",
    "sketches",
    "marks",
    "tracing",
    "pipeline",
    "hostile_writers",
)


def main() -> int:
    """Run each bench in a process of its own; exit 1 if one of them failed."""
    chosen = sys.argv[1:] or list(BENCHES)
    print(f"Python {platform.python_version()} on {platform.platform()}\n", flush=True)
    failed = []
    for name in chosen:
        print(f"## {name}\n", flush=True)
        if subprocess.run([sys.executable, "-m", f"bench.{name}"], check=False).returncode:
            failed.append(name)
        print(flush=True)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
