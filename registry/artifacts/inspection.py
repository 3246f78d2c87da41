"""What one file or folder is, what is wrong with it, and what it tells: by header, never by weights.

Broken content is an answer here and no error: it comes back as `refusals`. What is raised says that a
file cannot be read. Files are opened once, without following links, and read plainly, never mapped.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from registry.artifacts.body_hashes import hash_body
from registry.artifacts.claims import check_hash_claims
from registry.artifacts.classifying.alpha import configs_of
from registry.artifacts.classifying.classify import Classification, Refusal, classify
from registry.artifacts.classifying.empty_fields import explain_empty
from registry.artifacts.classifying.kinds import ADAPTER
from registry.artifacts.classifying.merging import merge_classifications
from registry.artifacts.classifying.modules import pair_modules
from registry.artifacts.classifying.samples import looks_unwritten
from registry.artifacts.classifying.scalars import read_alphas
from registry.artifacts.classifying.scales import list_scales
from registry.artifacts.classifying.shapes import group_shapes
from registry.artifacts.folders import WEIGHTS_SUFFIX, choose_weights
from registry.artifacts.metadata import (
    Leak,
    base_model_of,
    find_leaks,
    leaks_of_config,
    leaks_of_files,
    leaks_of_tensors,
    scan_folder,
    sort_leaks,
)
from registry.artifacts.other_containers import classify_other_container
from registry.artifacts.reading import SourceVanishedError, open_source
from registry.errors import FormatError
from registry.formats.adapter_config import parse_adapter_config
from registry.formats.containers import MAGIC_BYTES
from registry.formats.safetensors import header_length, parse_header
from registry.limits import ADAPTER_CONFIG_BYTES

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from registry.artifacts.claims import BodyHashes, Claim
    from registry.artifacts.classifying.scalars import ReadAt
    from registry.artifacts.classifying.scales import ModuleScale
    from registry.artifacts.notes import Glimpse
    from registry.formats.adapter_config import AdapterConfig
    from registry.formats.safetensors import SafetensorsHeader

SCHEMA = "loraseal/inspect.v1"
CONFIG_NAME = "adapter_config.json"
_HINT_PARTS = 4
_UNWRITTEN = ("every sampled byte of the weights is 0; it may not be written yet",)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What is known of a file beside its own bytes.

    `name_hint` is its path as far as it may be used; `config` the bytes of an adapter_config.json beside
    it; `hashes` those of its weights, if someone computed them; `side_files` other names.
    With `lists_modules` the inspection says the scale of every single module.
    """

    name_hint: str | None = None
    config: bytes | None = None
    hashes: BodyHashes | None = None
    side_files: tuple[str, ...] = ()
    lists_modules: bool = False


@dataclass(frozen=True, slots=True)
class Inspection:
    """One answer about one file or set. An adapter is sound if `kind` says so and `refusals` is empty.

    `base_model` is a claim. `leaks` name metadata keys and side files, never their content.
    `module_scales` is None unless it was asked for.
    """

    found: Classification
    base_model: str | None = None
    leaks: tuple[Leak, ...] = ()
    module_scales: tuple[ModuleScale, ...] | None = None

    @property
    def kind(self) -> str | None:
        """`adapter` or another kind of the fixture sheet; None if unknown or unreadable."""
        return self.found.kind

    @property
    def dialect(self) -> str | None:
        """In whose naming the modules are written, None if unknown."""
        return self.found.dialect

    @property
    def method(self) -> str | None:
        """`lora`, `dora`, `loha`, ...; None if unknown."""
        return self.found.method

    @property
    def family(self) -> str | None:
        """Base model family, None if the tensors do not say."""
        return self.found.family

    @property
    def rank(self) -> int | None:
        """The one rank of all modules, None if they differ or have none."""
        return self.found.rank

    @property
    def alpha(self) -> float | None:
        """The one alpha of all modules, None if they differ, have none, or it was not read."""
        return self.found.alpha

    @property
    def scale(self) -> float | None:
        """The one effective scale of all modules, None if they differ, have none, or it was not read."""
        return self.found.scale

    @property
    def modules(self) -> int:
        """Number of modules that the adapter changes."""
        return self.found.modules

    @property
    def tensors(self) -> int:
        """Number of tensors in the file."""
        return self.found.tensors

    @property
    def refusals(self) -> tuple[Refusal, ...]:
        """Why it must not be used; empty for sound content."""
        return self.found.refusals

    @property
    def claims(self) -> tuple[Claim, ...]:
        """Remarks on fields; each field that is None has one that says why."""
        return (*self.found.claims, *explain_empty(self.found, self.base_model))

    @property
    def is_sound_adapter(self) -> bool:
        """Whether it is an adapter without refusals."""
        return self.kind == ADAPTER and not self.refusals

    def to_json(self) -> dict[str, object]:
        """Return the object of schema `loraseal/inspect.v1`; alphas and scales may be floats.

        `module_scales` is in it if it was asked for.
        """
        found, guess = self.found, self.found.base_guess
        listed = self.module_scales
        return {
            **({} if listed is None else {"module_scales": [row._asdict() for row in listed]}),
            "schema": SCHEMA,
            "kind": found.kind,
            "dialect": found.dialect,
            "method": found.method,
            "family": found.family,
            "base_model": self.base_model,
            "modules": found.modules,
            "tensors": found.tensors,
            "rank": found.rank,
            "ranks": list(found.ranks),
            "alpha": found.alpha,
            "alphas": list(found.alphas),
            "scale": found.scale,
            "scales": [count._asdict() for count in found.scales],
            "base_guess": None if guess is None else asdict(guess),
            "methods": dict(found.methods),
            "refusals": [asdict(item) for item in found.refusals],
            "warnings": list(found.warnings),
            "leaks": [
                {
                    "key": leak.key,
                    "sensitivity": str(leak.sensitivity),
                    "kind": leak.kind,
                    "reason": leak.reason,
                    "advice": leak.advice,
                    "count": leak.count,
                    "certainty": str(leak.certainty),
                }
                for leak in self.leaks
            ],
            "claims": [{**asdict(claim), "status": str(claim.status)} for claim in self.claims],
        }

    def to_text(self) -> str:
        """Return `to_json` as one line of JSON with sorted keys."""
        return json.dumps(self.to_json(), ensure_ascii=False, sort_keys=True, allow_nan=False)


def inspect_header_bytes(
    prefix: bytes, file_size: int, read_at: ReadAt, *, around: Surroundings | None = None
) -> Inspection:
    """Return the inspection of a file that begins with `prefix` and has `file_size` bytes.

    `prefix` may be any part of the start (the first 8 bytes at least); what else is needed, the rest of
    the header, alphas and a few samples, comes through `read_at(offset, size)`, which raises
    `FormatError` for what it cannot give.
    """
    known = around or Surroundings()
    try:
        needed = header_length(prefix[:MAGIC_BYTES], file_size=file_size)
        data = prefix[:needed]
        if len(data) < needed:
            data += read_at(len(data), needed - len(data))
        header = parse_header(data, file_size=file_size)
    except FormatError as error:
        return Inspection(classify_other_container(prefix, file_size, read_at, error))
    return _inspect(header, read_at, known)


def inspect_glimpses(glimpses: Sequence[Glimpse]) -> Inspection:
    """Return the inspection of an artifact from what intake kept of its one pass.

    Several weight files (a high- and low-noise pair) are inspected one by one and put together.
    """
    configs = [item for item in glimpses if item.path.rpartition("/")[2] == CONFIG_NAME]
    weights = [item for item in glimpses if item.path.endswith(WEIGHTS_SUFFIX)]
    names = tuple(item.path for item in glimpses if item not in weights and item not in configs)
    results = []
    for glimpse in weights:
        around = Surroundings(
            name_hint=glimpse.path,
            config=configs[0].prefix if configs else None,
            hashes=glimpse.hashes,
            side_files=names,
        )
        results.append(
            inspect_header_bytes(glimpse.prefix, glimpse.size, glimpse.read_at, around=around)
        )
    return merge_inspections(results)


def headers_of(glimpses: Sequence[Glimpse]) -> tuple[SafetensorsHeader, ...]:
    """Return the headers of the weight files that intake kept; one that is malformed is left out."""
    found = []
    for glimpse in glimpses:
        if glimpse.path.endswith(WEIGHTS_SUFFIX):
            with contextlib.suppress(FormatError):
                found.append(parse_header(glimpse.prefix, file_size=glimpse.size))
    return tuple(found)


def _inspect(header: SafetensorsHeader, read_at: ReadAt, known: Surroundings) -> Inspection:
    config, refusals = _config(known)
    alphas = read_alphas(header, read_at)
    try:
        found = classify(header, config=config, name_hint=known.name_hint, alphas=alphas)
    except FormatError as error:
        # The header's own PEFT config is malformed or hostile: say so, and judge without it.
        refusals = (*refusals, Refusal("metadata", "lora_adapter_metadata", str(error)))
        header = replace(header, metadata=_without_config(header))
        found = classify(header, config=config, name_hint=known.name_hint, alphas=alphas)
    metadata = dict(header.metadata)
    hashes = check_hash_claims(metadata, header.body_bytes, known.hashes)
    unwritten = found.kind == ADAPTER and looks_unwritten(header, read_at)
    base_model = base_model_of(metadata, config)
    leaks = (
        *find_leaks(header.metadata),
        *leaks_of_tensors(tensor.name for tensor in header.tensors),
        *leaks_of_config(config),
        *leaks_of_files(known.side_files),
    )
    found = replace(
        found,
        refusals=(*refusals, *found.refusals),
        warnings=(*found.warnings, *(_UNWRITTEN if unwritten else ())),
        claims=(*found.claims, *hashes),
    )
    listed = None
    if known.lists_modules:
        shapes = group_shapes(pair_modules(header) if found.modules else ())
        listed = list_scales(shapes, alphas, configs_of(metadata, config))
    return Inspection(found, base_model, sort_leaks(leaks), listed)


def _config(known: Surroundings) -> tuple[AdapterConfig | None, tuple[Refusal, ...]]:
    if known.config is None:
        return None, ()
    try:
        return parse_adapter_config(known.config), ()
    except FormatError as error:
        return None, (Refusal("adapter-config", CONFIG_NAME, str(error)),)


def _without_config(header: SafetensorsHeader) -> tuple[tuple[str, str], ...]:
    return tuple(pair for pair in header.metadata if pair[0] != "lora_adapter_metadata")


def merge_inspections(results: Sequence[Inspection]) -> Inspection:
    """Return one inspection of a set whose files were inspected one by one, None where they differ."""
    base_models = {result.base_model for result in results}
    leaks = dict.fromkeys(leak for result in results for leak in result.leaks)
    return Inspection(
        merge_classifications([result.found for result in results]),
        base_models.pop() if len(base_models) == 1 else None,
        sort_leaks(leaks),
        _joined([result.module_scales for result in results]),
    )


def _joined(parts: Sequence[tuple[ModuleScale, ...] | None]) -> tuple[ModuleScale, ...] | None:
    listed = [rows for rows in parts if rows is not None]
    return tuple(row for rows in listed for row in rows) if listed else None


def inspect_path(
    path: Path, *, check_hash: bool = False, lists_modules: bool = False
) -> Inspection:
    """Return the inspection of the file or adapter folder at `path`.

    With `check_hash` the weights are read and hashed too, so that the header's own hashes are checked.
    With `lists_modules` the scale of every module is listed.

    Raises:
        NotFoundError: nothing there, or a folder without weights.
        UsageError: a folder with several files of weights that are no set.
        LorasealError: unreadable, a link, or changing under the read.
    """
    if path.is_dir() and not path.is_symlink():
        return inspect_directory(path, check_hash=check_hash, lists_modules=lists_modules)
    return inspect_file(path, check_hash=check_hash, lists_modules=lists_modules)


def inspect_file(
    path: Path, *, check_hash: bool = False, lists_modules: bool = False
) -> Inspection:
    """Return the inspection of one file; an adapter_config.json beside `adapter_model` counts.

    Raises:
        LorasealError: not there, unreadable, a link, or changing under the read.
    """
    beside = path.name.startswith("adapter_model") or path.name == "model.safetensors"
    config = _read_config(path.parent) if beside else None
    around = Surroundings(config=config, lists_modules=lists_modules)
    return _inspect_one(path, around, check_hash=check_hash)


def inspect_directory(
    path: Path, *, check_hash: bool = False, lists_modules: bool = False
) -> Inspection:
    """Return the inspection of a PEFT or diffusers folder, or of a high- and low-noise pair.

    Raises:
        NotFoundError: no weights in it.
        UsageError: several files of weights that are no set.
        LorasealError: unreadable, a link, or changing under the read.
    """
    with os.scandir(path) as entries:
        names = sorted(entry.name for entry in entries if entry.is_file(follow_symlinks=False))
    chosen = choose_weights(names, folder=str(path))
    side = tuple(name for name in names if name not in chosen and name != CONFIG_NAME)
    around = Surroundings(config=_read_config(path), side_files=side, lists_modules=lists_modules)
    found = merge_inspections(
        [_inspect_one(path / name, around, check_hash=check_hash) for name in chosen]
    )
    # Equal findings of names and of content are equal objects: each is told once.
    leaks = dict.fromkeys((*found.leaks, *scan_folder(path)))
    return replace(found, leaks=sort_leaks(leaks))


def _read_config(folder: Path) -> bytes | None:
    try:
        with open_source(folder / CONFIG_NAME) as source:
            # One byte more than allowed, so that the parser sees that it is too long.
            return source.read_at(0, min(source.size, ADAPTER_CONFIG_BYTES + 1))
    except SourceVanishedError:
        return None


def _inspect_one(path: Path, around: Surroundings, *, check_hash: bool) -> Inspection:
    with open_source(path) as source:
        prefix = source.read_at(0, MAGIC_BYTES)
        known = replace(
            around,
            name_hint="/".join(path.absolute().parts[-_HINT_PARTS:]),
            hashes=hash_body(source) if check_hash else None,
        )
        found = inspect_header_bytes(prefix, source.size, source.read_at, around=known)
        # What was said of it holds only if it stood still meanwhile.
        source.check_unchanged()
    return found
