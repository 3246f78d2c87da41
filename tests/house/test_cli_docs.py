"""docs/cli.md says what the commands say. Bring it up to date: python -m tests.house.test_cli_docs --write."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.testing import CliRunner

from daemon.cli.root import loraseal
from registry import errors

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = Path(__file__).resolve().parents[2] / "docs" / "cli.md"
MARK = "## Every command\n"
COLUMNS = "80"
_SECTION = re.compile(r"^### `(loraseal[a-z -]*)`\n\n```text\n(.*?)```\n", re.MULTILINE | re.DOTALL)
_EXIT_ROW = re.compile(r"^\| (\d+) \|", re.MULTILINE)


def commands() -> Iterator[tuple[str, ...]]:
    """Yield the words of every command, groups before what they hold, in the order of `--help`."""
    pending: list[tuple[tuple[str, ...], click.Command]] = [((), loraseal)]
    while pending:
        words, command = pending.pop(0)
        yield words
        if isinstance(command, click.Group):
            context = click.Context(command)
            inner = [
                (name, command.get_command(context, name))
                for name in command.list_commands(context)
            ]
            pending[:0] = [((*words, name), item) for name, item in inner if item is not None]


def help_of(words: tuple[str, ...]) -> str:
    """Return what `loraseal WORDS --help` prints on a terminal of 80 columns."""
    done = CliRunner(env={"COLUMNS": COLUMNS}).invoke(
        loraseal, [*words, "--help"], prog_name="loraseal"
    )
    assert done.exit_code == 0, done.output
    return done.output


def sections() -> dict[str, str]:
    """Return the help text of every command by its name."""
    return {" ".join(("loraseal", *words)): help_of(words) for words in commands()}


def generated() -> str:
    """Return the part of the page that is made from the commands."""
    return MARK + "".join(
        f"\n### `{name}`\n\n```text\n{text}```\n" for name, text in sections().items()
    )


def test_every_command_stands_in_the_page_with_its_own_help() -> None:
    text = PAGE.read_text("utf-8")
    assert dict(_SECTION.findall(text)) == sections()


def test_the_page_is_what_the_update_would_write() -> None:
    text = PAGE.read_text("utf-8")
    assert text == text.partition(MARK)[0] + generated()


def test_every_exit_code_of_an_error_is_explained() -> None:
    raised = {
        kind.exit_code
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.LorasealError)
    }
    explained = {int(code) for code in _EXIT_ROW.findall(PAGE.read_text("utf-8"))}
    assert raised | {0} <= explained


def write() -> None:
    """Replace the part of the page that is made from the commands; the rest stays."""
    head = PAGE.read_text("utf-8").partition(MARK)[0]
    PAGE.write_text(head + generated(), "utf-8")


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit("usage: python -m tests.house.test_cli_docs --write")
    write()
