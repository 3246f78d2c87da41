"""What goes into the cage and what comes out of it: limits and the report on one conversion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from registry.conversion.refusals import PickleRefusedError, Reason
from registry.formats.canonical import dump_canonical, parse_canonical
from registry.formats.fields import Fields
from registry.limits import CONVERSION_INPUT_BYTES, CONVERSION_REPORT_BYTES

if TYPE_CHECKING:
    from registry.digest import Digest
    from registry.formats.canonical import Json

_FORMS = ("zip", "legacy")
_DROPPED_NAMES = 64


@dataclass(frozen=True, slots=True)
class ConversionLimits:
    """Bounds of one conversion: seconds of wall clock and CPU, bytes of the pickle.

    What comes out may be `growth` times the pickle (tensors that share a storage are written apart)
    and `spare_bytes` more. `work_bytes` is the address space of the child beside the pickle itself.
    """

    wall_seconds: float = 300.0
    cpu_seconds: int = 240
    input_bytes: int = CONVERSION_INPUT_BYTES
    growth: int = 2
    spare_bytes: int = 64 * 1024 * 1024
    work_bytes: int = 1536 * 1024 * 1024

    def output_bytes(self, size: int) -> int:
        """Return how long the result of a pickle of `size` bytes may be."""
        return self.growth * size + self.spare_bytes


@dataclass(frozen=True, slots=True)
class ChildReport:
    """What the caged process says of its work; outside input to whoever reads it.

    `digest` is the canonical digest of the tensors as they lie in the pickle. `shared` counts tensors
    whose storage another one uses too, `gathered` those that did not lie in order.
    """

    form: str
    tensors: int
    digest: Digest
    size: int
    shared: int
    gathered: int
    unwrapped: str | None
    dropped: tuple[str, ...]

    def to_bytes(self) -> bytes:
        """Return the one line that goes through the pipe."""
        return dump_canonical(
            {
                "done": True,
                "form": self.form,
                "tensors": self.tensors,
                "digest": str(self.digest),
                "size": self.size,
                "shared": self.shared,
                "gathered": self.gathered,
                "unwrapped": self.unwrapped,
                "dropped": list(self.dropped),
            }
        )

    @classmethod
    def from_json(cls, value: Json) -> ChildReport:
        """Return the report in `value`.

        Raises:
            FormatError: not what `to_bytes` writes.
        """
        fields = Fields.of(value, "conversion report")
        dropped = tuple(str(name) for name in fields.items("dropped", most=_DROPPED_NAMES))
        return cls(
            form=fields.choice("form", _FORMS),
            tensors=fields.integer("tensors"),
            digest=fields.digest("digest"),
            size=fields.integer("size"),
            shared=fields.integer("shared"),
            gathered=fields.integer("gathered"),
            unwrapped=fields.optional_text("unwrapped"),
            dropped=dropped,
        )


def dump_refusal(error: PickleRefusedError) -> bytes:
    """Return the line that says why the pickle is not converted."""
    hint = error.hint or ""
    return dump_canonical({"refused": str(error), "reason": error.reason.value, "hint": hint})


def parse_outcome(line: bytes) -> ChildReport:
    """Return the report in the last line of the child.

    Raises:
        PickleRefusedError: the child says that it refused the pickle.
        FormatError: the line is neither.
    """
    value = parse_canonical(line, what="conversion report", max_bytes=CONVERSION_REPORT_BYTES)
    if isinstance(value, dict) and "refused" in value:
        fields = Fields.of(value, "conversion report")
        reason = Reason(fields.choice("reason", tuple(Reason)))
        raise PickleRefusedError(reason, fields.text("refused"), hint=fields.text("hint"))
    return ChildReport.from_json(value)


def parse_confinement(line: bytes) -> tuple[tuple[str, str], ...]:
    """Return what the child says it gave up, as pairs of words.

    Raises:
        FormatError: the line says something else.
    """
    value = parse_canonical(line, what="confinement", max_bytes=CONVERSION_REPORT_BYTES)
    fields = Fields.of(value, "confinement")
    return tuple((name, fields.text(name)) for name in (value if isinstance(value, dict) else ()))
