"""Values known when the graph is built: arrays by content hash, and uniform fills by value."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from minigraph.ir.errors import SpecError
from minigraph.ir.op import Cost, Cotangents, Footprints, Op, Tensors
from minigraph.ir.spec import DType, TensorSpec


def content_hash(array: np.ndarray) -> str:
    """A short name for an array's dtype, shape and bytes."""
    digest = hashlib.sha256(f"{array.dtype}{array.shape}".encode())
    digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]


def check_holds(dtype: DType, value: bool | int | float) -> None:
    """Raises SpecError where an integer dtype cannot hold the value."""
    if not dtype.is_integer:
        return
    limits = np.iinfo(dtype.numpy)
    if not (limits.min <= value <= limits.max and int(value) == value):
        raise SpecError(
            f"Expected an integer in [{limits.min}, {limits.max}] for {dtype}, got {value}"
        )


@dataclass(frozen=True)
class Constant(Op):
    """An array kept in ``Graph.constants`` under its content hash."""

    digest: str
    spec: TensorSpec

    absolute_attributes = ("spec",)

    def __post_init__(self) -> None:
        if not isinstance(self.spec, TensorSpec):
            raise SpecError(f"Expected a spec such as float32[2,3], got {self.spec!r}")

    def infer(self, *inputs: TensorSpec) -> tuple[TensorSpec, ...]:
        return (self.spec,)

    def vjp(self, inputs: Tensors, outputs: Tensors, grads: Cotangents) -> Cotangents:
        return ()

    def cost(self, *inputs: TensorSpec) -> Cost:
        return Cost(0, 0, 0)


@dataclass(frozen=True)
class Full(Op):
    """A tensor of one value. Scalars are ``Full(shape=())``."""

    value: bool | int | float
    shape: tuple[int, ...] = ()
    dtype: DType = DType.FLOAT32

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(int(size) for size in self.shape))
        object.__setattr__(self, "dtype", DType.of(self.dtype))
        kind = bool if self.dtype is DType.BOOL else int if self.dtype.is_integer else float
        check_holds(self.dtype, self.value)
        object.__setattr__(self, "value", kind(self.value))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Full) and self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._identity)

    @property
    def _identity(self) -> tuple[str, tuple[int, ...], DType]:
        # Python takes 0.0 for -0.0, and 1 / x does not; and nan for unlike itself.
        return (repr(self.value), self.shape, self.dtype)

    @property
    def absolute_attributes(self) -> tuple[str, ...]:
        return ("shape",) if self.shape else ()

    def infer(self, *inputs: TensorSpec) -> tuple[TensorSpec, ...]:
        return (TensorSpec(self.shape, self.dtype),)

    def vjp(self, inputs: Tensors, outputs: Tensors, grads: Cotangents) -> Cotangents:
        return ()

    def footprints(self, axis: int) -> Footprints:
        return ()

    def cost(self, *inputs: TensorSpec) -> Cost:
        return Cost(0, 0, 0)
