"""Ops that move elements: copies from and to parts of tensors, seen by their strides.

Which copies an op is, is the same for all backends; how one is done is an argument (``copy``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Any

from minigraph.backend import Slot
from minigraph.ir.constant import Full
from minigraph.ir.spec import TensorSpec
from minigraph.iteration import row_major_strides
from minigraph.lowering.call import BindingT, BoundStep, CallT, ContextT, Lowering, OneAlgorithm
from minigraph.ops import broadcast, reduce, shape
from minigraph.ops.control import StopGradient
from minigraph.places import (
    Place,
    along,
    border_parts,
    common_axes,
    part,
    region,
    repeated_number,
    split_axes,
)

Copy = Callable[[Place, Place], Sequence[CallT]]
"""The calls that copy a tensor; the source is broadcast to the target's shape, strides differ."""

Copies = list[tuple[Place, Slot]]
"""Copies, one after the other: source and target."""


def move_lowerings(
    simple: OneAlgorithm[ContextT, BindingT, CallT], copy: Copy[CallT]
) -> dict[type, Lowering[ContextT, BindingT, CallT]]:
    """All ops that are copies."""

    def lowering(
        moves: Callable[[BoundStep], Copies],
        workspace: Callable[[Any, tuple[TensorSpec, ...], ContextT], int] | None = None,
    ) -> Lowering[ContextT, BindingT, CallT]:
        def calls(binding: BoundStep) -> list[CallT]:
            return [call for move in moves(binding) for call in copy(*move)]

        return simple(calls, workspace=workspace)

    reshaped = lowering(_reshape, _reshape_workspace)
    return {
        **dict.fromkeys((broadcast.Reshape, shape.Flatten, shape.Squeeze), reshaped),
        shape.ExpandDims: reshaped,
        shape.Transpose: lowering(_transpose),
        shape.Concat: lowering(_concat),
        shape.Split: lowering(_split),
        shape.Slice: lowering(_slice),
        shape.Pad: lowering(_pad),
        shape.Flip: lowering(_flip),
        broadcast.Expand: lowering(_whole),
        StopGradient: lowering(_whole),
        Full: lowering(_full),
        reduce.Count: lowering(_count),
    }


# ---- whole tensors


def _whole(binding: BoundStep) -> Copies:
    return [(binding.inputs[0], binding.output)]


def _full(binding: BoundStep) -> Copies:
    return [_filled(binding.output, binding.op.value)]


def _count(binding: BoundStep) -> Copies:
    return [_filled(binding.output, binding.op.value(binding.inputs[0].spec))]


def _filled(target: Slot, number: float) -> tuple[Place, Slot]:
    return repeated_number(number, target.spec.dtype), target


# ---- other shapes


def _reshape_workspace(op: Any, inputs: tuple[TensorSpec, ...], context: Any) -> int:
    (x,), (y,) = inputs, op.infer(*inputs)
    return 0 if x.size == 0 or common_axes(x.shape, y.shape) is not None else x.nbytes


def _reshape(binding: BoundStep) -> Copies:
    """Elements keep their order, row by row of the logical shape."""
    (x,), y = binding.inputs, binding.output
    if x.spec.size == 0:
        return []
    sizes = common_axes(x.spec.shape, y.spec.shape)
    if sizes is not None:
        return [(split_axes(x, sizes), split_axes(y, sizes))]
    assert binding.workspace is not None
    plain = [
        part(binding.workspace, 0, s.spec.shape, s.spec.dtype, row_major_strides(s.spec.shape))
        for s in (x, y)
    ]
    return [(x, plain[0]), (plain[1], y)]


# ---- parts


def _transpose(binding: BoundStep) -> Copies:
    (x,), permutation = binding.inputs, binding.op.permutation
    strides = tuple(x.strides[axis] for axis in permutation)
    return [(replace(x, spec=binding.output.spec, strides=strides), binding.output)]


def _pieces(sizes: Sequence[int]) -> list[range]:
    """Neighbouring ranges of these sizes."""
    ends = list(accumulate(sizes))
    return [range(end - size, end) for size, end in zip(sizes, ends, strict=True)]


def _concat(binding: BoundStep) -> Copies:
    y = binding.output
    axis = binding.op.axis % y.spec.ndim
    places = _pieces([x.spec.shape[axis] for x in binding.inputs])
    return [(x, along(y, axis, place)) for x, place in zip(binding.inputs, places, strict=True)]


def _split(binding: BoundStep) -> Copies:
    (x,) = binding.inputs
    axis = binding.op.axis % x.spec.ndim
    places = _pieces(binding.op.sizes)
    return [
        (along(x, axis, place), y)
        for y, place in zip(binding.outputs, places, strict=True)
        if y is not None
    ]


def _slice(binding: BoundStep) -> Copies:
    (x,) = binding.inputs
    return [(region(x, binding.op.ranges(x.spec)), binding.output)]


def _flip(binding: BoundStep) -> Copies:
    (x,), y = binding.inputs, binding.output
    flipped = {axis % x.spec.ndim for axis in binding.op.axes}
    ranges = [range(n)[:: -1 if a in flipped else 1] for a, n in enumerate(x.spec.shape)]
    return [(region(x, ranges), y)]


def _pad(binding: BoundStep) -> Copies:
    (x,), y, op = binding.inputs, binding.output, binding.op
    inner = [range(*parts) for parts in op.slices(x.spec)]
    return [
        *(_filled(border, op.value) for border in border_parts(y, inner)),
        (x, region(y, inner)),
    ]
