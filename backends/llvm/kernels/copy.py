"""Copies between memory orders."""

from __future__ import annotations

from minigraph.backend import Strides
from minigraph.backends.llvm.call import Call, Place
from minigraph.backends.llvm.kernels.iteration import Space, broadcast_strides, collapse
from minigraph.backends.llvm.kernels.pointwise import pointwise_calls, single
from minigraph.backends.llvm.kernels.transposition import Interleave, TransposedCopy
from minigraph.ir.spec import DType
from minigraph.ops.elementwise import Cast

_FEW = range(2, 5)  # channels that a few shuffles mix


def copy_calls(source: Place, target: Place) -> list[Call]:
    """Copy a tensor element by element; shapes are equal (or broadcast), strides may differ."""
    if 0 in target.spec.shape:
        return []
    if source.spec.dtype is target.spec.dtype:
        space = collapse(
            target.spec.shape, [broadcast_strides(source, target.spec.shape), target.strides]
        )
        if _is_transposition(space):
            return [_transposition(space, source, target)]
    return pointwise_calls(single(Cast(target.spec.dtype), 1), (source,), (target,))


def _is_transposition(space: Space) -> bool:
    """Both are adjacent along an axis of their own."""
    source, target = space.strides
    return target[-1] == 1 and source[-1] not in (0, 1) and 1 in source


def _transposition(space: Space, source: Place, target: Place) -> Call:
    row = space.strides[0].index(1)
    outer = [axis for axis in range(len(space.sizes) - 1) if axis != row]
    sizes = [space.sizes[axis] for axis in outer]
    rows, columns = space.sizes[row], space.sizes[-1]
    by_outer: list[Strides] = [tuple(steps[axis] for axis in outer) for steps in space.strides]
    column_step, row_step = space.strides[0][-1], space.strides[1][row]
    dtype = DType.UINT8 if source.spec.dtype is DType.BOOL else source.spec.dtype
    if len(outer) <= 1:
        images = sizes or [1]
        source_image, target_image = (steps[0] if steps else 0 for steps in by_outer)
        if columns in _FEW and row_step == columns:
            strides = (source_image, column_step, target_image)
            few = Interleave(dtype, columns, apart=False)
            return Call(few, (source,), (target,), (*images, rows, *strides))
        if rows in _FEW and column_step == rows:
            strides = (target_image, row_step, source_image)
            few = Interleave(dtype, rows, apart=True)
            return Call(few, (source,), (target,), (*images, columns, *strides))
    strides = (*by_outer[0], column_step, *by_outer[1], row_step)
    many = TransposedCopy(dtype, len(outer))
    return Call(many, (source,), (target,), (*sizes, rows, columns, *strides))
