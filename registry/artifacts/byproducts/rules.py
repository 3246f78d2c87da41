"""Rules of `byproducts`, from names to classes: one table per trainer, one of names that say it anywhere.

Order counts, the first that matches decides: what is unmistakable stands before what a folder says, and
that before words that many files bear.
"""

from __future__ import annotations

import re

from registry.artifacts.byproducts.names import (
    CACHED_SUFFIX,
    CHECKPOINT,
    DATE,
    LOGGED_SUFFIX,
    MEDIA_SUFFIX,
    MODEL_FILE,
    NAME,
    PICKLED_SUFFIX,
    Category,
    Rule,
    Trainer,
    When,
)


def _rule(
    category: Category,
    *patterns: str,
    when: When = When.ALWAYS,
    trainer: Trainer | None = None,
    name_tells: bool = False,
) -> Rule:
    start = "" if trainer else "(?:.*/)?"
    joined = re.compile(rf"{start}(?:{'|'.join(patterns)})", re.IGNORECASE)
    return Rule(category, joined, when, trainer, name_tells)


# Names that mean the same wherever they are.
_PLAIN: tuple[Rule, ...] = (
    _rule(
        Category.OPTIMIZER_STATE,
        r"optimizer(?:_\d+)?\.(?:pt|bin|pth|safetensors)",
        rf"{NAME}_optim_states\.pt",
    ),
    _rule(Category.RANDOM_STATE, r"random_states_\d+\.pkl", r"rng_state(?:_\d+)?\.(?:pth|pt)"),
    _rule(Category.SCHEDULER_STATE, r"(?:lr_)?scheduler(?:_\d+)?\.(?:pt|bin)", r"scaler\.pt"),
    _rule(Category.GRADIENTS, rf"(?:grads?|gradients?)(?:[_-]{NAME})?\.{PICKLED_SUFFIX}", r".+\.grad"),
    _rule(
        Category.GRADIENTS,
        rf"(?:grads?|gradients?)(?:[_-]{NAME})?\.(?:safetensors|np[yz])",
        rf"gradients?/.+\.(?:{PICKLED_SUFFIX}|safetensors|np[yz])",
        when=When.IN_RUN,
    ),
    _rule(
        Category.TRAINING_LOG,
        rf"(?:runs|tensorboard|logs)/.*events\.out\.tfevents\.{NAME}",
        rf"events\.out\.tfevents\.{NAME}",
        r"wandb/(?:offline-)?run-.+",
        r"wandb/debug[^/]*\.log",
        name_tells=True,
    ),
    _rule(
        Category.TRAINING_LOG,
        r"trainer_state\.json",
        r"trainer_log\.jsonl",
        r"loss_log\.db(?:-wal|-shm|-journal)?",
        r"training_(?:eval_)?loss\.png",
        r"(?:all|train|eval)_results\.json",
        r"running_log\.txt",
    ),
    _rule(Category.PICKLE, r"training_args\.bin"),
)  # fmt: skip

_STATE = rf"{NAME}-state"
_BACKUP = rf"backup/{NAME}-backup-\d+-\d+-\d+"
_BY_TRAINER: tuple[Rule, ...] = (
    _rule(
        Category.SAMPLE_IMAGE, rf"sample/.+\.{MEDIA_SUFFIX}", trainer=Trainer.SD_SCRIPTS, name_tells=True
    ),
    _rule(
        Category.TRAINING_CONFIG,
        rf"{NAME}_{DATE}\.json",
        rf"config_lora-{DATE}\.toml",
        r"sample/prompt\.txt",
        when=When.IN_RUN,
        trainer=Trainer.KOHYA_GUI,
    ),
    _rule(
        Category.TRAINING_CONFIG,
        rf"config/autosave/{DATE}(?:\.toml|-promopt\.txt)",
        trainer=Trainer.LORA_SCRIPTS,
    ),
    _rule(Category.TEXT_CACHE, rf"{NAME}_[a-z0-9]+_te\.safetensors", trainer=Trainer.MUSUBI),
    _rule(Category.SAMPLE_IMAGE, rf"samples/.+\.{MEDIA_SUFFIX}", trainer=Trainer.AI_TOOLKIT),
    _rule(
        Category.TRAINING_CONFIG,
        r"config\.ya?ml",
        rf"{NAME}_\d{{9}}\.ya?ml",
        r"(?:[^/]+/)?aitk_meta\.yaml",
        r"\.job_config\.json",
        trainer=Trainer.AI_TOOLKIT,
    ),
    _rule(
        Category.TRAINING_STATE,
        rf"CRITIC_{NAME}",
        r"learnable_snr\.json",
        trainer=Trainer.AI_TOOLKIT,
    ),
    _rule(
        Category.TRAINING_CONFIG,
        r"config/.+\.json",
        rf"{_BACKUP}/onetrainer_config/.+",
        trainer=Trainer.ONE_TRAINER,
    ),
    _rule(Category.EMA, rf"{_BACKUP}/ema/.+", trainer=Trainer.ONE_TRAINER),
    _rule(Category.TRAINING_STATE, rf"{_BACKUP}/.+", trainer=Trainer.ONE_TRAINER),
    _rule(
        Category.SAMPLE_IMAGE,
        rf"samples/.+\.{MEDIA_SUFFIX}",
        trainer=Trainer.ONE_TRAINER,
        name_tells=True,
    ),
    _rule(
        Category.LATENT_CACHE,
        r"(?:workspace-)?cache/.+\.pt",
        trainer=Trainer.ONE_TRAINER,
    ),
    _rule(Category.TRAINING_LOG, r"tensorboard/.+", trainer=Trainer.ONE_TRAINER, name_tells=True),
    _rule(Category.EMA, rf"{CHECKPOINT}/ema/.+", trainer=Trainer.SIMPLE_TUNER, when=When.NEVER),
    _rule(
        Category.TRAINING_STATE,
        rf"{CHECKPOINT}/training_state(?:-[^/]+)?\.json",
        trainer=Trainer.SIMPLE_TUNER,
    ),
    _rule(
        Category.SAMPLE_IMAGE,
        rf"validation_images/.+\.{MEDIA_SUFFIX}",
        rf"{CHECKPOINT}/assets/image_\d+\.{MEDIA_SUFFIX}",
        trainer=Trainer.SIMPLE_TUNER,
    ),
    _rule(
        Category.TRAINING_CONFIG,
        r"multidatabackend[^/]*\.json",
        r"config\.env",
        trainer=Trainer.SIMPLE_TUNER,
    ),
    _rule(Category.SAMPLE_IMAGE, rf"image_\d+\.{MEDIA_SUFFIX}", trainer=Trainer.DIFFUSERS),
    _rule(
        Category.TRAINING_CONFIG,
        r"training_args\.ya?ml",
        r"llamaboard_config\.ya?ml",
        trainer=Trainer.LLAMA_FACTORY,
    ),
    _rule(Category.TRANSIENT, r"_unsloth_temporary_saved_buffers/.+", trainer=Trainer.UNSLOTH),
    _rule(
        Category.TRANSIENT, r"\.tmp-checkpoint-.+/.+", trainer=Trainer.UNSLOTH, when=When.NEVER
    ),
    _rule(
        Category.TRAINING_CONFIG,
        rf"(?:{CHECKPOINT}/)?(?:axolotl_config|config)\.ya?ml",
        trainer=Trainer.AXOLOTL,
    ),
    _rule(Category.TRAINING_LOG, r"debug\.log", trainer=Trainer.AXOLOTL),
    _rule(Category.TRAINING_STATE, rf"{CHECKPOINT}/tokens_state\.json", trainer=Trainer.AXOLOTL),
    _rule(
        Category.TRAINING_CONFIG,
        r"(?:(?:step|epoch)\d+/)?[^/]+\.toml",
        trainer=Trainer.DIFFUSION_PIPE,
    ),
    _rule(Category.TRANSIENT, r"(?:step|epoch)\d+/tmp/.+", trainer=Trainer.DIFFUSION_PIPE),
    _rule(Category.TRAINING_STATE, r"global_step\d+/.+", trainer=Trainer.DIFFUSION_PIPE),
    _rule(
        Category.TRAINING_STATE,
        rf"{CHECKPOINT}/model(?:_\d+)?\.safetensors",
        trainer=Trainer.X_FLUX,
        when=When.NEVER,
    ),
)  # fmt: skip

# Folders and endings that say what is in them.
_PLACES: tuple[Rule, ...] = (
    _rule(
        Category.TRAINING_STATE,
        rf"{_STATE}/(?:model(?:_\d+)?\.safetensors|train_state\.json)",
        rf"{_STATE}/{NAME}\.{PICKLED_SUFFIX}",
        rf"mp_rank_{NAME}_model_states\.pt",
    ),
    _rule(Category.MERGED_MODEL, rf"{NAME}_merged(?:_(?:16|4)bit)?/{MODEL_FILE}"),
    _rule(Category.MERGED_MODEL, rf"merged/{MODEL_FILE}", when=When.IN_RUN),
    _rule(Category.TRANSIENT, rf"{CHECKPOINT}-tmp/.+", r"\.tmp[A-Za-z0-9]{6}", when=When.NEVER),
    _rule(Category.EMA, rf"ema/ema\.{PICKLED_SUFFIX}", rf"ema(?:_model)?\.{PICKLED_SUFFIX}"),
    _rule(Category.EMA, r"ema/.+\.safetensors", when=When.NEVER),
    _rule(
        Category.TEXT_CACHE,
        rf"{NAME}_te_outputs\.npz",
        rf"{NAME}_[a-z0-9]+_te\.npz",
        rf"(?:_t_e_cache|text_(?:encoder_)?cache|text_embeds?)/.+\.{CACHED_SUFFIX}",
        rf"cache/(?:text(?:_embeds?)?|.+/text_embeddings[^/]*)/.+\.{CACHED_SUFFIX}",
    ),
    # musubi's short names of architectures; any other word could be part of an adapter's own name.
    _rule(
        Category.TEXT_CACHE,
        rf"{NAME}_(?:hv|wan|fp|fk|f2d|f2k4b|f2k9b|qi|qie|qil|k5|hv15|zi|ho1)_te\.safetensors",
    ),
    _rule(Category.TEXT_CACHE, rf"{NAME}_te\.safetensors", when=When.NEVER),
    _rule(
        Category.LATENT_CACHE,
        rf"{NAME}_\d{{4}}x\d{{4}}(?:_[a-z0-9]+)?\.(?:npz|safetensors)",
        rf"(?:_latent_cache|latents?_cache|vae_cache|\.latents)/.+\.{CACHED_SUFFIX}",
        rf"cache/(?:vae|.+/latents)/.+\.{CACHED_SUFFIX}",
    ),
)  # fmt: skip

SPECIFIC_RULES = (*_PLAIN, *_BY_TRAINER, *_PLACES)

# Words that many files bear: proof only with weights around them.
GENERAL_RULES: tuple[Rule, ...] = (
    _rule(
        Category.SAMPLE_IMAGE,
        rf"(?:samples?|sample_images|validation_images|eval_samples)/.+\.{MEDIA_SUFFIX}",
        when=When.IN_RUN,
        name_tells=True,
    ),
    _rule(Category.SAMPLE_IMAGE, rf"image_\d+\.{MEDIA_SUFFIX}", when=When.BESIDE),
    _rule(
        Category.TRAINING_LOG,
        rf"(?:logs|tensorboard|wandb|mlruns|lightning_logs)/.+\.{LOGGED_SUFFIX}",
        when=When.IN_RUN,
        name_tells=True,
    ),
    _rule(
        Category.TRAINING_LOG,
        rf"{NAME}\.log",
        r"(?:metrics|loss(?:es)?|history|log_history)\.(?:csv|jsonl?|txt)",
        r"(?:train(?:ing|er)?|loss|step)_?(?:log|loss|history|metrics)s?\.(?:csv|jsonl?|txt|db|png)",
        when=When.IN_RUN,
    ),
    _rule(
        Category.TRAINING_CONFIG,
        r"(?:sample_?)?prompts?\.(?:txt|json|toml)",
        r"(?:dataset|train(?:ing)?|config)[^/]*\.(?:toml|ya?ml)",
        r"(?:training_)?args\.(?:json|ya?ml)|hparams\.ya?ml|hyperparameters\.json",
        when=When.BESIDE,
    ),
    _rule(Category.TRAINING_CONFIG, r"[^/]+\.(?:toml|ya?ml)", when=When.NEVER),
    _rule(Category.MODEL_CARD, r"README\.md|model_card\.md", when=When.BESIDE),
    _rule(Category.LATENT_CACHE, r".+\.npz", r"\.cache/.+", when=When.NEVER),
    _rule(Category.PICKLE, rf"{NAME}\.{PICKLED_SUFFIX}", when=When.NEVER),
)  # fmt: skip
TOKENIZER_RULE = Rule(Category.TOKENIZER_COPY, re.compile(r".+"), When.IN_RUN)
