from __future__ import annotations

import io
import json
import os
import struct
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.artifacts.leaks.exif import ExifField, read_exif
from registry.artifacts.leaks.folder import FolderBounds, scan_folder
from registry.artifacts.leaks.images import leaks_in_image
from registry.artifacts.leaks.kinds import KINDS
from registry.artifacts.leaks.leak import Leak
from registry.artifacts.leaks.side_files import SIDE_FILE_BYTES, is_scanned, scan_side_file
from registry.artifacts.leaks.side_names import leaks_of_files, shown_name
from tests.artifacts.planted import in_folder, letters, png, png_with_text, secrets

TOKEN = "hf_" + letters(34)
PROMPT = b"parameters\0a photo of alice, Steps: 20"


def kinds(leaks: tuple[Leak, ...]) -> set[str]:
    return {leak.kind for leak in leaks}


def entry(tag: int, form: int, length: int, value: bytes) -> bytes:
    return struct.pack("<HHI", tag, form, length) + value.ljust(4, b"\0")


def exif(*entries: bytes, tail: bytes = b"") -> bytes:
    """Return an EXIF block with one directory at 8; `tail` follows it."""
    head = b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(entries))
    return head + b"".join(entries) + struct.pack("<I", 0) + tail


def exif_with_gps() -> bytes:
    at = 8 + 2 + 12 + 4
    tail = struct.pack("<H", 1) + entry(2, 5, 3, struct.pack("<I", at + 18)) + bytes(4)
    return exif(
        entry(0x8825, 4, 1, struct.pack("<I", at)), tail=tail + struct.pack("<6I", *(1,) * 6)
    )


# -- names


@pytest.mark.parametrize(
    "name", ["a.safetensors", "adapter_config.json", "tokenizer.json", "LICENSE"]
)
def test_names_that_tell_nothing(name: str) -> None:
    assert leaks_of_files([name]) == ()


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("alice_20260216-102639.json", "training-config"),
        ("config_lora-20260216-102639.toml", "training-config"),
        ("sample/prompt.txt", "prompt"),
        ("config.yaml", "training-config"),
        ("loss_log.db", "training-config"),
        ("onetrainer_config/args.json", "training-config"),
        ("training_state.json", "training-state"),
        ("trainer_log.jsonl", "training-state"),
        ("training_loss.png", "training-state"),
        ("running_log.txt", "training-config"),
        ("debug.log", "training-config"),
        ("cat_0512x0768_flux_te.safetensors", "training-data"),
        ("latents.npz", "training-data"),
        ("metadata.jsonl", "caption"),
        ("a.caption", "caption"),
        (".env", "credentials-file"),
        ("id_ed25519", "credentials-file"),
        (".git/config", "version-control"),
        ("runs/x/y", "host-name"),
        ("clip.mp4", "image"),
    ],
)
def test_files_that_trainers_leave_are_known(name: str, kind: str) -> None:
    (leak,) = leaks_of_files([name])
    assert leak.kind == kind
    assert leak.reason
    assert leak.advice


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("image_0.png", "image_0.png"),
        ("runs/Feb16_10-26-39_gpu-box-3/events.out.tfevents.1771234567.gpu.1.0", "runs/*/events.out.tfevents.*"),
        ("samples/0 - a photo of alice/x.png", "samples/*/x.png"),
        ("samples/1771234567890__000000250_0.jpg", "samples/1771234567890__000000250_0.jpg"),
        ("client_13812345678.json", "*.json"),
        (f"{TOKEN}.txt", "*.txt"),
        ("a.13812345678", "*"),
    ],
)  # fmt: skip
def test_a_name_that_tells_something_is_not_repeated(name: str, shown: str) -> None:
    assert shown_name(name) == shown


# -- texts


@pytest.mark.parametrize(
    "name", ["a.safetensors", "adapter_model.bin", "optimizer.pt", "x.pkl", "a.npz"]
)
def test_weights_and_pickles_are_not_looked_into(name: str) -> None:
    assert not is_scanned(name)
    assert scan_side_file(name, TOKEN.encode()) == ()


@pytest.mark.parametrize("kind", secrets())
@pytest.mark.parametrize("name", ["README.md", "config.yaml", "log.txt", "a.jsonl"])
def test_each_kind_is_found_in_a_side_file(name: str, kind: str) -> None:
    text = f"---\nnote: {secrets()[kind]}\n"
    assert kind in kinds(scan_side_file(name, text.encode()))


@pytest.mark.parametrize(
    "name", ["training_args.bin", "loss_log.db", "events.out.tfevents.1771234567.box.1.0"]
)
def test_binary_files_are_read_for_what_is_printable(name: str) -> None:
    path = "/home/aliddell/" + "x" * 50
    data = b"\x80\x02}X\x09\0\0\0hub_tokenX\x25\0\0\0" + TOKEN.encode()
    data += b"\x8c" + bytes([len(path)]) + path.encode() + b"\x94."
    found = scan_side_file(name, data)
    assert {"token:huggingface", "path", "user-name"} <= kinds(found)
    assert TOKEN not in repr(found)


def test_what_was_not_read_is_said() -> None:
    found = scan_side_file("a.log", b"x" * (SIDE_FILE_BYTES + 1) + TOKEN.encode())
    assert kinds(found) == {"not-scanned"}
    assert kinds(scan_side_file("a.log", b"x", size=2)) == {"not-scanned"}
    assert scan_side_file("a.log", b"x", size=1) == ()


def test_a_binary_file_without_suffix_is_said_not_to_be_read() -> None:
    assert kinds(scan_side_file("weights", b"\x80\x02\0")) == {"not-scanned"}
    assert kinds(scan_side_file("token", TOKEN.encode())) == {"token:huggingface"}


@pytest.mark.parametrize("data", [b"", b"[1]", b"{", b"[" * 100_000, b'{"a": NaN}', b"\xff\xfe"])
def test_a_config_that_is_none_is_read_as_text(data: bytes) -> None:
    assert scan_side_file("adapter_config.json", data) == ()


def test_findings_in_a_config_name_the_setting() -> None:
    config = {
        "base_model_name_or_path": "/home/aliddell/m",
        "note 13812345678": TOKEN,
        "revision": None,
        "auto_mapping": None,
    }
    found = scan_side_file("adapter_config.json", json.dumps(config).encode())
    assert {(leak.key, leak.kind) for leak in found} == {
        ("adapter_config.json:base_model_name_or_path", "path"),
        ("adapter_config.json:base_model_name_or_path", "user-name"),
        ("adapter_config.json:*", "token:huggingface"),
        ("adapter_config.json:*", "cn-mobile"),
    }


# -- images


@pytest.mark.parametrize(
    "chunk",
    [
        (b"tEXt", PROMPT),
        (b"zTXt", b"parameters\0\0" + zlib.compress(PROMPT)),
        (b"iTXt", b"prompt\0\0\0\0\0a photo of alice"),
        (b"iTXt", b"workflow\0\1\0en\0\0" + zlib.compress(b"a photo of alice")),
        (b"eXIf", exif(entry(0x9286, 7, 60, struct.pack("<I", 26)), tail=b"UNICODE\0" + "Steps: 20, alice".encode("utf-16-le"))),
    ],
)  # fmt: skip
def test_prompts_in_png_are_found(chunk: tuple[bytes, bytes]) -> None:
    found = scan_side_file("a.png", png((b"IHDR", bytes(13)), (b"IDAT", b"x"), chunk))
    assert kinds(found) == {"prompt"}
    assert "alice" not in repr(found)


def test_text_in_a_prompt_is_scanned() -> None:
    found = leaks_in_image("x", png_with_text(b"prompt\0" + TOKEN.encode()))
    assert kinds(found) == {"prompt", "token:huggingface"}


def test_software_that_drew_a_curve_is_no_text() -> None:
    assert leaks_in_image("x", png_with_text(b"Software\0Matplotlib 3")) == ()


@pytest.mark.parametrize(
    "data",
    [
        png((b"eXIf", exif_with_gps())),
        b"\xff\xd8\xff\xe1" + (len(exif_with_gps()) + 8).to_bytes(2, "big") + b"Exif\0\0" + exif_with_gps(),
        b"RIFF\0\0\0\0WEBPEXIF" + len(exif_with_gps()).to_bytes(4, "little") + exif_with_gps(),
    ],
    ids=["png", "jpeg", "webp"],
)  # fmt: skip
def test_a_place_in_exif_is_found(data: bytes) -> None:
    assert kinds(leaks_in_image("x", data)) == {"gps"}


def test_a_place_in_xmp_is_found() -> None:
    xmp = b'http://ns.adobe.com/xap/1.0/\0<x exif:GPSLatitude="31,13.8N"/>'
    jpeg = b"\xff\xd8\xff\xe1" + (len(xmp) + 2).to_bytes(2, "big") + xmp + b"\xff\xd9"
    assert "gps" in kinds(leaks_in_image("x", jpeg))


def test_people_and_devices_in_exif_are_found() -> None:
    block = exif(
        entry(0x013B, 2, 4, b"bob\0"), entry(0xA431, 2, 4, b"123\0"), entry(0x010F, 2, 4, b"x")
    )
    assert read_exif(block) == (ExifField("person", "bob"), ExifField("device", "123"))
    assert kinds(leaks_in_image("x", png((b"eXIf", block)))) == {"person-name", "device"}


def test_exif_of_another_program_is_read() -> None:
    pillow = pytest.importorskip("PIL.Image")
    for form in ("JPEG", "PNG", "WEBP"):
        image, fields, data = pillow.new("RGB", (2, 2)), pillow.Exif(), io.BytesIO()
        fields[0x013B] = "bob"
        fields.get_ifd(0x8825).update({1: "N", 2: (31.0, 13.0, 49.0)})
        image.save(data, form, exif=fields)
        assert kinds(leaks_in_image("x", data.getvalue())) == {"gps", "person-name"}


def test_a_loop_of_directories_ends() -> None:
    assert read_exif(exif(entry(0x8769, 4, 1, struct.pack("<I", 8)))) == ()


def test_little_that_unpacks_to_much_is_cut() -> None:
    bomb = zlib.compress(bytes(50_000_000))
    assert leaks_in_image("x", png((b"zTXt", b"parameters\0\0" + bomb))) != ()


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF\0\0\0\0WEBP", b"Exif\0\0II*\0", b"MM\0*"]),
    st.binary(max_size=200),
)  # fmt: skip
def test_no_image_is_too_broken(head: bytes, rest: bytes) -> None:
    leaks_in_image("x", head + rest)
    read_exif(head + rest)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 400), st.binary(min_size=1, max_size=4))
def test_a_damaged_image_is_no_error(place: int, damage: bytes) -> None:
    whole = png((b"tEXt", PROMPT), (b"eXIf", exif_with_gps()))
    for leak in leaks_in_image("x", whole[:place] + damage + whole[place + len(damage) :]):
        assert leak.kind in KINDS


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(["a.json", "a.png", "a.db", "training_args.bin", "adapter_config.json", "x"]),
    st.binary(max_size=200),
)
def test_no_side_file_is_too_odd(name: str, data: bytes) -> None:
    scan_side_file(name, data)


# -- folders


def test_what_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        scan_folder(tmp_path / "none")


def test_links_and_special_files_are_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    in_folder(outside, {"a.txt": TOKEN.encode()})
    inside = in_folder(tmp_path / "in", {})
    inside.mkdir()
    (inside / "link.txt").symlink_to(outside / "a.txt")
    (inside / "folder").symlink_to(outside)
    os.mkfifo(inside / "pipe.txt")
    assert kinds(scan_folder(inside)) == {"not-scanned"}


def test_pickles_and_weights_are_named_and_not_read(tmp_path: Path) -> None:
    files = {"optimizer.pt": TOKEN.encode(), "adapter_model.safetensors": TOKEN.encode()}
    assert {(leak.key, leak.kind) for leak in scan_folder(in_folder(tmp_path, files))} == {
        ("optimizer.pt", "pickle")
    }


@pytest.mark.parametrize(
    "bounds", [FolderBounds(levels=1), FolderBounds(names=1), FolderBounds(total_bytes=1)]
)
def test_bounds_end_the_reading_and_say_so(tmp_path: Path, bounds: FolderBounds) -> None:
    in_folder(tmp_path, {"a.txt": b"xx", "b.txt": b"xx", "c/d.txt": TOKEN.encode()})
    found = scan_folder(tmp_path, bounds=bounds)
    assert kinds(found) == {"not-scanned"}


def test_a_folder_is_read_to_its_ends(tmp_path: Path) -> None:
    files = {
        "README.md": b"base_model: /home/aliddell/models/x\n",
        "training_args.bin": b"\x80\x02X\x25\0\0\0" + TOKEN.encode(),
        "runs/Feb16_10-26-39_gpu-box-3/events.out.tfevents.1771234567.gpu-box-3.1.0": b"\0",
        "samples/0 - alice/1.png": png_with_text(PROMPT),
        "checkpoint-10/trainer_state.json": b'{"best_model_checkpoint": "/mnt/d/x"}',
        "adapter_config.json": b'{"peft_type": "LORA"}',
    }
    found = scan_folder(in_folder(tmp_path, files))
    assert {(leak.key, leak.kind) for leak in found} == {
        ("README.md", "training-config"),
        ("README.md", "path"),
        ("README.md", "user-name"),
        ("training_args.bin", "pickle"),
        ("training_args.bin", "token:huggingface"),
        ("runs/*/events.out.tfevents.*", "training-config"),
        ("samples/*/1.png", "image"),
        ("samples/*/1.png", "prompt"),
        ("checkpoint-10/trainer_state.json", "training-state"),
        ("checkpoint-10/trainer_state.json", "path"),
    }
    said = repr(found)
    assert not any(word in said for word in ("aliddell", TOKEN, "gpu-box", "alice"))
