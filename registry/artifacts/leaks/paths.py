"""Paths on somebody's machine, and the user and machine names in them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from registry.artifacts.leaks.hits import Hit
from registry.artifacts.leaks.leak import Certainty

if TYPE_CHECKING:
    from collections.abc import Iterator

    from registry.artifacts.leaks.passages import Passage

_STARTS_AS_PATH = re.compile(r"^(?:[/~\\]|\.{1,2}[/\\]|[A-Za-z]:[/\\])")


def is_path(text: str | None) -> bool:
    """Return whether `text` is a path on some machine and not a model's public name."""
    return text is not None and _STARTS_AS_PATH.match(text) is not None


# A name in a path ends at what shells, JSON and prose put around paths.
_NAME = r"[^\s/\\\"'`<>|*?:,;()\[\]{}\x00]{1,255}+"
_POSIX = re.compile(rf"/({_NAME})(?:/{_NAME})(/{_NAME})?")
_HOME = re.compile(r"~(?:[a-z_][a-z0-9_-]{0,31}+)?[/\\](?=[\w.])")
_DRIVE = re.compile(rf"[A-Za-z]:(?:\\{{1,2}}|/(?!/)){_NAME}")
_SHARE = re.compile(rf"\\\\[A-Za-z0-9][A-Za-z0-9._-]{{0,62}}+\\{{1,2}}{_NAME}")
# Where machines keep files: two names are a path below one of these, elsewhere it takes three.
_ROOT_WORDS = (
    "home Users mnt media data root tmp var opt usr srv private Volumes workspace workspaces content kaggle"
    " scratch work storage nfs gpfs lustre cluster projects project share shared etc run autodl-tmp autodl-fs"
    " autodl-pub hdd ssd disk disk1 disk2 data1 data2 ssd1 ssd2 volume volumes dev proc mount notebooks export"
    " app code teamspace inspire cpfs oss ossfs dfs ceph fsx efs"
)
_ROOTS = frozenset(_ROOT_WORDS.split())
_NOT_A_ROOT = re.compile(r"v[0-9]{1,2}|api")  # addresses of web services in a README
_FILE_URL = "file://"


def scan_paths(passage: Passage) -> Iterator[Hit]:
    """Yield absolute paths of POSIX and Windows, shares with their hosts, and paths below `~`."""
    text = passage.text
    path = Hit("path", Certainty.PATTERN)
    if "/" in text:
        yield from (path for match in _POSIX.finditer(text) if _is_posix(text, match))
    if "~" in text:
        yield from (path for match in _HOME.finditer(text) if _begins(text, match.start()))
    if ":\\" in text or ":/" in text:
        yield from (path for match in _DRIVE.finditer(text) if _begins(text, match.start()))
    if "\\\\" in text:
        for match in _SHARE.finditer(text):
            # A path of Windows with its backslashes doubled looks like a share behind a drive.
            if _begins(text, match.start()) and text[match.start() - 1 : match.start()] != ":":
                yield path
                yield Hit("host-name", Certainty.PATTERN)


def _begins(text: str, start: int) -> bool:
    return start == 0 or not (text[start - 1].isalnum() or text[start - 1] in "/\\._-")


_DRIVE_COLON = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]:$", re.ASCII)


def _is_long(match: re.Match[str]) -> bool:
    return match[2] is not None and not _NOT_A_ROOT.fullmatch(match[1])


def _is_posix(text: str, match: re.Match[str]) -> bool:
    start, root = match.start(), match[1]
    before = text[start - 1] if start else " "
    if before in "/\\.~<_-%&#@+" or (before.isascii() and before.isalnum()):
        return text.startswith(_FILE_URL, max(start - len(_FILE_URL), 0))
    if before == ":" and _DRIVE_COLON.search(text, max(start - 3, 0), start):
        return False  # counted as a path of Windows
    # Chinese text touches a path without a space.
    return root in _ROOTS or (not before.isalnum() and _is_long(match))


_USER = re.compile(rf"[/\\](?:home|Users|Documents and Settings)[/\\]{{1,2}}({_NAME})")
_TILDE_USER = re.compile(r"~([a-z_][a-z0-9_-]{0,31}+)/")
_USER_LABEL = re.compile(
    r"(?:user_?name|wandb_entity|hub_user|USERNAME|LOGNAME)[\"']?\s{0,3}+[:=]\s{0,3}+[\"']?([\w.-]{2,64}+)"
)
# Accounts that a machine comes with name nobody.
_NOBODY_WORDS = (
    "root user users ubuntu debian admin administrator runner jovyan ec2-user azureuser public default shared"
    " all guest docker app none null str string true false www-data nobody anonymous username your_username your-username"
    " you name kaggle colab vscode codespace work data project projects model models"
)
_NOBODY = frozenset(_NOBODY_WORDS.split())
_URL_CHARS = 256
_BETWEEN = re.compile(r"[\s\"'`<>(,;]")


def scan_users(passage: Passage) -> Iterator[Hit]:
    """Yield user names, as home folders and settings give them; accounts of every machine are left out."""
    text = passage.text
    for pattern in _user_patterns(text):
        for match in pattern.finditer(text):
            if match[1].lower() in _NOBODY or _in_web_address(text, match.start()):
                continue
            if pattern is not _USER_LABEL or not passage.is_code(*match.span(1)):
                yield Hit("user-name", Certainty.PATTERN)


def _user_patterns(text: str) -> Iterator[re.Pattern[str]]:
    if "home" in text or "Users" in text or "Documents and" in text:
        yield _USER
    if "~" in text:
        yield _TILDE_USER
    if any(word in text for word in ("user", "USERNAME", "LOGNAME", "wandb_entity")):
        yield _USER_LABEL


def _in_web_address(text: str, start: int) -> bool:
    window = _BETWEEN.split(text[max(start - _URL_CHARS, 0) : start])[-1]
    return "://" in window and not window.startswith(_FILE_URL)
