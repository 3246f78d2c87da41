"""How commands speak: data on stdout, the rest on stderr, one exit code per kind of error.

Rules: lower-case, no full stop, prefix `loraseal: `, a hint on its own line. With `--json` an error is
one JSON object on stdout too, so that a script reads one stream.
"""

from __future__ import annotations

import functools
import json
import sys
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import click

from registry.errors import LorasealError, NotFoundError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

P = ParamSpec("P")
R = TypeVar("R")

ERROR_SCHEMA = "loraseal/error.v1"

json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object on stdout."
)


def emit(payload: Mapping[str, object], *, as_json: bool, human: str) -> None:
    """Print `payload` as JSON, or `human` as it is, on stdout."""
    if as_json:
        click.echo(json.dumps(payload, ensure_ascii=False, sort_keys=True))
    elif human:
        click.echo(human)


def say(text: str) -> None:
    """Print a line for people on stderr."""
    click.echo(text, err=True)


def plain(text: str) -> str:
    """Return a name from outside so that it can neither begin a line nor colour one."""
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in text
    )


def followed(path: Path) -> Path:
    """Return where the path that a person named leads; one that leads nowhere is returned as it is.

    A link that somebody types is theirs (a model cache holds nothing else); links inside a folder
    are not followed, since whoever made the folder chose them.
    """
    try:
        return path.resolve(strict=True)
    except (OSError, RuntimeError):
        return path


def guarded(command: Callable[P, R]) -> Callable[P, R]:
    """Turn a `LorasealError` into a message, a hint and its exit code.

    `OSError` without a reason of ours (disk full, no permission) exits 1 with the system's words.
    """

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except LorasealError as error:
            report(error, as_json=bool(kwargs.get("as_json", False)))
            sys.exit(error.exit_code)
        except UnicodeEncodeError:
            wrong = UsageError("an argument is not UTF-8 text", hint="type it anew")
            report(wrong, as_json=bool(kwargs.get("as_json")))
            sys.exit(wrong.exit_code)
        except FileNotFoundError as error:
            missing = NotFoundError(
                f"there is no file {error.filename!r}", hint="check the path that you gave"
            )
            report(missing, as_json=bool(kwargs.get("as_json")))
            sys.exit(missing.exit_code)
        except OSError as error:
            # A number is a descriptor, which tells nobody anything.
            name = f" {error.filename!r}" if isinstance(error.filename, (str, bytes)) else ""
            report(
                LorasealError(f"{error.strerror or type(error).__name__}{name}"),
                as_json=bool(kwargs.get("as_json")),
            )
            sys.exit(1)

    return run


def report(error: LorasealError, *, as_json: bool) -> None:
    """Write `error` to stderr and, with `as_json`, as an object to stdout."""
    say(f"loraseal: {error}")
    if error.hint:
        say(f"  what to do: {error.hint}")
    if as_json:
        emit_error(error)


def emit_error(error: LorasealError) -> None:
    """Write `error` to stdout as one JSON object."""
    body = {"schema": ERROR_SCHEMA, "error": type(error).__name__, "message": str(error)}
    click.echo(json.dumps({**body, "hint": error.hint, "exit": error.exit_code}, sort_keys=True))
