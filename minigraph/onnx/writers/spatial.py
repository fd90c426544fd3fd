"""Convolution, pooling, resizing and normalisation of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from minigraph.ir.errors import UnsupportedError
from minigraph.ir.op import Op
from minigraph.ir.spec import DType
from minigraph.onnx.writers.writer import OurNode, Rule, Writer
from minigraph.ops import conv, local_response, norm, pool, resize, unfold, unpool

_AUTO = {"same": "SAME_UPPER", "same_lower": "SAME_LOWER"}


def _padding(padding: Any) -> dict[str, Any]:
    """Paddings in numbers, or by the rule that both have."""
    if isinstance(padding, str):
        return {"auto_pad": _AUTO[padding]}
    (top, bottom), (left, right) = padding
    return {"pads": [top, left, bottom, right]}


def _conv(writer: Writer, node: OurNode, inputs: Sequence[str]) -> Sequence[str]:
    op = node.op
    return [
        writer.one(
            "Conv", *inputs, kernel_shape=list(node.inputs[1].spec.shape[2:]),
            strides=list(op.stride), dilations=list(op.dilation), group=op.groups,
            **_padding(op.padding),
        )
    ]  # fmt: skip


def _conv_transpose(writer: Writer, node: OurNode, inputs: Sequence[str]) -> Sequence[str]:
    op = node.op
    return [
        writer.one(
            "ConvTranspose", *inputs, kernel_shape=list(node.inputs[1].spec.shape[2:]),
            strides=list(op.stride), dilations=list(op.dilation), group=op.groups,
            output_padding=list(op.output_padding), **_padding(op.padding),
        )
    ]  # fmt: skip


def _window(op: Any) -> dict[str, Any]:
    return {
        "kernel_shape": list(op.kernel), "strides": list(op.stride),
        "dilations": list(op.dilation), "ceil_mode": int(op.ceil_mode), **_padding(op.padding),
    }  # fmt: skip


def _max_pool(writer: Writer, node: OurNode, inputs: Sequence[str]) -> Sequence[str]:
    if writer.graph.users.get(node.outputs[1]) or node.outputs[1] in writer.graph.results:
        raise UnsupportedError("Expected no use of the positions within windows, got one")
    return [writer.one("MaxPool", *inputs, **_window(node.op)), ""]


def _max_pool_with_positions(writer: Writer, node: OurNode, inputs: Sequence[str]) -> Sequence[str]:
    """ONNX counts over (N,C,H,W): the rest by H W is the position in the map."""
    height, width = node.inputs[0].spec.shape[2:]
    y, flat = writer.node("MaxPool", inputs, 2, **_window(node.op))
    size = writer.constant(np.array(height * width, np.int64))
    return [y, writer.one("Mod", flat, size)]


def _max_unpool(writer: Writer, node: OurNode, inputs: Sequence[str]) -> Sequence[str]:
    """Scattered into zeros of any batch size: MaxUnpool's positions count over the batch."""
    height, width = node.op.output_size
    x, positions = (writer.one("Reshape", n, writer.integers([0, 0, -1])) for n in inputs)
    maps = writer.one("Shape", inputs[0], end=2)
    shape = writer.one("Concat", maps, writer.integers([height * width]), axis=0)
    zeros = writer.one("Expand", writer.scalar(0.0, node.inputs[0].spec.dtype), shape)
    y = writer.one("ScatterElements", zeros, positions, x, axis=2, reduction="add")
    return [writer.one("Reshape", y, writer.integers([0, 0, height, width]))]


def _average_pool(writer: Writer, node: OurNode, inputs: Sequence[str]) -> Sequence[str]:
    op = node.op
    if op.divisor is None:
        counted = int(op.count_include_pad)
        return [writer.one("AveragePool", *inputs, count_include_pad=counted, **_window(op))]
    if op.ceil_mode:
        raise UnsupportedError("Expected no divisor of its own in ceil mode, got one")
    mean = writer.one("AveragePool", *inputs, count_include_pad=1, **_window(op))
    factor = op.kernel[0] * op.kernel[1] / op.divisor
    return [writer.one("Mul", mean, writer.scalar(factor, node.inputs[0].spec.dtype))]


def _fold(writer: Writer, node: OurNode, inputs: Sequence[str]) -> Sequence[str]:
    op, image = node.op, node.outputs[0].spec.shape
    (top, bottom), (left, right) = op.explicit_padding(image[2:])
    sizes = writer.integers(image[2:]), writer.integers(op.kernel)
    return [
        writer.one(
            "Col2Im", inputs[0], *sizes, strides=list(op.stride), dilations=list(op.dilation),
            pads=[top, left, bottom, right],
        )
    ]  # fmt: skip


def _resize(writer: Writer, node: OurNode, inputs: Sequence[str]) -> Sequence[str]:
    op, spec = node.op, node.inputs[0].spec
    attributes: dict[str, Any] = {
        "mode": "linear" if op.mode == "bilinear" else "nearest",
        "coordinate_transformation_mode": op.coordinates,
        "axes": [op.axis],
    }
    if op.mode == "nearest":
        attributes["nearest_mode"] = op.rounding
    how = ["", writer.constant(np.array([op.scale], np.float32))] if op.size is None else [
        "", "", writer.integers([op.size])]  # fmt: skip
    if op.mode == "bilinear" and spec.dtype is not DType.FLOAT32 and spec.dtype.itemsize < 4:
        y = writer.one("Resize", writer.cast(inputs[0], DType.FLOAT32), *how, **attributes)
        return [writer.cast(y, spec.dtype)]
    return [writer.one("Resize", inputs[0], *how, **attributes)]


def _adaptive_mean(writer: Writer, node: OurNode, inputs: Sequence[str]) -> Sequence[str]:
    """A product with the matrix of the means: its columns, or its rows, are the windows."""
    op, spec = node.op, node.inputs[0].spec
    if op.outputs == 1:
        return [writer.one("ReduceMean", inputs[0], writer.integers([op.axis]), keepdims=1)]
    source, weight = op.taps(spec.shape[op.axis])
    matrix = np.zeros((op.outputs, spec.shape[op.axis]))
    for places, shares in zip(source, weight, strict=True):
        np.add.at(matrix, (np.arange(op.outputs), places), shares)
    if op.axis == spec.ndim - 1:
        means = writer.constant(np.ascontiguousarray(matrix.T).astype(spec.dtype.numpy))
        return [writer.one("MatMul", inputs[0], means)]
    if op.axis == spec.ndim - 2:
        return [writer.one("MatMul", writer.constant(matrix.astype(spec.dtype.numpy)), inputs[0])]
    raise UnsupportedError(f"Expected means along the last two axes, got axis {op.axis}")


def _channel_moments(writer: Writer, node: OurNode, inputs: Sequence[str]) -> Sequence[str]:
    spec = node.inputs[0].spec
    axes = writer.integers([axis for axis in range(spec.ndim) if axis != 1])
    mean, variance = _moments(writer, node, inputs[0], axes)
    return [writer.one("Squeeze", moment, axes) for moment in (mean, variance)]


def _group_moments(writer: Writer, node: OurNode, inputs: Sequence[str]) -> Sequence[str]:
    """Groups as an axis of their own; each channel then gets its group's moments."""
    spec, groups = node.inputs[0].spec, node.op.groups
    x = writer.one("Reshape", inputs[0], writer.integers([0, groups, -1]))
    moments = _moments(writer, node, x, writer.integers([2]))
    each = writer.integers([1, 1, spec.shape[1] // groups])
    shape = writer.integers([0, spec.shape[1], *(1 for _ in spec.shape[2:])])
    return [writer.one("Reshape", writer.one("Expand", moment, each), shape) for moment in moments]


def _moments(writer: Writer, node: OurNode, x: str, axes: str) -> tuple[str, str]:
    wide, dtype = node.inputs[0].spec.dtype.accumulator, node.inputs[0].spec.dtype
    x = x if dtype is wide else writer.cast(x, wide)
    mean = writer.one("ReduceMean", x, axes, keepdims=1)
    centred = writer.one("Sub", x, mean)
    square = writer.one("Mul", centred, centred)
    return mean, writer.one("ReduceMean", square, axes, keepdims=1)


def _channel_window_sum(writer: Writer, node: OurNode, inputs: Sequence[str]) -> Sequence[str]:
    """A 1x1 convolution whose weight is 1 in a band about the diagonal."""
    spec, op = node.inputs[0].spec, node.op
    if spec.ndim != 4:
        raise UnsupportedError(f"Expected images (N,C,H,W), got {spec}")
    place = np.arange(spec.shape[1])
    offset = place[None, :] - place[:, None]
    band = ((offset >= -op.before) & (offset <= op.after)).astype(spec.dtype.numpy)
    return [writer.one("Conv", inputs[0], writer.constant(band[:, :, None, None]))]


SPATIAL: Mapping[type[Op], Rule] = {
    conv.Conv2d: _conv,
    conv.ConvTranspose2d: _conv_transpose,
    pool.MaxPool2d: _max_pool,
    pool.AvgPool2d: _average_pool,
    unpool.MaxPool2dWithPositions: _max_pool_with_positions,
    unpool.MaxUnpool2d: _max_unpool,
    unfold.Fold2d: _fold,
    resize.ResizeAxis: _resize,
    resize.AdaptiveMeanAxis: _adaptive_mean,
    norm.ChannelMoments: _channel_moments,
    norm.GroupMoments: _group_moments,
    local_response.ChannelWindowSum: _channel_window_sum,
}
