"""Which audits there are. Built-ins stand in a literal table; others load only when settings name them.

Version, supplier and privacy come from here and never from the child: what a process that has parsed
a hostile payload says of itself proves nothing. Importing this module loads no audit and no torch.
"""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points, version
from pathlib import Path
from typing import TYPE_CHECKING

from registry.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from registry.audits.audit import Audit

ENTRY_POINT_GROUP = "loraseal.audits"


@dataclass(frozen=True, slots=True)
class AuditSpec:
    """One audit that can be run: `entry` is `module:class`, loaded in the child only.

    `code` is the file or folder of a plug-in's code, which the child may read; "" for built-ins.
    """

    rule: str
    version: str
    entry: str
    privacy: bool = False
    supplier: str = "loraseal"
    code: str = ""


BUILT_IN: tuple[AuditSpec, ...] = (
    AuditSpec("structure", "2", "registry.audits.weights.structure:StructureAudit"),
    AuditSpec("nonfinite", "1", "registry.audits.weights.nonfinite:NonfiniteAudit"),
    AuditSpec("dead_modules", "2", "registry.audits.weights.dead_modules:DeadModulesAudit"),
    AuditSpec("scale", "1", "registry.audits.weights.scale:ScaleAudit"),
    AuditSpec("dtype_loss", "1", "registry.audits.weights.dtype_loss:DtypeLossAudit"),
    AuditSpec("claims", "1", "registry.audits.weights.claims:ClaimsAudit"),
    AuditSpec("hidden_payload", "1", "registry.audits.weights.hidden_payload:HiddenPayloadAudit"),
    AuditSpec("spectrum", "2", "registry.audits.weights.spectrum:SpectrumAudit"),
    AuditSpec(
        "spectral_outlier", "1", "registry.audits.weights.spectral_outlier:SpectralOutlierAudit"
    ),
    AuditSpec("base_relation", "1", "registry.audits.weights.base_relation:BaseRelationAudit"),
)
# They need more than the payload (a cohort, a base model), and advise only.
_NOT_DEFAULT = frozenset({"spectral_outlier", "base_relation"})
DEFAULT_RULES: tuple[str, ...] = tuple(
    spec.rule for spec in BUILT_IN if spec.rule not in _NOT_DEFAULT
)


def find_specs(rules: Sequence[str], *, plugins: Sequence[str] = ()) -> tuple[AuditSpec, ...]:
    """Return the audits called `rules`, in that order; `plugins` are the ones settings allow.

    Raises:
        UsageError: a rule that nobody supplies, that is named twice, or supplied twice.
    """
    if len(set(rules)) != len(rules):
        raise UsageError("an audit is named twice")
    table = {spec.rule: spec for spec in BUILT_IN}
    for name in plugins:
        if name in table:
            raise UsageError(f"plug-in audit {name!r} bears the name of a built-in audit")
        table[name] = _find_plugin(name)
    missing = [rule for rule in rules if rule not in table]
    if missing:
        raise UsageError(
            f"no audit is called {missing[0]!r}",
            hint=f"known audits: {', '.join(table)}; plug-ins must be named in the settings",
        )
    return tuple(table[rule] for rule in rules)


def load(entry: str) -> Audit:
    """Return the audit at `entry` (`module:class`); called in the child."""
    module, _, name = entry.partition(":")
    audit: Audit = getattr(importlib.import_module(module), name)()
    return audit


def _find_plugin(name: str) -> AuditSpec:
    found = [point for point in entry_points(group=ENTRY_POINT_GROUP) if point.name == name]
    if len(found) != 1:
        raise UsageError(
            f"{len(found)} installed distributions supply the audit {name!r}, expected one",
            hint="install exactly one distribution that supplies it, or drop it from the settings",
        )
    return _plugin_spec(found[0])


def _plugin_spec(point: EntryPoint) -> AuditSpec:
    distribution = point.dist
    supplier = f"{distribution.name} {distribution.version}" if distribution else "unknown"
    release = distribution.version if distribution else "unknown"
    return AuditSpec(point.name, release, point.value, supplier=supplier, code=_code_of(point))


def _code_of(point: EntryPoint) -> str:
    # Looks up the top-level package without importing it: plug-in code runs in the child only.
    spec = importlib.util.find_spec(point.module.partition(".")[0])
    if spec is None or spec.origin is None:
        raise UsageError(f"the code of the audit {point.name!r} is not importable")
    origin = Path(spec.origin)
    return str(origin.parent if origin.name == "__init__.py" else origin)


def supplier_of_built_ins() -> str:
    """Return the name and version of this distribution, as reports record it."""
    try:
        return f"loraseal {version('loraseal')}"
    except PackageNotFoundError:  # a checkout that is not installed
        return "loraseal (checkout)"
