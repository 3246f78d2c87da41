"""The air-gap channel: parcels are files in `<folder>/<recipient>/`, receipts come back in `<folder>/receipts/`.

The folder is usually a stick or a share that comes and goes, so it carries a mark that this channel
knows: an empty mount point, or another stick, is never taken for it. Anyone can write into the
folder, hence nothing found there is believed: parcels are compared by digest, receipts stay sealed.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import re
import secrets
import threading
from typing import TYPE_CHECKING

from registry.durable import PART_SUFFIX, fsync_directory, write_whole
from registry.errors import LorasealError
from registry.limits import CHANNEL_INBOX_FILES, RECEIPT_BYTES
from signal_bridge.book import Book
from signal_bridge.channel import (
    Accepted,
    Capabilities,
    ChannelStatus,
    Fate,
    Health,
    Level,
    Offered,
    Recall,
    Refused,
    Retry,
    Role,
)
from signal_bridge.journal import Journal
from signal_bridge.parcels import read_parcel
from signal_bridge.plain_files import open_plain, read_slice, read_small

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path

    from signal_bridge.channel import Address, ChannelEvent, Offer, Parcel, SendOutcome
    from signal_bridge.settings import FolderSettings

log = logging.getLogger(__name__)

MARK_NAME = ".loraseal-folder"
RECEIPTS_NAME = "receipts"
RECEIPT_SUFFIX = ".receipt"
RETRY_SECONDS = 60
_RECIPIENT = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")
_SUFFIX = re.compile(r"\.age(?:\.\d{3}-of-\d{3})?$|\.parts\.json$|\.loraseal$")
_CAPABILITIES = Capabilities(
    roles=frozenset({Role.CARRIER}),
    max_parcel_bytes=None,
    recipient_online=False,
    revocable=True,
    best_receipt=Level.ACCEPTED,
)


class FolderChannel:
    """A channel over one folder. An address is the name of a directory in it, one per recipient."""

    def __init__(
        self, settings: FolderSettings, *, state: Path, clock: Callable[[], datetime]
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._mark = state / "folder-mark"
        self._journal = Journal(state)
        self._book = Book(self._journal)
        self._writing = threading.Lock()
        self._looked_at: dict[str, tuple[int, int, int]] = {}

    @property
    def name(self) -> str:
        """The name that the settings give this channel."""
        return self._settings.name

    @property
    def capabilities(self) -> Capabilities:
        """No limit on size; a receipt from the carrier proves no more than that the file is there."""
        return _CAPABILITIES

    def check(self) -> ChannelStatus:
        """Probe that the folder is there, is the right one, and takes files."""
        trouble = self._trouble() or self._write_probe()
        if trouble is None:
            return ChannelStatus(self.name, Health.READY, "folder is there and takes files")
        return ChannelStatus(self.name, Health.UNAVAILABLE, trouble.reason, trouble.what_to_do)

    def offer(self, offer: Offer) -> Offered | Refused:
        """Choose the file names; a name that another delivery took gets this delivery's id in it."""
        if offer.to.kind not in {"folder", self.name} or not _is_recipient(offer.to.value):
            return Refused(
                "the address is not a plain directory name",
                Retry.HUMAN,
                "give the recipient a folder name of letters, digits, dots and dashes",
            )
        known = self._book.public_part(offer.delivery_id)
        if known is None:
            trouble = self._trouble()
            if trouble is not None:
                return trouble
        with self._writing:
            public = self._book.offer(offer, known or self._choose_names(offer))
        return Offered(offer.delivery_id, public)

    def send(self, parcel: Parcel, to: Address) -> SendOutcome:
        """Write the parcel durably under its name; if it is already there, nothing is written."""
        public = self._book.require_offered(parcel.delivery_id, to)
        with self._writing:
            known = self._book.sent(parcel.delivery_id, parcel.number)
            if known is not None:
                return known
            if self._book.is_stopped(parcel.delivery_id):
                return Refused("the delivery was revoked", Retry.NEVER, "plan a new delivery")
            trouble = self._trouble()
            if trouble is not None:
                return trouble
            return self._write(parcel, to, self._target(parcel, to, public))

    def events(self, cursor: str | None) -> tuple[ChannelEvent, ...]:
        """Return sealed receipts that were dropped into `receipts/`, each once."""
        if self._trouble() is None:
            self._take_receipts()
        return self._book.events(cursor)

    def revoke(self, delivery_id: str, to: Address) -> Recall:
        """Remove what still lies there; TOO_LATE if something was already carried away."""
        public = self._book.public_part(delivery_id)
        if public is not None:
            self._book.require_offered(delivery_id, to)
        self._book.stop(delivery_id)
        if public is None or not self._book.has_left(delivery_id):
            return Recall.STOPPED
        if self._trouble() is not None:
            return Recall.TOO_LATE
        tags = _tags(public)
        numbers = range(1, len(tags) + 1)
        left = {tags[number - 1] for number in numbers if self._book.sent(delivery_id, number)}
        there = [path for path in self._files_of(to) if self._journal.tag_name(path.name) in left]
        removed = [self._remove(path) for path in there]
        return Recall.STOPPED if len(there) == len(left) and all(removed) else Recall.TOO_LATE

    def reconcile(self, delivery_id: str, number: int) -> Fate:
        """A parcel of which no writing is on record is not sent: writing it again changes nothing."""
        return self._book.fate(delivery_id, number)

    def close(self) -> None:
        """Nothing stays open."""

    def _write(self, parcel: Parcel, to: Address, target: Path) -> SendOutcome:
        try:
            self._put(target, parcel)
        except LorasealError as error:
            return Refused(str(error), Retry.NEVER, error.hint or "prepare the delivery again")
        except OSError as error:
            return _refused_by_system(error)
        accepted = Accepted(f"{parcel.delivery_id}/{parcel.number}", self._clock())
        self._book.accept(parcel, to, accepted)
        return accepted

    def _choose_names(self, offer: Offer) -> str:
        names = [parcel.clean_name for parcel in offer.parcels]
        tag = self._journal.tag_name
        taken = {known for public in self._book.public_parts(offer.to) for known in _tags(public)}
        directory = self._settings.path / offer.to.value
        if any(tag(name) in taken or (directory / name).exists() for name in names):
            names = [_with_id(name, offer.delivery_id) for name in names]
        # What was chosen is kept as tags: the journal must not say what is delivered to whom.
        return json.dumps({"names": [tag(name) for name in names]})

    def _target(self, parcel: Parcel, to: Address, public: str) -> Path:
        chosen = _tags(public)[parcel.number - 1]
        for name in (parcel.clean_name, _with_id(parcel.clean_name, parcel.delivery_id)):
            if self._journal.tag_name(name) == chosen:
                return self._settings.path / to.value / name
        raise ValueError(f"parcel {parcel.number} was offered under another name")

    def _files_of(self, to: Address) -> list[Path]:
        directory = self._settings.path / to.value
        if directory.is_symlink():
            return []
        try:
            return [path for path in directory.iterdir() if not path.is_dir()]
        except OSError:
            return []

    def _put(self, target: Path, parcel: Parcel) -> None:
        directory = target.parent
        if directory.is_symlink():
            # Whoever holds the stick could point a recipient's directory anywhere on this host.
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        if not directory.is_dir():
            directory.mkdir(mode=0o755)
            fsync_directory(directory.parent)
        if target.exists() or target.is_symlink():
            if _digest_of(target) == parcel.sha256:
                return
            raise OSError(errno.EEXIST, os.strerror(errno.EEXIST))
        for left in directory.glob(f".{target.name}.*{PART_SUFFIX}"):
            left.unlink()  # of a process that was killed while it wrote
        write_whole(target, read_parcel(parcel), mode=0o644)

    def _remove(self, target: Path) -> bool:
        try:
            if target.parent.is_symlink() or target.is_symlink():
                return False
            target.unlink()
            fsync_directory(target.parent)
        except OSError:
            return False
        return True

    def _trouble(self) -> Refused | None:
        folder = self._settings.path
        try:
            if not folder.is_dir():
                return _away("the folder is not there")
            if not self._mark.exists():
                self._make_mark()
            if (folder / MARK_NAME).read_bytes() != self._mark.read_bytes():
                return _away("another folder is in its place", forget=self._mark)
            # Only now: nothing is written into a folder that is not this channel's.
            (folder / RECEIPTS_NAME).mkdir(exist_ok=True)
        except FileNotFoundError:
            return _away("the folder does not carry this channel's mark", forget=self._mark)
        except OSError as error:
            return _refused_by_system(error)
        return None

    def _make_mark(self) -> None:
        # The folder first: killed in between, the mark that is there is taken over.
        mark = self._settings.path / MARK_NAME
        if not mark.exists():
            write_whole(mark, [secrets.token_hex(16).encode()], mode=0o644)
        write_whole(self._mark, [mark.read_bytes()[:64]])

    def _write_probe(self) -> Refused | None:
        probe = self._settings.path / f".loraseal-probe-{secrets.token_hex(4)}"
        try:
            write_whole(probe, [b"probe"])
            probe.unlink()
        except OSError as error:
            return _refused_by_system(error)
        return None

    def _take_receipts(self) -> None:
        try:
            with os.scandir(self._settings.path / RECEIPTS_NAME) as found:
                names = sorted(item.name for item in found if item.name.endswith(RECEIPT_SUFFIX))
        except OSError as error:
            log.warning("receipts folder unreadable", extra={"errno": error.errno})
            return
        if len(names) > CHANNEL_INBOX_FILES:
            log.warning("receipts folder too full", extra={"files": len(names)})
        for name in names[:CHANNEL_INBOX_FILES]:
            sealed = self._read_new(self._settings.path / RECEIPTS_NAME / name)
            if sealed is not None:
                self._book.receipt(sealed)

    def _read_new(self, path: Path) -> bytes | None:
        """Return the content of a receipt file that changed since it was last looked at."""
        try:
            with open_plain(path) as descriptor:
                found = os.fstat(descriptor)
                stamp = (found.st_ino, found.st_size, found.st_mtime_ns)
                if self._looked_at.get(path.name) == stamp:
                    return None
                self._looked_at[path.name] = stamp
                sealed = read_small(descriptor, max_bytes=RECEIPT_BYTES)
        except OSError:
            return None
        if sealed is None:
            log.warning("receipt file refused", extra={"bytes": found.st_size})
        return sealed


def _is_recipient(value: str) -> bool:
    return bool(_RECIPIENT.fullmatch(value)) and value.lower() != RECEIPTS_NAME


def _tags(public: str) -> list[str]:
    tags: list[str] = json.loads(public)["names"]
    return tags


def _with_id(name: str, delivery_id: str) -> str:
    suffix = _SUFFIX.search(name)
    end = len(name) if suffix is None else suffix.start()
    return f"{name[:end]}-{delivery_id[:8]}{name[end:]}"


def _digest_of(path: Path) -> str:
    digest = hashlib.sha256()
    with open_plain(path) as descriptor:
        for batch in read_slice(descriptor, 0, os.fstat(descriptor).st_size):
            digest.update(batch)
    return digest.hexdigest()


def _away(reason: str, *, forget: Path | None = None) -> Refused:
    what_to_do = "plug in or mount the folder that the settings name"
    if forget is not None:
        what_to_do += f"; if this one is right, delete {forget} to accept it"
    return Refused(reason, Retry.LATER, what_to_do, RETRY_SECONDS)


def _refused_by_system(error: OSError) -> Refused:
    reason = f"the folder does not take it: {os.strerror(error.errno or errno.EIO).lower()}"
    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        return Refused(reason, Retry.LATER, "make room in the folder", RETRY_SECONDS)
    if error.errno in {errno.EROFS, errno.EACCES, errno.EPERM}:
        return Refused(reason, Retry.HUMAN, "let the daemon's user write into the folder")
    if error.errno in {errno.ELOOP, errno.EEXIST, errno.ENOTDIR, errno.EINVAL}:
        return Refused(reason, Retry.HUMAN, "look at who put other things under these names")
    return Refused(reason, Retry.LATER, "plug in or mount the folder again", RETRY_SECONDS)
