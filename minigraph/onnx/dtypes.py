"""ONNX's element types and ours."""

from __future__ import annotations

from minigraph.ir.errors import UnsupportedError
from minigraph.ir.spec import DType

_CODES = {
    1: DType.FLOAT32, 2: DType.UINT8, 6: DType.INT32, 7: DType.INT64, 9: DType.BOOL,
    10: DType.FLOAT16, 11: DType.FLOAT64, 16: DType.BFLOAT16,
}  # fmt: skip
"""TensorProto.DataType's numbers, which never change. Other types are not supported."""

_OTHERS = {
    3: "int8", 4: "uint16", 5: "int16", 8: "string", 12: "uint32", 13: "uint64", 14: "complex64",
    15: "complex128", 17: "float8e4m3fn", 18: "float8e4m3fnuz", 19: "float8e5m2",
    20: "float8e5m2fnuz", 21: "uint4", 22: "int4", 23: "float4e2m1", 24: "float8e8m0", 25: "uint2",
    26: "int2",
}  # fmt: skip


def dtype_of(code: int) -> DType:
    """Our dtype of an ONNX type's number. Raises UnsupportedError for one that we lack."""
    if code not in _CODES:
        known = ", ".join(dtype.value for dtype in DType)
        raise UnsupportedError(
            f"Expected a dtype of {known}, got {_OTHERS.get(code, f'type {code}')}"
        )
    return _CODES[code]


def code_of(dtype: DType) -> int:
    """ONNX's number of one of our dtypes."""
    return next(code for code, known in _CODES.items() if known is dtype)
