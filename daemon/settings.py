"""The daemon's settings: one composed model, TOML and environment. An unknown key is an error.

The environment overrides the file: `LORASEAL_AUDIT__WALL_SECONDS=60`.
"""

from __future__ import annotations

import difflib
import itertools
import os
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from registry.audits.catalog import find_specs
from registry.errors import UsageError, naming
from registry.limits import AUDIT_DEVICE_BYTES
from registry.policy import Policy, default_policy, parse_policy
from registry.settings import REGISTRY_NAME, RegistryPaths, find_settings, load_paths
from signal_bridge.settings import ChannelSettings, parse_channels

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

# `cuda` is the first GPU, so it goes with no `cuda:N`.
Device = Annotated[str, Field(pattern=r"^(?:cpu|cuda(?::[0-9]{1,2})?)$")]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._@-]{0,63}$")]


def _each_once(devices: tuple[str, ...]) -> tuple[str, ...]:
    places = [device.replace("cuda:0", "cuda") for device in devices]
    if len(set(places)) != len(places):
        raise ValueError("a device is named twice")
    return devices


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class WatchSettings(_Strict):
    """One trainer's output directory.

    `convert` takes pickles in as safetensors, converted in a cage. `keep_last` counts with `intermediates = "last"`. `delete_intermediates` removes the trainer's own files:
    `sealed` those saves that are in the vault, `all` also those that are not kept; never a result.
    """

    path: Path
    settle_seconds: float = Field(default=2.0, ge=0.1, le=3600)
    intermediates: Literal["none", "last", "every"] = "none"
    keep_last: int = Field(default=1, ge=1, le=1000)
    convert: bool = False
    delete_intermediates: Literal["never", "sealed", "all"] = "never"


class RouteSettings(_Strict):
    """Who gets a released artifact, and by which channel. `watch` limits it to one directory.

    `public` sends the rendition with a scrubbed header instead of what the trainer wrote. Saves on the way
    are kept in the vault and sent only with `intermediates`. `mark` sends each recipient a copy of their own
    with a mark in its weights, so not the bytes that were trained.
    """

    to: Name
    channel: Name
    watch: Path | None = None
    rendition: Literal["original", "public"] = "original"
    intermediates: bool = False
    mark: bool = False


def _one_kind_each(routes: tuple[RouteSettings, ...]) -> tuple[RouteSettings, ...]:
    """Refuse routes that send one recipient marked and unmarked files: their difference is the mark."""
    for one, other in itertools.combinations(routes, 2):
        folders = [route.watch and route.watch.absolute() for route in (one, other)]
        apart = None not in folders and folders[0] != folders[1]
        if (
            one.to.strip().casefold() == other.to.strip().casefold()
            and one.mark is not other.mark
            and not apart
        ):
            raise ValueError(
                "two routes send one recipient marked and unmarked files, and whoever has both has the "
                "mark: set mark on both, or on none"
            )
    return routes


class PublicSettings(_Strict):
    """What the header of a public rendition keeps, and what its owner states there."""

    profile: Literal["public", "none"] = "public"
    keep: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    licence: str | None = Field(default=None, max_length=1000)
    owner: str | None = Field(default=None, max_length=1000)


class AuditSettings(_Strict):
    """Where audits run, and the bounds of one child.

    Each of `devices` (default: `device` alone) has one worker. `memory_bytes` is resident memory, watched by
    the parent; `gpu_memory_bytes` the most that is taken of a GPU, less where little is free.
    `deterministic` measures spectra so that their digest is the same on every machine. `bases` names for
    a model family (as `inspect` shows it) the base model's cache: `loraseal base add`.
    """

    device: Literal["cpu", "cuda"] = "cpu"
    devices: Annotated[tuple[Device, ...], AfterValidator(_each_once)] = ()
    wall_seconds: float = Field(default=900.0, gt=0)
    memory_bytes: int = Field(default=8 * 1024**3, ge=512 * 1024**2)
    gpu_memory_bytes: int = Field(default=AUDIT_DEVICE_BYTES, ge=16 * 1024**2)
    threads: int = Field(default=1, ge=1, le=64)
    deterministic: bool = False
    deaths_allowed: int = Field(default=3, ge=1, le=10)
    bases: dict[str, Name] = Field(default_factory=dict)

    @property
    def workers(self) -> tuple[str, ...]:
        """The device of each worker."""
        return self.devices or (self.device,)


class DeliverySettings(_Strict):
    """How often a send that did not get through is tried, and when a missing receipt is a question."""

    acknowledge_hours: float = Field(default=72.0, gt=0)
    attempts: int = Field(default=3, ge=1, le=20)
    retry_seconds: int = Field(default=60, ge=1, le=86_400)
    status_valid_days: int = Field(default=14, ge=1, le=366)


TidyAction = Literal["keep", "seal", "delete"]


class TidySettings(_Strict):
    """What `loraseal tidy` does with each class of by-product; what is not named is only reported.

    `recipient` is an age recipient to seal to instead of the registry's own. A folder in which anything
    changed within `quiet_seconds` is not touched, a file within `settle_seconds` is left alone.
    """

    training_log: Literal["keep", "redact", "seal", "delete"] = "keep"
    optimizer_state: TidyAction = "keep"
    random_state: TidyAction = "keep"
    scheduler_state: TidyAction = "keep"
    gradients: TidyAction = "keep"
    latent_cache: TidyAction = "keep"
    text_cache: TidyAction = "keep"
    augmented_copy: TidyAction = "keep"
    sample_image: TidyAction = "keep"
    training_config: TidyAction = "keep"
    caption: TidyAction = "keep"
    pickle: TidyAction = "keep"
    training_state: TidyAction = "keep"
    merged_model: TidyAction = "keep"
    tokenizer_copy: TidyAction = "keep"
    ema_weights: TidyAction = "keep"
    model_card: TidyAction = "keep"
    transient: TidyAction = "keep"
    redacted_originals: Literal["seal", "delete"] = "seal"
    least_records: int = Field(default=8, ge=2, le=1_000_000)
    settle_seconds: float = Field(default=600.0, ge=0, le=31_536_000)
    quiet_seconds: float = Field(default=300.0, ge=0, le=31_536_000)
    recipient: str | None = None


class Settings(BaseSettings):
    """Everything the daemon is told. Build it with `load_settings`."""

    model_config = SettingsConfigDict(
        extra="forbid", frozen=True, env_prefix="LORASEAL_", env_nested_delimiter="__"
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Let the environment win over the file, which comes in as arguments."""
        return env_settings, init_settings

    registry: str = Field(pattern=f"^{REGISTRY_NAME.pattern}$")
    state: Path | None = None
    policy: Path | None = None
    scan_seconds: float = Field(default=30.0, ge=0.5, le=3600)
    watch: tuple[WatchSettings, ...] = ()
    route: Annotated[tuple[RouteSettings, ...], AfterValidator(_one_kind_each)] = ()
    public: PublicSettings = PublicSettings()
    channel: dict[str, dict[str, str | int | bool]] = Field(default_factory=dict, repr=False)
    audit: AuditSettings = AuditSettings()
    delivery: DeliverySettings = DeliverySettings()
    tidy: TidySettings = TidySettings()

    @property
    def channels(self) -> tuple[ChannelSettings, ...]:
        """The channels in use, as the bridge reads their tables.

        Raises:
            UsageError: a bad name, a missing or unknown key, a value of the wrong type.
        """
        return parse_channels(self.channel)


def load_settings(explicit: Path | None = None) -> tuple[Settings, RegistryPaths]:
    """Return the settings at hand and the paths that follow from them.

    Raises:
        NotFoundError: no settings file.
        UsageError: not TOML, an unknown key, or a value that makes no sense; the message names the
            key and never repeats the value, which may be private.
    """
    paths = load_paths(explicit)
    values = tomllib.loads(find_settings(explicit, os.environ).read_text("utf-8"))
    try:
        settings = Settings(**values)
    except ValidationError as error:
        rows = [_in_words([str(part) for part in row["loc"]], row) for row in error.errors()]
        wrong, hints = "; ".join(said for said, _ in rows), [hint for _, hint in rows if hint]
        hint = "; ".join(hints) or "correct the file; docs/operations.md lists the settings"
        raise UsageError(f"settings {paths.settings}: {wrong}", hint=hint) from error
    parse_channels(settings.channel)
    return settings, paths


def _in_words(place: list[str], row: ErrorDetails) -> tuple[str, str]:
    """Return what is wrong at `place`, and what to do about it or ""."""
    if row["type"] != "extra_forbidden":
        return f"{'.'.join(place)}: {row['msg'].lower()}", ""
    tables: dict[str, type[BaseModel]] = {
        "watch": WatchSettings,
        "route": RouteSettings,
        "public": PublicSettings,
        "audit": AuditSettings,
        "delivery": DeliverySettings,
        "tidy": TidySettings,
    }
    known = tables.get(place[0], Settings).model_fields if len(place) > 1 else Settings.model_fields
    near = difflib.get_close_matches(place[-1], list(known), n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(sorted(known))}"
    return f"{'.'.join(place)}: no such setting", hint


def load_policy(settings: Settings, paths: RegistryPaths) -> Policy:
    """Return the policy in force: the settings' file (relative to theirs), else the default.

    Raises:
        FormatError: not a policy.
        UsageError: it requires an audit that there is not.
        OSError: the file cannot be read.
    """
    if settings.policy is None:
        return default_policy()
    path = paths.settings.parent / settings.policy
    with naming(path):
        policy = parse_policy(path.read_bytes())
    # Now, not when the first artifact comes: it would wait for an audit that there is not.
    find_specs(policy.rules)
    return policy
