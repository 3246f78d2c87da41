"""The unit file as systemd reads it, and readiness messages on a real datagram socket."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from daemon.systemd import UnitValues, notify, quoted, sysusers_text, unit_text
from registry.errors import UsageError

VALUES = UnitValues(
    registry="test.studio",
    program=Path("/usr/bin/true"),
    settings=Path("/etc/loraseal/loraseal.toml"),
    user="root",
    writable=(Path("/var/lib/loraseal"),),
    watched=(Path("/srv/out"), Path("/srv/my loras/100%")),
)


def assignments(text: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        name, separator, value = line.partition("=")
        if separator and not line.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


def test_unit_has_what_the_daemon_needs_and_no_more() -> None:
    unit = assignments(unit_text(VALUES))
    assert unit["Type"] == ["notify"]
    assert unit["WatchdogSec"] == ["60"]
    assert unit["User"] == unit["Group"] == ["root"]
    assert unit["CapabilityBoundingSet"] == [""]
    assert unit["RestrictAddressFamilies"] == ["AF_UNIX"]
    assert unit["ProtectSystem"] == ["strict"]
    assert unit["NoNewPrivileges"] == ["yes"]
    assert unit["ExecStart"] == ["/usr/bin/true up --config /etc/loraseal/loraseal.toml"]
    assert unit["ReadOnlyPaths"] == ["-/srv/out", '-"/srv/my loras/100%%"']


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/plain", "/plain"),
        ("/with blank", '"/with blank"'),
        ("/100%", "/100%%"),
        ('/a"b', '"/a\\"b"'),
        ("/a\\b", '"/a\\\\b"'),
        ("/it's", '"/it\'s"'),
        ("/a;b", '"/a;b"'),
    ],
)
def test_paths_are_quoted_for_a_unit_file(path: str, expected: str) -> None:
    assert quoted(Path(path)) == expected


def test_dollar_sign_in_the_command_is_no_variable() -> None:
    values = UnitValues("x", Path("/opt/$HOME/loraseal"), Path("/etc/a"), "root", (), ())
    (command,) = assignments(unit_text(values))["ExecStart"]
    assert "$$HOME" in command


@pytest.mark.parametrize("path", ["/a\nUser=root", "/a\rb", "/\x7f"])
def test_path_that_would_begin_a_new_line_is_refused(path: str) -> None:
    with pytest.raises(UsageError, match="control character"):
        quoted(Path(path))


def test_systemd_finds_nothing_wrong_with_the_unit(
    tmp_path: Path, oracle: Callable[[str], str]
) -> None:
    program = oracle("systemd-analyze")
    unit = tmp_path / "loraseal.service"
    unit.write_text(unit_text(VALUES))
    environ = {**os.environ, "SYSTEMD_LOG_LEVEL": "warning"}
    ended = subprocess.run(
        [program, "verify", "--man=no", str(unit)],
        check=False, capture_output=True, text=True, env=environ,
    )  # fmt: skip
    complaints = [line for line in ended.stderr.splitlines() if "loraseal.service" in line]
    assert complaints == []


def test_systemd_reads_back_the_paths_that_were_meant(
    tmp_path: Path, oracle: Callable[[str], str]
) -> None:
    """A wrong escape is something systemd complains about, so the test above can fail."""
    program = oracle("systemd-analyze")
    unit = tmp_path / "loraseal.service"
    unit.write_text(unit_text(VALUES).replace("ReadOnlyPaths=-/srv/out", "ReadOnlyPaths=/srv/%Q"))
    ended = subprocess.run(
        [program, "verify", "--man=no", str(unit)], check=False, capture_output=True, text=True
    )
    assert "loraseal.service" in ended.stderr


def test_sysusers_line_makes_the_user() -> None:
    lines = [line for line in sysusers_text("loraseal").splitlines() if not line.startswith("#")]
    assert lines == ['u loraseal - "LoRASeal custody" /var/lib/loraseal']


@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_message_arrives_on_the_sockets_of_systemd(tmp_path: Path, kind: str) -> None:
    name = f"loraseal-test-{os.getpid()}"
    address, told = (
        (str(tmp_path / "n"), str(tmp_path / "n")) if kind == "path" else ("\0" + name, "@" + name)
    )
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(address)
        end.settimeout(30)
        assert notify("READY=1\nSTATUS=watching", {"NOTIFY_SOCKET": told})
        assert end.recv(4096) == b"READY=1\nSTATUS=watching"


@pytest.mark.parametrize("address", ["", "relative", "vsock:2:1", "/nowhere/at/all"])
def test_without_systemd_nothing_is_sent(address: str) -> None:
    assert notify("READY=1", {"NOTIFY_SOCKET": address}) is False
    assert notify("READY=1", {}) is False
