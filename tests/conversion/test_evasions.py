"""Every attack is refused, by at least the layers that the baseline says, and none of them ever runs.

After a layer has learnt something, or an attack was added: python -m tests.conversion.test_evasions --write.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from registry.conversion.refusals import PickleRefusedError, Reason
from registry.conversion.torch_file import read_torch_file
from tests.conversion.building import archive, entries_of, legacy, torch_zip
from tests.conversion.evasions import EVASIONS, LIVE
from tests.conversion.evasions_symbols import CANARY
from tests.conversion.layers import converted, reader_objects, refusal, scanner_objects

pytest.importorskip("picklescan")

ROOT = Path(__file__).resolve().parents[2]
BASELINE = Path(__file__).parent / "baseline.json"
LAYERS = {"picklescan": scanner_objects, "reader": reader_objects}
_HARMLESS = {"zip": torch_zip(), "legacy": legacy(), "plain": archive(entries_of())}


@pytest.fixture(scope="module")
def found() -> dict[str, set[str]]:
    """For each layer alone, the attacks that it refuses."""
    return {
        layer: {name for name, data in EVASIONS.items() if objects(data)}
        for layer, objects in LAYERS.items()
    }


def test_detection_only_rises(found: dict[str, set[str]]) -> None:
    for layer, names in json.loads(BASELINE.read_text()).items():
        lost = set(names) - found[layer]
        assert not lost, f"{layer} no longer sees {sorted(lost)}"


def test_the_baseline_knows_all_that_our_reader_sees(found: dict[str, set[str]]) -> None:
    # picklescan may see more than it did when its next release is installed.
    assert set(json.loads(BASELINE.read_text())["reader"]) == found["reader"], "write it again"


def test_no_attack_is_converted() -> None:
    passed = [name for name, data in EVASIONS.items() if refusal(data) is None]
    assert passed == []


def test_a_name_is_refused_at_its_mention_and_named() -> None:
    calls = [name for name in EVASIONS if name.startswith("call-") and "chain" not in name]
    assert len(calls) > 150
    for name in calls:
        with pytest.raises(PickleRefusedError, match="pickle names") as caught:
            read_torch_file(memoryview(EVASIONS[name]))
        assert caught.value.reason is Reason.SYMBOL
        assert name.removeprefix("call-")[:60] in str(caught.value)
        assert "byte 2)" in str(caught.value)
        assert caught.value.hint


def test_what_is_no_archive_of_torch_is_refused_as_container() -> None:
    others = ("zip-torchscript", "zip-storage-short", "zip-storage-long")
    for name, data in EVASIONS.items():
        if name.startswith("zip") and name not in others:
            with pytest.raises(PickleRefusedError) as caught:
                read_torch_file(memoryview(data))
            assert caught.value.reason is Reason.CONTAINER, name


@pytest.mark.parametrize("form", _HARMLESS)
def test_the_harmless_files_they_are_made_from_are_converted(form: str) -> None:
    # Otherwise every refusal above could have another cause.
    assert converted(_HARMLESS[form])


_WATCHED = """
import base64, json, logging, sys
from tests.conversion.layers import reader_objects, refusal, scanner_objects
files = [base64.b64decode(line) for line in sys.stdin]
logging.disable()
sys.modules["numpy"] = None  # as on a host; what it compiles of a header is not theirs
import encodings.raw_unicode_escape
for data in files[-3:]:
    scanner_objects(data), reader_objects(data), refusal(data)  # what is imported late is imported now
seen = []
def watch(event, arguments):
    wanted = ("os.", "subprocess.", "pty.", "pickle.", "socket.", "shutil.", "ctypes.", "compile", "exec")
    if event.startswith(wanted) or (event == "open" and set(str(arguments[1])) & set("wax+")):
        seen.append(event)
sys.addaudithook(watch)
for data in files:
    scanner_objects(data), reader_objects(data), refusal(data)
print(json.dumps(sorted(set(seen))))
"""
_LOADED = """
import base64, os, pickle, sys
from pathlib import Path
mark = Path(os.environ["LORASEAL_CANARY"])
for line in sys.stdin:
    before = mark.stat().st_size if mark.exists() else 0
    try:
        pickle.loads(base64.b64decode(line))
    except Exception:
        pass
    print(int(mark.exists() and mark.stat().st_size > before))
"""


def _run(code: str, files: list[bytes], mark: Path) -> str:
    lines = b"\n".join(map(base64.b64encode, files))
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=lines,
        capture_output=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, CANARY: str(mark), "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def test_no_attack_runs_in_any_layer(tmp_path: Path) -> None:
    files = [*EVASIONS.values(), *_HARMLESS.values()]
    seen = json.loads(_run(_WATCHED, files, tmp_path / "canary"))
    assert not (tmp_path / "canary").exists()
    assert seen == []


def test_the_canary_sings_where_a_pickle_is_really_loaded(tmp_path: Path) -> None:
    fired = _run(_LOADED, list(LIVE.values()), tmp_path / "canary").split()
    silent = [name for name, sang in zip(LIVE, fired, strict=True) if sang != "1"]
    assert silent == []


def write() -> None:
    """Write what each layer refuses now."""
    found = {
        layer: sorted(name for name, data in EVASIONS.items() if objects(data))
        for layer, objects in LAYERS.items()
    }
    BASELINE.write_text(json.dumps(found, indent=1, ensure_ascii=True) + "\n")


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit("usage: python -m tests.conversion.test_evasions --write")
    write()
