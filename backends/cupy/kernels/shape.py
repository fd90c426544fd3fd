"""Ops that move elements: copies from and to parts of tensors, seen by their strides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Any

from minigraph.backend import Slot
from minigraph.backends.cupy.call import Binding, Call, Context, Lowering, simple
from minigraph.backends.cupy.kernels.copy import copy_calls
from minigraph.backends.cupy.kernels.fill import fill_calls
from minigraph.ir.spec import TensorSpec
from minigraph.iteration import row_major_strides
from minigraph.ops import broadcast, shape
from minigraph.places import along, common_axes, part, region, split_axes

# ---- other shapes


def _reshape_workspace(op: Any, inputs: tuple[TensorSpec, ...], context: Context) -> int:
    (x,), (y,) = inputs, op.infer(*inputs)
    return 0 if x.size == 0 or common_axes(x.shape, y.shape) is not None else x.nbytes


def _reshape(binding: Binding) -> list[Call]:
    """Elements keep their order, row by row of the logical shape."""
    (x,), y = binding.inputs, binding.output
    if x.spec.size == 0:
        return []
    sizes = common_axes(x.spec.shape, y.spec.shape)
    if sizes is not None:
        return copy_calls(split_axes(x, sizes), split_axes(y, sizes))
    assert binding.workspace is not None
    plain = [
        part(binding.workspace, 0, s.spec.shape, s.spec.dtype, row_major_strides(s.spec.shape))
        for s in (x, y)
    ]
    return [*copy_calls(x, plain[0]), *copy_calls(plain[1], y)]


# ---- moves


def _transpose(binding: Binding) -> list[Call]:
    (x,), permutation = binding.inputs, binding.op.permutation
    strides = tuple(x.strides[axis] for axis in permutation)
    return copy_calls(replace(x, spec=binding.output.spec, strides=strides), binding.output)


def _pieces(sizes: Sequence[int]) -> list[range]:
    """Neighbouring ranges of these sizes."""
    ends = list(accumulate(sizes))
    return [range(end - size, end) for size, end in zip(sizes, ends, strict=True)]


def _concat(binding: Binding) -> list[Call]:
    y = binding.output
    axis = binding.op.axis % y.spec.ndim
    places = _pieces([x.spec.shape[axis] for x in binding.inputs])
    return [
        call
        for x, place in zip(binding.inputs, places, strict=True)
        for call in copy_calls(x, along(y, axis, place))
    ]


def _split(binding: Binding) -> list[Call]:
    (x,) = binding.inputs
    axis = binding.op.axis % x.spec.ndim
    return [
        call
        for y, place in zip(binding.outputs, _pieces(binding.op.sizes), strict=True)
        if y is not None
        for call in copy_calls(along(x, axis, place), y)
    ]


def _slice(binding: Binding) -> list[Call]:
    (x,) = binding.inputs
    return copy_calls(region(x, binding.op.ranges(x.spec)), binding.output)


def _flip(binding: Binding) -> list[Call]:
    (x,), y = binding.inputs, binding.output
    flipped = {axis % x.spec.ndim for axis in binding.op.axes}
    ranges = [range(n)[:: -1 if a in flipped else 1] for a, n in enumerate(x.spec.shape)]
    return copy_calls(region(x, ranges), y)


def _pad(binding: Binding) -> list[Call]:
    (x,), y, op = binding.inputs, binding.output, binding.op
    inner = [range(*parts) for parts in op.slices(x.spec)]
    return [*border_calls(y, inner, op.value), *copy_calls(x, region(y, inner))]


def border_calls(target: Slot, inner: Sequence[range], number: float) -> list[Call]:
    """Fill all but the elements at these positions of each axis (where they have gaps, all)."""
    if any(len(r) == 0 or r.step != 1 for r in inner):
        return fill_calls(target, number)
    calls: list[Call] = []
    rest = [range(n) for n in target.spec.shape]
    for axis, (inside, size) in enumerate(zip(inner, target.spec.shape, strict=True)):
        for outside in (range(inside.start), range(inside.stop, size)):
            slab = [*rest[:axis], outside, *rest[axis + 1 :]]
            calls += fill_calls(region(target, slab), number)
        rest[axis] = inside
    return calls


LOWERINGS: Mapping[type, Lowering] = {
    **{
        op: simple(_reshape, workspace=_reshape_workspace)
        for op in (broadcast.Reshape, shape.Flatten, shape.Squeeze, shape.ExpandDims)
    },
    shape.Transpose: simple(_transpose),
    shape.Concat: simple(_concat),
    shape.Split: simple(_split),
    shape.Slice: simple(_slice),
    shape.Pad: simple(_pad),
    shape.Flip: simple(_flip),
}
