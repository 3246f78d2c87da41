"""Does the header say the truth about the tensors behind it?

Header, config and hashes are their author's word. This audit sets them against what is in the file:
family, hashes, method, text encoders, whole layers, target modules. Rank and alpha are the `scale`
audit's. Findings name the key and what kind of thing is wrong; they never repeat a value, which
may be personal. Reads no weight but to hash them where a hash is claimed; needs no torch.
Thresholds: `docs/audits/claims.md`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from registry.artifacts.body_hashes import hash_weights
from registry.artifacts.claims import ClaimStatus, check_hash_claims
from registry.artifacts.classifying.classify import classify
from registry.audits.reporting import build_report
from registry.audits.weights.claimed_layers import layer_findings
from registry.audits.weights.claimed_training import training_findings
from registry.errors import FormatError
from registry.formats.findings import Coverage, Finding, Verdict
from registry.limits import READ_BATCH_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from registry.artifacts.claims import BodyHashes, Claim
    from registry.artifacts.classifying.classify import Classification
    from registry.audits.audit import AuditSubject
    from registry.formats.adapter_config import AdapterConfig
    from registry.formats.findings import AuditReport
    from registry.formats.safetensors import SafetensorsHeader
    from registry.updates.files import WeightFile

RULE = "claims"
_HASH_KEYS = ("sshs_model_hash", "sshs_legacy_hash", "modelspec.hash_sha256")
_FIELD_ADVICE = {
    "family": "ask its owner for which base model it is; nothing else in the header is sure then",
}
_ADVICE = "correct the header, or ask its owner; loaders and web sites believe it"
# Keys whose claims the functions below look at; others make no claim on tensors.
_CLAIMING = (
    *_HASH_KEYS,
    "ss_base_model_version",
    "modelspec.architecture",
    "ss_network_module",
    "ss_network_args",
    "ss_text_encoder_lr",
    "ss_v2",
    "lora_adapter_metadata",
)


class ClaimsAudit:
    """Every claim of header and adapter config that the tensors can confirm or deny."""

    rule = RULE
    version = "1"
    privacy = False

    def run(self, subject: AuditSubject) -> AuditReport:
        """Return the report; coverage counts files of weights, since one may claim nothing."""
        files = [file for file in subject.files if file.header is not None]
        findings = [
            finding
            for file in files
            if file.header is not None
            for finding in _file_findings(file, file.header, subject.config)
        ]
        findings += layer_findings(RULE, subject)
        made = sum(_count_claims(file) for file in files) + (subject.config is not None)
        wrong = sum(finding.verdict is not Verdict.PASS for finding in findings)
        return build_report(
            self,
            Coverage(len(files), len(files), "files of weights"),
            findings,
            summary=f"{wrong} doubts on {made} claims",
            metrics=[("claims", str(made))],
        )


def _count_claims(file: WeightFile) -> int:
    keys = {key for key, _ in file.header.metadata} if file.header is not None else set()
    return len(keys & set(_CLAIMING))


def _file_findings(
    file: WeightFile, header: SafetensorsHeader, config: AdapterConfig | None
) -> Iterator[Finding]:
    try:
        found = classify(header, config=config)
    except FormatError:
        # The structure audit rejects this one; there is no saying what it claims.
        return
    for claim in _claims(found, file, header):
        yield Finding(
            RULE,
            Verdict.WARN,
            f"{claim.source}: {claim.note}",
            _FIELD_ADVICE.get(claim.field, _ADVICE),
            claim.source,
        )
    if file.pairing is not None:
        yield from training_findings(RULE, dict(header.metadata), file.pairing.modules, found)


def _claims(found: Classification, file: WeightFile, header: SafetensorsHeader) -> Iterator[Claim]:
    """Yield the claims that are not true. Of those on numbers the `scale` audit knows more."""
    yield from (
        claim
        for claim in found.claims
        if claim.status is ClaimStatus.DISAGREES and claim.field == "family"
    )
    metadata = dict(header.metadata)
    if not any(metadata.get(key) for key in _HASH_KEYS):
        return
    for claim in check_hash_claims(metadata, header.body_bytes, _hashes(file, header)):
        if claim.status is ClaimStatus.FALSE:
            yield claim


def _hashes(file: WeightFile, header: SafetensorsHeader) -> BodyHashes:
    def read(start: int, end: int) -> Iterable[memoryview]:
        for place in range(start, end, READ_BATCH_BYTES):
            yield file.data[place : min(end, place + READ_BATCH_BYTES)]

    reader: Callable[[int, int], Iterable[bytes | memoryview]] = read
    return hash_weights(header, reader)
