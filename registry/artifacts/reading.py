"""Reading what a trainer wrote, while it may still be writing: plain `read()` of one open file.

Never mmap: a truncation under a mapping kills the reader (facts/formats.md section 0). A folder under
watch is not ours, so nothing is locked, linked or changed in it; a read lease, which a writer breaks at
once, is taken where the system gives one.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from registry.artifacts import leases
from registry.errors import BusyError, FormatError, LorasealError, NotFoundError
from registry.limits import READ_BATCH_BYTES
from registry.sealing.batches import Ring

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")

_OPEN_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_PARENT_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_AGAIN = "wait until the trainer is done; it is taken again once it is quiet"


class SourceVanishedError(NotFoundError):
    """The file is no longer where it was seen; trainers rotate checkpoints, so this is ordinary."""


class SourceUnreadableError(LorasealError):
    """The file is there and this user may not read it."""


class SourceRefusedError(FormatError):
    """Not a regular file reached without symbolic links; it is never followed."""


class SourceChangedError(BusyError):
    """The file is not what it was when it was opened: its stamp is another one, or will be."""


class SourceBusyError(BusyError):
    """Somebody has the file open for writing; it may not have changed, so try the same again later."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """What tells one state of one file from another; times in nanoseconds, size in bytes."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> Stamp:
        """Return the stamp in an answer of `stat`."""
        return cls(
            status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
        )


class OpenFile(Protocol):
    """Bytes that are open and either stay as they are or say that they did not; see `Source`."""

    path: Path
    leased: bool

    @property
    def size(self) -> int:
        """Size in bytes when it was opened."""
        ...

    def batches(self) -> Iterator[memoryview]:
        """Yield the `size` bytes from the start, then check that they stayed as they were."""
        ...

    def read_at(self, offset: int, size: int) -> bytes:
        """Return up to `size` bytes at `offset`; less only at the end."""
        ...

    def check_unchanged(self) -> None:
        """Check that nothing was written or replaced since it was opened."""
        ...


class Source:
    """One open file of a watched folder, with the state that it had when it was opened.

    `leased` says whether the system promises to tell of writers; without it only the stamps do, and a
    write through a mapping can escape them. Made by `open_source`.
    """

    def __init__(self, path: Path, parent: int, descriptor: int) -> None:
        self.path = path
        self._parent = parent
        self._descriptor = descriptor
        status = os.fstat(descriptor)
        self.stamp = Stamp.of(status)
        self.owner = status.st_uid
        self.links = status.st_nlink
        try:
            self.leased = leases.take_read_lease(descriptor)
        except leases.OpenForWritingError as error:
            raise SourceBusyError(
                f"{self._name()} is still open for writing", hint=_AGAIN
            ) from error

    @property
    def size(self) -> int:
        """Size in bytes when it was opened."""
        return self.stamp.size

    def batches(self, *, batch_bytes: int = READ_BATCH_BYTES) -> Iterator[memoryview]:
        """Yield the `size` bytes of the file from its start, then check that it stayed as it was.

        The memory of a batch is used again, as `registry.sealing.batches` says.

        Raises:
            SourceChangedError: shorter or longer than it was, or changed in any other way; what was
                yielded before must then be thrown away.
            SourceBusyError: somebody wants to write; the same holds.
        """
        position, ring = 0, Ring(batch_bytes)
        while position < self.size:
            view = ring.take()[: self.size - position]
            count = self._read_into(view, position)
            if not count:
                break
            position += count
            yield view[:count]
        if position < self.size:
            raise SourceChangedError(
                f"{self._name()} shrank while it was read: {position} of {self.size} bytes",
                hint=_AGAIN,
            )
        self.check_unchanged()

    def read_at(self, offset: int, size: int) -> bytes:
        """Return up to `size` bytes at `offset`; less only at the end of the file.

        Raises:
            SourceBusyError: somebody wants to write, and the lease was given up for that.
        """
        return self._guarded(lambda: os.pread(self._descriptor, size, offset))

    def _read_into(self, view: memoryview, offset: int) -> int:
        return self._guarded(lambda: os.preadv(self._descriptor, [view], offset))

    def _guarded(self, read: Callable[[], T]) -> T:
        if self.leased and leases.is_breaking(self._descriptor):
            self._drop_lease()
            raise SourceBusyError(f"{self._name()} is being opened for writing", hint=_AGAIN)
        try:
            return read()
        except OSError as error:
            raise LorasealError(
                f"cannot read {self._name()}: {_reason(error)}",
                hint="check the disk or the network share that holds it",
            ) from error

    def check_unchanged(self) -> None:
        """Check that the open file has its old stamp and that its path still leads to it.

        Raises:
            SourceChangedError: written, replaced, or removed since it was opened.
        """
        now = Stamp.of(os.fstat(self._descriptor))
        if now.size != self.size:
            verb = "grew" if now.size > self.size else "shrank"
            raise SourceChangedError(
                f"{self._name()} {verb} while it was read: {self.size} bytes, then {now.size}",
                hint=_AGAIN,
            )
        if not self._is_still_in_place():
            raise SourceChangedError(
                f"{self._name()} was replaced or removed while it was read", hint=_AGAIN
            )
        if now != self.stamp:
            raise SourceChangedError(f"{self._name()} was changed while it was read", hint=_AGAIN)

    def close(self) -> None:
        """Give up the lease and the open file; a second call does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            os.close(self._parent)
            self._descriptor = self._parent = -1

    def _is_still_in_place(self) -> bool:
        try:
            found = os.stat(self.path.name, dir_fd=self._parent, follow_symlinks=False)
        except OSError:
            return False
        return (found.st_dev, found.st_ino) == (self.stamp.device, self.stamp.inode)

    def _drop_lease(self) -> None:
        self.leased = False
        leases.release(self._descriptor)

    def _name(self) -> str:
        return repr(str(self.path))


@contextlib.contextmanager
def open_source(path: Path, *, root: Path | None = None) -> Iterator[Source]:
    """Open `path` for reading and yield it; close it afterwards.

    With `root`, every component between `root` and the file must be a real directory: no symbolic link
    can lead out of the folder. `root` itself is the owner's setting and may be a link. Without `root`
    only the last component may not be a link.

    Raises:
        SourceVanishedError: no such file.
        SourceUnreadableError: this user may not read it, with owner and mode.
        SourceRefusedError: a link, a directory, a device, outside of `root`, or a hard link to a file
            whose owner is not the owner of its folder.
        SourceBusyError: another process has it open for writing.
    """
    parent = _open_parent(path, root)
    descriptor = -1
    try:
        descriptor = _open_last(path, parent)
        source = Source(path, parent, descriptor)
        _check_ownership(source, parent)
    except BaseException:
        if descriptor >= 0:
            os.close(descriptor)
        os.close(parent)
        raise
    try:
        yield source
    finally:
        source.close()


def _open_parent(path: Path, root: Path | None) -> int:
    start = path.parent if root is None else root
    steps: tuple[str, ...] = ()
    if root is not None:
        if not path.is_relative_to(root) or ".." in path.relative_to(root).parts:
            raise SourceRefusedError(f"{str(path)!r} is outside of {str(root)!r}")
        steps = path.relative_to(root).parts[:-1]
    descriptor = _open_at(start, start, _PARENT_FLAGS, None)
    walked = start
    for step in steps:
        walked = walked / step
        try:
            following = _open_at(walked, Path(step), _PARENT_FLAGS | os.O_NOFOLLOW, descriptor)
        finally:
            os.close(descriptor)
        descriptor = following
    return descriptor


def _open_last(path: Path, parent: int) -> int:
    try:
        before = os.stat(path.name, dir_fd=parent, follow_symlinks=False)
    except OSError as error:
        raise _refusal(path, error) from error
    # Before the open: opening a device or a pipe can have effects of its own.
    _check_regular(path, before)
    descriptor = _open_at(path, Path(path.name), _OPEN_FLAGS, parent)
    try:
        _check_regular(path, os.fstat(descriptor))
    except SourceRefusedError:
        os.close(descriptor)
        raise
    return descriptor


def _open_at(path: Path, name: Path, flags: int, parent: int | None) -> int:
    try:
        return os.open(name, flags, dir_fd=parent)
    except OSError as error:
        raise _refusal(path, error) from error


def _check_regular(path: Path, status: os.stat_result) -> None:
    if stat.S_ISLNK(status.st_mode):
        raise _link_refusal(path)
    if not stat.S_ISREG(status.st_mode):
        raise SourceRefusedError(
            f"{str(path)!r} is not a regular file but a {_kind(status.st_mode)}",
            hint="give the file itself",
        )


def _check_ownership(source: Source, parent: int) -> None:
    # Who may write the folder can link somebody else's file into it, and have us read it for them.
    if source.links > 1 and source.owner != os.fstat(parent).st_uid:
        raise SourceRefusedError(
            f"{str(source.path)!r} is a hard link to a file of another user (uid {source.owner})",
            hint="copy the file instead of linking it",
        )


def _refusal(path: Path, error: OSError) -> LorasealError:
    if error.errno == errno.ENOENT:
        return SourceVanishedError(
            f"{str(path)!r} is not there (any more)",
            hint="check the name; if the trainer rotates checkpoints, keep more of them",
        )
    if error.errno in (errno.ELOOP, errno.ENOTDIR):
        return _link_refusal(path)
    if error.errno in (errno.EACCES, errno.EPERM):
        return SourceUnreadableError(f"cannot read {str(path)!r}{_access(path)}", hint=_HOW_TO_READ)
    return LorasealError(f"cannot open {str(path)!r}: {_reason(error)}")


_HOW_TO_READ = (
    "run this as the file's owner, or let its user read the file (setfacl -m u:USER:r FILE, once it is"
    " written): safetensors 0.8 saves with mode 0600, and no default ACL on the folder helps then"
)


def _link_refusal(path: Path) -> SourceRefusedError:
    return SourceRefusedError(
        f"{str(path)!r} is or lies behind a symbolic link, and links are not followed",
        hint="put the file itself into the folder, or watch the folder that holds it",
    )


def _access(path: Path) -> str:
    try:
        status = path.lstat()
    except OSError:
        return ": a folder on its way may not be entered by this user"
    mode = stat.S_IMODE(status.st_mode)
    return f": mode {mode:04o}, owner uid {status.st_uid}, this process is uid {os.geteuid()}"


def _kind(mode: int) -> str:
    kinds = {
        stat.S_IFDIR: "directory",
        stat.S_IFIFO: "pipe",
        stat.S_IFSOCK: "socket",
        stat.S_IFCHR: "device",
        stat.S_IFBLK: "device",
    }
    return kinds.get(stat.S_IFMT(mode), "special file")


def _reason(error: OSError) -> str:
    return (error.strerror or type(error).__name__).lower()
