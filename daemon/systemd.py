"""The systemd side: the unit file that `loraseal service install` writes, and readiness messages.

The unit keeps what the daemon needs and no more: own user, no capabilities, unix sockets only (the
Signal channel talks to signal-cli over one), a read-only system, watched folders readable.
"""

from __future__ import annotations

import contextlib
import os
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from registry.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

UNIT_NAME = "loraseal.service"
SYSUSERS_NAME = "loraseal.conf"
WATCHDOG_SECONDS = 60
_SPACE, _DELETE = 0x20, 0x7F

_UNIT = """\
# Written by `loraseal service install`. Local changes belong in: systemctl edit loraseal
[Unit]
Description=LoRASeal custody of fine-tuned adapters ({registry})
Documentation=https://www.freedesktop.org/software/systemd/man/systemd.exec.html
After=local-fs.target
StartLimitIntervalSec=300
StartLimitBurst=10

[Service]
Type=notify
NotifyAccess=main
ExecStart={program} up --config {settings}
WatchdogSec={watchdog}
Restart=on-failure
RestartSec=5
TimeoutStopSec=60
User={user}
Group={user}
UMask=0077
StateDirectory=loraseal
StateDirectoryMode=0700
ReadWritePaths={writable}
{readable}
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
ProtectSystem=strict
ProtectHome=read-only
PrivateTmp=yes
PrivateMounts=yes
ProtectProc=invisible
ProtectClock=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectControlGroups=yes
RestrictAddressFamilies=AF_UNIX
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service unshare seccomp
SystemCallFilter=landlock_create_ruleset landlock_add_rule landlock_restrict_self
SystemCallErrorNumber=EPERM
IOSchedulingClass=idle
CPUWeight=20
OOMScoreAdjust=500

[Install]
WantedBy=multi-user.target
"""

_SYSUSERS = """\
# Written by `loraseal service install`: the user that the daemon runs as.
u {user} - "LoRASeal custody" /var/lib/loraseal
"""


@dataclass(frozen=True, slots=True)
class UnitValues:
    """What differs from one installation to the next."""

    registry: str
    program: Path
    settings: Path
    user: str
    writable: tuple[Path, ...]
    watched: tuple[Path, ...]


def unit_text(values: UnitValues) -> str:
    """Return the unit file."""
    return _UNIT.format(
        registry=values.registry,
        program=_in_command(values.program),
        settings=_in_command(values.settings),
        user=values.user,
        watchdog=WATCHDOG_SECONDS,
        # A stick that is not plugged in must not keep the service from starting.
        writable=" ".join(f"-{quoted(path)}" for path in values.writable),
        readable="\n".join(f"ReadOnlyPaths=-{quoted(path)}" for path in values.watched),
    )


def sysusers_text(user: str) -> str:
    """Return the sysusers.d line that makes the daemon's own user."""
    return _SYSUSERS.format(user=user)


def quoted(path: Path) -> str:
    """Return `path` for a unit file: `%` starts a specifier there, and blanks split words.

    Raises:
        UsageError: it holds a control character, which could begin a line of its own.
    """
    text = str(path).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    if any(ord(char) < _SPACE or ord(char) == _DELETE for char in text):
        raise UsageError(f"path {text!r} holds a control character")
    return f'"{text}"' if any(char in text for char in " '\\\";") else text


def _in_command(path: Path) -> str:
    """Return `path` for ExecStart=, where a dollar sign would begin a variable."""
    return quoted(path).replace("$", "$$")


def notify(message: str, environ: Mapping[str, str] | None = None) -> bool:
    """Send `message` (for example `READY=1`) to systemd; return False where there is none.

    Protocol: sd_notify(3), a datagram to `$NOTIFY_SOCKET`; a leading `@` means an abstract socket.
    """
    environ = os.environ if environ is None else environ
    address = environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.connect(address)
        end.sendall(message.encode("utf-8"))
        return True
    return False
