"""Whether files are a save that came to its end, as far as that can be told from them.

A trainer that was killed leaves what it had by then, quiet for ever. A weights file says by its header how
long it must be; what is told here is the rest: a set with a file missing, a configuration that breaks off.
"""

from __future__ import annotations

import json
import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from registry.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Sequence

SAVE_AGAIN = "its trainer was ended while it saved, or never finished: have it save again"
_CONFIG = "adapter_config.json"
_WEIGHTS = re.compile(r"adapter_model(?:-(\d{5})-of-(\d{5}))?\.safetensors")


def check_set_whole(names: Sequence[str]) -> None:
    """Check that PEFT weights have their configuration beside them, and all of their shards.

    Raises:
        FormatError: one is missing; the message names it.
    """
    present = set(names)
    for name in names:
        path = PurePosixPath(name)
        if (found := _WEIGHTS.fullmatch(path.name)) is None:
            continue
        wanted = [_CONFIG]
        if found[2] is not None:
            numbers = range(1, int(found[2]) + 1)
            wanted += [
                f"adapter_model-{number:05d}-of-{found[2]}.safetensors" for number in numbers
            ]
        for each in wanted:
            if str(path.with_name(each)) not in present:
                raise FormatError(f"{path.name!r} is there without {each!r}", hint=SAVE_AGAIN)


def check_config_whole(data: bytes) -> None:
    """Check that the bytes of an adapter_config.json are one JSON value, whatever it says.

    Raises:
        FormatError: empty, broken off, or no JSON.
    """
    try:
        json.loads(data)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{_CONFIG} breaks off or is no JSON", hint=SAVE_AGAIN) from error
