"""The kinds of leaks: what each is, why it matters, and what to do about it.

One row a kind, so that every finding of a kind says the same. PIPL is China's Personal Information
Protection Law; what it calls sensitive (article 28) may be handed on only with separate consent.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from registry.artifacts.leaks.leak import Certainty, Leak, Sensitivity

if TYPE_CHECKING:
    from registry.artifacts.leaks.hits import Found

_HIGH, _MEDIUM, _UNKNOWN = Sensitivity.HIGH, Sensitivity.MEDIUM, Sensitivity.UNKNOWN


@dataclass(frozen=True, slots=True)
class Kind:
    """What findings of one kind have in common."""

    name: str
    sensitivity: Sensitivity
    what: str
    why: str
    advice: str


_DROP = "drop the key from what you hand on"
_LEAVE_OUT = "leave the file out of what you hand on"
_REPLACE = "replace it with a name that says nothing of people or clients"
_REMOVE = "remove it from the training data and from the text, then save again"
_ACCOUNT_WHY = "whoever reads it can act with the account it belongs to"
_ACCOUNT_ADVICE = "revoke it at its issuer now, then remove it; removing alone does not help"

_ROWS = (
    # What a key or a file is, by its name.
    Kind("caption-tags", _HIGH, "caption tags with their counts", "they describe the training data, often people by name", f"{_DROP}, or keep an approved list of trigger words"),
    Kind("caption", _HIGH, "captions", "they describe single training images, often people by name", _DROP),
    Kind("prompt", _HIGH, "prompts", "they say what the adapter is meant to show, often people by name", _LEAVE_OUT),
    Kind("dataset-names", _HIGH, "names of training folders and data sets", "folders are often named after people or clients", _DROP),
    Kind("output-name", _HIGH, "a name that the trainer's user chose", "it is often the name of a client or a person", _REPLACE),
    Kind("person-name", _HIGH, "a person's name", "it says who made the adapter", "ask that person, or drop the key"),
    Kind("free-text", _HIGH, "free text", "people write names and clients into it", "read it, then drop or rewrite it"),
    Kind("image-text", _MEDIUM, "text in an image's metadata", "it may say who made it, where and with what", "strip the image's metadata"),
    Kind("image", _HIGH, "an image", "it may be a training image or show a face", "leave it out, or look at it and ask who is shown"),
    Kind("training-config", _HIGH, "a training configuration or log", "it holds paths, prompts and names of data sets, and at times tokens", _LEAVE_OUT),
    Kind("training-data", _HIGH, "a cache of training data", "images and captions can be read back from it", _LEAVE_OUT),
    Kind("pickle", _MEDIUM, "a pickle", "it runs code when it is loaded, and holds paths and settings of the run", _LEAVE_OUT),
    Kind("training-state", _MEDIUM, "state of the training run", "it holds paths and numbers of the training data", _LEAVE_OUT),
    Kind("base-model-name", _MEDIUM, "the name of a model file", "it may be private, or a path", "keep the public name of the model only"),
    Kind("lineage-names", _MEDIUM, "names of other adapters", "they tie this one to work that may be private", "ask their owners, or drop the key"),
    Kind("content-words", _MEDIUM, "words about the content", "they come from captions, and may name people", "keep only words that a user of the adapter needs"),
    Kind("run-id", _MEDIUM, "a number of the training run", "it ties all files of one run together", _DROP),
    Kind("timing", _MEDIUM, "when it was trained", "it ties the file to a person's working hours and to other files", "drop the key, or round it to a month"),
    Kind("data-size", _MEDIUM, "how much training data there was", "with few images, single persons stand out", "keep it only if the owner agrees"),
    Kind("custom-code", _MEDIUM, "a private revision or class names", "they name internal branches and code", "blank it, or use public names"),
    Kind("version-control", _MEDIUM, "version control data", "it holds names, mail addresses and at times tokens", _LEAVE_OUT),
    Kind("credentials-file", _HIGH, "a file that is made to hold credentials", _ACCOUNT_WHY, _ACCOUNT_ADVICE),
    Kind("unknown-key", _UNKNOWN, "in no table of known keys", "trainers let people add their own", "look at it before you share the file"),
    Kind("not-scanned", _UNKNOWN, "not read, or not to its end", "what was not read may tell anything", "look at it yourself, or leave it out"),
    # What stands in a text.
    Kind("path", _MEDIUM, "an absolute path on some machine", "it tells of machines, projects and clients", "drop it, or keep the last name of it only"),
    Kind("user-name", _HIGH, "a user name, in a path or a prompt", "it is often a person's name", "drop the path that holds it"),
    Kind("host-name", _MEDIUM, "the name of a machine", "it helps those who look for a way in", "drop it"),
    Kind("ip-address", _MEDIUM, "an address of a machine in a private network", "it helps those who look for a way in", "drop it"),
    Kind("e-mail", _HIGH, "an e-mail address", "it names a person and lets others write to them", "remove it, or ask that person"),
    Kind("phone", _HIGH, "an international phone number", "it leads to one person", _REMOVE),
    Kind("gps", _HIGH, "a place on earth", "it can tell where somebody lives or was; whereabouts are sensitive under PIPL", "strip the location from images and texts, then save again"),
    Kind("device", _MEDIUM, "the owner or serial number of a camera or computer", "it ties all images of one device together", "strip the image's metadata"),
    Kind("cn-identity-number", _HIGH, "a Chinese resident identity number", "it names one person, with birth date and sex, and is misused for fraud", _REMOVE),
    Kind("cn-identity-number-old", _MEDIUM, "perhaps a Chinese identity number of the old form (15 digits)", "it names one person, with birth date and sex", "look at it; if it is one, remove it and save again"),
    Kind("cn-passport", _HIGH, "a Chinese passport or travel permit number", "it names one person", _REMOVE),
    Kind("cn-mobile", _HIGH, "a Chinese mobile number", "numbers are registered to one person and open most accounts", _REMOVE),
    Kind("bank-card", _HIGH, "a bank card number", "financial accounts are sensitive under PIPL, and card rules forbid keeping it", _REMOVE),
    Kind("cn-company-number", _MEDIUM, "a Chinese unified social credit code", "it names a company, most likely the client", "remove it if the client is not to be known"),
    Kind("cn-company-number-old", _MEDIUM, "perhaps an old Chinese business registration number (15 digits)", "it names a company", "look at it; remove it if the client is not to be known"),
    Kind("cn-organisation-code", _MEDIUM, "a Chinese organisation code", "it names a company or an office", "remove it if the client is not to be known"),
    Kind("private-key", _HIGH, "a private key", "whoever reads it can sign or decrypt as its owner", "replace the key everywhere, then remove it"),
    Kind("password", _HIGH, "a password", _ACCOUNT_WHY, "change it now, then remove it"),
)  # fmt: skip

# Issuers of tokens: what comes after `token:`, and its name in words.
_ISSUERS = {
    "huggingface": "Hugging Face",
    "wandb": "Weights & Biases",
    "aws": "Amazon Web Services",
    "github": "GitHub",
    "gitlab": "GitLab",
    "openai": "OpenAI",
    "anthropic": "Anthropic",
    "openrouter": "OpenRouter",
    "google": "Google",
    "slack": "Slack",
    "discord": "Discord",
    "civitai": "Civitai",
    "replicate": "Replicate",
    "stripe": "Stripe",
    "azure": "Microsoft Azure",
    "jwt": "a web service (JSON Web Token)",
    "bearer": "a web service (bearer header)",
    "url-password": "a web service (password in a URL)",
    "aliyun": "Aliyun",
    "tencent": "Tencent Cloud",
    "huawei": "Huawei Cloud",
    "baidu": "Baidu Cloud",
    "volcengine": "Volcengine",
    "modelscope": "ModelScope",
    "dashscope": "DashScope, DeepSeek or another service with keys of this form",
    "swanlab": "SwanLab",
    "webhook": "a chat group's webhook",
    "telegram": "a Telegram bot",
    "neptune": "Neptune",
    "kaggle": "Kaggle",
    "package-index": "a package index",
    "hosting": "a hosting or inference service",
    "generic": "some service",
}
TOKEN = "token:"  # noqa: S105 - the first word of a kind


def _token_kind(issuer: str, words: str) -> Kind:
    what = f"holds what looks like an access token of {words}"
    return Kind(TOKEN + issuer, _HIGH, what, _ACCOUNT_WHY, _ACCOUNT_ADVICE)


KINDS = {row.name: row for row in (*_ROWS, *(_token_kind(*issuer) for issuer in _ISSUERS.items()))}


def make_leak(
    place: str, kind: str, *, what: str | None = None, sensitivity: Sensitivity | None = None
) -> Leak:
    """Return the leak of this kind at `place`; `what` and `sensitivity` replace those of the kind."""
    row = KINDS[kind]
    reason = f"{what or row.what}; {row.why}"
    return Leak(place, sensitivity or row.sensitivity, reason, kind, row.advice)


def leak_of_found(place: str, found: Found, *, what: str | None = None) -> Leak:
    """Return the leak for what a scanner found at `place`."""
    leak = make_leak(place, found.kind, what=what)
    checked = found.certainty is Certainty.CHECKED
    reason = f"{leak.reason} (its check digits or fixed form fit)" if checked else leak.reason
    return replace(leak, reason=reason, count=found.count, certainty=found.certainty)
