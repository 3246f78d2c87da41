"""What a marked copy keeps: header, sizes, alphas, rank, spectrum; and what is refused or left as it is."""

from __future__ import annotations

import io
import math
import tarfile

import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings  # noqa: E402 - needs torch
from hypothesis import strategies as st  # noqa: E402

from registry.artifacts.notes import PayloadForm  # noqa: E402
from registry.errors import FormatError, UsageError  # noqa: E402
from registry.fingerprints.marks.basis import study  # noqa: E402
from registry.fingerprints.marks.checking import verify_only_factors  # noqa: E402
from registry.fingerprints.marks.embed import mark_copy, mark_in_place, mark_payload  # noqa: E402
from registry.fingerprints.marks.options import MarkOptions  # noqa: E402
from registry.updates.factors import update_of  # noqa: E402
from registry.updates.files import tensor_bytes  # noqa: E402
from registry.updates.payload import read_payload  # noqa: E402
from registry.updates.spectra import measure  # noqa: E402
from tests.audits.conftest import _one_thread  # noqa: E402, F401 - a fixture
from tests.fingerprints.marked import (  # noqa: E402
    adapter,
    module,
    name_of,
    packed,
    pair,
    payload,
    row,
    scalar,
    seed,
)

GAUGE, SPREAD = MarkOptions(spread=False), MarkOptions(gauge=False)


def _marked(tensors, options=None, recipient="r"):
    data = packed(tensors)
    return data, *mark_payload(
        memoryview(data), PayloadForm.RAW, "a", seed(recipient), options or MarkOptions()
    )


def _updates(data):
    updates = [update_of(located) for located in payload(data).modules]
    return [update.up.double() @ update.down.double() for update in updates]


def _changed_modules(before, after):
    """Names of modules any byte of which differs."""
    first, second = payload(before), payload(after)
    return {
        one.module.name
        for one, other in zip(first.modules, second.modules, strict=True)
        for (_, a), (_, b) in zip(one.module.tensors, other.module.tensors, strict=True)
        if tensor_bytes(one.file, a) != tensor_bytes(other.file, b)
    }


@pytest.mark.parametrize("epsilon", [0.0, -0.01, 0.051, math.nan, math.inf])
def test_strength_out_of_range_is_refused(epsilon):
    with pytest.raises(UsageError, match="strength of the mark"):
        _marked(adapter(8), MarkOptions(epsilon=epsilon))


def test_no_mark_at_all_is_refused():
    with pytest.raises(UsageError, match="neither mark"):
        _marked(adapter(8), MarkOptions(gauge=False, spread=False))


def test_few_modules_are_refused():
    with pytest.raises(FormatError, match="in 7 modules, expected at least 1024 in 8") as caught:
        _marked(adapter(7, rank=16))
    assert "without a mark" in caught.value.hint


def test_few_chips_are_refused():
    with pytest.raises(FormatError, match="mark would have 960 chips in 80 modules"):
        _marked(adapter(80, rank=4))


def test_rank_one_is_refused_with_the_reason():
    with pytest.raises(FormatError, match="left out: rank 1: 20"):
        _marked(adapter(20, rank=1))


def test_fp8_is_refused_with_the_reason():
    tensors = adapter(24)
    tensors = {
        name: content if name.endswith("alpha") else _as_fp8(content)
        for name, content in tensors.items()
    }
    with pytest.raises(FormatError, match="left out: stored as F8_E4M3: 24"):
        _marked(tensors)


def _as_fp8(content):
    _, shape, data = content
    values = torch.frombuffer(bytearray(data), dtype=torch.float16).to(torch.float8_e4m3fn)
    return "F8_E4M3", shape, values.view(torch.uint8).numpy().tobytes()


def test_read_only_copy_is_refused_untouched():
    data = packed(adapter(24))
    with pytest.raises(ValueError, match="read-only"):
        mark_in_place(memoryview(data), PayloadForm.RAW, "a", seed("r"))


def test_short_seed_is_refused():
    copy = bytearray(packed(adapter(24)))
    with pytest.raises(ValueError, match="31 bytes"):
        mark_in_place(memoryview(copy), PayloadForm.RAW, "a", bytes(31))
    assert copy == packed(adapter(24))


@pytest.mark.parametrize("cut", [0, 7, 100])
def test_broken_payload_is_refused(cut):
    with pytest.raises(FormatError):
        mark_payload(memoryview(packed(adapter(8))[:cut]), PayloadForm.RAW, "a", seed("r"))


@pytest.mark.parametrize("options", [None, GAUGE, SPREAD])
def test_only_bytes_of_factors_change(options):
    data, copy, report = _marked(adapter(), options)
    verify_only_factors(memoryview(data), memoryview(copy), PayloadForm.RAW, "a")
    before, after = payload(data), payload(copy)
    size = before.files[0].header.header_bytes
    assert len(copy) == len(data)
    assert copy[:size] == data[:size]
    for one, other in zip(before.modules, after.modules, strict=True):
        for (role, a), (_, b) in zip(one.module.tensors, other.module.tensors, strict=True):
            same = tensor_bytes(one.file, a) == tensor_bytes(other.file, b)
            assert same == (role == "alpha")
    assert report.left == ()


def test_same_seed_makes_the_same_copy_and_another_one_another():
    assert _marked(adapter())[1] == _marked(adapter())[1]
    assert _marked(adapter())[1] != _marked(adapter(), recipient="s")[1]


def test_singular_values_move_less_than_the_bound():
    data, copy, _ = _marked(adapter(dtype="F32"))
    for one, other in zip(measure(payload(data)), measure(payload(copy)), strict=True):
        bound = 0.01 * float(one.values.norm())
        moved = float((one.values - other.values).abs().max())
        assert 0 < moved <= bound * (1 + 1e-4)


@pytest.mark.parametrize(("dtype", "rounding"), [("F32", 1e-6), ("F16", 2e-3), ("BF16", 1e-2)])
def test_gauge_mark_leaves_the_update_within_rounding(dtype, rounding):
    data, copy, report = _marked(adapter(dtype=dtype), GAUGE)
    for one, other in zip(_updates(data), _updates(copy), strict=True):
        assert float((one - other).norm() / one.norm()) < rounding
    assert report.largest_change < rounding
    assert report.epsilon == 0
    assert report.cosine > 1 - rounding


@pytest.mark.parametrize("options", [None, SPREAD])
def test_report_says_what_a_dense_comparison_says(options):
    data, copy, report = _marked(adapter(), options)
    # alpha / rank is the same in every module, so it drops out.
    before, after = _updates(data), _updates(copy)
    changes = [float((b - a).norm() / a.norm()) for a, b in zip(before, after, strict=True)]
    inner = sum(float((a * b).sum()) for a, b in zip(before, after, strict=True))
    norms = [math.sqrt(sum(float(a.square().sum()) for a in some)) for some in (before, after)]
    assert report.largest_change == pytest.approx(max(changes), rel=1e-6)
    assert report.cosine == pytest.approx(inner / norms[0] / norms[1], abs=1e-12)
    assert max(changes) == pytest.approx(0.01, rel=0.05)
    assert (report.spread_modules, report.gauge_modules, report.chips) == (24, 0, 24 * 8 * 7)


def test_factors_keep_their_ratio_of_norms():
    data, copy, _ = _marked(adapter(dtype="F32"))
    for one, other in zip(payload(data).modules, payload(copy).modules, strict=True):
        before, after = update_of(one), update_of(other)
        ratios = [float(each.up.norm() / each.down.norm()) for each in (before, after)]
        assert ratios[0] == pytest.approx(ratios[1], rel=1e-2)


def test_spread_mark_alone_stays_near_the_stored_factors():
    data, copy, _ = _marked(adapter(dtype="F32"), SPREAD)
    one, other = update_of(payload(data).modules[0]), update_of(payload(copy).modules[0])
    assert float(torch.nn.functional.cosine_similarity(one.up, other.up, dim=0).min()) > 0.5


def _loha(number):
    shapes = {"w1_a": (20, 4), "w1_b": (4, 20), "w2_a": (20, 4), "w2_b": (4, 20)}
    return {
        f"{name_of(number)}.hada_{role}": row(torch.ones(shape)) for role, shape in shapes.items()
    }


def _with(role, tensor):
    return {**module(90, pair(90)), f"{name_of(90)}.{role}": row(tensor)}


def _broken(factors):
    return module(90, factors)


SOURCE = torch.Generator().manual_seed(3)
UP, DOWN = (torch.randn(shape, generator=SOURCE) for shape in ((30, 8), (8, 30)))
ODD = {
    "loha": (_loha(90), "method loha"),
    "tucker": (
        {
            **module(90, (UP.view(30, 8, 1, 1), DOWN.view(8, 30, 1, 1))),
            f"{name_of(90)}.lora_mid.weight": row(torch.randn(8, 8, 3, 3, generator=SOURCE)),
        },
        "mid beside its factors",
    ),
    "zero": (_broken((UP * 0, DOWN)), "its update is zero"),
    "nan": (_broken((UP.clone().fill_(math.nan), DOWN)), "it is not finite"),
    "one direction": (_broken((UP[:, :1].repeat(1, 8), DOWN)), "its update has one direction only"),
    "rank 1": (_broken((UP[:, :1], DOWN[:1])), "rank 1"),
    "unfit": (_broken((UP, DOWN[:5])), "its factors do not fit together"),
    "no scale": (
        {**_broken((UP, DOWN)), f"{name_of(90)}.alpha": scalar(0.0)},
        "its scale is 0 or no number",
    ),
    "too small": (
        _broken((UP * 1e-7, DOWN * 1e-7)),
        "its numbers do not survive being stored again",
    ),
}


@pytest.mark.parametrize("case", ODD)
def test_module_that_cannot_be_marked_stays_byte_for_byte(case):
    extra, reason = ODD[case]
    data, copy, report = _marked({**adapter(), **extra})
    assert report.left == ((reason, 1),)
    assert _changed_modules(data, copy) == {name_of(number) for number in range(24)}


def test_dora_bears_the_gauge_mark_only():
    tensors = {**adapter(), **_with("dora_scale", torch.ones(40, 1))}
    data, copy, report = _marked(tensors)
    assert (report.spread_modules, report.gauge_modules) == (24, 1)
    before, after = _updates(data)[-1], _updates(copy)[-1]
    assert float((before - after).norm() / before.norm()) < 2e-3
    _, _, without = _marked(tensors, SPREAD)
    assert without.left == (("DoRA, which bears the gauge mark only", 1),)


def test_dora_alone_is_refused_for_the_spread_mark_and_taken_for_the_gauge_mark():
    tensors = adapter()
    for number in range(24):
        tensors[f"{name_of(number)}.dora_scale"] = row(torch.ones(24 if number % 4 == 3 else 40, 1))
    with pytest.raises(FormatError, match="mark would have 0 chips in 0 modules"):
        _marked(tensors)
    assert _marked(tensors, GAUGE)[2].gauge_modules == 24


@pytest.mark.parametrize("factor", [1e-5, 1e5])
def test_uneven_factors_of_half_precision_survive(factor):
    # One factor is near the end of what fp16 holds; its own rounding is in the original already.
    tensors = {}
    for number in range(24):
        up, down = pair(number)
        tensors |= module(number, (up * 10 * factor, down / factor / 10))
    data, copy, report = _marked(tensors, GAUGE)
    assert report.gauge_modules == 24
    for one, other in zip(_updates(data), _updates(copy), strict=True):
        assert float((one - other).norm() / one.norm()) < 6e-3


def test_rank_beyond_the_layer_is_marked():
    tensors = {}
    for number in range(24):
        tensors |= module(number, pair(number, rank=16, outputs=12, inputs=10), "F32")
    data, copy, report = _marked(tensors)
    assert report.chips <= 24 * 90
    for one, other in zip(_updates(data), _updates(copy), strict=True):
        assert float((one - other).norm() / one.norm()) == pytest.approx(0.01, rel=1e-3)


def test_file_inside_a_tar_is_marked_in_place():
    content, sink = packed(adapter()), io.BytesIO()
    config = b'{"peft_type": "LORA", "r": 8, "lora_alpha": 8}'
    with tarfile.open(fileobj=sink, mode="w") as archive:
        for name, data in (("adapter_config.json", config), ("w.safetensors", content)):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    copy, report = mark_payload(memoryview(sink.getvalue()), PayloadForm.TAR, "a", seed("r"))
    with tarfile.open(fileobj=io.BytesIO(copy)) as archive:
        assert archive.extractfile("adapter_config.json").read() == config
        assert len(_changed_modules(content, archive.extractfile("w.safetensors").read())) == 24
    assert report.spread_modules == 24


def test_bases_kept_for_many_copies_make_the_same_copies():
    data = packed(adapter())
    bases = tuple(study(payload(data)))
    for recipient in ("r", "s"):
        copy = bytearray(data)
        mark_copy(payload_over(copy), bases, seed(recipient))
        assert copy == _marked(adapter(), recipient=recipient)[1]


def payload_over(copy):
    return read_payload(memoryview(copy), PayloadForm.RAW, "a")


def test_directions_have_canonical_signs():
    for basis in study(payload(packed(adapter(8)))):
        largest = basis.left.gather(0, basis.left.abs().argmax(0, keepdim=True))
        assert bool((largest > 0).all())


@settings(max_examples=25, deadline=None)
@given(
    rank=st.integers(2, 12),
    outputs=st.integers(2, 30),
    inputs=st.integers(2, 30),
    dtype=st.sampled_from(["F16", "BF16", "F32"]),
    options=st.sampled_from([MarkOptions(), GAUGE, SPREAD, MarkOptions(epsilon=0.05)]),
)
def test_any_shape_is_marked_within_its_strength_or_left(rank, outputs, inputs, dtype, options):
    tensors = adapter()
    tensors |= module(90, pair(90, rank, outputs, inputs), dtype)
    data, copy, report = _marked(tensors, options)
    before, after = _updates(data)[-1], _updates(copy)[-1]
    change = float((before - after).norm() / before.norm())
    strength = options.epsilon if options.spread else 0
    assert change <= strength + 6e-3
    assert (change == 0) == bool(report.left)
    assert len(copy) == len(data)
