"""What a value is: its shape and dtype, and how dtypes combine."""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass
from enum import Enum

import ml_dtypes
import numpy as np

from minigraph.ir.errors import SpecError


class DType(Enum):
    """Element types. The member's value is its name, as printed and parsed."""

    BOOL = "bool"
    UINT8 = "uint8"
    INT32 = "int32"
    INT64 = "int64"
    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"
    FLOAT32 = "float32"
    FLOAT64 = "float64"

    numpy: np.dtype
    """The NumPy dtype (bfloat16 comes from ml_dtypes)."""

    def __init__(self, name: str) -> None:
        self.numpy = np.dtype(ml_dtypes.bfloat16 if name == "bfloat16" else name)

    @property
    def itemsize(self) -> int:
        return self.numpy.itemsize

    @property
    def is_floating(self) -> bool:
        return self in _FLOATING

    @property
    def is_integer(self) -> bool:
        """True for uint8, int32 and int64; bool is not an integer type."""
        return self in _INTEGER

    @property
    def accumulator(self) -> DType:
        """The dtype that sums are kept in: 16-bit floats accumulate in float32."""
        return DType.FLOAT32 if self in (DType.FLOAT16, DType.BFLOAT16) else self

    @classmethod
    def of(cls, dtype: DTypeLike) -> DType:
        """Normalise a DType, its name, or a NumPy dtype. Raises SpecError."""
        if isinstance(dtype, DType):
            return dtype
        name = dtype if isinstance(dtype, str) else np.dtype(dtype).name
        try:
            return cls(name)
        except ValueError:
            known = ", ".join(d.value for d in cls)
            raise SpecError(f"Expected a dtype of {known}, got {name}") from None

    def __str__(self) -> str:
        return self.value

    def __repr__(self) -> str:
        return f"DType.{self.name}"


DTypeLike = DType | str | np.dtype | type

_FLOATING = frozenset({DType.FLOAT16, DType.BFLOAT16, DType.FLOAT32, DType.FLOAT64})
_INTEGER = frozenset({DType.UINT8, DType.INT32, DType.INT64})


def _promotion_table() -> dict[tuple[DType, DType], DType]:
    """JAX's lattice, restricted to our types: the least upper bound of two dtypes.

    bool < uint8 < int32 < int64 < {float16, bfloat16} < float32 < float64. The two 16-bit floats
    do not order, so together they give float32. An integer never widens a float.
    """
    chain = [DType.BOOL, DType.UINT8, DType.INT32, DType.INT64]
    table: dict[tuple[DType, DType], DType] = {}
    for ladder in (
        [*chain, DType.FLOAT16, DType.FLOAT32, DType.FLOAT64],
        [*chain, DType.BFLOAT16, DType.FLOAT32, DType.FLOAT64],
    ):
        for i, low in enumerate(ladder):
            for high in ladder[i:]:
                table[low, high] = table[high, low] = high
    table[DType.FLOAT16, DType.BFLOAT16] = DType.FLOAT32
    table[DType.BFLOAT16, DType.FLOAT16] = DType.FLOAT32
    return table


_PROMOTION = _promotion_table()


def promote(a: DTypeLike, b: DTypeLike) -> DType:
    """The dtype that two dtypes combine to, e.g. ``promote("int32", "float16") is FLOAT16``."""
    return _PROMOTION[DType.of(a), DType.of(b)]


def scalar_dtype(scalar: bool | int | float, beside: DType) -> DType:
    """The dtype of a Python scalar beside a tensor: scalars are weak and widen only the kind.

    A float beside an integer tensor gives float32, an int beside a bool tensor int32; in every
    other case the tensor's dtype wins.
    """
    if isinstance(scalar, bool):
        return beside
    if isinstance(scalar, int):
        return DType.INT32 if beside is DType.BOOL else beside
    return beside if beside.is_floating else DType.FLOAT32


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Shape and dtype of a value. Images are logically ``N,C,H,W``, whatever the memory order."""

    shape: tuple[int, ...]
    dtype: DType = DType.FLOAT32

    def __post_init__(self) -> None:
        object.__setattr__(self, "dtype", DType.of(self.dtype))
        try:
            shape = tuple(map(operator.index, self.shape))
        except TypeError:
            raise SpecError(f"Expected whole sizes, got shape {self.shape}") from None
        if min(shape, default=0) < 0:
            raise SpecError(f"Expected sizes of zero or more, got shape {list(shape)}")
        object.__setattr__(self, "shape", shape)

    @classmethod
    def of(cls, spec: SpecLike) -> TensorSpec:
        """Normalise a TensorSpec, ``"float32[8,3,64,64]"``, or a ``(shape, dtype)`` pair."""
        if isinstance(spec, TensorSpec):
            return spec
        if isinstance(spec, str):
            return cls.parse(spec)
        if isinstance(spec, tuple) and len(spec) == 2 and isinstance(spec[0], (tuple, list)):
            return cls(tuple(spec[0]), DType.of(spec[1]))
        raise SpecError(
            f"Expected a spec such as 'float32[8,3,64,64]' or ((8, 3, 64, 64), 'float32'), "
            f"got {spec!r}"
        )

    @classmethod
    def parse(cls, text: str) -> TensorSpec:
        """Read the form that ``str(spec)`` prints: ``"float32[8,3,64,64]"``."""
        name, bracket, rest = text.strip().partition("[")
        sizes, closing, tail = rest.partition("]")
        parts = [part.strip() for part in sizes.split(",")] if sizes.strip() else []
        if not bracket or not closing or tail or not all(map(_is_size, parts)):
            raise SpecError(f"Expected a spec such as 'float32[8,3,64,64]', got {text!r}")
        return cls(tuple(int(part) for part in parts), DType.of(name))

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    def with_shape(self, shape: tuple[int, ...]) -> TensorSpec:
        return TensorSpec(shape, self.dtype)

    def with_dtype(self, dtype: DTypeLike) -> TensorSpec:
        return TensorSpec(self.shape, DType.of(dtype))

    def __str__(self) -> str:
        return f"{self.dtype}[{','.join(map(str, self.shape))}]"


SpecLike = TensorSpec | str | tuple


def _is_size(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 20


def broadcast_shapes(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    """NumPy's broadcasting of two shapes. Raises SpecError naming the axis that does not fit."""
    ndim = max(len(a), len(b))
    padded_a, padded_b = (1,) * (ndim - len(a)) + a, (1,) * (ndim - len(b)) + b
    result = []
    for axis, (size_a, size_b) in enumerate(zip(padded_a, padded_b, strict=True)):
        if size_a != size_b and 1 not in (size_a, size_b):
            raise SpecError(
                f"Expected shapes that broadcast, got {list(a)} and {list(b)} "
                f"(axis {axis - ndim}: {size_a} against {size_b})"
            )
        result.append(size_b if size_a == 1 else size_a)
    return tuple(result)
