"""Words of PEFT 0.21 (5d602fd): its method names and the settings of `LoraConfig`."""

from __future__ import annotations


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


KNOWN_TYPES = _words(
    "PROMPT_TUNING MULTITASK_PROMPT_TUNING P_TUNING PREFIX_TUNING LORA ADALORA ADAMSS BOFT "
    "ADAPTION_PROMPT IA3 BEFT LILY LOHA LOKR OFT POLY LN_TUNING VERA FROD PVERA FOURIERFT GLORA "
    "XLORA HRA VBLORA UNILORA CPT MISS RANDLORA ROAD TRAINABLE_TOKENS HIRA SHIRA C3A WAVEFT OSF "
    "DELORA GRALORA CARTRIDGE TINYLORA PSOFT PEANUT SHADOW SUPERTUNING DEFT"
)
# Settings that `adapter_config` reads.
READ_KEYS = _words(
    "peft_type r lora_alpha use_rslora use_dora target_modules rank_pattern alpha_pattern bias "
    "base_model_name_or_path revision fan_in_fan_out task_type lora_bias modules_to_save "
    "auto_mapping megatron_core"
)
# Other settings of LoraConfig (PEFT 0.21) that say nothing about the saved weights' meaning.
HARMLESS_KEYS = _words(
    "peft_version inference_mode lora_dropout init_lora_weights layers_to_transform megatron_config "
    "loftq_config eva_config use_qalora qalora_group_size velora_config alora_invocation_tokens "
    "monteclora_config target_parameters use_bdlora arrow_config kasa_config ensure_weight_tying "
    "trainable_token_indices layer_replication exclude_modules layers_pattern corda_config "
    "lora_ga_config runtime_config"
)
