"""Routes: who gets a released artifact, by which channel, and to which address."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from daemon.custody.evidence import evidence_for
from daemon.routes import Wish, _is_save, address_of, is_wished, open_channels, wishes_for
from daemon.settings import RouteSettings, WatchSettings, load_settings
from registry.errors import UsageError
from registry.provenance.deliveries import deliveries_of
from registry.provenance.recipients import Address, find_recipient, list_recipients
from registry.settings import load_paths
from registry.verify.chain import verify_chain
from tests.daemon.registry_on_disk import Registry
from tests.daemon.rig import Rig, artifact_named

pytestmark = pytest.mark.xdist_group("lived")


def wishes(rig: Rig, *routes: RouteSettings) -> list[Wish]:
    settings = rig.shop.settings.model_copy(update={"route": routes})
    with rig.shop.ledger.reading() as reader:
        return list(wishes_for(settings, reader, artifact_named(rig.registry, "good")))


def names(rig: Rig, found: list[Wish]) -> list[str]:
    with rig.shop.ledger.reading() as reader:
        known = {row.id: row.name for row in list_recipients(reader)}
    return [known[wish.recipient_id] for wish in found]


def test_route_to_somebody_who_is_not_enrolled_yields_nothing_and_stops_no_other(
    lived_rig: Rig,
) -> None:
    found = wishes(
        lived_rig,
        RouteSettings(to="Nobody", channel="folder"),
        RouteSettings(to="Bob", channel="folder"),
    )
    assert names(lived_rig, found) == ["Bob"]


def test_no_route_yields_nothing(lived_rig: Rig) -> None:
    assert wishes(lived_rig) == []


def test_name_of_a_route_is_compared_without_case(lived_rig: Rig) -> None:
    found = wishes(lived_rig, RouteSettings(to="aLICE", channel="folder"))
    assert names(lived_rig, found) == ["Alice"]


def test_route_of_another_folder_does_not_cover(lived_rig: Rig, tmp_path: Path) -> None:
    elsewhere = RouteSettings(to="Alice", channel="folder", watch=tmp_path / "elsewhere")
    assert wishes(lived_rig, elsewhere) == []


def test_route_of_a_folder_whose_name_only_begins_alike_does_not_cover(
    lived_rig: Rig, lived_template: Registry
) -> None:
    """`/ou` is no part of `/out`."""
    alike = RouteSettings(to="Alice", channel="folder", watch=lived_template.home / "ou")
    assert wishes(lived_rig, alike) == []


def test_route_of_the_folder_covers_what_came_from_it(
    lived_rig: Rig, lived_template: Registry
) -> None:
    route = RouteSettings(to="Alice", channel="folder", watch=lived_template.watched)
    assert len(wishes(lived_rig, route)) == 1


def test_delivery_by_another_channel_than_the_routes_is_not_wished(lived_rig: Rig) -> None:
    custody, settings = lived_rig.shop.custody, lived_rig.shop.settings
    with custody.ledger.reading() as reader:
        (made,) = deliveries_of(reader, artifact_named(lived_rig.registry, "good"))
        evidence = evidence_for(custody, reader, made).evidence
    approved = verify_chain(evidence, custody.keyring.keyset)
    assert is_wished(settings, custody.keyring, approved, "folder")
    assert not is_wished(settings, custody.keyring, approved, "signal")
    to_bob = settings.model_copy(
        update={"route": tuple(r.model_copy(update={"to": "Bob"}) for r in settings.route)}
    )
    assert not is_wished(to_bob, custody.keyring, approved, "folder")
    elsewhere = settings.model_copy(
        update={"route": tuple(r.model_copy(update={"watch": Path("/x")}) for r in settings.route)}
    )
    assert not is_wished(elsewhere, custody.keyring, approved, "folder")


def test_address_is_found_by_the_channels_name_then_by_its_kind(lived_rig: Rig) -> None:
    """A channel may have any name: `[channel.stick] kind = "folder"` reaches folder addresses."""
    shop = lived_rig.shop
    stick = {"stick": {"kind": "folder", "path": "/media/stick"}}
    settings = shop.settings.model_copy(update={"channel": {**shop.settings.channel, **stick}})
    with shop.ledger.reading() as reader:
        alice = find_recipient(reader, "Alice")
    assert address_of(settings, alice, "stick").value == "Alice"
    assert address_of(settings, alice, "folder").kind == "folder"
    own = replace(alice, addresses=(*alice.addresses, Address("stick", "alice-on-stick")))
    assert address_of(settings, own, "stick").value == "alice-on-stick"


def test_recipient_without_an_address_is_refused_with_what_to_do(lived_rig: Rig) -> None:
    shop = lived_rig.shop
    with shop.ledger.reading() as reader:
        alice = find_recipient(reader, "Alice")
    with pytest.raises(UsageError, match="no address for channel 'signal'") as caught:
        address_of(shop.settings, alice, "signal")
    assert caught.value.hint


def test_address_is_not_shown_when_it_is_printed(lived_rig: Rig) -> None:
    shop = lived_rig.shop
    with shop.ledger.reading() as reader:
        alice = find_recipient(reader, "Alice")
    assert "Alice" not in repr(address_of(shop.settings, alice, "folder"))


@pytest.mark.parametrize("kind", ["carrier-pigeon", ""])
def test_channel_of_unknown_kind_is_refused_when_it_is_opened(fresh: Registry, kind: str) -> None:
    text = fresh.settings.read_text() + f'\n[channel.odd]\nkind = "{kind}"\n'
    fresh.settings.write_text(text)
    with pytest.raises(UsageError, match=r"odd|kind"):
        open_channels(load_settings(fresh.settings)[0], load_paths(fresh.settings))


@pytest.mark.parametrize(
    ("path", "is_save"),
    [
        ("a.safetensors", False),
        ("a-000001.safetensors", True),
        ("checkpoint-5/adapter", True),
        ("checkpoint-5/lora.safetensors", False),
        ("epoch4", False),
        (".", False),
    ],
)
def test_save_is_told_below_the_watched_folder_only(
    lived_rig: Rig, tmp_path: Path, path: str, is_save: bool
) -> None:
    """A watched folder may itself lie in one called checkpoint-7: its results are results."""
    root = tmp_path / "checkpoint-7" / "a-000009.d"
    settings = lived_rig.shop.settings.model_copy(update={"watch": (WatchSettings(path=root),)})
    assert _is_save(settings, root / path) is is_save
