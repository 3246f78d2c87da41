"""The page's own words in English; the same names stand in `catalog_page_zh.py`."""

# ruff: noqa: RUF001 - Greek letters and signs of the field

from __future__ import annotations

ENGLISH: dict[str, str] = {
    "between": "; ",
    "colon": ": ",
    "title": "Weight audit",
    "made": "made at {when}",
    "digest": "Digest of what was audited",
    "digest.none": "not given",
    "verdict.all": "Verdict",
    "verdict.pass": "pass",
    "verdict.warn": "warn",
    "verdict.review": "review",
    "verdict.fail": "fail",
    "verdict.inconclusive": "inconclusive",
    "verdict.error": "error",
    "verdict.not_applicable": "not applicable",
    "tally": "{count} × {verdict}",
    "caveat": (
        "This page describes the weights. It does not show that the adapter is harmless: see "
        "“What this does not show” at the end."
    ),
    "death": "The audit process did not finish: {reason}",
    "broken": "The file is not what it should be: {reason}",
    "verdicts": "Verdicts and coverage",
    "verdicts.caption": (
        "One row for each audit that was asked for. Coverage says how much of what there was it "
        "looked at; what was not looked at is not sound for that."
    ),
    "column.audit": "Audit",
    "column.verdict": "Verdict",
    "column.coverage": "Coverage",
    "column.summary": "What it says",
    "column.module": "Module",
    "column.largest": "σ₁",
    "column.frobenius": "‖ΔW‖F",
    "column.stable": "Stable rank",
    "column.z": "Robust z",
    "column.why": "Why it is listed",
    "column.feature": "Feature",
    "column.value": "Here",
    "column.number": "Value",
    "column.median": "Peers' median",
    "column.position": "Place among peers",
    "column.measure": "Measured value",
    "column.reason": "Reason",
    "column.count": "Modules",
    "coverage": "{examined} of {total} {unit}",
    "coverage.nothing": "nothing of its kind",
    "version": "version {version}",
    "supplier": "supplied by {supplier}",
    "privacy": "measures what the adapter tells of its training data",
    "findings": "Findings and what to do",
    "findings.none": "No audit had anything to report. That is less than it sounds: see the coverage.",
    "findings.places": "{count} places:",
    "advice": "What to do:",
    "heat": "Singular values, module by module",
    "heat.alt": (
        "Heat map of the singular values of {modules} modules in {rows} rows, by index from 1 to "
        "{indices}. The largest is {largest}, in {place}."
    ),
    "heat.caption": (
        "One row for each module, grouped by block in the order of the file; from left to right the "
        "singular values of its update, largest first, relative to the largest of the whole file "
        "({largest}). Lighter is larger."
    ),
    "heat.binned": "There are {modules} modules; a row shows the largest value of up to {each} of them.",
    "heat.legend": "log₁₀ σ/σmax",
    "heat.zero": "exactly zero",
    "heat.none": "no such value",
    "heat.index": "index of the singular value",
    "numbers.none": (
        "There are no numbers for pictures: this run brought verdicts only, or no module has a "
        "spectrum. Nothing is drawn rather than something made up."
    ),
    "numbers.absent": "Why: {reason}",
    "numbers.coverage": "Numbers are here for {measured} of {total} modules.",
    "numbers.reasons": "Modules without numbers",
    "numbers.caveats": "Numbers to be read with care",
    "curves": "How concentrated the updates are",
    "curves.caption": (
        "Share of an update's energy (Σσ²) in its first k singular values. Line: median of the "
        "modules of the class; band: from the 10th to the 90th percentile. A curve that is high at "
        "once means few directions."
    ),
    "curves.unnamed": "class not known",
    "curves.rest": "other classes",
    "curves.panel": "{count} modules; 90 % of the energy in the first {needed} of {values} (median)",
    "curves.panel.cut": "{count} modules; the kept values hold less than 90 % of the energy (median)",
    "dead": "Dead modules",
    "dead.none": "No measured module is dead (norm below 1e-8 of the median).",
    "dead.some": "{dead} of {total} measured modules change nothing (norm below 1e-8 of the median):",
    "more": "and {count} more",
    "outliers": "Modules that differ from the rest of this file",
    "outliers.caption": (
        "Robust z = (value − median) / (1.4826 · MAD) across this file's own {count} living modules, "
        "of log₁₀ σ₁ and of the stable rank. It says what is unusual in this file, not what is wrong."
    ),
    "outliers.few": "With {count} living modules there is nothing to compare with.",
    "why.largest": "largest σ₁",
    "why.smallest": "smallest σ₁",
    "why.stable": "unusual stable rank",
    "z.size": "σ₁: {z}",
    "z.stable": "rank: {z}",
    "cohort": "Place among comparable adapters",
    "cohort.caption": (
        "Compared with {peers} adapters ({label}). Robust z of each feature; the lines are at ±6. "
        "Distance over all features: {distance}."
    ),
    "cohort.none": (
        "Too few peers: no group of comparable adapters (same base, trainer and rank) was at hand, so "
        "nothing is said of what is usual for such adapters."
    ),
    "cohort.no_features": (
        "Too few peers: {peers} adapters are comparable ({label}), which is not enough to say what is "
        "usual."
    ),
    "cohort.mark": "z {z} on a scale from −{end} to {end}, lines at ±6",
    "cohort.no_z": "no z",
    "metrics": "Measured values",
    "limits": "What this does not show",
    "limits.1": (
        "Whether the adapter behaves as it should. No output was made; hidden behaviour need not show "
        "in numbers like these, and who knows them can train around them."
    ),
    "limits.2": (
        "Singular values are exact to about 1e-6 of the largest one of their module; smaller ones are "
        "shown, with less certainty. They are those of the update as stored, with the file's scale."
    ),
    "limits.3": (
        "For DoRA the numbers are of the direction only: the change to the model also depends on base "
        "weights that the file does not hold."
    ),
    "limits.4": (
        "Modules without a low-rank form, and tensors that belong to no known module, are counted in "
        "the coverage and not measured."
    ),
    "limits.5": (
        "Unusual is not harmful, and usual is not harmless: robust z compares with the rest of this "
        "file, or with the peers named above, and with nothing else."
    ),
    "run": "How it was run",
    "run.peak": "largest memory of the audit process: {mebibytes} MiB",
    "run.confinement": "what the audit process had given up",
    "run.private": "This page names parts of a private adapter. Pass it on as carefully as the adapter.",
    "rule.structure": "structure and shapes",
    "rule.nonfinite": "NaN and infinity",
    "rule.dead_modules": "dead modules",
    "rule.spectrum": "spectrum",
    "rule.scale": "scale and alpha",
    "rule.dtype_loss": "loss by data type",
    "rule.claims": "what the header claims",
    "rule.hidden_payload": "room for hidden payload",
    "rule.spectral_outlier": "spectral outlier among peers",
    "rule.base_relation": "relation to the base weights",
}
