"""What the pictures show is what was measured, in colours that everybody can tell apart."""

from __future__ import annotations

import base64
import dataclasses
import re
import struct
import zlib

import pytest

from registry.audits.details import (
    AuditDetails,
    CohortPosition,
    FeaturePosition,
    ModuleDetail,
)
from registry.audits.report_page.heatmap import block_of
from registry.audits.report_page.measures import (
    Measured,
    measured_modules,
    quantile,
    robust_z,
    split_dead,
)
from registry.audits.report_page.palette import (
    COLOURS,
    FIRST_LEVEL,
    GROUNDS,
    LEVELS,
    NO_VALUE,
    TEXT_COLOURS,
    ZERO,
    cividis,
)
from registry.audits.report_page.png import write_png
from registry.audits.task import AuditRun
from tests.audits.report_pages import Reader, modules, page, report


@pytest.mark.parametrize("name", TEXT_COLOURS)
@pytest.mark.parametrize("ground", GROUNDS)
@pytest.mark.parametrize("dark", [0, 1])
def test_text_stands_out_from_its_ground(name, ground, dark):
    """Contrast after WCAG 2.2, 1.4.3: at least 4.5."""

    def light(colour):
        parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return sum(share * p for share, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    low, high = sorted((light(COLOURS[name][dark]), light(COLOURS[ground][dark])))
    assert (high + 0.05) / (low + 0.05) >= 4.5


def test_cividis_gets_lighter_all_the_way():
    greys = [
        0.2126 * red + 0.7152 * green + 0.0722 * blue
        for red, green, blue in (cividis(level / 63) for level in range(64))
    ]
    assert all(low < high for low, high in zip(greys, greys[1:], strict=False))
    assert cividis(-1) == cividis(0)
    assert cividis(2) == cividis(1) == (254, 232, 56)


@pytest.mark.parametrize("rows", [[], [b""], [b"\x00", b"\x00\x01"]])
def test_a_picture_without_equal_rows_is_refused(rows):
    with pytest.raises(ValueError, match="equal rows"):
        write_png(rows, [(0, 0, 0)])


def read_png(data):
    """Decode what `write_png` writes, by the book: chunks, checksums, one filter byte a row."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, place = {}, 8
    while place < len(data):
        (length,) = struct.unpack(">I", data[place : place + 4])
        kind, content = data[place + 4 : place + 8], data[place + 8 : place + 8 + length]
        (check,) = struct.unpack(">I", data[place + 8 + length : place + 12 + length])
        assert check == zlib.crc32(kind + content)
        chunks[kind] = content
        place += 12 + length
    width, height, depth, colour, *rest = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    assert (depth, colour, rest) == (8, 3, [0, 0, 0])
    raw = zlib.decompress(chunks[b"IDAT"])
    assert len(raw) == height * (width + 1)
    rows = [raw[start : start + width + 1] for start in range(0, len(raw), width + 1)]
    assert all(row[0] == 0 for row in rows)
    return [row[1:] for row in rows], chunks


def test_the_picture_can_be_read_by_pillow_too():
    image = pytest.importorskip("PIL.Image")
    io = pytest.importorskip("io")
    data = write_png([b"\x00\x01\x02", b"\x02\x01\x00"], [(1, 2, 3), (4, 5, 6), (7, 8, 9)])
    picture = image.open(io.BytesIO(data)).convert("RGBA")
    assert picture.size == (3, 2)
    assert [picture.getpixel((x, 0)) for x in range(3)] == [
        (1, 2, 3, 0),
        (4, 5, 6, 255),
        (7, 8, 9, 255),
    ]


def picture_of(details):
    text = page(AuditRun((report(),), details=AuditDetails(details)))
    first = re.search(r'class="heat-field"[^>]*><img src="data:image/png;base64,([^"]+)"', text)[1]
    return read_png(base64.b64decode(first))[0]


def test_the_heat_map_is_lightest_at_the_largest_and_tells_zero_from_nothing():
    rows = picture_of(
        (
            ModuleDetail("b.1.x", "", ("0.1", "0.01"), "0.1005"),
            ModuleDetail("b.0.x", "", ("1", "0.1", "0"), "1.005"),
        )
    )
    lightest = FIRST_LEVEL + LEVELS - 1
    # Sorted by block: b.0 first.
    assert list(rows[0]) == [lightest, rows[0][1], ZERO]
    assert list(rows[1]) == [rows[0][1], rows[1][1], NO_VALUE]
    assert FIRST_LEVEL <= rows[1][1] < rows[0][1] < lightest


def test_thousands_of_modules_share_rows_and_none_is_lost():
    details = list(modules(5000, 4))
    details[4321] = dataclasses.replace(details[4321], values=("1000",), frobenius="1000")
    rows = picture_of(details)
    assert len(rows) <= 840
    assert sum(row[0] == FIRST_LEVEL + LEVELS - 1 for row in rows) == 1


@pytest.mark.parametrize(
    ("place", "block"),
    [
        ("lora_unet_down_blocks_0_attentions_1_to_q", ("lora_unet_down_blocks", 0)),
        (
            "base_model.model.model.layers.12.self_attn.q_proj",
            ("base_model.model.model.layers", 12),
        ),
        ("lora_te1_text_model_encoder_layers_3_mlp_fc1", ("lora_te1_text_model_encoder_layers", 3)),
        ("lora_unet_conv_in", ("lora_unet_conv", -1)),
        ("proj", ("proj", -1)),
        ("", ("", -1)),
        ("a._1._2", ("a.", 1)),
    ],
)
def test_blocks_are_read_from_names(place, block):
    assert block_of(place) == block


def test_energy_shares_count_the_values_that_were_not_kept():
    whole = Measured("a", "", (3.0, 4.0)[::-1], 5.0)
    assert whole.energy_shares() == pytest.approx([16 / 25, 1.0])
    assert whole.stable_rank == pytest.approx(25 / 16)
    assert Measured("a", "", (4.0,), 5.0).energy_shares() == pytest.approx([16 / 25])
    assert Measured("a", "", (0.0,), 0.0).energy_shares() == []


def test_the_dead_are_told_from_the_living_as_the_audit_does():
    details = [
        *modules(5),
        ModuleDetail("gone", "", ("0",), "0"),
        ModuleDetail("faint", "", ("1e-12",), "1e-12"),
        ModuleDetail("dora", "", ("0",), "0", "dora: direction only"),
        ModuleDetail("unmeasured", "", reason="why"),
    ]
    living, dead = split_dead(measured_modules(details))
    assert [module.place for module in dead] == ["gone", "faint"]
    assert len(living) == 5


def test_quantiles_and_robust_z():
    with pytest.raises(ValueError, match="quantile"):
        quantile([], 0.5)
    assert quantile([1.0, 2.0, 4.0], 0.5) == 2.0
    assert quantile([1.0, 2.0], 0.25) == 1.25
    assert robust_z([]) == []
    assert robust_z([2.0, 2.0, 9.0]) == [0.0, 0.0, 0.0]
    assert robust_z([1.0, 2.0, 3.0, 4.0, 100.0])[-1] == pytest.approx(97 / 1.4826)


def test_planted_outliers_and_dead_modules_are_named():
    loud = ModuleDetail("unet.blocks.0.loud", "attn.q", ("900", "1"), "900")
    flat = ModuleDetail("unet.blocks.1.flat", "attn.q", ("2", "2", "2", "2", "2", "2"), "4.899")
    gone = ModuleDetail("unet.blocks.2.gone", "attn.q", ("0", "0"), "0")
    text = page(AuditRun((report(),), details=AuditDetails((*modules(40), loud, flat, gone))))
    outliers = Reader(re.search(r'<section id="outliers">.*?</section>', text, re.DOTALL)[0]).text
    assert re.search("unet.blocks.0.loud[^u]*largest", outliers)
    assert re.search("unet.blocks.1.flat.*unusual stable rank", outliers)
    dead = Reader(re.search(r'<section id="dead">.*?</section>', text, re.DOTALL)[0]).text
    assert "1 of 43 measured modules change nothing" in dead
    assert "unet.blocks.2.gone" in dead


def test_the_place_among_peers_is_drawn_with_its_limits():
    features = tuple(
        FeaturePosition(name, "1", "1", z)
        for name, z in (("near", "0.5"), ("far", "-7"), ("off", "30"))
    )
    details = AuditDetails((), (), CohortPosition("sdxl, kohya", 61, "9.5", features))
    text = page(AuditRun((report(),), details=details))
    section = re.search(r'<section id="cohort">.*?</section>', text, re.DOTALL)[0]
    assert "61 adapters" in section
    # Farthest first, beyond ±6 in another shape, beyond the scale with an arrow.
    assert re.findall(r"class=\"(dot[^\"]*)\"", section) == ["dot far", "dot far", "dot"]
    assert section.index(">off<") < section.index(">far<") < section.index(">near<")
    assert "+30.00 ▸" in section
    few = AuditDetails((), (), CohortPosition("sdxl, kohya", 7, ""))
    assert "Too few peers: 7 adapters" in page(AuditRun((report(),), details=few))
