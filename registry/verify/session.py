"""One verification from start to end: PROTOCOL section 4, steps 1 to 10, with the files it is about."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from registry.errors import (
    ContentMismatchError,
    LorasealError,
    RevokedError,
    StaleStatusError,
    naming,
)
from registry.verify.checklist import Checklist
from registry.verify.content import (
    ContentKind,
    check_file,
    check_folder,
    check_opened,
    check_sealed_header,
    check_sealed_payload,
    kind_of,
    open_delivered,
    open_file,
)
from registry.verify.memory import load_memory, try_save_memory
from registry.verify.opener import OpenedResult, PendingOutput, pending_output
from registry.verify.report import VerifyReport
from registry.verify.steps import Given, VerifiedDelivery, remember, verify_bundle, verify_status

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO

    from registry.sealing.file_key import FileKey
    from registry.verify.status import StatusAnswer


@dataclass(frozen=True, slots=True)
class Task:
    """What to verify, and where to.

    `content` is the sealed file, the opened file or its folder; `out`, where given, is where a sealed
    file is opened to; `memory` is the recipient's memory file, None to remember nothing. `strict`
    makes files that nobody signed an error.
    """

    given: Given
    content: Path
    out: Path | None = None
    memory: Path | None = None
    strict: bool = False


def run_verification(task: Task) -> tuple[VerifyReport, FileKey | None]:
    """Return the answer, and the file key if the sealed file was opened and everything held.

    Whatever is wrong with the delivery is in the report, never raised. A stale status does not keep
    a file from being opened (nothing is wrong with it as far as is known); a revocation does.

    Raises:
        OSError: reading failed in a way that says nothing about the delivery.
    """
    run = _Run(task)
    try:
        with ExitStack() as stack:
            run.verify(stack)
    except LorasealError as error:
        run.error = error
        run.file_key = None
    return run.report(), run.file_key


class _Run:
    """The state of one verification; each step adds to it."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.steps = Checklist()
        self.error: LorasealError | None = None
        self.file_key: FileKey | None = None
        self.delivery: VerifiedDelivery | None = None
        self.status: StatusAnswer | None = None
        self.opened: OpenedResult | None = None
        self.pending: PendingOutput | None = None
        self.notes: list[str] = []

    def report(self) -> VerifyReport:
        return VerifyReport(
            self.steps.results(),
            self.delivery,
            self.status,
            self.opened,
            self.error,
            tuple(self.notes),
        )

    def verify(self, stack: ExitStack) -> None:
        given = self.task.given
        if self.task.memory is not None and given.memory is None:
            given = replace(given, memory=load_memory(self.task.memory))
        self.delivery = verified = verify_bundle(given, self.steps)
        self._content(verified, stack)
        try:
            self.status = verify_status(verified, given.now, self.steps)
        except StaleStatusError as stale:
            self.error = stale
        except RevokedError:
            self._remember(verified, given)
            raise
        with self.steps.step(10) as note:
            if self.pending is not None:
                self.opened = self.pending.keep()
            note.passed(self._remember(verified, given))

    def _content(self, verified: VerifiedDelivery, stack: ExitStack) -> None:
        kind = kind_of(self.task.content)
        if kind is ContentKind.SEALED:
            self._sealed(verified, stack)
            return
        with self.steps.step(7) as note:
            note.not_checked("this is not the sealed file")
        with self.steps.step(8) as note:
            if kind is ContentKind.FILE:
                path = check_file(self.task.content, verified.statement.manifest)
                note.passed(f"is {path!r}, one of {len(verified.statement.files)} signed files")
            else:
                note.passed(self._folder(verified))

    def _folder(self, verified: VerifiedDelivery) -> str:
        answer = check_folder(self.task.content, verified.statement.manifest)
        if answer.extra:
            words = f"{len(answer.extra)} files that nobody signed: {', '.join(answer.extra[:5])}"
            if self.task.strict:
                raise ContentMismatchError(f"folder holds {words}", hint="move them away")
            self.notes.append(words)
        return f"{answer.files} files, each as signed"

    def _sealed(self, verified: VerifiedDelivery, stack: ExitStack) -> None:
        statement, identities = verified.statement, self.task.given.identities
        stream = stack.enter_context(open_file(self.task.content))
        stack.enter_context(naming(self.task.content))
        if not identities:
            self._sealed_bytes(verified, stream)
            return
        with self.steps.step(7) as note:
            opened = open_delivered(stream, statement, identities)
            note.passed("as signed, and it opens with your identity")
        with self.steps.step(8) as note:
            if self.task.out is None:
                check_opened(opened, statement)
            else:
                self.pending = stack.enter_context(pending_output(opened, statement, self.task.out))
            note.passed(f"{len(statement.files)} files, each as signed")
        self.file_key = opened.file_key

    def _sealed_bytes(self, verified: VerifiedDelivery, stream: BinaryIO) -> None:
        with self.steps.step(7) as note:
            check_sealed_header(stream, verified.statement)
            note.passed("as signed")
        with self.steps.step(8) as note:
            check_sealed_payload(stream, verified.statement)
            note.passed("sealed bytes as signed; not opened, since no identity was given")

    def _remember(self, verified: VerifiedDelivery, given: Given) -> str:
        if self.task.memory is None:
            return "nothing remembered"
        fault = try_save_memory(self.task.memory, remember(verified, given.memory))
        if fault is not None:
            self.notes.append(f"could not remember this registry's state: {fault}")
            return "nothing remembered"
        return "keyset, status list and checkpoint remembered"
