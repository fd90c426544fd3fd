"""Ops that move elements, choose them, or reduce axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from minigraph.ir.op import Op
from minigraph.ir.spec import DType
from minigraph.onnx.writers.writer import OurNode, Rule, Writer
from minigraph.ops import broadcast, indexing, pad_modes, reduce, shape

_FIRST, _LAST = -(2**63), 2**63 - 1


def _reshape(writer: Writer, node: OurNode, inputs: Sequence[str]) -> Sequence[str]:
    """An axis that keeps its size is written as 0, copy it: then the batch size may change."""
    before, wanted = node.inputs[0].spec.shape, list(node.op.shape)
    if 0 in node.outputs[0].spec.shape:
        return [writer.one("Reshape", inputs[0], writer.integers(wanted), allowzero=1)]
    for axis, (size, new) in enumerate(zip(before, wanted, strict=False)):
        if size != new:
            break
        wanted[axis] = 0
    return [writer.one("Reshape", inputs[0], writer.integers(wanted))]


def _expand(writer: Writer, node: OurNode, inputs: Sequence[str]) -> Sequence[str]:
    """An axis that keeps its size is written as 1, which broadcasts to it."""
    before, wanted = node.inputs[0].spec.shape, list(node.op.shape)
    lead = len(wanted) - len(before)
    sizes = [
        1 if axis >= lead and before[axis - lead] == size else size
        for axis, size in enumerate(wanted)
    ]
    return [writer.one("Expand", inputs[0], writer.integers(sizes))]


def _flatten(writer: Writer, node: OurNode, inputs: Sequence[str]) -> Sequence[str]:
    if node.op.start_axis == 1:
        return [writer.one("Flatten", inputs[0], axis=1)]
    sizes = [0] * node.op.start_axis + [-1]
    return [writer.one("Reshape", inputs[0], writer.integers(sizes))]


def _with_axes(op_type: str) -> Rule:
    """Ops whose axes are an input."""

    def rule(writer: Writer, node: OurNode, inputs: Sequence[str]) -> Sequence[str]:
        if not node.op.axes:
            return [writer.one("Identity", inputs[0])]
        return [writer.one(op_type, inputs[0], writer.integers(node.op.axes))]

    return rule


def _reduction(op_type: str) -> Rule:
    def rule(writer: Writer, node: OurNode, inputs: Sequence[str]) -> Sequence[str]:
        op, keepdims = node.op, int(node.op.keepdims)
        if op.axes == ():
            return [writer.one("Identity", inputs[0])]
        dtype = node.inputs[0].spec.dtype
        narrow = op_type == "ReduceSum" and dtype is DType.UINT8  # no type of ReduceSum
        x = writer.cast(inputs[0], DType.INT32) if narrow else inputs[0]
        axes = [] if op.axes is None else [writer.integers(op.axes)]
        y = writer.one(op_type, x, *axes, keepdims=keepdims)
        return [writer.cast(y, dtype) if narrow else y]

    return rule


def _arg(op_type: str) -> Rule:
    def rule(writer: Writer, node: OurNode, inputs: Sequence[str]) -> Sequence[str]:
        keepdims = int(node.op.keepdims)
        return [writer.one(op_type, *inputs, axis=node.op.axis, keepdims=keepdims)]

    return rule


def _cumsum(writer: Writer, node: OurNode, inputs: Sequence[str]) -> Sequence[str]:
    axis = writer.constant(np.array(node.op.axis, np.int64))
    return [writer.one("CumSum", inputs[0], axis, reverse=int(node.op.reverse))]


def _count(writer: Writer, node: OurNode, inputs: Sequence[str]) -> Sequence[str]:
    return [writer.scalar(node.op.value(node.inputs[0].spec), node.op.dtype)]


def _transpose(writer: Writer, node: OurNode, inputs: Sequence[str]) -> Sequence[str]:
    return [writer.one("Transpose", *inputs, perm=list(node.op.permutation))]


def _concat(writer: Writer, node: OurNode, inputs: Sequence[str]) -> Sequence[str]:
    return [writer.one("Concat", *inputs, axis=node.op.axis)]


def _split(writer: Writer, node: OurNode, inputs: Sequence[str]) -> Sequence[str]:
    sizes = writer.integers(node.op.sizes)
    return writer.node("Split", [inputs[0], sizes], len(node.op.sizes), axis=node.op.axis)


def _slice(writer: Writer, node: OurNode, inputs: Sequence[str]) -> Sequence[str]:
    parts = [(axis, *part) for axis, part in enumerate(node.op.slices) if any(
        bound is not None for bound in part)]  # fmt: skip
    if not parts:
        return [writer.one("Identity", inputs[0])]
    axes, starts, ends, steps = zip(*parts, strict=True)
    bounds = (
        [0 if start is None else start for start in starts],
        [_LAST if end is None else end for end in ends],
        list(axes),
        [1 if step is None else step for step in steps],
    )
    return [writer.one("Slice", inputs[0], *map(writer.integers, bounds))]


def _flip(writer: Writer, node: OurNode, inputs: Sequence[str]) -> Sequence[str]:
    axes = [axis % node.inputs[0].spec.ndim for axis in node.op.axes]
    bounds = ([-1] * len(axes), [_FIRST] * len(axes), axes, [-1] * len(axes))
    return [writer.one("Slice", inputs[0], *map(writer.integers, bounds))]


def _pad(writer: Writer, node: OurNode, inputs: Sequence[str]) -> Sequence[str]:
    op, x = node.op, inputs[0]
    fill = writer.scalar(op.value, node.inputs[0].spec.dtype)
    sizes = list(node.inputs[0].spec.shape)
    for axis, between in enumerate(op.interior):
        if between and sizes[axis]:
            x = _spread(writer, x, sizes, axis, between, fill)
    if any((*op.low, *op.high)):
        x = writer.one("Pad", x, writer.integers([*op.low, *op.high]), fill)
    return [x]


def _spread(writer: Writer, x: str, sizes: list[int], axis: int, between: int, fill: str) -> str:
    """Elements between those of an axis: an axis of its own for each, padded, merged and cut."""
    x = writer.one("Unsqueeze", x, writer.integers([axis + 1]))
    pads = [0] * (2 * (len(sizes) + 1))
    pads[len(sizes) + 1 + axis + 1] = between
    x = writer.one("Pad", x, writer.integers(pads), fill)
    long = sizes[axis] * (between + 1)
    merged = [0] * axis + [long] + sizes[axis + 1 :]
    x = writer.one("Reshape", x, writer.integers(merged))
    sizes[axis] = long - between
    return writer.one("Slice", x, *map(writer.integers, ([0], [sizes[axis]], [axis])))


def _pad_axis(writer: Writer, node: OurNode, inputs: Sequence[str]) -> Sequence[str]:
    op = node.op
    mode = {"replicate": "edge", "circular": "wrap"}.get(op.mode, op.mode)
    pads, axes = writer.integers([op.low, op.high]), writer.integers([op.axis])
    return [writer.one("Pad", inputs[0], pads, "", axes, mode=mode)]


def _indices(writer: Writer, name: str, dtype: DType) -> str:
    return name if dtype in (DType.INT32, DType.INT64) else writer.cast(name, DType.INT64)


def _gather(op_type: str) -> Rule:
    def rule(writer: Writer, node: OurNode, inputs: Sequence[str]) -> Sequence[str]:
        indices = _indices(writer, inputs[1], node.inputs[1].spec.dtype)
        return [writer.one(op_type, inputs[0], indices, axis=node.op.axis)]

    return rule


def _scatter_add(writer: Writer, node: OurNode, inputs: Sequence[str]) -> Sequence[str]:
    indices = _indices(writer, inputs[1], node.inputs[1].spec.dtype)
    attributes = {"axis": node.op.axis, "reduction": "add"}
    return [writer.one("ScatterElements", inputs[0], indices, inputs[2], **attributes)]


def _one_hot(writer: Writer, node: OurNode, inputs: Sequence[str]) -> Sequence[str]:
    """Compared with 0, 1, ...: a label that is no class gives zeros (ONNX's OneHot wraps)."""
    op, labels = node.op, node.inputs[0].spec
    axis = op.axis % (labels.ndim + 1)
    column = np.arange(op.classes, dtype=np.int64).reshape(-1, *(1,) * (labels.ndim - axis))
    wide = writer.one("Unsqueeze", writer.cast(inputs[0], DType.INT64), writer.integers([axis]))
    return [writer.cast(writer.one("Equal", wide, writer.constant(column)), op.dtype)]


SHAPE: Mapping[type[Op], Rule] = {
    broadcast.Reshape: _reshape,
    broadcast.Expand: _expand,
    broadcast.Sum: _reduction("ReduceSum"),
    shape.Flatten: _flatten,
    shape.Squeeze: _with_axes("Squeeze"),
    shape.ExpandDims: _with_axes("Unsqueeze"),
    shape.Transpose: _transpose,
    shape.Concat: _concat,
    shape.Split: _split,
    shape.Slice: _slice,
    shape.Pad: _pad,
    shape.Flip: _flip,
    pad_modes.PadAxis: _pad_axis,
    indexing.Gather: _gather("Gather"),
    indexing.TakeAlongAxis: _gather("GatherElements"),
    indexing.ScatterAdd: _scatter_add,
    indexing.OneHot: _one_hot,
    reduce.Mean: _reduction("ReduceMean"),
    reduce.Max: _reduction("ReduceMax"),
    reduce.Min: _reduction("ReduceMin"),
    reduce.ArgMax: _arg("ArgMax"),
    reduce.ArgMin: _arg("ArgMin"),
    reduce.CumSum: _cumsum,
    reduce.Count: _count,
}
