"""`python -m registry.verify FILE --bundle B --key K`: the verifier with nothing but cryptography."""

from __future__ import annotations

import argparse
import json
import sys
from datetime import UTC, datetime
from pathlib import Path

from registry.errors import LorasealError
from registry.verify.inputs import Inputs, prepare
from registry.verify.session import run_verification


def main(arguments: list[str] | None = None) -> int:
    """Verify what the arguments name, print the answer, and return the exit code."""
    options = _parser().parse_args(arguments)
    inputs = Inputs(
        content=options.file,
        bundle=options.bundle,
        key=options.key,
        identities=tuple(options.identity),
        passphrase_file=options.passphrase_file,
        status=options.status,
        home=options.home,
        out=options.out,
        strict=options.strict,
    )
    try:
        report, _ = run_verification(prepare(inputs, datetime.now(UTC)))
    except (LorasealError, OSError) as error:
        return _failed(error, as_json=options.json)
    text = json.dumps(report.to_json(), ensure_ascii=False) if options.json else report.to_text()
    sys.stdout.write(f"{text}\n")
    return report.exit_code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m registry.verify",
        description="Verify a delivery offline, from its bundle and a key that you pinned.",
    )
    parser.add_argument("file", type=Path, help="sealed file, opened file, or its folder")
    parser.add_argument("--bundle", type=Path, required=True, help="the bundle (*.loraseal)")
    parser.add_argument("--key", required=True, help="the pinned root key or keyset, file or text")
    parser.add_argument("-i", "--identity", type=Path, action="append", default=[])
    parser.add_argument("--passphrase-file", type=Path)
    parser.add_argument("--status", type=Path, help="a newer status list from the registry")
    parser.add_argument("--home", type=Path, help="where to remember; nowhere if not given")
    parser.add_argument("-o", "--out", type=Path, help="open the sealed file to this name")
    parser.add_argument("--strict", action="store_true", help="unsigned files are an error")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def _failed(error: LorasealError | OSError, *, as_json: bool) -> int:
    code = error.exit_code if isinstance(error, LorasealError) else 1
    hint = error.hint if isinstance(error, LorasealError) else None
    sys.stderr.write(f"loraseal: {error}\n")
    if hint:
        sys.stderr.write(f"  what to do: {hint}\n")
    if as_json:
        body = {"schema": "loraseal/error.v1", "error": type(error).__name__, "message": str(error)}
        text = json.dumps({**body, "hint": hint, "exit": code}, sort_keys=True)
        sys.stdout.write(f"{text}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
