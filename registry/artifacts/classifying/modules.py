"""Tensors of an adapter, put together to the modules that they change.

`pair_tensors` is the one place where names become roles; audits, fingerprints and the classifier
build on it. Header only: no weight is read.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from registry.artifacts.classifying.geometry import Geometry, measure
from registry.artifacts.classifying.roles import (
    BOFT_DIMENSIONS,
    GLORA_CORE,
    GLORA_ROLES,
    ROLE_OF_SUFFIX,
    method_of,
    split_name,
)

if TYPE_CHECKING:
    from registry.formats.safetensors import SafetensorsHeader, TensorInfo

_FLOAT_PREFIXES = ("F", "BF")
_SWITCHES = frozenset({"on_input"})


class AdapterModule(NamedTuple):
    """One changed layer: its name as the file spells it, its method, its tensors by role.

    `method` is one of lora, dora, adalora, loha, lokr, oft, boft, ia3, glora, full, norm, vera,
    scale, or orphan (an alpha or the like whose factors are not there; always faulty).
    Roles: `down` (r, in, ...), `up` (out, r, ...), `mid`, `magnitude`, `up_bias`, `alpha`, `scalar`,
    `lora_a` (r, in), `lora_b` (out, r) and `lora_e` (r, 1) of loralib and AdaLoRA, and the LyCORIS
    names as they are (`hada_w1_a`, `lokr_w2`, `oft_blocks`, `diff`, ...). A module whose
    `geometry.faults` is not empty must not be computed with.
    """

    name: str
    method: str
    tensors: tuple[tuple[str, TensorInfo], ...]
    geometry: Geometry

    def find_tensor(self, role: str) -> TensorInfo | None:
        """Return the tensor with this role, or None."""
        return next((tensor for known, tensor in self.tensors if known == role), None)

    @property
    def rank(self) -> int | None:
        """The rank of its factors, or None for a method without one."""
        return self.geometry.rank

    @property
    def faults(self) -> tuple[str, ...]:
        """What is missing or does not fit, in words; empty for a sound module."""
        return self.geometry.faults


_new_module = functools.partial(tuple.__new__, AdapterModule)


@dataclass(frozen=True, slots=True)
class Pairing:
    """All tensors of a header: those of modules (in file order), and the others."""

    modules: tuple[AdapterModule, ...]
    others: tuple[TensorInfo, ...]


_Group: TypeAlias = "list[tuple[str, TensorInfo]]"
# Role, dtype and shape of each tensor of a module.
_Signature: TypeAlias = "tuple[tuple[str, str, tuple[int, ...]], ...]"


def pair_modules(header: SafetensorsHeader) -> tuple[AdapterModule, ...]:
    """Return the modules of an adapter in file order; sound ones and faulty ones alike."""
    return pair_tensors(header).modules


def pair_tensors(header: SafetensorsHeader) -> Pairing:
    """Return every tensor of `header`, in a module or among the others, each exactly once."""
    groups: dict[str, _Group] = {}
    others: list[TensorInfo] = []
    group: _Group = []
    last = ""  # tensors of one module mostly stand together
    find_role = ROLE_OF_SUFFIX.get  # looked up once: this loop is most of the work on a header
    for tensor in header.tensors:
        name, _, suffix = tensor[0].partition(".")
        role = find_role(suffix)  # kohya: the module's name has no dot
        if role is None:
            name, role = split_name(tensor[0])
        if role is None:
            others.append(tensor)
            continue
        if name != last:
            last = name
            group = groups.setdefault(name, [])
        group.append((role, tensor))
    others = _claim_ambiguous(groups, others)
    return _build(groups, others)


def _claim_ambiguous(groups: dict[str, _Group], others: list[TensorInfo]) -> list[TensorInfo]:
    """Move tensors with everyday names into groups whose other tensors give them a meaning."""
    switched = {name for name, group in groups.items() if group[0][0] in _SWITCHES}
    rest = []
    letters: dict[str, _Group] = {}
    for tensor in others:
        module, _, key = tensor.name.removesuffix(".weight").rpartition(".")
        if tensor.name.endswith(".weight") and tensor.name.removesuffix(".weight") in switched:
            groups[tensor.name.removesuffix(".weight")].append(("weight", tensor))
        elif (key in GLORA_ROLES or key == GLORA_CORE) and tensor.name.endswith(".weight"):
            letters.setdefault(module, []).append((key, tensor))
        else:
            rest.append(tensor)
    for name, group in letters.items():
        if {role for role, _ in group} >= GLORA_ROLES:
            groups.setdefault(name, []).extend(group)
        else:
            rest.extend(tensor for _, tensor in group)
    return rest


def _build(groups: dict[str, _Group], others: list[TensorInfo]) -> Pairing:
    modules: list[AdapterModule] = []
    measured: dict[_Signature, tuple[str, Geometry]] = {}
    for name, group in groups.items():
        # Hundreds of modules share a few dozen sets of shapes: each set is measured once.
        key = tuple([(role, tensor[1], tensor[2]) for role, tensor in group])
        known = measured.get(key)
        if known is None:
            known = measured[key] = _measure(key)
        modules.append(_new_module((name, known[0], tuple(group), known[1])))
    if all(module.method == "scale" for module in modules):
        # Without any factor a norm's scale is a weight like others: this is no adapter.
        others = [*others, *(tensor for module in modules for _, tensor in module.tensors)]
        modules = []
    return Pairing(tuple(modules), tuple(others))


def _measure(key: _Signature) -> tuple[str, Geometry]:
    roles = [role for role, _, _ in key]
    method = method_of(frozenset(roles))
    if method is None:
        return "orphan", Geometry(faults=(f"{'/'.join(roles)} without factors",))
    shapes = {role: shape for role, _, shape in key}
    if method == "oft" and len(shapes.get("oft_blocks", ())) == BOFT_DIMENSIONS:
        method = "boft"
    geometry = measure(method, shapes)
    faults = list(geometry.faults)
    if len(set(roles)) != len(roles):
        faults.append("a role stands twice")
    for role, dtype, _ in key:
        if role not in _SWITCHES and not dtype.startswith(_FLOAT_PREFIXES):
            faults.append(f"{role} has dtype {dtype}, expected a floating point type")
    return method, Geometry(
        geometry.rank, geometry.inputs, geometry.outputs, geometry.kernel, tuple(faults)
    )
