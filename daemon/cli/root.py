"""The root of the command line: a table of commands, each loaded only when it is used.

So `loraseal --help` and the recipient's commands start on the base install, without torch,
SQLAlchemy or the engine, and quickly.
"""

from __future__ import annotations

import importlib
import sys
from importlib import metadata
from typing import NoReturn

import click

from registry.cli.output import emit_error, report
from registry.errors import LorasealError, UsageError

_AS_JSON = "loraseal.as_json"
HOST_HINT = "install what a host needs: pip install 'loraseal[host]' (audits: 'loraseal[audit]')"

SECTIONS: dict[str, dict[str, tuple[str, str]]] = {
    "Look at files (no registry needed)": {
        "inspect": (
            "registry.cli.inspecting:inspect_command",
            "Say what a file is and gives away.",
        ),
        "audit": ("registry.cli.auditing:audit_command", "Audit the weights of an adapter."),
        "hash": ("registry.cli.hashing:hash_command", "Print every known hash of a file."),
        "scrub": ("registry.cli.scrubbing:scrub_command", "Take out of a header what it tells."),
        "convert": (
            "registry.cli.converting:convert_command",
            "Convert a pickle to safetensors, in a cage.",
        ),
        "seal": ("registry.cli.sealing_commands:seal_command", "Seal a file or folder (age v1)."),
    },
    "Receive": {
        "enrol": ("registry.cli.enrolling:enrol_command", "Make your keys and enrolment file."),
        "verify": ("registry.cli.verifying:verify_command", "Prove what arrived, offline."),
        "open": ("registry.cli.verifying:open_command", "Open a sealed file, verified."),
        "receipt": ("daemon.cli.receipts:receipt", "Make or import a delivery receipt."),
    },
    "Keep custody": {
        "init": ("daemon.cli.setup:init_command", "Make settings, keys and the ledger."),
        "doctor": ("daemon.cli.doctor:doctor_command", "Probe the installation, say what to do."),
        "service": ("daemon.cli.setup:service", "Install the systemd service."),
        "up": ("daemon.cli.running:up_command", "Watch, audit, seal and deliver."),
        "status": ("daemon.cli.running:status_command", "Say how it stands and what needs you."),
        "ls": ("registry.cli.queries:ls_command", "List artifacts."),
        "show": ("registry.cli.queries:show_command", "Show one artifact."),
        "trace": ("registry.cli.tracing:trace_command", "Find what a file or hash is."),
        "log": ("registry.cli.queries:log_command", "Read the transparency log."),
        "base": ("registry.cli.bases:base", "Keep base models that audits compare with."),
        "fsck": ("daemon.cli.checking:fsck_command", "Check vault, ledger and log."),
        "tidy": (
            "daemon.cli.tidying:tidy_command",
            "Find what training left, and seal or remove it.",
        ),
    },
    "Decide and deliver": {
        "recipient": ("daemon.cli.recipients:recipient", "Enrol recipients."),
        "release": ("daemon.cli.deciding:release_command", "Release a held artifact."),
        "reject": ("daemon.cli.deciding:reject_command", "Reject a held artifact."),
        "revoke": ("daemon.cli.deciding:revoke_command", "Withdraw an artifact or delivery."),
        "deliver": ("daemon.cli.delivering:deliver_command", "Deliver a released artifact."),
        "render": ("daemon.cli.delivering:render_command", "Make the public form of an artifact."),
        "channel": ("signal_bridge.cli:channel", "Look at the channels."),
        "keys": ("daemon.cli.keeping:keys", "Export or look at the registry's keys."),
    },
}
COMMANDS = {name: entry for section in SECTIONS.values() for name, entry in section.items()}


class LateGroup(click.Group):
    """A group that imports a command's module when that command is asked for."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Remember whether the whole line asks for JSON, before its commands take it apart."""
        ctx.meta[_AS_JSON] = "--json" in args
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return every command of the table, in its order."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command.

        A missing package of an extra is a refusal with a hint, not a traceback.
        """
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        try:
            command = getattr(importlib.import_module(module), attribute)
        except ModuleNotFoundError as error:
            _refuse_missing(error)
        if not isinstance(command, click.Command):
            raise TypeError(f"{COMMANDS[cmd_name][0]} is not a command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table from its own words, importing nothing."""
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name, text) for name, (_, text) in commands.items()])

    def invoke(self, ctx: click.Context) -> object:
        """Run a command; a package that only an extra brings gets a hint, not a traceback."""
        try:
            return super().invoke(ctx)
        except ModuleNotFoundError as error:
            _refuse_missing(error)
        except click.UsageError as error:
            # click writes its own words to stderr and exits 2; a script reads one stream.
            if ctx.meta[_AS_JSON]:
                hint = f"{error.ctx.command_path} --help" if error.ctx else None
                emit_error(UsageError(error.format_message(), hint=hint))
            raise


def _refuse_missing(error: ModuleNotFoundError) -> NoReturn:
    name = (error.name or "").partition(".")[0]
    if name in ("registry", "daemon", "signal_bridge"):
        raise error
    report(LorasealError(f"this command needs the package {name!r}", hint=HOST_HINT), as_json=False)
    sys.exit(1)


def _say_version(ctx: click.Context, _: click.Parameter, asked: bool) -> None:
    if not asked or ctx.resilient_parsing:
        return
    try:
        version = metadata.version("loraseal")
    except metadata.PackageNotFoundError:
        # A checkout that is not installed has none.
        version = "unknown"
    click.echo(f"loraseal, version {version}")
    ctx.exit()


@click.group(cls=LateGroup)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_say_version,
    help="Show the version and exit.",
)
def loraseal() -> None:
    """Custody for fine-tuned adapters: watch, audit, seal, record, deliver, verify."""
