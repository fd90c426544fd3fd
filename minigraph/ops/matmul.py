"""Matrix multiplication, batched as NumPy's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from minigraph.ir.errors import SpecError
from minigraph.ir.op import Cost, Cotangents, Op, Tensors, memory_cost
from minigraph.ir.spec import TensorSpec, broadcast_shapes
from minigraph.ir.tensor import Tensor
from minigraph.ops.broadcast import sum_to
from minigraph.ops.elementwise import operands


@dataclass(frozen=True)
class MatMul(Op):
    """``a @ b`` over the last two axes; each may be read transposed without being moved."""

    transpose_a: bool = False
    transpose_b: bool = False

    def infer(self, a: TensorSpec, b: TensorSpec) -> tuple[TensorSpec, ...]:
        for spec in (a, b):
            if spec.ndim < 2:
                raise SpecError(f"Expected at least 2 axes for a matrix, got {spec}")
            if not spec.dtype.is_floating:
                raise SpecError(f"Expected a floating dtype, got {spec}: use mg.cast first")
        if a.dtype is not b.dtype:
            raise SpecError(f"Expected one dtype, got {a.dtype} and {b.dtype}")
        rows, inner_a = _matrix(a, self.transpose_a)
        inner_b, columns = _matrix(b, self.transpose_b)
        if inner_a != inner_b:
            raise SpecError(
                f"Expected inner sizes that agree, got {inner_a} of {list(a.shape)}"
                f"{' transposed' if self.transpose_a else ''} and {inner_b} of {list(b.shape)}"
                f"{' transposed' if self.transpose_b else ''}"
            )
        batch = broadcast_shapes(a.shape[:-2], b.shape[:-2])
        return (a.with_shape((*batch, rows, columns)),)

    def vjp(self, inputs: Tensors, outputs: Tensors, grads: Cotangents) -> Cotangents:
        # Y = A B:  gA = gY B^T,  gB = A^T gY; where A was read transposed, gA is transposed too.
        (a, b), (g,) = inputs, grads
        if self.transpose_a:
            ga = _emit(b, g, self.transpose_b, True)
        else:
            ga = _emit(g, b, False, not self.transpose_b)
        if self.transpose_b:
            gb = _emit(g, a, True, self.transpose_a)
        else:
            gb = _emit(a, g, not self.transpose_a, False)
        return sum_to(ga, a.shape), sum_to(gb, b.shape)

    def cost(self, a: TensorSpec, b: TensorSpec) -> Cost:
        (y,) = self.infer(a, b)
        return memory_cost(2 * y.size * _matrix(a, self.transpose_a)[1], (a, b), (y,))


def _matrix(spec: TensorSpec, transposed: bool) -> tuple[int, int]:
    rows, columns = spec.shape[-2:]
    return (columns, rows) if transposed else (rows, columns)


def _emit(a: Tensor, b: Tensor, transpose_a: bool, transpose_b: bool) -> Tensor:
    return a.builder.emit(MatMul(transpose_a, transpose_b), a, b)[0]


def matmul(a: Any, b: Any) -> Tensor:
    """``a @ b`` over the last two axes, with broadcasting over the leading ones."""
    a, b = operands(a, b)
    return _emit(a, b, False, False)
