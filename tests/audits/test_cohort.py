"""Which adapters are compared with which: from headers alone, and never with words of the metadata."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from registry.artifacts.inspection import Surroundings, inspect_header_bytes
from registry.audits.cohorts.cohort import CohortFacts, cohort_of, facts_of, trainer_in
from registry.audits.cohorts.intervals import binomial_at_most, clopper_pearson
from registry.formats.safetensors import parse_header
from tests.sheet import header_bytes, rows
from tests.weights_files import lora_bytes

ROOT = Path(__file__).resolve().parents[2]
FACTS = CohortFacts("sd1", "v1-5.safetensors", "sd-scripts", "lora", (16,), (("attn.q", 320, 320),))


def _facts(metadata, rank=4, width=16):
    data = lora_bytes(rank=rank, width=width, metadata=metadata)
    header = parse_header(data[: 8 + int.from_bytes(data[:8], "little")], file_size=len(data))
    inspection = inspect_header_bytes(
        data, len(data), lambda offset, size: data[offset : offset + size], around=Surroundings()
    )
    return facts_of(inspection, [header])


@pytest.mark.parametrize(
    "change",
    [
        {"base": "sdxl"},
        {"base_named": "other.safetensors"},
        {"trainer": "OneTrainer"},
        {"method": "loha"},
        {"ranks": (8,)},
        {"ranks": (8, 16)},
        {"targets": (("attn.q", 640, 640),)},
        {"targets": (("attn.k", 320, 320),)},
        {"targets": ()},
    ],
)
def test_any_other_fact_is_another_cohort(change):
    assert cohort_of(replace(FACTS, **change)).digest != cohort_of(FACTS).digest


def test_no_text_of_the_metadata_is_in_the_label():
    facts = _facts(
        {
            "ss_sd_model_name": "clientJones_v3.safetensors",
            "ss_network_module": "private.module",
            "ss_output_name": "alice",
            "modelspec.title": "alice",
        }
    )
    label = cohort_of(facts).label
    for secret in ("Jones", "private", "alice"):
        assert secret not in label
    assert facts.base_named == "clientJones_v3.safetensors"


def test_a_header_that_says_nothing_still_has_a_cohort():
    cohort = cohort_of(_facts({}))
    assert cohort.label == "lora for unknown base, by unknown trainer, rank 4, on other"
    assert cohort.digest == cohort_of(_facts({})).digest


def test_spelling_of_the_base_does_not_split_a_cohort():
    spelled = replace(FACTS, base_named=" V1-5.safetensors")
    assert cohort_of(spelled).digest == cohort_of(FACTS).digest


def test_label_names_what_the_members_share():
    assert cohort_of(FACTS).label == "lora for sd1, by sd-scripts, rank 16, on attn.q"
    many = tuple((kind, 1, 1) for kind in "abcdef")
    label = cohort_of(replace(FACTS, ranks=(4, 8), targets=many)).label
    assert label.endswith("ranks 4 to 8, on a/b/c/d and 2 more")


@pytest.mark.parametrize(
    ("metadata", "trainer"),
    [
        ({}, ""),
        ({"ss_output_name": "OneTrainer"}, ""),
        ({"software": '{"name": "ai-toolkit"}', "ss_base_model_version": "flux.1"}, "ai-toolkit"),
        ({"ot_revision": "abc", "ss_network_module": "networks.lora"}, "OneTrainer"),
        ({"ss_network_module": "lycoris.kohya"}, "LyCORIS on sd-scripts"),
        ({"ss_network_module": "networks.lora_wan", "ss_fp8_base": "True"}, "musubi-tuner"),
        ({"lora_adapter_metadata": "{}"}, "diffusers"),
        ({"lora_adapter_metadata": "{}", "trained_words": "x"}, "SimpleTuner"),
    ],
)
def test_the_trainer_is_one_of_a_few_words(metadata, trainer):
    assert trainer_in(metadata) == trainer


@pytest.mark.parametrize("fixture", rows("adapters"), ids=lambda row: row["id"])
def test_every_known_adapter_has_a_cohort_of_its_own_kind(fixture):
    data = header_bytes(fixture)
    header = parse_header(data, file_size=None)
    inspection = inspect_header_bytes(
        data,
        header.total_bytes,
        lambda offset, size: data[offset : offset + size].ljust(size, b"\0"),
    )
    facts = facts_of(inspection, [header])
    assert facts.targets
    expected = fixture["trainer"]
    if "sd-scripts" in expected:
        assert "sd-scripts" in facts.trainer
    if "ai-toolkit" in expected and facts.trainer:
        assert facts.trainer == "ai-toolkit"
    assert cohort_of(facts).label.startswith(f"{fixture['method']} for ")


def test_a_cohort_is_told_without_torch():
    code = (
        "import sys; sys.modules['torch'] = None; sys.modules['numpy'] = None\n"
        "import registry.audits.cohorts.cohort, registry.audits.cohorts.intervals, registry.audits.bases.store\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@pytest.mark.parametrize(("cases", "trials"), [(-1, 5), (6, 5)])
def test_impossible_counts_are_refused(cases, trials):
    with pytest.raises(ValueError, match="cases among"):
        clopper_pearson(cases, trials)


def test_the_interval_is_the_exact_one():
    assert clopper_pearson(0, 0) == (0, 1)
    # Published values (R, binom.test).
    low, high = clopper_pearson(0, 500)
    assert (low, round(high, 6)) == (0, 0.007351)
    low, high = clopper_pearson(3, 200)
    assert (round(low, 6), round(high, 6)) == (0.003104, 0.043208)
    low, high = clopper_pearson(10, 10)
    assert (round(low, 6), high) == (0.691503, 1)
    # By its definition: at either end the tail is 2.5 %.
    low, high = clopper_pearson(7, 90)
    assert 1 - binomial_at_most(6, 90, low) == pytest.approx(0.025)
    assert binomial_at_most(7, 90, high) == pytest.approx(0.025)
