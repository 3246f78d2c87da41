"""The one connection of a Signal channel: made when needed, of a supported release, always subscribed."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from registry.errors import HumanNeededError
from signal_bridge.signal_rpc import SignalRpc
from signal_bridge.signal_version import is_supported, parse_version, warning_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from signal_bridge.settings import SignalSettings
    from signal_bridge.signal_rpc import Value


class SignalLink:
    """Connects on first use and again after the connection broke."""

    def __init__(
        self, settings: SignalSettings, on_notice: Callable[[Mapping[str, Value]], None]
    ) -> None:
        self._settings = settings
        self._on_notice = on_notice
        self._lock = threading.Lock()
        self._rpc: SignalRpc | None = None
        self._version: tuple[int, int, int] | None = None

    @property
    def version(self) -> tuple[int, int, int] | None:
        """The release that answered last, None before the first connection."""
        return self._version

    @property
    def warning(self) -> str | None:
        """Why the release that answered should be replaced, None if it need not be."""
        return None if self._version is None else warning_of(self._version)

    def rpc(self) -> SignalRpc:
        """Return the living connection; everything is checked before it is handed out.

        Raises:
            UnreachableError: nobody listens on the socket.
            NoAnswerError, FaultError: the daemon does not answer, or not as it should.
            HumanNeededError: the release is too old to be trusted with deliveries.
            FormatError: the release cannot be told.
        """
        with self._lock:
            if self._rpc is None or not self._rpc.alive:
                self._rpc = self._connect()
            return self._rpc

    def close(self) -> None:
        """Close the connection, if there is one."""
        with self._lock:
            if self._rpc is not None:
                self._rpc.close()
                self._rpc = None

    def _connect(self) -> SignalRpc:
        rpc = SignalRpc(
            self._settings.socket,
            on_notice=self._on_notice,
            connect_seconds=self._settings.connect_seconds,
        )
        try:
            self._greet(rpc)
        except BaseException:
            rpc.close()
            raise
        return rpc

    def _greet(self, rpc: SignalRpc) -> None:
        seconds = self._settings.call_seconds
        answer = rpc.call("version", deadline_s=seconds)
        self._version = parse_version(answer.get("version") if isinstance(answer, dict) else None)
        if not is_supported(self._version):
            raise HumanNeededError(
                "this release of signal-cli loses messages",
                hint="upgrade signal-cli to 0.14.7 or later (0.13.16 at least)",
            )
        # What arrives while nobody is subscribed waits on Signal's server (--receive-mode=manual).
        rpc.call("subscribeReceive", deadline_s=seconds)
