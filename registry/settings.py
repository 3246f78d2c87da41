"""Where things live: settings file, state directory, and what is in it (DESIGN section 6).

Standard library only, so that a recipient's base install can read it. The daemon's full settings
are composed in `daemon.settings`, which refuses unknown keys; this reads `registry` and `state`.
"""

from __future__ import annotations

import os
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from registry.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

SETTINGS_NAME = "loraseal.toml"
SYSTEM_SETTINGS = Path("/etc/loraseal") / SETTINGS_NAME
SYSTEM_STATE = Path("/var/lib/loraseal")
REGISTRY_NAME = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class RegistryPaths:
    """The places of one registry. Nothing here has been created or checked."""

    settings: Path
    registry: str
    state: Path

    @property
    def database(self) -> Path:
        """The ledger, and on one machine the engine's rows beside it."""
        return self.state / "registry.sqlite"

    @property
    def vault(self) -> Path:
        """Sealed payloads, named by digest."""
        return self.state / "vault"

    @property
    def keys(self) -> Path:
        """Private keys; 0700, read by custody and by the operator's commands only."""
        return self.state / "keys"

    @property
    def outbox(self) -> Path:
        """Sealed files and bundles, a folder per delivery."""
        return self.state / "outbox"

    @property
    def bases(self) -> Path:
        """Caches of base models, which audits compare with; made anew at any time."""
        return self.state / "bases"

    @property
    def log_head(self) -> Path:
        """The last signed checkpoint, kept outside the database on purpose."""
        return self.state / "log-head"

    @property
    def status_list(self) -> Path:
        """The newest signed status list, outside the database for the same reason."""
        return self.state / "status-list"

    @property
    def signing_lock(self) -> Path:
        """Held while head and status list are signed anew, by daemon or command line."""
        return self.state / "signing.lock"

    @property
    def lock(self) -> Path:
        """The embedded daemon's lock."""
        return self.state / "daemon.lock"


def default_settings(environ: Mapping[str, str]) -> Path:
    """Return where a user's settings are written when no `--config` says otherwise."""
    base = environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(base) / "loraseal" / SETTINGS_NAME


def default_state(environ: Mapping[str, str]) -> Path:
    """Return the state directory of a user."""
    base = environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "loraseal"


def recipient_home(environ: Mapping[str, str]) -> Path:
    """Return where a recipient's keys and memory live when no `--home` says otherwise."""
    return default_state(environ) / "recipient"


def find_settings(explicit: Path | None, environ: Mapping[str, str]) -> Path:
    """Return the settings file: the explicit one, else the user's, else the system's.

    Raises:
        NotFoundError: none of them is there.
    """
    places = [explicit] if explicit else [default_settings(environ), SYSTEM_SETTINGS]
    for place in places:
        if place.is_file():
            return place
    raise NotFoundError(
        f"no settings at {' or '.join(str(place) for place in places)}",
        hint="make them with: loraseal init (or name a file with --config)",
    )


def load_paths(
    explicit: Path | None = None, environ: Mapping[str, str] | None = None
) -> RegistryPaths:
    """Return where the registry of the settings at hand lives.

    Raises:
        NotFoundError: no settings.
        UsageError: they are not TOML, or name no registry.
    """
    environ = os.environ if environ is None else environ
    path = find_settings(explicit, environ)
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"settings {path} are not TOML: {error}") from error
    name = values.get("registry")
    if not isinstance(name, str) or not REGISTRY_NAME.fullmatch(name):
        raise UsageError(
            f"settings {path}: registry must be a name like studio.example, found {name!r}"
        )
    state = values.get("state")
    home = Path(state) if isinstance(state, str) else default_state(environ)
    return RegistryPaths(settings=path, registry=name, state=home)
