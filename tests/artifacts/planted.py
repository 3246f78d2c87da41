"""Personal data made up for tests: valid by rule, nobody's in particular."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

from registry.artifacts.leaks.scan import scan_text


def kinds(text: str, *, label: str = "") -> set[str]:
    """Return the kinds found in `text`."""
    return {found.kind for found in scan_text(text, label=label)}


def count(text: str, kind: str) -> int:
    """Return how often `kind` is found in `text`."""
    return sum(found.count for found in scan_text(text) if found.kind == kind)


def letters(length: int, alphabet: str = "AbC1dEf2GhJ3kLm4NpQ5rSt6UvW7xYz8") -> str:
    """Return `length` characters that look drawn by lot and are nobody's token."""
    return (alphabet * (length // len(alphabet) + 1))[:length]


def hexes(length: int) -> str:
    """Return `length` hex digits that look drawn by lot."""
    return letters(length, "0f1e9d2c8b3a7465")


def secrets() -> dict[str, str]:
    """Return one text of each of many kinds, by kind."""
    return {
        "token:huggingface": "hf_" + letters(34),
        "token:wandb": "wandb_v1_" + letters(27) + "_" + letters(49),
        "token:aws": "AKIA" + letters(16, "ABCDEFGH2345JKLM"),
        "token:github": "ghp_" + letters(36),
        "token:gitlab": "glpat-" + letters(20),
        "token:anthropic": "sk-ant-api03-" + letters(80),
        "token:openai": "sk-proj-" + letters(60),
        "token:openrouter": "sk-or-v1-" + hexes(64),
        "token:dashscope": "sk-" + hexes(32),
        "token:generic": "sk-" + letters(40),
        "token:google": "AIza" + letters(35),
        "token:slack": "xoxb-" + letters(40),
        "token:replicate": "r8_" + letters(37),
        "token:stripe": "sk_" + "live_" + letters(24),
        "token:azure": "AccountKey=" + letters(86) + "==",
        "token:jwt": f"eyJ{letters(20)}.eyJ{letters(30)}.{letters(43)}",
        "token:aliyun": "LTAI" + letters(20),
        "token:tencent": "AKID" + letters(32),
        "token:baidu": f"bce-v3/ALTAK-{letters(21)}/{hexes(40)}",
        "token:volcengine": "AKLT" + letters(44),
        "token:telegram": "123456789:AA" + letters(33),
        "token:webhook": "https://oapi.dingtalk.com/robot/send?access_token=" + hexes(64),
        "token:url-password": "https://alice:pa55w0rd@git.corp/x",
        "token:bearer": "Authorization: Bearer " + letters(40),
        "private-key": "-----BEGIN " + "RSA PRIVATE KEY-----",
        "password": 'password: "hunter2hunter"',
        "e-mail": "alice.liddell@wonder.land",
        "path": "/mnt/nas/clients/17",
        "user-name": "/home/aliddell/x",
        "host-name": "runs/Feb16_10-26-39_gpu-box-3",
        "ip-address": "192.168.17.4",
        "cn-identity-number": "11010519491231002X",
        "cn-mobile": "13812345678",
        "bank-card": "6222021001116243210",
        "cn-company-number": "91350211M000100Y46",
        "phone": "+49 170 1234567",
        "gps": "GPS: 31.230416, 121.473701",
    }


def wrapped(text: str) -> str:
    """Return `text` as a caption within JSON within JSON, as trainers nest their settings."""
    return json.dumps({"datasets": json.dumps([{"tags": {f"photo, {text} ,": 3}}])})


def wide(text: str) -> str:
    """Return `text` (ASCII) in the full-width characters of Chinese input methods."""
    return "".join(chr(ord(character) + 0xFEE0) for character in text)


def in_folder(folder: Path, files: dict[str, bytes]) -> Path:
    """Write `files` (relative name to content) below `folder` and return it."""
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def png(*chunks: tuple[bytes, bytes]) -> bytes:
    """Return a PNG of these chunks (type, content) and no pixels."""
    data = b"\x89PNG\r\n\x1a\n"
    for kind, content in (*chunks, (b"IEND", b"")):
        data += len(content).to_bytes(4, "big") + kind + content
        data += zlib.crc32(kind + content).to_bytes(4, "big")
    return data


def png_with_text(content: bytes) -> bytes:
    """Return a PNG with one tEXt chunk."""
    return png((b"tEXt", content))
