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
from pathlib import Path

import pytest
from packaging.requirements import Requirement

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


def closure(extras: tuple[str, ...]) -> set[str]:
    """Return the distributions that loraseal[extras] asks for, and what those ask for."""
    wanted = {("loraseal", extra) for extra in ("", *extras)}
    done: set[tuple[str, str]] = set()
    while wanted - done:
        name, extra = (wanted - done).pop()
        done.add((name, extra))
        for line in importlib.metadata.requires(name) or []:
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                wanted.add((requirement.name, ""))
                wanted |= {(requirement.name, inner) for inner in requirement.extras}
    return {name for name, _ in done} - {"loraseal"}


def environment(folder: Path, wheel: Path, extras: tuple[str, ...]) -> Path:
    """Make a fresh environment with the wheel and its declared dependencies; return its bin folder."""
    venv.create(folder, with_pip=True, symlinks=True)
    site = next((folder / "lib").glob("python*/site-packages"))
    for name in closure(extras):
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
    world: World = make_world(tmp_path / "world")
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
    done = run(programs / "loraseal", "up", "--once", "--config", settings, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
