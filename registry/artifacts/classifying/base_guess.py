"""Which base model an adapter was probably made for: always a guess, with its reason.

Shapes tell a family and no more: Pony, Illustrious and NoobAI are SDXL in every tensor, FLUX.1 dev,
schnell and Kontext are one model to a header. What the metadata calls the base narrows it down, but is
its author's word; only words known here are looked for in it, and none of its text is repeated.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from registry.artifacts.classifying.decoders import models_of_decoder

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from registry.artifacts.classifying.families import FamilyFit
    from registry.artifacts.classifying.layers import Layers


@dataclass(frozen=True, slots=True)
class BaseGuess:
    """Base models that the tensors fit, and why; `certain` is never true, since no header proves it.

    `candidates` are names of models as people use them, likeliest first; () where nothing is known.
    """

    family: str | None
    candidates: tuple[str, ...]
    why: str
    certain: bool = False


class _Member(NamedTuple):
    model: str
    words: str


def _members(*rows: tuple[str, str]) -> tuple[_Member, ...]:
    return tuple(_Member(model, words) for model, words in rows)


# Models of one family that share every shape, with the words that speak of each (in lower case).
MEMBERS: dict[str, tuple[_Member, ...]] = {
    "sd1": _members(
        ("Stable Diffusion 1.5", r"v?1[-_.]?5|sd[-_]?15"),
        ("Stable Diffusion 1.4", r"v?1[-_.]4"),
        ("Anything, NovelAI and other SD 1.x fine-tunes", r"anything|novelai|animefull"),
    ),
    "sd2": _members(
        ("Stable Diffusion 2.1", r"2[-_.]1"),
        ("Stable Diffusion 2.0", r"2[-_.]0"),
    ),
    "sdxl": _members(
        ("Stable Diffusion XL 1.0", r"xl[-_]?(base|1)|sdxl[-_.]?(1|base)"),
        ("Pony Diffusion V6 XL", r"pony"),
        ("Illustrious XL", r"illustrious"),
        ("NoobAI XL", r"noob"),
        ("Animagine XL", r"animagine"),
        ("Kolors", r"kolors"),
        ("Playground v2.5", r"playground"),
    ),
    "sd3-medium": _members(("Stable Diffusion 3 Medium", r"3[-_.]?medium|sd3\b")),
    "sd3.5-medium": _members(("Stable Diffusion 3.5 Medium", r"medium")),
    "sd3.5-large": _members(
        ("Stable Diffusion 3.5 Large", r"large(?!.*turbo)"),
        ("Stable Diffusion 3.5 Large Turbo", r"turbo"),
    ),
    "flux1": _members(
        ("FLUX.1 dev", r"flux[-_.]?1?[-_.]?dev"),
        ("FLUX.1 schnell", r"schnell"),
        ("FLUX.1 Kontext dev", r"kontext"),
        ("FLUX.1 Krea dev", r"krea"),
        ("FLUX.1 Fill dev", r"fill"),
        ("LongCat-Image, Bria 3.2 and others with FLUX.1's blocks", r"longcat|bria"),
    ),
    "chroma": _members(("Chroma1", r"chroma")),
    "flux2": _members(
        ("FLUX.2 dev", r"flux[-_.]?2[-_.]?dev"),
        ("FLUX.2 klein 9B", r"klein.*9b"),
        ("FLUX.2 klein 4B", r"klein.*4b"),
    ),
    "hunyuan-video": _members(
        ("HunyuanVideo", r"hunyuan[-_]?video(?!.*(i2v|framepack))"),
        ("HunyuanVideo I2V", r"i2v"),
        ("FramePack", r"framepack"),
    ),
    "wan-14b": _members(
        ("Wan 2.1 T2V 14B", r"2[._]?1.*t2v|t2v.*2[._]?1"),
        ("Wan 2.1 I2V 14B", r"2[._]?1.*i2v|i2v.*2[._]?1"),
        ("Wan 2.2 A14B, high-noise expert", r"high[-_ ]?noise"),
        ("Wan 2.2 A14B, low-noise expert", r"low[-_ ]?noise"),
        ("Wan 2.1 VACE, ChronoEdit and other 14B derivatives", r"vace|chronoedit|skyreels"),
    ),
    "wan-5b": _members(("Wan 2.2 TI2V 5B", r"5b")),
    "wan-1.3b": _members(("Wan 2.1 T2V 1.3B", r"1[._]3b")),
    "qwen-image": _members(
        ("Qwen-Image", r"qwen[-_.]?image(?!.*(edit|layered))"),
        ("Qwen-Image-Edit", r"edit"),
        ("Qwen-Image-Layered", r"layered"),
    ),
    "z-image": _members(
        ("Z-Image-Turbo", r"turbo"),
        ("Z-Image", r"z[-_.]?image(?!.*turbo)"),
    ),
    "lumina2": _members(("Lumina-Image 2.0", r"lumina"), ("NetaYume Lumina", r"neta")),
    "ltx-video": _members(("LTX-Video 2B", r"2b"), ("LTX-Video 13B", r"13b")),
    "pixart": _members(
        ("PixArt-alpha", r"alpha"), ("PixArt-Sigma", r"sigma"), ("DiT-XL", r"\bdit")
    ),
    "sana": _members(("Sana 1.6B", r"1600m|1[._]6b"), ("Sana 0.6B", r"600m|0[._]6b")),
    "anima/cosmos": _members(("Anima", r"anima"), ("Cosmos-Predict2", r"cosmos")),
    "krea2": _members(("Krea 2", r"krea")),
    "llm-llama31": _members(
        ("Llama 3.1 8B", r"3[._]1"), ("Llama 3 8B", r"llama[-_]?3(?![._]\d)|llama3\b")
    ),
    "llm-mistral": _members(
        ("Mistral 7B v0.3", r"v0\.3"), ("Mistral 7B v0.2", r"v0\.2"), ("Mistral 7B v0.1", r"v0\.1")
    ),
    "llm-qwen25": _members(("Qwen2.5-7B", r"qwen2[._]5"), ("Qwen2-7B", r"qwen2(?![._]5)")),
    "llm-gpt2": _members(
        ("GPT-2", r"gpt2$|gpt[-_]2$"),
        ("GPT-2 medium, large or XL", r"medium|large|xl"),
    ),
}
_PATTERNS = {
    family: tuple(re.compile(member.words) for member in members)
    for family, members in MEMBERS.items()
}
# Layers that only some members of a family have: the stem's part, the model they speak for.
_MARKS: tuple[tuple[str, str, str], ...] = (
    ("wan-14b", "k_img", "Wan 2.1 I2V 14B"),
    ("wan-14b", "add_k_proj", "Wan 2.1 I2V 14B"),
)
# Input width of `img_in` or `x_embedder` to the member of flux1 that has it.
_FLUX_INPUTS = {384: "FLUX.1 Fill dev", 128: "FLUX.1 Depth or Canny (control)"}
# Which of Wan 2.2's experts it is stands in no tensor, only in the file's name.
_EXPERT = re.compile(r"(?:^|[-_. ])(high|low)(?:[-_. ]?noise)?(?=[-_. ]|$)")
NAME_SOURCE = "the file's name"


def expert_in(name: str | None) -> str | None:
    """Return "high noise" or "low noise" if the file's name (the last part of a path) says so."""
    stem = (name or "").replace("\\", "/").rpartition("/")[2].lower()
    found = _EXPERT.findall(stem)
    return f"{found[0]} noise" if len(set(found)) == 1 else None


def guess_base(
    family: str | None, fit: FamilyFit, layers: Layers, words: Mapping[str, str]
) -> BaseGuess:
    """Return the guess for tensors that fit `fit`; `family` is what was decided, None if nothing was.

    `words` are texts that may name a base model, by their source (a metadata key, a config, the file's
    name). They are searched for known words only.
    """
    marked = _marked(family, layers)
    if marked is not None:
        return BaseGuess(family, (marked,), "only this member of its family has such layers")
    families = (family,) if family is not None else fit.alternatives
    named = _named(families, words)
    if named:
        models = tuple(dict.fromkeys(model for model, _ in named))
        sources = ", ".join(dict.fromkeys(source for _, source in named))
        why = f"the shapes fit {_listed(families)}, and {sources} speaks of it; not proved"
        return BaseGuess(family, models, why)
    return _by_shapes(family, families, fit, layers)


def _by_shapes(
    family: str | None, families: Sequence[str], fit: FamilyFit, layers: Layers
) -> BaseGuess:
    models = fit.models or tuple(
        member.model for name in families for member in MEMBERS.get(name, ())
    )
    if not families and not models:
        models = models_of_decoder(layers)
        if models:
            why = f"its widths are those of {_listed(models)}; fine-tunes share them"
            return BaseGuess(family, models, why)
        return BaseGuess(family, (), "no model that is known has these layers")
    if len(models) == 1:
        why = f"the shapes fit {models[0]}; fine-tunes of it have the same"
    else:
        why = "these share every shape that the file shows, and nothing in it says which"
    return BaseGuess(family, models, why)


def _marked(family: str | None, layers: Layers) -> str | None:
    for name, part, model in _MARKS:
        if family == name and layers.has(part):
            return model
    if family == "flux1":
        widths = layers.inputs("img_in", "x_embedder")
        return next((model for width, model in _FLUX_INPUTS.items() if width in widths), None)
    return None


def _named(families: Sequence[str], words: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return (model, source) for every member of `families` that a word speaks of."""
    found = []
    for source, text in words.items():
        lowered = text.lower()
        for family in families:
            members = zip(MEMBERS.get(family, ()), _PATTERNS.get(family, ()), strict=True)
            found += [
                (member.model, source) for member, pattern in members if pattern.search(lowered)
            ]
    return found


def _listed(names: Sequence[str]) -> str:
    return " or ".join(names)
