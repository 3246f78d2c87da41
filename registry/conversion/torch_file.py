"""A file of `torch.save`, read as data: a flat mapping of names to tensors, or a refusal with a reason."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from registry.conversion.archive import LOCAL_MAGIC, read_archive
from registry.conversion.legacy import LEGACY_START, read_legacy
from registry.conversion.machine import read_pickle
from registry.conversion.refusals import SAVE_AGAIN, PickleRefusedError, Reason, shown
from registry.conversion.values import Table, TensorRef, item_bytes
from registry.errors import FormatError
from registry.formats.containers import MAGIC_BYTES, find_container
from registry.formats.safetensors_rows import check_name
from registry.limits import SAFETENSORS_TENSORS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from registry.conversion.machine import Read
    from registry.conversion.values import Symbol, Value

TEXTUAL_INVERSION = "textual-inversion (pickle)"
# One level that trainers put around the weights.
_WRAPPERS = ("state_dict", "model_state_dict", "model", "module", "lora_state_dict")
# What may stand beside the wrapped weights and is left out: it says how far the training had come.
_BOOKKEEPING = frozenset(
    [
        "epoch",
        "global_step",
        "step",
        "steps",
        "iteration",
        "iter",
        "version",
        "date",
        "time",
        "pytorch-lightning_version",
    ]
)
_TRAINING_STATE = ("optimizer", "lr_scheduler", "scheduler", "scaler", "callbacks", "loops")
_EMBEDDING_MARKS = (b"string_to_token", b"string_to_param")
_LOOKED_AT_BYTES = 64 * 1024
_KINDS: tuple[tuple[tuple[type, ...], str], ...] = (
    ((Table,), "dict"),
    ((TensorRef,), "tensor"),
    ((list, tuple), "list"),
    ((str,), "text"),
    ((int, float, type(None)), "plain value"),
)
_TAR_MAGIC, _TAR_MAGIC_AT = b"ustar", 257


_FORMATS: dict[int, Literal["B", "H", "I", "Q"]] = {1: "B", 2: "H", 4: "I", 8: "Q"}


@dataclass(frozen=True, slots=True)
class NamedTensor:
    """One tensor of the file; `storage` is the memory of all of its storage."""

    name: str
    ref: TensorRef
    storage: memoryview = field(repr=False)

    @property
    def size(self) -> int:
        """Length of its content in bytes, once written without gaps."""
        return math.prod(self.ref.shape) * item_bytes(self.ref.dtype)

    @property
    def elements(self) -> memoryview:
        """All of its storage as whole numbers of the size of an element: moved, never computed with."""
        return self.storage.cast(_FORMATS[item_bytes(self.ref.dtype)])


@dataclass(frozen=True, slots=True)
class TorchWeights:
    """What one file holds: its tensors in the order of the file, and what was left out.

    `form` is "zip" or "legacy", `unwrapped` the key that the mapping stood under, if any; `dropped`
    names the bookkeeping beside it. `symbols` are all names that the pickle mentions.
    """

    form: str
    tensors: tuple[NamedTensor, ...]
    symbols: frozenset[Symbol]
    unwrapped: str | None
    dropped: tuple[str, ...]


def read_torch_file(data: memoryview) -> TorchWeights:
    """Return the weights in `data`.

    Raises:
        PickleRefusedError: not exactly a flat mapping of names to tensors as torch.save writes it.
    """
    form, read, storages = _read_container(data)
    weights, unwrapped, dropped = _unwrap(read.value)
    tensors = tuple(_named(name, ref, storages) for name, ref in weights.entries.items())
    if not tensors:
        raise _no_weights("it holds no tensors")
    if len(tensors) > SAFETENSORS_TENSORS:
        raise PickleRefusedError(
            Reason.LIMIT, f"it holds {len(tensors)} tensors, more than {SAFETENSORS_TENSORS}"
        )
    return TorchWeights(form, tensors, read.symbols, unwrapped, dropped)


def pickle_of(data: memoryview) -> bytes | None:
    """Return the pickle inside an archive as our reader sees it, None for the form without one.

    Raises:
        PickleRefusedError: neither form.
    """
    if bytes(data[: len(LOCAL_MAGIC)]) == LOCAL_MAGIC:
        return read_archive(data).pickle
    if bytes(data[: len(LEGACY_START)]) == LEGACY_START:
        return None
    raise _unknown_container(data)


def _read_container(data: memoryview) -> tuple[str, Read, Mapping[str, memoryview]]:
    if bytes(data[: len(LOCAL_MAGIC)]) == LOCAL_MAGIC:
        archive = read_archive(data)
        return "zip", *_read_zip(archive.pickle, archive.storages)
    if bytes(data[: len(LEGACY_START)]) == LEGACY_START:
        _refuse_embedding(bytes(data[:_LOOKED_AT_BYTES]))
        return "legacy", *read_legacy(data)
    raise _unknown_container(data)


def _read_zip(pickle: bytes, storages: dict[str, memoryview]) -> tuple[Read, dict[str, memoryview]]:
    _refuse_embedding(pickle)
    read = read_pickle(memoryview(pickle))
    if read.end != len(pickle):
        raise PickleRefusedError(
            Reason.OPCODE, f"{len(pickle) - read.end} bytes lie behind the end of its pickle"
        )
    if set(read.storages) != set(storages):
        raise PickleRefusedError(
            Reason.CONTAINER, "the storages of the archive are not those of its tensors"
        )
    for key, expected in read.storages.items():
        if len(storages[key]) != expected.size:
            raise PickleRefusedError(
                Reason.TENSOR,
                f"storage {shown(key)} has {len(storages[key])} bytes, expected {expected.size}",
            )
    return read, storages


def _refuse_embedding(pickle: bytes) -> None:
    if all(mark in pickle for mark in _EMBEDDING_MARKS):
        raise _no_weights(f"it is a {TEXTUAL_INVERSION}, not a mapping of tensors")


def _unknown_container(data: memoryview) -> PickleRefusedError:
    start = bytes(data[: _TAR_MAGIC_AT + len(_TAR_MAGIC)])
    if start[_TAR_MAGIC_AT:] == _TAR_MAGIC:
        words = "a tar archive, as torch wrote before 0.4"
    else:
        container = find_container(start[:MAGIC_BYTES])
        words = "unknown bytes" if container is None else container.words
    if start[8:9] == b"{":
        return PickleRefusedError(
            Reason.CONTAINER, "it looks like safetensors already", hint="take it in as it is"
        )
    return PickleRefusedError(
        Reason.CONTAINER, f"not a file of torch.save but {words}", hint=SAVE_AGAIN
    )


def _unwrap(value: Value) -> tuple[Table, str | None, tuple[str, ...]]:
    """Return the mapping of tensors, the key around it, and the names of what was left out."""
    if not isinstance(value, Table):
        raise _no_weights(f"it holds a {_kind(value)}, not a mapping of names to tensors")
    if any(isinstance(each, TensorRef) for each in value.entries.values()):
        return value, None, ()
    _refuse_training_state(value)
    found = [key for key in _WRAPPERS if isinstance(value.entries.get(key), Table)]
    if len(found) != 1:
        raise _no_weights("it holds no tensors at its top, nor under one of the usual keys")
    inner = value.entries[found[0]]
    beside = [(str(key), each) for key, each in value.entries.items() if key != found[0]]
    for key, each in beside:
        # An alpha that is lost here would change what the weights do.
        if key not in _BOOKKEEPING or not isinstance(each, (int, float, str)):
            raise _no_weights(f"beside its weights stands {shown(key)}, which would be lost")
    if not isinstance(inner, Table):
        raise _no_weights("it holds no tensors")
    return inner, found[0], tuple(key for key, _ in beside)


def _refuse_training_state(value: Table) -> None:
    for key in value.entries:
        if str(key).startswith(_TRAINING_STATE) or key in ("param_groups", "state"):
            raise _no_weights(f"it is the state of a training run: it holds {shown(str(key))}")


def _named(name: object, value: object, storages: Mapping[str, memoryview]) -> NamedTensor:
    if not isinstance(name, str):
        raise _no_weights(f"a {_kind(value)} has a number for a name")
    if not isinstance(value, TensorRef):
        raise _no_weights(f"beside its tensors stands {shown(name)}, a {_kind(value)}")
    try:
        check_name(name, "tensor name")
    except FormatError as error:
        raise PickleRefusedError(Reason.NOT_WEIGHTS, str(error), hint=SAVE_AGAIN) from error
    return NamedTensor(name, value, storages[value.storage.key])


def _kind(value: object) -> str:
    for kinds, word in _KINDS:
        if isinstance(value, kinds):
            return word
    return "thing of torch's"


def _no_weights(what: str) -> PickleRefusedError:
    return PickleRefusedError(Reason.NOT_WEIGHTS, what, hint=SAVE_AGAIN)
