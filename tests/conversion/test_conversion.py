"""What comes out is what went in, bit for bit, whatever the way a tensor lies in its storage."""

from __future__ import annotations

import io
import itertools
import struct
from collections import OrderedDict

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from registry.artifacts.tensor_digest import tensor_record, tensor_set_digest
from registry.conversion.checking import digest_tensors
from registry.conversion.gathering import check_gathering, row_major
from registry.conversion.refusals import PickleRefusedError, Reason
from registry.conversion.torch_file import NamedTensor, read_torch_file
from registry.conversion.values import StorageRef, TensorRef, item_bytes
from registry.conversion.writing import write_safetensors
from registry.formats.safetensors import LENGTH_BYTES, TensorInfo, header_length, parse_header
from tests.conversion.building import (
    CONTENT,
    legacy,
    program,
    state_dict,
    tensor,
    text,
    torch_zip,
)
from tests.conversion.layers import converted

WIDTHS = {"U8": 1, "F16": 2, "F32": 4, "F64": 8}


def tensors_in(data: bytes) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    """Dtype, shape and content by name of a safetensors file, read with our strict parser."""
    needed = header_length(data[:LENGTH_BYTES], file_size=len(data))
    header = parse_header(data[:needed], file_size=len(data))
    return {
        each.name: (each.dtype, each.shape, data[needed + each.start : needed + each.end])
        for each in header.tensors
    }


def test_a_tensor_and_its_name_dtype_and_shape_come_through() -> None:
    assert tensors_in(converted(torch_zip())) == {"w": ("F32", (2, 3), CONTENT)}


def test_the_old_form_gives_the_same_file() -> None:
    assert converted(legacy()) == converted(torch_zip())


def test_nothing_is_said_but_that_it_is_of_torch() -> None:
    data = converted(torch_zip())
    needed = header_length(data[:LENGTH_BYTES], file_size=len(data))
    assert parse_header(data[:needed], file_size=len(data)).metadata == (("format", "pt"),)


def test_a_transposed_tensor_is_written_row_by_row() -> None:
    pickle = program(state_dict(text("w") + tensor((3, 2), (1, 3))))
    expected = struct.pack("<6f", 0, 3, 1, 4, 2, 5)
    assert tensors_in(converted(torch_zip(pickle)))["w"] == ("F32", (3, 2), expected)


def test_a_stretched_tensor_is_written_out() -> None:
    pickle = program(state_dict(text("w") + tensor((4, 3), (0, 1))))
    assert tensors_in(converted(torch_zip(pickle)))["w"][2] == CONTENT[:12] * 4


def test_tensors_of_one_storage_are_written_apart() -> None:
    pickle = program(
        state_dict(text("a") + tensor() + text("b") + tensor((2,), (1,), offset=b"K\x04"))
    )
    found = tensors_in(converted(torch_zip(pickle)))
    assert found["a"][2] == CONTENT
    assert found["b"][2] == CONTENT[16:]


def test_known_bookkeeping_is_left_out_and_named() -> None:
    inner = text("state_dict") + b"}" + text("w") + tensor() + b"s"
    pickle = program(state_dict(inner + text("epoch") + b"K\x07"))
    weights = read_torch_file(memoryview(torch_zip(pickle)))
    assert (weights.unwrapped, weights.dropped) == ("state_dict", ("epoch",))
    assert [each.name for each in weights.tensors] == ["w"]


def test_a_result_over_its_bound_is_refused_before_it_is_written() -> None:
    weights = read_torch_file(memoryview(torch_zip()))
    with pytest.raises(PickleRefusedError) as caught:
        write_safetensors(weights.tensors, -1, most=23)
    assert caught.value.reason is Reason.LIMIT


@pytest.mark.parametrize("whole", [torch_zip(), legacy()], ids=["zip", "legacy"])
def test_a_file_cut_off_anywhere_is_refused(whole: bytes) -> None:
    for length in range(len(whole)):
        with pytest.raises(PickleRefusedError):
            read_torch_file(memoryview(whole[:length]))


@st.composite
def placed(draw: st.DrawFn) -> NamedTensor:
    """A tensor of any shape and steps in a storage that just holds it."""
    dtype = draw(st.sampled_from(sorted(WIDTHS)))
    shape = tuple(draw(st.lists(st.integers(0, 5), max_size=4)))
    strides = tuple(draw(st.integers(0, 9)) for _ in shape)
    offset = draw(st.integers(0, 3))
    count = (
        offset + 1 + sum(max(size - 1, 0) * step for size, step in zip(shape, strides, strict=True))
    )
    content = b"".join(number.to_bytes(8, "little")[: WIDTHS[dtype]] for number in range(count))
    ref = TensorRef(StorageRef("0", dtype, count), dtype, offset, shape, strides)
    return NamedTensor("w", ref, memoryview(content))


def _one_by_one(each: NamedTensor) -> bytes:
    """The definition: element by element, last index fastest."""
    width = item_bytes(each.ref.dtype)
    found = []
    for index in itertools.product(*map(range, each.ref.shape)):
        at = each.ref.offset + sum(
            i * step for i, step in zip(index, each.ref.strides, strict=True)
        )
        found.append(bytes(each.storage[at * width : (at + 1) * width]))
    return b"".join(found)


@given(placed())
def test_both_ways_out_of_a_storage_agree_with_the_definition(each: NamedTensor) -> None:
    expected = _one_by_one(each)
    check_gathering([each])
    assert bytes(row_major(each)) == expected
    info = TensorInfo("w", each.ref.dtype, each.ref.shape, 0, len(expected))
    record = tensor_record(info, blake3(expected).digest())
    assert digest_tensors([each]) == tensor_set_digest([record])


def _torch_files() -> dict[str, object]:
    """What trainers save, and what they could save, made by torch itself."""
    torch = pytest.importorskip("torch")
    base = torch.arange(48, dtype=torch.float32).reshape(4, 6, 2) / 7
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    dtypes = {
        str(dtype): torch.arange(6).reshape(2, 3).to(dtype)
        for dtype in (
            torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32,
            torch.int16, torch.int8, torch.uint8, torch.bool, torch.uint16, torch.uint32,
            torch.uint64, torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz,
            torch.float8_e5m2fnuz, torch.float8_e8m0fnu,
        )
    }  # fmt: skip
    strided = {
        "transposed": base.transpose(0, 2),
        "permuted": base.permute(1, 2, 0),
        "sliced": base[1:3, ::2, :1],
        "row": base[2, 3],
        "expanded": base[:, :1].expand(4, 6, 2),
        "shared": base,
        "scalar": torch.tensor(16.0),
        "element": base[1, 1, 1],
        "empty": torch.empty(0, 4),
        "empty of a storage": base[:0],
        "one": torch.ones(1, 1, 1).transpose(0, 2),
        "convolution": torch.rand(4, 3, 2, 2).to(memory_format=torch.channels_last),
        "special": torch.tensor([float("nan"), float("inf"), -0.0, 1e-45]),
    }
    return {
        "dtypes": dtypes,
        "strided": strided,
        "ordered": OrderedDict(a=base, b=base.half()),
        "state_dict": module.state_dict(),
        "parameters": {"p": torch.nn.Parameter(base.clone()), "q": torch.nn.Parameter(base[0])},
        "wrapped": {"state_dict": module.state_dict(), "epoch": 3, "global_step": 900},
        "names": {f"lora_unet_{n}.lora_down.weight": base[n % 4] for n in range(300)},
    }


_FORMS = {
    "zip-2": {},
    "zip-3": {"pickle_protocol": 3},
    "zip-4": {"pickle_protocol": 4},
    "zip-5": {"pickle_protocol": 5},
    "legacy": {"_use_new_zipfile_serialization": False},
}


@pytest.mark.parametrize("form", _FORMS)
@pytest.mark.parametrize(
    "kind", ["dtypes", "strided", "ordered", "state_dict", "parameters", "wrapped", "names"]
)
def test_files_by_torch_come_out_bit_for_bit(kind: str, form: str) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("picklescan")
    content, stream, usual = _torch_files()[kind], io.BytesIO(), io.BytesIO()
    torch.save(content, stream, **_FORMS[form])
    torch.save(content, usual)
    usual.seek(0)
    # The oracle, on a file that this test has just written; it reads protocol 2 only.
    loaded = torch.load(usual, weights_only=True)
    expected = loaded["state_dict"] if kind == "wrapped" else loaded
    found = tensors_in(converted(stream.getvalue()))
    assert set(found) == set(expected)
    for name, value in expected.items():
        dtype, shape, data = found[name]
        flat = value.detach().contiguous().reshape(-1)
        assert shape == tuple(value.shape)
        assert item_bytes(dtype) == value.element_size()
        assert data == bytes(flat.view(torch.uint8).numpy())


def test_dtypes_are_named_as_the_official_reader_names_them() -> None:
    torch = pytest.importorskip("torch")
    reader = pytest.importorskip("safetensors.torch")
    stream = io.BytesIO()
    files = _torch_files()["dtypes"]
    assert isinstance(files, dict)
    del files["torch.float8_e8m0fnu"]  # in the format, and not yet in that reader of it
    torch.save(files, stream)
    for name, value in reader.load(converted(stream.getvalue())).items():
        assert value.dtype == files[name].dtype
        assert value.view(torch.uint8).equal(files[name].view(torch.uint8))


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda torch: torch.nn.Linear(2, 2), Reason.SYMBOL),
        (lambda torch: [torch.ones(2)], Reason.NOT_WEIGHTS),
        (lambda torch: torch.ones(2), Reason.NOT_WEIGHTS),
        (lambda torch: {"w": torch.ones(2), "alpha": 4.0}, Reason.NOT_WEIGHTS),
        (lambda torch: {"w": torch.ones(2, dtype=torch.complex64)}, Reason.SYMBOL),
        (lambda torch: {"w": torch.ones(2, 2).to_sparse()}, Reason.SYMBOL),
        (lambda torch: {"w": torch.empty(2, device="meta")}, Reason.SYMBOL),
        (
            lambda torch: torch.optim.Adam([torch.nn.Parameter(torch.ones(2))]).state_dict(),
            Reason.NOT_WEIGHTS,
        ),
        (
            lambda torch: {"string_to_token": {"*": 265}, "string_to_param": {"*": torch.ones(2)}},
            Reason.NOT_WEIGHTS,
        ),
    ],
)
def test_other_things_that_torch_saves_are_refused(make, reason) -> None:
    torch = pytest.importorskip("torch")
    stream = io.BytesIO()
    torch.save(make(torch), stream)
    with pytest.raises(PickleRefusedError) as caught:
        read_torch_file(memoryview(stream.getvalue()))
    assert caught.value.reason is reason


def test_a_program_of_torchscript_is_refused_as_one() -> None:
    torch = pytest.importorskip("torch")
    stream = io.BytesIO()
    with pytest.warns(DeprecationWarning, match="jit"):
        torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(1, 2)), stream)
    with pytest.raises(PickleRefusedError) as caught:
        read_torch_file(memoryview(stream.getvalue()))
    assert "TorchScript" in str(caught.value) or caught.value.reason is Reason.CONTAINER
