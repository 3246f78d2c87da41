"""The recipients' verifier stays light, and talks to nobody."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEAVY = (
    "blake3",
    "nacl",
    "click",
    "rich",
    "torch",
    "numpy",
    "safetensors",
    "sqlalchemy",
    "alembic",
    "dbos",
    "pydantic",
    "watchdog",
)
_MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for folder in ("verify", "formats", "sealing", "transparency")
    for path in (ROOT / "registry" / folder).rglob("*.py")
)


def _fresh(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("modules", [["registry.verify"], _MODULES], ids=["package", "all of it"])
def test_importing_the_verifier_loads_nothing_heavier_than_cryptography(
    modules: list[str],
) -> None:
    code = (
        "import importlib, json, sys\n"
        f"before = set(sys.modules)\n"
        f"[importlib.import_module(name) for name in {modules!r} if name != 'registry.verify.__main__']\n"
        "loaded = {name.split('.')[0] for name in set(sys.modules) - before}\n"
        "outside = loaded - set(sys.stdlib_module_names)\n"
        "print(json.dumps(sorted(outside)))"
    )
    outside = set(json.loads(_fresh(code)))
    assert not outside & set(HEAVY)
    # cffi's backend and OpenSSL belong to cryptography.
    assert outside <= {"registry", "cryptography", "_cffi_backend", "_openssl", "_rust"}


def test_verifying_opens_no_socket(tmp_path: Path) -> None:
    code = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(ROOT)!r})
from tests.verify.world import World
world = World.make()
made = world.deliver()
folder = Path({str(tmp_path)!r})
sealed, bundle = made.write(folder)
(folder / "identity.txt").write_text(made.recipient.identity.to_text())

def guard(event, arguments):
    if event.startswith("socket.") or event in ("subprocess.Popen", "os.system", "os.exec"):
        raise SystemExit(f"the verifier did {{event}}")

sys.addaudithook(guard)
from registry.verify.__main__ import main
code = main([str(sealed), "--bundle", str(bundle), "--key", world.root.public_raw.hex(),
             "-i", str(folder / "identity.txt"), "-o", str(folder / "out")])
assert code in (0, 13), code
assert (folder / "out").read_bytes() == made.files["kiki_v3.safetensors"]
"""
    assert "GENUINE AND UNCHANGED" in _fresh(code)
