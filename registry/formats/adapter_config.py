"""PEFT's adapter_config.json, read strictly: it is nearly code, so only known values come through.

PEFT 5d602fd imports `auto_mapping.parent_library` and `megatron_core` as modules, hands strings to
`re.fullmatch` and loads pickled caches that a config names. What would run or load something is
refused; what is merely risky to hand on (regular expressions, unknown keys) is listed in `hazards`.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn, TypeAlias

from registry.errors import FormatError
from registry.formats.peft_words import HARMLESS_KEYS, KNOWN_TYPES, READ_KEYS
from registry.limits import (
    ADAPTER_CONFIG_BYTES,
    ADAPTER_CONFIG_ITEMS,
    ADAPTER_CONFIG_TEXT_CHARS,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

# JSON with floats; `object` members are checked where they are read.
_Object: TypeAlias = "Mapping[str, object]"

_WHAT = "adapter_config.json"
_ADVICE = "ask its trainer for a config without it; an adapter does not need it"
_IMPORTABLE = frozenset({"transformers", "diffusers", "peft"})
_MEGATRON = "megatron.core"
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_.\-]+")
_TYPE_NAME = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
# Where a method keeps its rank and its alpha, if not under LoRA's names.
_RANK_KEY = {"ADALORA": "init_r"}
_ALPHA_KEY = {"LOHA": "alpha", "LOKR": "alpha"}


@dataclass(frozen=True, slots=True)
class AdapterConfig:
    """What a PEFT config says of the weights beside it. All of it is a claim of its author.

    `target_pattern` is a regular expression instead of `target_modules`. Patterns are (name, value)
    pairs in the order in which they are written, since the first that matches counts. `r` and
    `lora_alpha` also hold what other methods call `init_r` (AdaLoRA) and `alpha` (LoHa, LoKr).
    `hazards` are things in it that a reader should know before loading it.
    """

    peft_type: str
    r: int | None = None
    lora_alpha: float | None = None
    use_rslora: bool = False
    use_dora: bool = False
    fan_in_fan_out: bool = False
    lora_bias: bool = False
    bias: str = "none"
    task_type: str | None = None
    base_model_name_or_path: str | None = None
    revision: str | None = None
    target_modules: tuple[str, ...] = ()
    target_pattern: str | None = None
    modules_to_save: tuple[str, ...] = ()
    rank_pattern: tuple[tuple[str, int], ...] = ()
    alpha_pattern: tuple[tuple[str, float], ...] = ()
    hazards: tuple[str, ...] = ()


def parse_adapter_config(data: bytes) -> AdapterConfig:
    """Return the config in `data`, the bytes of an adapter_config.json.

    Raises:
        FormatError: too long, not a JSON object, a repeated key, a wrong type, or a value that would
            make PEFT import a module or load a pickle.
    """
    if len(data) > ADAPTER_CONFIG_BYTES:
        raise FormatError(f"{_WHAT} has {len(data)} bytes, more than {ADAPTER_CONFIG_BYTES}")
    return config_from(_load(data, _WHAT), what=_WHAT)


def parse_adapter_metadata(text: str) -> tuple[tuple[str, AdapterConfig], ...]:
    """Return (component, config) pairs of diffusers' `lora_adapter_metadata`, sorted by component.

    Its keys are those of the config behind the component's name, as in `transformer.r`.

    Raises:
        FormatError: as for `parse_adapter_config`.
    """
    what = "lora_adapter_metadata"
    if len(text) > ADAPTER_CONFIG_BYTES:
        raise FormatError(f"{what} has {len(text)} characters, more than {ADAPTER_CONFIG_BYTES}")
    components: dict[str, dict[str, object]] = {}
    for key, value in _load(text.encode("utf-8", "surrogatepass"), what).items():
        component, dot, setting = key.partition(".")
        if not dot:
            raise FormatError(f"{what} has the key {key[:64]!a}, expected 'component.setting'")
        components.setdefault(component, {})[setting] = value
    return tuple(
        (component, config_from(settings, what=what))
        for component, settings in sorted(components.items())
    )


def _load(data: bytes, what: str) -> _Object:
    try:
        value = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_no_repeats,
            parse_constant=_refuse_constant,
        )
    except (ValueError, RecursionError) as error:
        reason = "nested too deep" if isinstance(error, RecursionError) else _first_line(error)
        raise FormatError(f"{what} is not JSON: {reason}") from error
    if not isinstance(value, dict):
        raise FormatError(f"{what} is not a JSON object")
    return value


def _first_line(error: ValueError) -> str:
    # The message of a decoding error quotes nothing of the content but its position.
    return str(error).partition("\n")[0].lower()[:200]


def _no_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice")
    return found


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a number")


def config_from(settings: _Object, *, what: str) -> AdapterConfig:
    """Return the config with these settings; `what` names their source in messages.

    Raises:
        FormatError: a wrong type, or a value that would make PEFT import a module or load a pickle.
    """
    _refuse_code(settings, what)
    read = _Reader(settings, what)
    peft_type = read.text("peft_type")
    if peft_type is None or not _TYPE_NAME.fullmatch(peft_type):
        raise FormatError(f"{what} names no peft_type, expected one like LORA")
    targets, pattern = _targets(read)
    return AdapterConfig(
        peft_type=peft_type,
        r=read.count(_RANK_KEY.get(peft_type, "r")),
        lora_alpha=read.number(_ALPHA_KEY.get(peft_type, "lora_alpha")),
        use_rslora=read.flag("use_rslora"),
        use_dora=read.flag("use_dora"),
        fan_in_fan_out=read.flag("fan_in_fan_out"),
        lora_bias=read.flag("lora_bias"),
        bias=read.text("bias") or "none",
        task_type=read.text("task_type"),
        base_model_name_or_path=read.text("base_model_name_or_path"),
        revision=read.text("revision"),
        target_modules=targets,
        target_pattern=pattern,
        modules_to_save=read.texts("modules_to_save"),
        # AdaLoRA keeps masks there.
        rank_pattern=()
        if peft_type == "ADALORA"
        else tuple((name, int(value)) for name, value in read.pattern("rank_pattern")),
        alpha_pattern=read.pattern("alpha_pattern"),
        hazards=_hazards(settings, peft_type),
    )


def _refuse_code(settings: _Object, what: str) -> None:
    mapping = settings.get("auto_mapping")
    library = mapping.get("parent_library") if isinstance(mapping, dict) else mapping
    if library is not None and str(library).partition(".")[0] not in _IMPORTABLE:
        raise FormatError(
            f"{what} makes PEFT import the module {str(library)[:64]!a} (auto_mapping)",
            hint=_ADVICE,
        )
    megatron = settings.get("megatron_core")
    if megatron not in (None, _MEGATRON):
        raise FormatError(
            f"{what} makes PEFT import the module {str(megatron)[:64]!a} (megatron_core)",
            hint=_ADVICE,
        )
    for key, value in settings.items():
        # corda_config and lora_ga_config: cache_file, covariance_file and the like are unpickled.
        for name, path in value.items() if isinstance(value, dict) else ():
            if name.endswith("_file") and path is not None:
                raise FormatError(f"{what} makes PEFT load a pickle ({key}.{name})", hint=_ADVICE)


def _targets(read: _Reader) -> tuple[tuple[str, ...], str | None]:
    value = read.settings.get("target_modules")
    if isinstance(value, str):
        return (), read.text("target_modules")
    return tuple(sorted(read.texts("target_modules"))), None


def _hazards(settings: _Object, peft_type: str) -> tuple[str, ...]:
    found = []
    if peft_type not in KNOWN_TYPES:
        found.append(f"peft_type {peft_type} is not known to PEFT 0.21")
    for key in ("target_modules", "exclude_modules", "layers_pattern"):
        value = settings.get(key)
        if isinstance(value, str) and value != "all-linear" and not _PLAIN_NAME.fullmatch(value):
            found.append(f"{key} is a regular expression, which PEFT would run")
    for key in ("rank_pattern", "alpha_pattern"):
        value = settings.get(key)
        if isinstance(value, dict) and not all(map(_PLAIN_NAME.fullmatch, value)):
            found.append(f"{key} has keys that are regular expressions, which PEFT would run")
    if peft_type == "LORA":
        unknown = sorted(settings.keys() - READ_KEYS - HARMLESS_KEYS)
        found += [f"unknown key {key[:64]!a}" for key in unknown[:16]]
    if settings.get("layer_replication") is not None:
        found.append("layer_replication builds another model than the base")
    return tuple(found)


@dataclass(frozen=True, slots=True)
class _Reader:
    """Typed access to settings; null and absent are the same, as in PEFT."""

    settings: _Object
    what: str

    def text(self, key: str) -> str | None:
        value = self.settings.get(key)
        if value is None:
            return None
        if not isinstance(value, str) or len(value) > ADAPTER_CONFIG_TEXT_CHARS:
            raise self._wrong(key, f"a text of at most {ADAPTER_CONFIG_TEXT_CHARS} characters")
        if any("\ud800" <= char <= "\udfff" for char in value):
            raise self._wrong(key, "a text without half surrogate pairs")
        return value

    def flag(self, key: str) -> bool:
        value = self.settings.get(key, False)
        if value is None:
            return False
        if not isinstance(value, bool):
            raise self._wrong(key, "true or false")
        return value

    def count(self, key: str) -> int | None:
        value = self.settings.get(key)
        # A dictionary of ranks and the like belongs to other methods than LoRA.
        if value is None or isinstance(value, dict | list):
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**31:
            raise self._wrong(key, "a whole number")
        return value

    def number(self, key: str) -> float | None:
        value = self.settings.get(key)
        return None if value is None else self._finite(key, value)

    def texts(self, key: str) -> tuple[str, ...]:
        value = self.settings.get(key)
        if value is None:
            return ()
        if not isinstance(value, list) or len(value) > ADAPTER_CONFIG_ITEMS:
            raise self._wrong(key, f"a list of at most {ADAPTER_CONFIG_ITEMS} names")
        if not all(isinstance(item, str) for item in value):
            raise self._wrong(key, "a list of names")
        return tuple(value)

    def pattern(self, key: str) -> tuple[tuple[str, float], ...]:
        value = self.settings.get(key)
        if value is None:
            return ()
        if not isinstance(value, dict) or len(value) > ADAPTER_CONFIG_ITEMS:
            raise self._wrong(key, f"an object of at most {ADAPTER_CONFIG_ITEMS} numbers")
        return tuple((name, self._finite(key, number)) for name, number in value.items())

    def _finite(self, key: str, value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._wrong(key, "a number")
        if abs(value) > 2**53 or not math.isfinite(value):
            raise self._wrong(key, "a number within 2**53")
        return value

    def _wrong(self, key: str, expected: str) -> FormatError:
        return FormatError(f"{self.what}: {key!a} is not {expected}")
