"""The few names that a pickle of tensors needs. Anything else in it is refused at its first mention."""

from __future__ import annotations

from registry.conversion.values import Symbol

ORDERED_DICT = Symbol("collections", "OrderedDict")
REBUILD_TENSOR = Symbol("torch._utils", "_rebuild_tensor_v2")
REBUILD_TYPED_TENSOR = Symbol("torch._utils", "_rebuild_tensor_v3")
REBUILD_PARAMETER = Symbol("torch._utils", "_rebuild_parameter")
UNTYPED_STORAGE = Symbol("torch.storage", "UntypedStorage")

# Class of a storage -> dtype in the spelling of safetensors. Quantised and complex ones are left out.
STORAGE_DTYPES: dict[Symbol, str] = {
    Symbol("torch", f"{name}Storage"): dtype
    for name, dtype in (
        ("Double", "F64"),
        ("Float", "F32"),
        ("Half", "F16"),
        ("BFloat16", "BF16"),
        ("Long", "I64"),
        ("Int", "I32"),
        ("Short", "I16"),
        ("Char", "I8"),
        ("Byte", "U8"),
        ("Bool", "BOOL"),
    )
}
# dtypes without a storage class of their own: an untyped storage and `_rebuild_tensor_v3`.
TENSOR_DTYPES: dict[Symbol, str] = {
    Symbol("torch", name): dtype
    for name, dtype in (
        ("uint16", "U16"),
        ("uint32", "U32"),
        ("uint64", "U64"),
        ("float8_e4m3fn", "F8_E4M3"),
        ("float8_e5m2", "F8_E5M2"),
        ("float8_e4m3fnuz", "F8_E4M3FNUZ"),
        ("float8_e5m2fnuz", "F8_E5M2FNUZ"),
        ("float8_e8m0fnu", "F8_E8M0"),
    )
}
ALLOWED: frozenset[Symbol] = frozenset(
    (
        ORDERED_DICT,
        REBUILD_TENSOR,
        REBUILD_TYPED_TENSOR,
        REBUILD_PARAMETER,
        UNTYPED_STORAGE,
        *STORAGE_DTYPES,
        *TENSOR_DTYPES,
    )
)
