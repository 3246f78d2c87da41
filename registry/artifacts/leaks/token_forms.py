"""The forms that access tokens have, issuer by issuer, as their issuers or published scanners give them.

A form with a distinct beginning needs nothing else. One that is mere hex or letters counts only where a
word before it says whose it is (`near`), and where it looks drawn by lot (`entropy_bits` a character).
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TokenForm:
    """One form: `anchors` are words of which one must stand in the text, or in lower case if `near`.

    `alone` says that no letter, digit or dash may touch it on the left: its beginning is a word that
    other words end in.
    """

    issuer: str
    anchors: tuple[str, ...]
    pattern: re.Pattern[str]
    near: re.Pattern[str] | None = None
    entropy_bits: float = 0.0
    alone: bool = True


def _form(
    issuer: str, anchors: str, pattern: str, *, alone: bool = True, entropy: float = 0.0
) -> TokenForm:
    words = tuple(anchors.split())
    return TokenForm(issuer, words, re.compile(pattern, re.ASCII), None, entropy, alone)


def _named(
    issuer: str, anchors: str, pattern: str, near: str, *, entropy: float = 2.5
) -> TokenForm:
    # The start is in the pattern itself: every place in a long run of letters would be tried otherwise.
    compiled = re.compile(rf"(?<![A-Za-z0-9_-])(?:{pattern})", re.ASCII)
    return TokenForm(issuer, tuple(anchors.split()), compiled, re.compile(near), entropy)


_UUID = r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}"
# Forms that may fail after a long run carry `(?<!...)` behind their first letters: a run that begins
# again and again would be read again and again otherwise.
_KEY_WORD = r"(?:key|token|secret|login|auth|ak\b|sk\b)"

DISTINCT_FORMS: tuple[TokenForm, ...] = (
    _form("huggingface", "hf_", r"hf_[A-Za-z0-9]{30,100}+", alone=False),
    _form("huggingface", "api_org_", r"api_org_[A-Za-z0-9]{30,100}+", alone=False),
    _form("wandb", "wandb_v1_", r"wandb_v1_[A-Za-z0-9_]{40,200}+", alone=False),
    _form("wandb", "local-", r"local-[0-9a-f]{40}(?![0-9a-zA-Z])"),
    _form("aws", "AKIA ASIA ABIA ACCA", r"A(?:KIA|SIA|BIA|CCA)[A-Z0-9]{16}(?![A-Za-z0-9])"),
    _form("github", "ghp_ gho_ ghu_ ghs_ ghr_", r"gh[pousr]_[A-Za-z0-9]{36,255}+", alone=False),
    _form("github", "github_pat_", r"github_pat_[A-Za-z0-9_]{50,255}+", alone=False),
    _form("gitlab", "glpat- gldt- glrt- glptt- glcbt- glsoat-", r"gl(?:pat|dt|rt|ptt|cbt|soat)-[A-Za-z0-9_.-]{20,300}+"),
    _form("anthropic", "sk-ant-", r"sk-ant-[A-Za-z0-9_-]{32,200}+"),
    _form("openrouter", "sk-or-", r"sk-or-v1-[0-9a-f]{64}"),
    _form("openai", "sk-proj- sk-svcacct- sk-admin-", r"sk-(?:proj|svcacct|admin)-[A-Za-z0-9_-]{32,300}+"),
    _form("openai", "T3BlbkFJ", r"sk-(?<![A-Za-z0-9_-]sk-)[A-Za-z0-9_-]{16,100}T3BlbkFJ[A-Za-z0-9_-]{16,100}+"),
    _form("dashscope", "sk-", r"sk-[0-9a-f]{32}(?![A-Za-z0-9_-])", entropy=2.5),
    _form("generic", "sk-", r"sk-(?!ant-|or-v1-|proj-|svcacct-|admin-)[A-Za-z0-9_-]{32,200}+", entropy=3.5),
    _form("google", "AIza", r"AIza[A-Za-z0-9_-]{35}(?![A-Za-z0-9_-])"),
    _form("google", "GOCSPX- ya29.", r"(?:GOCSPX-[A-Za-z0-9_-]{28}|ya29\.[A-Za-z0-9_-]{40,500}+)"),
    _form("slack", "xoxa- xoxb- xoxe- xoxo- xoxp- xoxr- xoxs- xapp-", r"(?:xox[abeoprs]|xapp)-[A-Za-z0-9-]{20,200}+"),
    _form("replicate", "r8_", r"r8_[A-Za-z0-9]{37}(?![A-Za-z0-9])"),
    _form("stripe", "_live_ _test_", r"[sr]k_(?:live|test)_[A-Za-z0-9]{16,200}+"),
    _form("azure", "AccountKey= SharedAccessKey=", r"(?:Account|SharedAccess)Key=[A-Za-z0-9+/]{42,86}={1,2}"),
    _form("azure", "&sig= ?sig=", r"[?&]sig=[A-Za-z0-9%+/_-]{40,100}+(?:%3[Dd]|=)?", alone=False),
    _form("neptune", "eyJhcGlfYWRkcmVzc", r"eyJhcGlfYWRkcmVzc[A-Za-z0-9+/]{40,500}+"),
    _form("jwt", "eyJ", r"eyJ(?<![A-Za-z0-9_-]eyJ)[A-Za-z0-9_-]{10,4000}+\.eyJ[A-Za-z0-9_-]{8,8000}+\.[A-Za-z0-9_-]{16,4000}+"),
    _form("aliyun", "LTAI", r"LTAI[A-Za-z0-9]{12,30}+", entropy=2.5),
    _form("tencent", "AKID", r"AKID[A-Za-z0-9]{32}(?![A-Za-z0-9])", entropy=2.5),
    _form("baidu", "ALTAK-", r"ALTAK-[A-Za-z0-9]{16,32}+/[0-9a-f]{40}", alone=False),
    _form("volcengine", "AKLT", r"AKLT[A-Za-z0-9+/_-]{40,80}+={0,2}", entropy=2.5),
    _form("modelscope", "ms-", rf"ms-{_UUID}"),
    _form("webhook", "hooks.slack.com", r"hooks\.slack\.com/services/[A-Za-z0-9/]{30,100}+", alone=False),
    _form("webhook", "/webhooks/", r"discord(?:app)?\.com/api/webhooks/[0-9]{16,20}/[A-Za-z0-9_-]{50,100}+", alone=False),
    _form("webhook", "/open-apis/bot/", r"/open-apis/bot/v2/hook/[0-9a-f-]{30,40}", alone=False),
    _form("webhook", "robot/send?access_token=", r"robot/send\?access_token=[0-9a-f]{64}", alone=False),
    _form("webhook", "webhook/send?key=", rf"webhook/send\?key={_UUID}", alone=False),
    _form("telegram", ":AA", r"[0-9]{8,10}:AA[A-Za-z0-9_-]{33}(?![A-Za-z0-9_-])"),
    _form("discord", ".", r"[MNO](?<![A-Za-z0-9_-][MNO])[A-Za-z0-9_-]{23,27}\.[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{27,40}(?![A-Za-z0-9_-])", entropy=4.0),
    _form("package-index", "pypi-AgEI npm_", r"(?:pypi-AgEI[A-Za-z0-9_-]{50,1000}+|npm_[A-Za-z0-9]{36}(?![A-Za-z0-9]))"),
    _form("hosting", "gsk_ nvapi- rpa_ xai- pplx- dop_v1_ tskey- hvs.", r"(?:gsk_[A-Za-z0-9]{48,60}|nvapi-[A-Za-z0-9_-]{60,80}+|rpa_[A-Z0-9]{40,50}|xai-[A-Za-z0-9]{70,90}|pplx-[A-Za-z0-9]{40,60}|dop_v1_[0-9a-f]{64}|tskey-[a-z]{2,10}-[A-Za-z0-9-]{20,80}+|hvs\.[A-Za-z0-9_-]{24,200}+)"),
)  # fmt: skip

# Nothing but letters and digits: only where a word before says what they are.
NAMED_FORMS: tuple[TokenForm, ...] = (
    _named("wandb", "wandb", r"[0-9a-f]{40}(?![0-9a-zA-Z])", rf"wandb.{{0,30}}{_KEY_WORD}|{_KEY_WORD}.{{0,30}}wandb|wandb\.ai"),
    _named("aws", "aws secret_access", r"[A-Za-z0-9+/]{40}(?![A-Za-z0-9+/=])", r"aws.{0,20}secret|secret_?access_?key|aws.{0,20}sk\b", entropy=3.5),
    _named("civitai", "civitai", r"[0-9a-f]{32}(?![0-9a-zA-Z])", rf"civitai.{{0,30}}(?:{_KEY_WORD}|\?token=|token=)"),
    _named("aliyun", "aliyun alibaba accesskeysecret access_key_secret oss", r"[A-Za-z0-9]{30}(?![A-Za-z0-9])", r"access_?key_?secret|aliyun.{0,20}secret", entropy=3.0),
    _named("tencent", "tencent secretkey secret_key cos", r"[A-Za-z0-9]{32}(?![A-Za-z0-9])", r"tencent.{0,30}(?:secret|key)|cos_?secret", entropy=3.0),
    _named("huawei", "huawei obs", r"(?:[A-Z0-9]{20}|[A-Za-z0-9]{40})(?![A-Za-z0-9])", rf"(?:huawei|obs).{{0,24}}{_KEY_WORD}", entropy=3.0),
    _named("modelscope", "modelscope", _UUID, rf"modelscope.{{0,30}}{_KEY_WORD}"),
    _named("swanlab", "swanlab", r"[A-Za-z0-9]{21}(?![A-Za-z0-9])", rf"swanlab.{{0,30}}{_KEY_WORD}", entropy=3.0),
    _named("kaggle", "kaggle", r"[0-9a-f]{32}(?![0-9a-zA-Z])", rf"kaggle.{{0,30}}{_KEY_WORD}"),
    _named("hosting", "zhipu bigmodel fal_key fal-key vast", rf"(?:[0-9a-f]{{32}}\.[A-Za-z0-9]{{16}}|{_UUID}:[0-9a-f]{{32}}|[0-9a-f]{{64}})", rf"(?:zhipu|bigmodel|fal|vast).{{0,30}}{_KEY_WORD}"),
)  # fmt: skip
