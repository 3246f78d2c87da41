"""A captcha that Signal wants solved before the account may send: kept over restarts until it is."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from registry.durable import write_whole
from registry.errors import FormatError

if TYPE_CHECKING:
    from pathlib import Path


class Challenge:
    """The file `challenge.json` in the channel's state, 0600: its token is a secret of the account."""

    def __init__(self, state: Path) -> None:
        self._path = state / "challenge.json"

    def store(self, token: str, *, until_ms: int) -> None:
        """Remember a challenge; it lapses by itself at `until_ms`."""
        write_whole(self._path, [json.dumps({"token": token, "until": until_ms}).encode()])

    def clear(self) -> None:
        """Forget it: solved, or the account may send again."""
        self._path.unlink(missing_ok=True)

    def token(self, *, now_ms: int) -> str | None:
        """Return the token of a challenge that has not lapsed.

        Raises:
            FormatError: the file is damaged.
        """
        try:
            body = json.loads(self._path.read_bytes())
            token, until = body["token"], body["until"]
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            hint = f"delete {self._path}; Signal names the challenge again at the next send"
            raise FormatError("the stored challenge is damaged", hint=hint) from error
        valid = isinstance(token, str) and isinstance(until, int) and now_ms < until
        return token if valid else None
