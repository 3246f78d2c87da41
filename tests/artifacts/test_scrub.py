"""Scrubbing headers: what goes, what stays, and that the weights and the way back are never touched."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.artifacts.scrubbing.configs import scrub_config
from registry.artifacts.scrubbing.files import (
    OriginalHeader,
    file_digests,
    plan_scrub,
    restore_file,
    scrub_file,
)
from registry.artifacts.scrubbing.grammar import are_known_words, is_licence, is_network_module
from registry.artifacts.scrubbing.header import (
    Action,
    Profile,
    ScrubRules,
    effects_of,
    scrub_header,
)
from registry.errors import ContentMismatchError, FormatError, UsageError
from registry.fingerprints.exact import name_file
from registry.formats.safetensors import dump_header, parse_header
from tests.sheet import header, rows
from tests.weights_files import lora_bytes, write_lora

BODY = "ab" * 32
TELLING = {
    "ss_network_dim": "4",
    "ss_network_module": "networks.lora",
    "ss_output_name": "Mrs Example",
    "ss_tag_frequency": '{"10_mrs example": {"smile": 3}}',
    "ss_base_model_version": "sdxl_base_v1-0",
    "modelspec.license": "CC-BY-4.0",
    "sshs_model_hash": "0" * 64,
    "client project": "secret",
}


def telling(path: Path, **extra: str) -> Path:
    path.write_bytes(lora_bytes(metadata={**TELLING, **extra}))
    return path


def nothing(_: OriginalHeader) -> None:
    pass


def new_metadata(path: Path) -> dict[str, str]:
    data = path.read_bytes()
    return dict(
        parse_header(data[: 8 + int.from_bytes(data[:8], "little")], file_size=None).metadata
    )


# --- refusals


def test_existing_output_is_refused_and_stays(tmp_path: Path) -> None:
    source, output = telling(tmp_path / "a.safetensors"), tmp_path / "b.safetensors"
    output.write_bytes(b"mine")
    with pytest.raises(UsageError, match="exists already"):
        scrub_file(source, output, ScrubRules(), nothing)
    assert output.read_bytes() == b"mine"


def test_nothing_is_written_if_the_original_cannot_be_kept(tmp_path: Path) -> None:
    source, output = telling(tmp_path / "a.safetensors"), tmp_path / "b.safetensors"

    def fail(_: OriginalHeader) -> None:
        raise UsageError("the ledger is away")

    with pytest.raises(UsageError, match="ledger is away"):
        scrub_file(source, output, ScrubRules(), fail)
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]


def test_what_is_no_safetensors_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "a.safetensors"
    source.write_bytes(b"PK\x03\x04" + b"\0" * 64)
    with pytest.raises(FormatError, match="zip"):
        plan_scrub(source, ScrubRules())


def test_hostile_config_in_the_header_is_not_handed_on(tmp_path: Path) -> None:
    evil = json.dumps({"unet.peft_type": "LORA", "unet.auto_mapping": {"parent_library": "os"}})
    source = telling(tmp_path / "a.safetensors", lora_adapter_metadata=evil)
    with pytest.raises(FormatError, match="import the module"):
        plan_scrub(source, ScrubRules())
    plan = plan_scrub(source, ScrubRules(drop=("lora_adapter_metadata",)))
    assert b"auto_mapping" not in plan.scrubbed.data


def test_key_to_keep_and_to_drop_is_refused() -> None:
    with pytest.raises(UsageError, match="both to be kept and to be dropped"):
        ScrubRules(keep=("a",), drop=("a",))


def test_restoring_other_weights_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    source, output = telling(tmp_path / "a.safetensors"), tmp_path / "b.safetensors"
    kept: list[OriginalHeader] = []
    scrub_file(source, output, ScrubRules(), kept.append)
    data = bytearray(output.read_bytes())
    data[-1] ^= 1
    output.write_bytes(data)
    with pytest.raises(ContentMismatchError, match="does not have the sha256"):
        restore_file(output, tmp_path / "c.safetensors", kept[0])
    other = write_lora(tmp_path / "d.safetensors", 5)
    with pytest.raises(ContentMismatchError, match="other weights"):
        restore_file(other, tmp_path / "c.safetensors", kept[0])
    assert not list(tmp_path.glob("*c.safetensors*"))


# --- what goes and what stays


def test_public_profile_keeps_what_loaders_need(tmp_path: Path) -> None:
    source, output = telling(tmp_path / "a.safetensors"), tmp_path / "b.safetensors"
    plan = scrub_file(source, output, ScrubRules(), nothing)
    _, body = file_digests(source)
    assert new_metadata(output) == {
        "ss_network_dim": "4",
        "ss_network_module": "networks.lora",
        "ss_base_model_version": "sdxl_base_v1-0",
        "modelspec.license": "CC-BY-4.0",
        "sshs_model_hash": body,
    }
    actions = {one.key: one.action for one in plan.scrubbed.changes}
    assert actions["sshs_model_hash"] is Action.CHANGED
    assert actions["client project"] is Action.DROPPED
    assert {"trigger words" in text for text in effects_of(plan.scrubbed.changes)} == {True, False}


def test_weights_and_their_names_stay_and_the_way_back_is_exact(tmp_path: Path) -> None:
    source, output = telling(tmp_path / "a.safetensors"), tmp_path / "b.safetensors"
    kept: list[OriginalHeader] = []
    scrub_file(source, output, ScrubRules(), kept.append)
    before, after = name_file(source), name_file(output)
    assert (before.autov3, before.body_sha256, before.tensors) == (
        (after.autov3, after.body_sha256, after.tensors)
    )
    assert before.sha256 != after.sha256
    back = tmp_path / "c.safetensors"
    restore_file(output, back, OriginalHeader.from_bytes(kept[0].to_bytes()))
    assert back.read_bytes() == source.read_bytes()


def test_a_scrub_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    source = telling(tmp_path / "a.safetensors")
    outputs = [tmp_path / "b.safetensors", tmp_path / "c.safetensors"]
    for output in outputs:
        scrub_file(source, output, ScrubRules(), nothing)
    assert outputs[0].read_bytes() == outputs[1].read_bytes()
    again = plan_scrub(outputs[0], ScrubRules())
    assert not again.scrubbed.is_changed


def test_profile_none_keeps_the_format_alone(tmp_path: Path) -> None:
    source = telling(tmp_path / "a.safetensors", format="pt")
    plan = plan_scrub(source, ScrubRules(Profile.NONE))
    assert dict(parse_header(plan.scrubbed.data, file_size=None).metadata) == {"format": "pt"}
    assert any("licence" in text for text in effects_of(plan.scrubbed.changes))


def test_owner_keeps_drops_and_states(tmp_path: Path) -> None:
    rules = ScrubRules(
        keep=("ss_output_name",), drop=("ss_network_dim",), licence="MIT", owner="Studio"
    )
    plan = plan_scrub(telling(tmp_path / "a.safetensors"), rules)
    found = dict(parse_header(plan.scrubbed.data, file_size=None).metadata)
    assert found["ss_output_name"] == "Mrs Example"
    assert "ss_network_dim" not in found
    assert (found["modelspec.license"], found["modelspec.author"]) == ("MIT", "Studio")
    told = next(one for one in plan.scrubbed.changes if one.key == "ss_output_name")
    assert "it tells" in told.why


def test_needed_key_whose_value_tells_is_dropped_after_all(tmp_path: Path) -> None:
    token = "hf_" + "a" * 34
    source = telling(tmp_path / "a.safetensors", ss_network_args=json.dumps({"token": token}))
    plan = plan_scrub(source, ScrubRules())
    assert token.encode() not in plan.scrubbed.data
    assert token not in repr(plan)


NAMES = ("unet.down.to_q.lora_A.weight", "unet.down.to_q.lora_B.weight")
CONFIG = {
    "peft_type": "LORA",
    "r": 4,
    "lora_alpha": 8,
    "target_modules": ["to_q"],
    "base_model_name_or_path": "meta-llama/Llama-3.1-8B",
    "bias": "none",
    "task_type": "CAUSAL_LM",
    "inference_mode": True,
    "revision": None,
    "rank_pattern": {"down.to_q": 8},
}


def test_config_that_says_only_how_to_compute_stays_as_it_is() -> None:
    data = json.dumps(CONFIG).encode()
    assert scrub_config(data, NAMES) == (data, ())


@pytest.mark.parametrize(
    "telling",
    [
        {"hf_note": "Mrs Example"},
        {"revision": "13812345678"},
        {"base_model_name_or_path": "/home/example/base"},
        {"base_model_name_or_path": "//192.168.1.20/models/sdxl"},
        {"base_model_name_or_path": "+49 170 1234 567"},
        {"base_model_name_or_path": "example@client.cn"},
        {"base_model_name_or_path": "acme-client-example"},
        {"peft_version": "example"},
    ],
    ids=lambda row: next(iter(row)),
)
def test_config_loses_what_only_describes_and_tells(telling: dict[str, object]) -> None:
    config = {**CONFIG, **telling}
    data, changed = scrub_config(json.dumps(config).encode(), NAMES)
    assert changed == tuple(telling)
    kept = json.loads(data)
    assert {key: kept[key] for key in CONFIG if key not in telling} == {
        key: value for key, value in CONFIG.items() if key not in telling
    }
    assert all(str(value) not in data.decode() for value in telling.values())
    text = json.dumps({f"unet.{key}": value for key, value in config.items()})
    scrubbed = scrub_header(header_of({"lora_adapter_metadata": text}), BODY)
    assert all(str(value).encode() not in scrubbed.data for value in telling.values())


@pytest.mark.parametrize(
    "telling",
    [
        {"exclude_modules": "/home/example/secret"},
        {"target_modules": ["to_q", "Mrs Example"]},
        {"target_modules": "Example.*"},
        {"target_modules": "to_q#王小明"},
        {"rank_pattern": {"example_person": 4}},
        {"modules_to_save": ["example"]},
        {"loftq_config": {"example": 1}},
        {"lora_dropout": 491701234567},
    ],
    ids=lambda row: next(iter(row)),
)
def test_setting_that_computes_and_tells_has_no_public_form(telling: dict[str, object]) -> None:
    """Left out in silence it would make other weights of them."""
    with pytest.raises(FormatError, match="and the weights need it") as caught:
        scrub_config(json.dumps({**CONFIG, **telling}).encode(), NAMES)
    assert "xample" not in str(caught.value)


@pytest.mark.parametrize(
    "settings",
    [
        {"alpha_pattern": {r".*\.(q_proj|out_proj)": 64}},
        {"target_modules": r"^(?!.*visual).*\.(k_proj|o_proj|out_proj)$"},
        {"target_parameters": ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]},
        {"alora_invocation_tokens": [5, 6]},
        {"layer_replication": [[0, 4], [2, 5]]},
    ],
    ids=lambda row: next(iter(row)),
)
def test_setting_that_computes_stays_although_no_tensor_bears_its_words(
    settings: dict[str, object],
) -> None:
    data = json.dumps({**CONFIG, **settings}).encode()
    assert scrub_config(data, NAMES) == (data, ())


@pytest.mark.parametrize(
    "name",
    [
        "LoHaConfig", "LoKrConfig", "OFTConfig", "BOFTConfig", "VeraConfig", "IA3Config", "FourierFTConfig",
        "PromptTuningConfig", "PrefixTuningConfig", "LoraConfig", "HRAConfig", "LNTuningConfig",
    ],
)  # fmt: skip
def test_configs_that_peft_itself_saves_compute_the_same(name: str, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    kind = getattr(peft, name)
    more = {"num_virtual_tokens": 4} if "Tuning" in name and name != "LNTuningConfig" else {}
    config = kind(**more) if more else kind(target_modules=["q_proj", "v_proj"])
    config.base_model_name_or_path = "/home/eve/base"
    config.save_pretrained(tmp_path)
    before = (tmp_path / "adapter_config.json").read_bytes()
    after, _ = scrub_config(before, NAMES)
    (tmp_path / "adapter_config.json").write_bytes(after)
    again = peft.PeftConfig.from_pretrained(tmp_path)
    assert type(again) is kind
    told = {"base_model_name_or_path", "peft_version", "revision"}
    first = json.loads(before)
    assert {key: value for key, value in json.loads(after).items() if key not in told} == {
        key: value for key, value in first.items() if key not in told
    }
    assert b"eve" not in after


def test_sentence_in_a_needed_key_does_not_survive() -> None:
    telling = "portrait of Mrs Example for client ACME"
    keys = [
        "format", "modelspec.license", "ss_base_model_version", "ss_network_module", "ss_network_dim",
        "ss_network_alpha", "ss_network_dropout", "ss_v2", "ss_sd_model_hash", "ss_new_sd_model_hash",
        "ss_vae_hash", "ss_new_vae_hash", "modelspec.sai_model_spec", "modelspec.architecture",
        "modelspec.implementation", "modelspec.resolution", "modelspec.prediction_type",
        "modelspec.timestep_range", "modelspec.encoder_layer", "ss_network_args", "lycoris_config",
        "sshs_model_hash", "modelspec.hash_sha256",
    ]  # fmt: skip
    for profile in Profile:
        scrubbed = scrub_header(header_of(dict.fromkeys(keys, telling)), BODY, ScrubRules(profile))
        assert b"Example" not in scrubbed.data
        assert b"ACME" not in scrubbed.data


@pytest.mark.parametrize(
    "text", ["networks.lora_flux", "lycoris.kohya", "networks.lora_qwen_image"]
)
def test_modules_of_trainers_are_known(text: str) -> None:
    assert is_network_module(text)


@pytest.mark.parametrize(
    "text", ["networks.anna_mueller", "modules.acme_gmbh.patient_4711", "networks"]
)
def test_other_modules_are_not(text: str) -> None:
    assert not is_network_module(text)


def test_key_that_stands_twice_in_a_setting_is_not_handed_on() -> None:
    args = '{"algo": "anna mueller", "algo": "lora"}'
    assert b"anna" not in scrub_header(header_of({"ss_network_args": args}), BODY).data


def test_settings_of_the_network_keep_those_that_are_known() -> None:
    args = json.dumps({"algo": "lokr", "factor": "8", "project": "Mrs Example"})
    (change,) = scrub_header(header_of({"ss_network_args": args}), BODY).changes
    assert json.loads(change.after or "") == {"algo": "lokr", "factor": "8"}


@pytest.mark.parametrize(
    "text", ["sdxl_base_v1-0", "flux-1-dev/lora", "wan2.1/lora", "Qwen-Image/lora", "stable-diffusion-3-m/lora",
             "https://github.com/Stability-AI/generative-models", "meta-llama/Llama-3.1-8B-Instruct", "Wan2.2-I2V-A14B"],
)  # fmt: skip
def test_words_of_the_field_are_known(text: str) -> None:
    assert are_known_words(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sdxl-jane",
        "flux for acme",
        "x" * 200,
        "例",
        "4111 1111 1111 1111",
        "1985-03-12",
        "sdxl 4111 1111 1111",
    ],
)
def test_other_words_are_not(text: str) -> None:
    assert not are_known_words(text)


@pytest.mark.parametrize(
    "text", ["CC-BY-NC-4.0", "MIT", "Apache-2.0", "CreativeML Open RAIL-M", "All rights reserved"]
)
def test_names_of_licences_are_known(text: str) -> None:
    assert is_licence(text)


@pytest.mark.parametrize(
    "text", ["", "for Jane Doe: only, MIT", "ask eve@posteo.de about the license"]
)
def test_text_about_a_licence_is_none(text: str) -> None:
    assert not is_licence(text)


def header_of(metadata: dict[str, str]) -> Any:
    return parse_header(dump_header(header_only(), metadata.items()), file_size=None)


def header_only() -> Any:
    data = lora_bytes()
    return parse_header(data[: 8 + int.from_bytes(data[:8], "little")], file_size=len(data)).tensors


@pytest.mark.parametrize("fixture", rows("adapters"), ids=lambda row: row["id"])
def test_every_adapter_of_the_sheet_keeps_its_tensors(fixture: dict[str, Any]) -> None:
    before = header(fixture)
    after = parse_header(scrub_header(before, BODY).data, file_size=None)
    assert after.tensors == before.tensors
    kept = dict(after.metadata)
    assert not {"ss_tag_frequency", "ss_output_name", "modelspec.title", "ot_config"} & set(kept)


def test_every_high_key_of_the_sheet_goes() -> None:
    high = [
        row["key"]
        for row in rows("metadata_keys")
        if row["sensitivity"] == "high" and row["writer"] != "side files"
    ]
    if not high:
        pytest.skip("needs the fixture sheet in ../shared")
    scrubbed = scrub_header(header_of(dict.fromkeys(high, "Mrs Example")), BODY)
    assert b"Example" not in scrubbed.data
    assert {one.action for one in scrubbed.changes} == {Action.DROPPED}


_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
_KEYS = st.one_of(
    st.sampled_from([*TELLING, "format", "modelspec.architecture", "ss_network_args"]),
    st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=12),
)


@given(st.dictionaries(_KEYS, _TEXT, max_size=8), st.sampled_from(list(Profile)))
def test_any_metadata_makes_a_header_that_is_read_back(
    metadata: dict[str, str], profile: Profile
) -> None:
    try:
        before = header_of(metadata)
    except ValueError:
        return
    scrubbed = scrub_header(before, BODY, ScrubRules(profile))
    after = parse_header(scrubbed.data, file_size=None)
    assert after.tensors == before.tensors
    assert {key for key, _ in after.metadata} <= {key for key, _ in before.metadata}
    assert {one.key for one in scrubbed.changes} == set(metadata)
    assert scrubbed == scrub_header(before, BODY, ScrubRules(profile))


def test_kept_original_that_was_damaged_is_refused() -> None:
    data = lora_bytes()
    original = OriginalHeader(
        data[: 8 + int.from_bytes(data[:8], "little")], hashlib.sha256(data).hexdigest(), BODY
    )
    kept = original.to_bytes()
    assert OriginalHeader.from_bytes(kept) == original
    for damaged in (b"", kept[:20], kept[:120], kept + b"x", b"x" + kept):
        with pytest.raises(FormatError):
            OriginalHeader.from_bytes(damaged)
