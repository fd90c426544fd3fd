"""Elementwise ops of any shape: a body of instructions run once for every element.

The body's operands are broadcast to the shape of its results. What is left after joining axes
(``iteration.py``) is at most a few loops around vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from minigraph.backends.llvm.call import Call
from minigraph.backends.llvm.kernels.instructions import evaluate
from minigraph.backends.llvm.kernels.iteration import decode, product
from minigraph.backends.llvm.kernels.vectors import load_vector, store_vector
from minigraph.backends.llvm.language.code import KernelCode
from minigraph.backends.llvm.language.kernel import Kernel
from minigraph.backends.llvm.language.value import Value
from minigraph.backends.llvm.language.view import View
from minigraph.ir.spec import DType
from minigraph.iteration import broadcast_strides, collapse
from minigraph.lowering.elementwise import STRIDED, movement_of
from minigraph.ops.fused import Body
from minigraph.places import Place

_PIECES = 16  # parts that the last axis but one is cut into, for threads to share
_UNROLLED = 4  # vectors a piece of a flat array has at least


@dataclass(frozen=True)
class Pointwise(KernelCode):
    """``results = body(operands)`` over a space of collapsed axes.

    Arguments: pointers to operands and results; sizes of the axes; then, operand by operand, the
    stride of every axis along which it is STRIDED.
    """

    body: Body
    dtypes: tuple[DType, ...]  # of operands, then of results
    movement: tuple[str, ...]  # one letter an axis, for each of them

    @property
    def pointers(self) -> int:
        return len(self.dtypes)

    @property
    def axes(self) -> int:
        return len(self.movement[0])

    @property
    def sizes(self) -> int:
        return self.axes + sum(moves.count(STRIDED) for moves in self.movement)

    def emit(self, k: Kernel) -> None:
        views = self._views(k)
        lanes = min(k.lanes(dtype) for dtype in self.dtypes)
        if self.axes == 1:
            self._emit_flat(k, views, lanes)
        elif self.axes == 2:
            with k.parallel(k.sizes[0]) as row:
                self._row(k, [view.at(row) for view in views], k.sizes[1], lanes)
        else:
            self._emit_pieces(k, views, lanes)

    def _emit_flat(self, k: Kernel, views: Sequence[View], lanes: int) -> None:
        """One axis: runs of whole vectors."""
        size, step = k.sizes[0], lanes * _UNROLLED
        start, stop = k.share((size + (step - 1)) // step)
        first, last = start * step, k.minimum(stop * step, size)
        with k.when(first < last):
            self._row(k, [view.at(first) for view in views], last - first, lanes)

    def _emit_pieces(self, k: Kernel, views: Sequence[View], lanes: int) -> None:
        """Three axes or more: the last but one is cut into pieces, so that there are enough."""
        *outer, rows, length = k.sizes[: self.axes]
        with k.parallel(product(outer) * _PIECES) as item:
            indices, piece = decode(item // _PIECES, outer), item % _PIECES
            with k.loop(rows * piece // _PIECES, rows * (piece + 1) // _PIECES) as row:
                self._row(k, [view.at(*indices, row) for view in views], length, lanes)

    def _views(self, k: Kernel) -> list[View]:
        strides = iter(k.sizes[self.axes :])
        views = []
        for pointer, dtype, moves in zip(k.pointers, self.dtypes, self.movement, strict=True):
            known: list[Any] = [next(strides) if m == STRIDED else int(m) for m in moves]
            views.append(k.view(pointer, dtype, *known))
        return views

    def _row(self, k: Kernel, views: Sequence[View], length: Value, lanes: int) -> None:
        """All elements along the innermost axis; the views stand at its first one."""
        lines = [view.strided(view.strides[-1]) for view in views]
        operands, results = lines[: self.body.inputs], lines[self.body.inputs :]

        def body(i: Value, mask: Value | None) -> None:
            values = [load_vector(line, i, lanes, mask) for line in operands]
            for line, value in zip(results, evaluate(k, self.body, values), strict=True):
                store_vector(line, i, value.spread(lanes), mask)

        k.vectors(length, lanes, body)


def pointwise_calls(body: Body, operands: Sequence[Place], results: Sequence[Place]) -> list[Call]:
    """The call of a body on operands that broadcast to the shape of the results."""
    shape = results[0].spec.shape
    if 0 in shape:
        return []
    places = (*operands, *results)
    space = collapse(shape, [broadcast_strides(place, shape) for place in places])
    movement, strides = movement_of(space)
    code = Pointwise(body, tuple(place.spec.dtype for place in places), movement)
    return [Call(code, tuple(operands), tuple(results), (*space.sizes, *strides))]
