"""Types of values in kernels, and how elements of memory become values."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import llvmlite.ir as ir

from minigraph.ir.spec import DType


@dataclass(frozen=True, slots=True)
class Type:
    """Numbers of one kind and width; more than one lane makes a vector."""

    kind: str  # "float", "signed", "unsigned" or "bool"
    bits: int
    lanes: int = 1

    @property
    def is_float(self) -> bool:
        return self.kind == "float"

    def with_lanes(self, lanes: int) -> Type:
        return replace(self, lanes=lanes)

    def constant(self, number: Any) -> ir.Constant:
        """A number in every lane."""
        scalar = float(number) if self.is_float else int(number)
        return ir.Constant(self.ir, scalar if self.lanes == 1 else [scalar] * self.lanes)

    @property
    def ir(self) -> ir.Type:
        """As llvmlite has it."""
        scalar: ir.Type
        if self.is_float:
            scalar = ir.FloatType() if self.bits == 32 else ir.DoubleType()
        else:
            scalar = ir.IntType(self.bits)
        return scalar if self.lanes == 1 else ir.VectorType(scalar, self.lanes)

    @property
    def suffix(self) -> str:
        """As it ends the names of LLVM's intrinsics: "f32", "v16f32", "v8i64"."""
        scalar = f"{'f' if self.is_float else 'i'}{self.bits}"
        return scalar if self.lanes == 1 else f"v{self.lanes}{scalar}"


FLOAT32 = Type("float", 32)
FLOAT64 = Type("float", 64)
INT32 = Type("signed", 32)
INT64 = Type("signed", 64)
UINT32 = Type("unsigned", 32)
UINT64 = Type("unsigned", 64)
BOOL = Type("bool", 1)
INDEX = INT64
"""Sizes, positions and distances."""

_VALUES = {
    DType.BOOL: BOOL,
    DType.UINT8: Type("unsigned", 8),
    DType.INT32: INT32,
    DType.INT64: INT64,
    DType.FLOAT16: FLOAT32,  # computed with in float32, rounded when stored
    DType.BFLOAT16: FLOAT32,
    DType.FLOAT32: FLOAT32,
    DType.FLOAT64: FLOAT64,
}


def value_type(dtype: DType, lanes: int = 1) -> Type:
    """The type that an element of memory is computed with."""
    return _VALUES[dtype].with_lanes(lanes)


def memory_type(dtype: DType, lanes: int = 1) -> ir.Type:
    """The type that an element has in memory, as llvmlite has it."""
    scalar: ir.Type
    if dtype is DType.FLOAT16:
        scalar = ir.HalfType()
    elif dtype is DType.BFLOAT16:
        scalar = ir.IntType(16)
    elif dtype is DType.BOOL:
        scalar = ir.IntType(8)
    else:
        scalar = _VALUES[dtype].ir
    return scalar if lanes == 1 else ir.VectorType(scalar, lanes)
