"""`loraseal scrub`: take out of a header what it tells, show what goes, and be able to put it back."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from registry.cli.output import emit, followed, guarded, json_option, plain
from registry.errors import UsageError
from registry.limits import SAFETENSORS_HEADER_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

    from registry.artifacts.scrubbing.files import OriginalHeader, ScrubPlan
    from registry.artifacts.scrubbing.header import Change, ScrubRules

SCHEMA = "loraseal/scrub.v1"
RESTORE_SCHEMA = "loraseal/restore.v1"
_FILE = click.Path(path_type=Path, readable=False)
_VALUE_CHARS = 48
_KEPT_BYTES = SAFETENSORS_HEADER_BYTES + 1024
_HONEST = "the weights are as they were: what they have memorised is still in them"


@click.command("scrub")
@click.argument("path", type=_FILE)
@click.option("-o", "--output", type=_FILE, help="The file to write; it must not exist.")
@click.option(
    "--profile",
    type=click.Choice(["public", "none"]),
    default="public",
    show_default=True,
    help="Keep what loaders need, or `format` alone.",
)
@click.option("--keep", multiple=True, metavar="KEY", help="Keep this key as it is; repeatable.")
@click.option("--drop", multiple=True, metavar="KEY", help="Drop this key too; repeatable.")
@click.option("--licence", help="Your licence statement (modelspec.license).")
@click.option("--owner", help="Your owner statement (modelspec.author).")
@click.option("--dry-run", is_flag=True, help="Show what would change, write nothing.")
@click.option("--show-values", is_flag=True, help="Show the values too; they may name people.")
@click.option(
    "--original",
    type=_FILE,
    help="Keep the original header in this file, sealed to -r, and not in the ledger.",
)
@click.option("-r", "--recipient", "names", multiple=True, help="An age1… recipient of --original.")
@click.option("--forget-original", is_flag=True, help="Keep the original header nowhere.")
@click.option("--restore", is_flag=True, help="Put the original header back before PATH's weights.")
@click.option("--sha256", "digits", help="Which original: first digits of the file's sha256.")
@click.option("-i", "--identity", type=_FILE, help="Opens --original when restoring.")
@click.option("--config", type=click.Path(path_type=Path), help="Settings file.")
@json_option
@guarded
def scrub_command(path: Path, output: Path | None, as_json: bool, **options: object) -> None:
    """Write the adapter PATH to OUTPUT with a header that tells less; the weights stay as they are.

    What the header had is kept sealed in this host's ledger (or in --original FILE), and --restore makes
    the original file again, byte for byte. Every name made of the weights stays (AutoV3, sshs); SHA-256
    and the others made of the whole file change. Exit code 0 also if nothing had to change.
    """
    wish = _Wish(options)
    if wish.flag("restore"):
        _restore(path, _needed(output), wish, as_json=as_json)
    else:
        _scrub(path, output, wish, as_json=as_json)


class _Wish:
    """The options, by name; one place that knows which belong together."""

    def __init__(self, options: dict[str, object]) -> None:
        self._options = options
        places = [self.path("original") is not None, self.flag("forget_original")]
        if all(places):
            raise UsageError("--original and --forget-original contradict each other")

    def flag(self, name: str) -> bool:
        return bool(self._options[name])

    def path(self, name: str) -> Path | None:
        value = self._options[name]
        return value if isinstance(value, Path) else None

    def text(self, name: str) -> str | None:
        value = self._options[name]
        return value if isinstance(value, str) else None

    def texts(self, name: str) -> tuple[str, ...]:
        value = self._options[name]
        return value if isinstance(value, tuple) else ()

    def rules(self) -> ScrubRules:
        from registry.artifacts.scrubbing.header import Profile, ScrubRules

        return ScrubRules(
            profile=Profile(self.text("profile") or "public"),
            keep=self.texts("keep"),
            drop=self.texts("drop"),
            licence=self.text("licence"),
            owner=self.text("owner"),
        )


def _scrub(path: Path, output: Path | None, wish: _Wish, *, as_json: bool) -> None:
    from registry.artifacts.scrubbing.files import plan_scrub, scrub_file

    source, rules, where = followed(path), wish.rules(), ""
    if wish.flag("dry_run"):
        plan = plan_scrub(source, rules)
    else:
        target = _needed(output)
        keep, where = _keeper(wish)
        plan = scrub_file(source, target, rules, keep)
    done = not wish.flag("dry_run")
    payload = {**_to_json(plan), "output": str(output) if done else None, "done": done}
    emit(payload, as_json=as_json, human=_describe(plan, wish, (output if done else None, where)))


def _keeper(wish: _Wish) -> tuple[Callable[[OriginalHeader], object], str]:
    """Return what keeps the original header, and where that is, in words."""
    target = wish.path("original")
    if wish.flag("forget_original"):
        return (lambda _: None), "nowhere, as you wished: it cannot be restored"
    if target is None:
        return _ledger_keeper(wish.path("config")), "in the ledger, sealed (--restore)"
    recipients = wish.texts("names")
    if not recipients:
        raise UsageError("--original needs a recipient", hint="give one: -r age1…")
    return _file_keeper(target, recipients), f"in {target}, sealed"


def _file_keeper(target: Path, names: tuple[str, ...]) -> Callable[[OriginalHeader], object]:
    from registry.durable import atomic_write, refuse_existing
    from registry.sealing.identities import parse_recipient
    from registry.sealing.seal import seal_bytes

    refuse_existing(target)
    recipients = [parse_recipient(name) for name in names]
    return lambda original: atomic_write(target, seal_bytes(original.to_bytes(), recipients))


def _ledger_keeper(config: Path | None) -> Callable[[OriginalHeader], object]:
    from registry.errors import NotFoundError
    from registry.settings import load_paths

    try:
        load_paths(config)
    except NotFoundError as error:
        raise UsageError(
            "there is no ledger here that could keep the original header",
            hint="keep it in a file (--original FILE -r age1…), or not at all (--forget-original)",
        ) from error

    def keep(original: OriginalHeader) -> None:
        from registry.cli.queries import open_ledger
        from registry.provenance.headers import NewHeader, keep_header

        new = NewHeader(original.header, original.file_sha256, original.body_sha256)
        with open_ledger(config) as (ledger, _), ledger.transaction() as tx:
            keep_header(tx, new, datetime.now(UTC))

    return keep


def _restore(path: Path, output: Path, wish: _Wish, *, as_json: bool) -> None:
    from registry.artifacts.scrubbing.files import file_digests, restore_file

    source, kept = followed(path), wish.path("original")
    if kept is not None:
        original = _original_in(kept, wish.path("identity"))
    else:
        original = _original_in_ledger(file_digests(source), wish)
    size = restore_file(source, output, original)
    payload = {
        "schema": RESTORE_SCHEMA,
        "output": str(output),
        "sha256": original.file_sha256,
        "size": size,
    }
    human = f"restored  {output} ({size} bytes)\nsha256    {original.file_sha256}, as it was"
    emit(payload, as_json=as_json, human=human)


def _original_in(path: Path, identity: Path | None) -> OriginalHeader:
    from registry.artifacts.scrubbing.files import OriginalHeader
    from registry.sealing.identity_file import load_identities
    from registry.sealing.seal import open_bytes

    if identity is None:
        raise UsageError(
            "--original is sealed, and no identity is given", hint="give it: -i IDENTITY"
        )
    with path.open("rb") as stream:
        sealed = stream.read(_KEPT_BYTES * 2)
    return OriginalHeader.from_bytes(
        open_bytes(sealed, load_identities(identity), max_bytes=_KEPT_BYTES)
    )


def _original_in_ledger(digests: tuple[str, str], wish: _Wish) -> OriginalHeader:
    from registry.artifacts.scrubbing.files import OriginalHeader
    from registry.cli.queries import open_ledger
    from registry.provenance.headers import choose_header

    file_sha256, body_sha256 = digests
    with open_ledger(wish.path("config")) as (ledger, _), ledger.reading() as reader:
        found = choose_header(reader, body_sha256, wish.text("digits"), scrubbed=file_sha256)
    return OriginalHeader(found.header, found.file_sha256, found.body_sha256)


def _needed(output: Path | None) -> Path:
    if output is None:
        raise UsageError("-o is missing", hint="name the file to write, or use --dry-run")
    return output


def _to_json(plan: ScrubPlan) -> dict[str, object]:
    from registry.artifacts.scrubbing.header import effects_of

    changes = plan.scrubbed.changes
    return {
        "schema": SCHEMA,
        "original_sha256": plan.original.file_sha256,
        "body_sha256": plan.original.body_sha256,
        "header_bytes": {"before": len(plan.original.header), "after": len(plan.scrubbed.data)},
        "size": plan.size,
        "changed": plan.scrubbed.data != plan.original.header,
        "changes": [
            {"key": one.key, "action": one.action.value, "why": one.why} for one in changes
        ],
        "effects": list(effects_of(changes)),
    }


def _describe(plan: ScrubPlan, wish: _Wish, written: tuple[Path | None, str]) -> str:
    from registry.artifacts.scrubbing.header import effects_of

    changes, (output, where) = plan.scrubbed.changes, written
    lines = [_line(one, values=wish.flag("show_values")) for one in changes]
    lines += [f"note      {text}" for text in (*effects_of(changes), _HONEST)]
    before, after = len(plan.original.header), len(plan.scrubbed.data)
    lines.append(f"header    {before} bytes, then {after}; body as it was: {_short(plan)}")
    if output is None:
        return "\n".join([*lines, "nothing was written (dry run)"])
    return "\n".join([*lines, f"original  kept {where}", f"written   {output}"])


def _short(plan: ScrubPlan) -> str:
    return f"AutoV3 {plan.original.body_sha256[:12].upper()}"


def _line(change: Change, *, values: bool) -> str:
    line = f"{change.action.value:<9} {plain(change.key):<32} {change.why}"
    if not values:
        return line
    shown = [f"{sign} {_cut(text)}" for sign, text in _sides(change) if text is not None]
    return "\n".join([line, *(f"            {text}" for text in shown)])


def _sides(change: Change) -> list[tuple[str, str | None]]:
    if change.before == change.after:
        return [("=", change.before)]
    return [("-", change.before), ("+", change.after)]


def _cut(text: str) -> str:
    left = len(text) - _VALUE_CHARS
    return plain(text[:_VALUE_CHARS]) + (f"… ({left} more characters)" if left > 0 else "")
