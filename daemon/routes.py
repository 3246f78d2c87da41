"""From settings to channels and recipients: who gets a released artifact, and by what."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from daemon.layouts.saves import is_save_with_result
from daemon.tags import is_own_copy, name_tag, origin_tag
from registry.errors import NotFoundError, UsageError
from registry.formats.predicates.intake import Rendition
from registry.provenance.artifacts import get_artifact
from registry.provenance.candidates import paths_of
from registry.provenance.marks import mark_of, marked_twins
from registry.provenance.recipients import Recipient, find_recipient
from registry.provenance.renditions import source_of
from signal_bridge.catalog import kind_of, open_channel
from signal_bridge.channel import Address

if TYPE_CHECKING:
    from collections.abc import Iterator

    from daemon.keyring import Keyring
    from daemon.settings import RouteSettings, Settings
    from registry.formats.predicates.intake import Intake
    from registry.provenance.ledger import Reader
    from registry.provenance.marks import MarkOrder
    from registry.settings import RegistryPaths
    from registry.verify.chain import ApprovedDelivery
    from signal_bridge.channel import Channel


PUBLIC = "public"


@dataclass(frozen=True, slots=True)
class Wish:
    """A recipient and the channel by which the settings want to reach them."""

    recipient_id: str
    channel: str


def open_channels(settings: Settings, paths: RegistryPaths) -> dict[str, Channel]:
    """Return every channel that the settings name, by name. Close them when done.

    Raises:
        UsageError: unknown kind, or a table that makes no sense.
    """
    folder = paths.state / "channels"
    return {
        item.name: open_channel(item, state=folder / item.name, clock=lambda: datetime.now(UTC))
        for item in settings.channels
    }


def wishes_for(settings: Settings, reader: Reader, artifact_id: str) -> Iterator[Wish]:
    """Yield who should get an artifact; a route to someone who is not enrolled yields nothing.

    A route that wants the public rendition, or a marked copy, wants nothing else. `doctor` and `status` name
    routes to nobody; a typing error must not stop the others.
    """
    mark = mark_of(reader, artifact_id)
    source_id = artifact_id if mark is None else mark.source_id
    for route, recipient in _served_from(settings, reader, source_id):
        if route.mark is (mark is not None) and mark_fits(mark, recipient):
            yield Wish(recipient.id, route.channel)


def marks_wished(settings: Settings, reader: Reader, artifact_id: str) -> tuple[str, ...]:
    """Return the ids of the recipients who are to get marked copies of this artifact, each once."""
    if get_artifact(reader, artifact_id).rendition is Rendition.MARKED:
        return ()
    if marked_twins(reader, artifact_id):
        return ()  # it bears a mark already
    served = _served_from(settings, reader, artifact_id)
    return tuple(dict.fromkeys(recipient.id for route, recipient in served if route.mark))


def gets_marked(settings: Settings, reader: Reader, reference: str) -> bool:
    """Return whether every route to a recipient sends marked copies, and there is one."""
    person = find_recipient(reader, reference)
    marks = []
    for route in settings.route:
        with contextlib.suppress(NotFoundError):
            if find_recipient(reader, route.to).id == person.id:
                marks.append(route.mark)
    return bool(marks) and all(marks)


def mark_fits(mark: MarkOrder | None, recipient: Recipient) -> bool:
    """Return whether a recipient may get what bears this mark: nobody else's."""
    return mark is None or mark.recipient_id == recipient.id


def _served_from(
    settings: Settings, reader: Reader, source_id: str
) -> Iterator[tuple[RouteSettings, Recipient]]:
    """Yield the routes that send an original or a public form, or copies of it, and their recipients."""
    public = get_artifact(reader, source_id).rendition is Rendition.PUBLIC
    for route in _routes_of(settings, reader, source_of(reader, source_id) or source_id):
        if (route.rendition == PUBLIC) is not public:
            continue
        with contextlib.suppress(NotFoundError):
            yield route, find_recipient(reader, route.to)


def wants_public(settings: Settings, reader: Reader, artifact_id: str) -> bool:
    """Return whether a route wants the public rendition of this artifact, which is none itself."""
    if get_artifact(reader, artifact_id).rendition in {Rendition.PUBLIC, Rendition.MARKED}:
        return False
    routes = _routes_of(settings, reader, artifact_id)
    return any(route.rendition == PUBLIC for route in routes)


def _routes_of(settings: Settings, reader: Reader, artifact_id: str) -> list[RouteSettings]:
    paths = [Path(path) for path in paths_of(reader, artifact_id)]
    is_save = is_on_the_way(settings, reader, artifact_id)
    return [
        route
        for route in settings.route
        if _covers(route, paths) and (route.intermediates or not is_save)
    ]


def is_on_the_way(settings: Settings, reader: Reader, artifact_id: str) -> bool:
    """Return whether an artifact is a save of a training that has a result of its own."""
    paths = [Path(path) for path in paths_of(reader, artifact_id)]
    return bool(paths) and all(_is_save(settings, path) for path in paths)


def _is_save(settings: Settings, path: Path) -> bool:
    # Below the watched folder: what that lies in is the owner's, whatever it is called.
    roots = (watch.path.absolute() for watch in settings.watch)
    root = next((root for root in roots if path.is_relative_to(root)), None)
    return root is not None and is_save_with_result(path.relative_to(root))


def is_wished(
    settings: Settings, keyring: Keyring, approved: ApprovedDelivery, channel: str
) -> bool:
    """Return whether a route of the settings wishes what the signed statements approve.

    Names and folders of rows are not believed: those under the signatures of intake and enrolment
    are compared, by their keyed tags.
    """
    enrolment, intake = approved.enrolment.predicate, approved.release.intake.predicate
    form = intake.rendition if intake.mark is None else intake.mark.source
    if intake.mark is not None and not is_own_copy(keyring, intake, enrolment.recipient_id):
        return False
    public = form is Rendition.PUBLIC
    return any(
        route.channel == channel
        and route.mark is (intake.mark is not None)
        and (route.rendition == PUBLIC) is public
        and enrolment.name_tag == name_tag(keyring, enrolment.recipient_id, route.to)
        and _comes_from(route, keyring, intake)
        for route in settings.route
    )


def _comes_from(route: RouteSettings, keyring: Keyring, intake: Intake) -> bool:
    if route.watch is None:
        return True
    return intake.origin == origin_tag(keyring, intake.artifact_id, route.watch.absolute())


def _covers(route: RouteSettings, paths: list[Path]) -> bool:
    if route.watch is None:
        return True
    return any(path.is_relative_to(route.watch.absolute()) for path in paths)


def address_of(settings: Settings, recipient: Recipient, channel: str) -> Address:
    """Return where `channel` reaches a recipient: the address of that name, else of its kind.

    Raises:
        UsageError: nowhere: no address for that channel was recorded at enrolment.
    """
    kind = next((kind_of(item) for item in settings.channels if item.name == channel), channel)
    address = recipient.address(channel) or recipient.address(kind)
    if address is None:
        raise UsageError(
            f"the recipient has no address for channel {channel!r}",
            hint=f"deliver by another channel, or enrol them anew with an address of kind {kind}",
        )
    return Address(kind, address.value, address.pin)
