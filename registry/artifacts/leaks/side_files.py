"""What is written in the files beside an adapter: texts, images, databases and logs, from their bytes.

Nothing is loaded or run: pickles and databases are only looked through for what is printable, YAML and
TOML are read as the text they are.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from registry.artifacts.leaks.header import (
    CONFIG_NAME,
    base_path_leak,
    leaks_of_setting,
)
from registry.artifacts.leaks.images import is_image, leaks_in_image
from registry.artifacts.leaks.kinds import make_leak
from registry.artifacts.leaks.leak import Leak, sort_leaks
from registry.artifacts.leaks.passages import decoded, printable
from registry.artifacts.leaks.paths import is_path
from registry.artifacts.leaks.scan import leaks_in_text
from registry.artifacts.leaks.side_names import shown_name
from registry.limits import ADAPTER_CONFIG_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

SIDE_FILE_BYTES = 16 * 1024 * 1024
_TEXT_SUFFIXES = (
    ".json", ".jsonl", ".toml", ".yaml", ".yml", ".md", ".txt", ".log", ".csv", ".tsv", ".ini", ".cfg", ".conf",
    ".sh", ".bat", ".ps1", ".py", ".ipynb", ".caption", ".html", ".xml", ".jinja", ".env", ".netrc", ".pem", ".key",
)  # fmt: skip
_IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
# Looked through for printable text. training_args.bin is a pickle: it is never unpickled.
_RAW_DATABASES = (".db", ".sqlite", ".sqlite3", ".gif")
_RAW_SUFFIXES = (*_RAW_DATABASES, ".bin")
_RAW_NAMES = ("training_args.bin",)
_HEAD_BYTES = 1024
_EVENTS = "events.out.tfevents."


def is_scanned(name: str) -> bool:
    """Return whether `scan_side_file` looks into files of this name; weights and pickles never."""
    last = name.rpartition("/")[2].lower()
    suffixes = (*_TEXT_SUFFIXES, *_IMAGE_SUFFIXES, *_RAW_DATABASES)
    return (
        last.endswith(suffixes) or last.startswith(_EVENTS) or last in _RAW_NAMES or "." not in last
    )


def scan_side_file(name: str, data: bytes, *, size: int | None = None) -> tuple[Leak, ...]:
    """Return what stands in a file beside an adapter, worst first; () for names that are not scanned.

    `data` is its content or the start of it, `size` its whole size in bytes if that is more: then a leak of
    kind `not-scanned` says that the rest was not read. At most `SIDE_FILE_BYTES` are looked at. Never
    raises.
    """
    if not is_scanned(name):
        return ()
    place, start = shown_name(name), data[:SIDE_FILE_BYTES]
    leaks = list(_leaks_in(place, name.rpartition("/")[2].lower(), start))
    if max(size or 0, len(data)) > len(start):
        leaks.append(
            make_leak(place, "not-scanned", what=f"only its first {len(start)} bytes were read")
        )
    return sort_leaks(leaks)


def _leaks_in(place: str, last: str, data: bytes) -> Iterator[Leak]:
    if last == CONFIG_NAME and len(data) <= ADAPTER_CONFIG_BYTES:
        yield from _in_config(place, data)
    elif is_image(data):
        yield from leaks_in_image(place, data)
    elif not _is_binary(last, data):
        yield from leaks_in_text(place, decoded(data))
    elif "." in last:
        yield from leaks_in_text(place, printable(data))
    else:
        # Weights or a pickle without a suffix.
        yield make_leak(place, "not-scanned", what="not read: it is no text")


def _is_binary(last: str, data: bytes) -> bool:
    if last.endswith((*_RAW_SUFFIXES, *_IMAGE_SUFFIXES)) or last.startswith(_EVENTS):
        return True
    return b"\0" in data[:_HEAD_BYTES] and data[:2] not in (b"\xff\xfe", b"\xfe\xff")


def _in_config(place: str, data: bytes) -> Iterator[Leak]:
    # Setting by setting, so that a finding says where; what is no JSON object is read as text.
    try:
        settings = json.loads(data)
    except (ValueError, RecursionError):
        settings = None
    if not isinstance(settings, dict):
        yield from leaks_in_text(place, decoded(data))
        return
    for name, value in settings.items():
        if name == "base_model_name_or_path" and isinstance(value, str) and is_path(value):
            yield base_path_leak()
        text = json.dumps(value, ensure_ascii=False)
        yield from leaks_of_setting(name, text, place=f"{place}:{shown_name(name)}")
