"""Copies between memory orders, and fills."""

from __future__ import annotations

from minigraph.backend import Slot
from minigraph.backends.llvm.call import Call
from minigraph.backends.llvm.kernels.pointwise import pointwise_calls
from minigraph.backends.llvm.kernels.transposition import Interleave, TransposedCopy
from minigraph.backends.llvm.language.code import KernelCode
from minigraph.ir.spec import DType
from minigraph.iteration import Space, broadcast_strides, collapse
from minigraph.lowering.elementwise import single
from minigraph.ops.elementwise import Cast
from minigraph.places import Place, repeated_number

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


def fill_calls(target: Slot, number: float) -> list[Call]:
    """Fill a tensor. The number is read from memory: one kernel writes all numbers."""
    return copy_calls(repeated_number(number, target.spec.dtype), target)


def _is_transposition(space: Space) -> bool:
    """Both are adjacent along an axis of their own."""
    source, target = space.strides
    return target[-1] == 1 and source[-1] not in (0, 1) and 1 in source


def _transposition(space: Space, source: Place, target: Place) -> Call:
    row = space.strides[0].index(1)
    outer = [axis for axis in range(len(space.sizes) - 1) if axis != row]
    rows, columns = space.sizes[row], space.sizes[-1]
    column_step, row_step = space.strides[0][-1], space.strides[1][row]
    dtype = DType.UINT8 if source.spec.dtype is DType.BOOL else source.spec.dtype
    images = [space.sizes[axis] for axis in outer] or [1]
    by_image, to_image = ([steps[axis] for axis in outer] or [0] for steps in space.strides)
    code: KernelCode
    if len(images) == 1 and columns in _FEW and row_step == columns:
        code = Interleave(dtype, columns, apart=False)
        sizes = [*images, rows, *by_image, column_step, *to_image]
    elif len(images) == 1 and rows in _FEW and column_step == rows:
        code = Interleave(dtype, rows, apart=True)
        sizes = [*images, columns, *to_image, row_step, *by_image]
    else:
        code = TransposedCopy(dtype, len(images))
        sizes = [*images, rows, columns, *by_image, column_step, *to_image, row_step]
    return Call(code, (source,), (target,), tuple(sizes))
