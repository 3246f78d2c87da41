"""The wheel, installed away from the checkout, does what a recipient and a host need.

No network: a fresh environment gets exactly the distributions that the wheel's own metadata asks for,
linked from the environment of the tests. What is not declared is not there.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
import venv
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.daemon.registry_on_disk import write_adapter
from tests.verify.world import written_delivery

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [pytest.mark.wheel, pytest.mark.xdist_group("wheel")]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    source = tmp_path_factory.mktemp("source") / "tree"
    subprocess.run(["git", "checkout-index", "-a", f"--prefix={source}/"], cwd=ROOT, check=True)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, source]
    subprocess.run(command, check=True, capture_output=True)
    return next(out.glob("*.whl"))


def requirements(wheel: Path) -> list[str]:
    """Return what the wheel's own metadata asks for."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return message_from_bytes(archive.read(name)).get_all("Requires-Dist") or []


def closure(wheel: Path, extras: tuple[str, ...]) -> set[str]:
    """Return the distributions that the wheel with these extras asks for, and what those ask for."""
    done: set[tuple[str, str]] = set()
    wanted = {need for extra in ("", *extras) for need in _needs(requirements(wheel), extra)}
    while wanted - done:
        name, extra = (wanted - done).pop()
        done.add((name, extra))
        wanted |= _needs(importlib.metadata.requires(name) or [], extra)
    return {name for name, _ in done}


def _needs(lines: list[str], extra: str) -> set[tuple[str, str]]:
    found = set()
    for line in lines:
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
            found |= {(requirement.name, inner) for inner in ("", *requirement.extras)}
    return found


def environment(folder: Path, wheel: Path, extras: tuple[str, ...]) -> Path:
    """Make a fresh environment with the wheel and its declared dependencies; return its bin folder."""
    venv.create(folder, with_pip=True, symlinks=True)
    site = next((folder / "lib").glob("python*/site-packages"))
    for name in closure(wheel, extras):
        distribution = importlib.metadata.distribution(name)
        tops = {
            Path(str(file)).parts[0] for file in distribution.files or [] if ".." not in file.parts
        }
        for top in tops - {"__pycache__"}:
            target = Path(str(distribution.locate_file(top)))
            link = site / top
            if target.exists() and not link.exists():
                link.symlink_to(target)
    pip = [
        folder / "bin" / "python",
        "-m",
        "pip",
        "install",
        "--no-deps",
        "--no-index",
        "--quiet",
        wheel,
    ]
    subprocess.run(pip, check=True)
    return folder / "bin"


def run(program: Path, *arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    keep = {"PATH": os.environ["PATH"], "HOME": str(cwd), "LANG": "C.UTF-8"}
    return subprocess.run(
        [program, *map(str, arguments)],
        cwd=cwd,
        env=keep,
        capture_output=True,
        text=True,
        check=False,
    )


def test_base_install_verifies_a_delivery(wheel: Path, tmp_path: Path) -> None:
    programs = environment(tmp_path / "env", wheel, ())
    sealed, bundle, root = written_delivery(tmp_path / "world")
    arguments = ["verify", sealed, "--bundle", bundle, "--key", root]
    done = run(programs / "loraseal", *arguments, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["verified"] is True


def test_base_install_says_what_a_host_needs(wheel: Path, tmp_path: Path) -> None:
    programs = environment(tmp_path / "env", wheel, ())
    done = run(programs / "loraseal", "up", "--once", cwd=tmp_path)
    assert done.returncode == 1
    assert "loraseal[host]" in done.stderr


def test_host_install_runs_once(wheel: Path, tmp_path: Path) -> None:
    programs = environment(tmp_path / "env", wheel, ("host", "audit"))
    (tmp_path / "out").mkdir()
    setup = ["init", "--yes", "--registry", "wheel.test", "--state", tmp_path / "state"]
    settings = tmp_path / "loraseal.toml"
    made = run(
        programs / "loraseal",
        *setup,
        "--watch",
        tmp_path / "out",
        "--config",
        settings,
        cwd=tmp_path,
    )
    assert made.returncode == 0, made.stderr
    write_adapter(tmp_path / "out" / "style.safetensors")
    done = run(programs / "loraseal", "up", "--once", "--config", settings, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    listed = run(programs / "loraseal", "ls", "--json", "--config", settings, cwd=tmp_path)
    states = [row["state"] for row in json.loads(listed.stdout)["artifacts"]]
    assert states == ["released"], done.stderr
