"""Values known when the graph is built: arrays by content hash, and uniform fills by value."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from minigraph.ir.errors import SpecError
from minigraph.ir.op import Cost, Cotangents, Op, Tensors
from minigraph.ir.spec import DType, TensorSpec


def content_hash(array: np.ndarray) -> str:
    """A short name for an array's dtype, shape and bytes."""
    digest = hashlib.sha256(f"{array.dtype}{array.shape}".encode())
    digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]


@dataclass(frozen=True)
class Constant(Op):
    """An array kept in ``Graph.constants`` under its content hash."""

    digest: str
    spec: TensorSpec

    absolute_attributes = ("spec",)

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
        if kind is int and int(self.value) != self.value:
            raise SpecError(f"Expected an integer to fill {self.dtype} with, got {self.value}")
        object.__setattr__(self, "value", kind(self.value))

    @property
    def absolute_attributes(self) -> tuple[str, ...]:
        return ("shape",) if self.shape else ()

    def infer(self, *inputs: TensorSpec) -> tuple[TensorSpec, ...]:
        return (TensorSpec(self.shape, self.dtype),)

    def vjp(self, inputs: Tensors, outputs: Tensors, grads: Cotangents) -> Cotangents:
        return ()

    def cost(self, *inputs: TensorSpec) -> Cost:
        return Cost(0, 0, 0)
