"""A matrix product by its specs, and what each way of computing it offers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from minigraph.backend import Algorithm
from minigraph.backends.llvm.call import Binding, Call, Context
from minigraph.ir.spec import DType, TensorSpec
from minigraph.lowering.epilogue import anchor_of, anchor_operands
from minigraph.ops.matmul import MatMul


@dataclass(frozen=True)
class Problem:
    """``batch`` products (or one) of (rows, depth) by (depth, columns)."""

    op: MatMul  # the anchor
    a: TensorSpec  # as it is read: (..., rows, depth)
    b: TensorSpec  # (..., depth, columns)
    y: TensorSpec

    @staticmethod
    def of(op: MatMul, a: TensorSpec, b: TensorSpec) -> Problem:
        (y,) = op.infer(a, b)
        if op.transpose_a:
            a = a.with_shape((*a.shape[:-2], a.shape[-1], a.shape[-2]))
        if op.transpose_b:
            b = b.with_shape((*b.shape[:-2], b.shape[-1], b.shape[-2]))
        return Problem(op, a, b, y)

    @staticmethod
    def of_node(op: Any, inputs: Sequence[TensorSpec]) -> Problem:
        """The product of a node, fused or not."""
        return Problem.of(anchor_of(op), *anchor_operands(op, inputs))

    @property
    def dtype(self) -> DType:
        return self.a.dtype

    @property
    def rows(self) -> int:
        return self.y.shape[-2]

    @property
    def columns(self) -> int:
        return self.y.shape[-1]

    @property
    def depth(self) -> int:
        return self.a.shape[-1]

    @property
    def is_single(self) -> bool:
        """Whether it is one product of two matrices with something in them."""
        return self.a.ndim == self.b.ndim == 2 and self.a.size > 0 and self.b.size > 0

    @property
    def b_matrices(self) -> int:
        return math.prod(self.b.shape[:-2])

    @property
    def joins_batch(self) -> bool:
        """Whether all of ``a`` is one matrix of more rows: there is one ``b`` for the batch."""
        return self.b_matrices == 1 and self.a.shape[:-1] == self.y.shape[:-1]


@dataclass(frozen=True)
class Method:
    """One way to run a product, with or without an epilogue."""

    name: str
    algorithm: Callable[[Any, tuple[TensorSpec, ...], Context], Algorithm | None]
    """Of the node's op and inputs: what it needs and takes, or None where it cannot."""
    calls: Callable[[Binding], Sequence[Call]]
