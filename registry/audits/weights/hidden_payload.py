"""Does the file carry something that is no adapter: files, text or ciphertext among the weights?

Looks for bytes that are no weights in every block of every float tensor, for known files and text at the
start of tensors and in their low bits, for low bits that are in use only in places, for tensors that nothing
needs, and for slack. What is well hidden it does not see: encrypted bits in the lowest bit of half precision
look like the noise that training leaves there. What each test can see, and thresholds: `docs/audits/hidden_payload.md`.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from registry.audits.reporting import build_report
from registry.audits.weights.bit_planes import spelled
from registry.audits.weights.blocks import (
    Blocks,
    blocks_of,
    find_blobs,
    find_patches,
    rounded_tensors,
)
from registry.audits.weights.places import component_of
from registry.audits.weights.signatures import kind_of
from registry.audits.weights.slack import header_slack, stray_bytes
from registry.audits.weights.spare_tensors import spare_findings
from registry.audits.weights.windows import regions_of
from registry.formats.findings import Coverage, Finding, Verdict
from registry.updates.files import tensor_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from registry.audits.audit import AuditSubject
    from registry.audits.weights.windows import Region
    from registry.formats.findings import AuditReport
    from registry.updates.files import WeightFile

RULE = "hidden_payload"
START_BYTES = 64
# So many tensors of one role must be rounded before one that is not stands out.
LEAST_SIBLINGS = 10
_SIBLING_SHARE = 0.9
_ADVICE = "ask whoever made the file what this is; do not hand it on before that is known"
_ADVICE_SLACK = "save the file again with safetensors: that leaves it out"


class HiddenPayloadAudit:
    """Every block of every float tensor, low bits at the starts, spare tensors, slack."""

    rule = RULE
    version = "1"
    privacy = False

    def run(self, subject: AuditSubject) -> AuditReport:
        """Return the report; coverage counts tensors."""
        files = [file for file in subject.files if file.header is not None]
        findings = [finding for file in files for finding in _file_findings(file)]
        findings += [
            Finding(RULE, Verdict.REVIEW if is_file else Verdict.WARN, words, _ADVICE, file.path)
            for file in subject.files
            for words, is_file in stray_bytes(file)
        ]
        total = sum(len(file.header.tensors) for file in files if file.header is not None)
        odd = sum(finding.verdict is Verdict.REVIEW for finding in findings)
        return build_report(
            self,
            Coverage(total, total, "tensors"),
            findings,
            summary=f"{odd} places hold something that is no weights",
            metrics=[("hidden so that it looks like noise", "cannot be seen")],
        )


def _file_findings(file: WeightFile) -> Iterator[Finding]:
    yield from _starts(file)
    for region in regions_of(file):
        blocks = blocks_of(region)
        yield from _blobs(blocks)
        yield from _patches(blocks)
        yield from _unlike_siblings(file, blocks)
        yield from _low_bits(region)
    yield from spare_findings(RULE, file)
    for words in header_slack(file):
        yield Finding(RULE, Verdict.WARN, words, _ADVICE_SLACK, file.path)


def _starts(file: WeightFile) -> Iterator[Finding]:
    """Yield tensors of whatever type that begin like a file, or are text."""
    for tensor in file.header.tensors if file.header is not None else ():
        kind = kind_of(bytes(tensor_bytes(file, tensor)[:START_BYTES]))
        if kind is not None:
            yield Finding(RULE, Verdict.REVIEW, f"begins with {kind}", _ADVICE, tensor.name)


def _blobs(blocks: Blocks) -> Iterator[Finding]:
    for blob in find_blobs(blocks):
        words = f"holds {blob.kind}" if blob.kind else "holds numbers beyond any weight"
        yield Finding(
            RULE,
            Verdict.REVIEW if blob.kind else Verdict.WARN,
            f"{words}, in {blob.blocks} stretches of 256 values",
            _ADVICE,
            blocks.region.tensors[blob.number].name,
        )


def _patches(blocks: Blocks) -> Iterator[Finding]:
    for patch in find_patches(blocks):
        yield Finding(
            RULE,
            Verdict.REVIEW,
            f"the low {patch.bits} bits are in use in {patch.used} stretches of 256 values and empty "
            f"in {patch.clean} others: no trainer rounds like that",
            _ADVICE,
            blocks.region.tensors[patch.number].name,
        )


def _unlike_siblings(file: WeightFile, blocks: Blocks) -> Iterator[Finding]:
    """Yield tensors at full precision among many of their role that were rounded."""
    rounded = rounded_tensors(blocks)
    if not rounded:
        return
    bits = blocks.mask.bit_length()
    kinds = _kinds(file)
    groups: dict[tuple[str, str], list[int]] = defaultdict(list)
    for number in rounded:
        kind = kinds.get(blocks.region.tensors[number].name)
        if kind is not None:
            groups[kind].append(number)
    for members in groups.values():
        odd = [number for number in members if not rounded[number]]
        if len(members) < LEAST_SIBLINGS or len(odd) > (1 - _SIBLING_SHARE) * len(members):
            continue
        for number in odd:
            yield Finding(
                RULE,
                Verdict.WARN,
                f"its low {bits} bits are in use, those of {len(members) - len(odd)} like it are empty",
                _ADVICE,
                blocks.region.tensors[number].name,
            )


def _kinds(file: WeightFile) -> dict[str, tuple[str, str]]:
    """Return component and role of every tensor that belongs to a module, by name."""
    return {
        tensor.name: (component_of(module.name), role)
        for module in (file.pairing.modules if file.pairing is not None else ())
        for role, tensor in module.tensors
    }


def _low_bits(region: Region) -> Iterator[Finding]:
    told: set[int] = set()
    for found in spelled(region):
        if found.number not in told:
            told.add(found.number)
            yield Finding(
                RULE,
                Verdict.REVIEW,
                f"the lowest {found.depth} bits of its values spell {found.kind}",
                _ADVICE,
                region.tensors[found.number].name,
            )
