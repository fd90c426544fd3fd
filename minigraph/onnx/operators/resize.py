"""Resize, and Upsample, which it replaced."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from minigraph.ir.errors import LoadError
from minigraph.ir.tensor import Tensor
from minigraph.onnx.node import Converter, Node
from minigraph.ops.broadcast import normalise_axes
from minigraph.ops.resize import COORDINATES, ROUNDINGS, ResizeAxis

_MODES = {"nearest": "nearest", "linear": "bilinear"}


def _resize(node: Node) -> Tensor:
    x = node.tensor(0)
    if node.opset < 11:  # scales alone; what Upsample was
        return _scaled(node, x, _scales(node, 1), "asymmetric", "floor")
    axes = node.integers("axes", list(range(x.ndim)))
    normalise_axes(axes, x.ndim)  # raises for axes that are none, or twice the same
    axes = [axis % x.ndim for axis in axes]
    coordinates = node.text("coordinate_transformation_mode", "half_pixel")
    rounding = node.text("nearest_mode", "round_prefer_floor")
    if node.has(3) and node.constant(3).size:
        return _sized(node, x, axes, node.integers_at(3), coordinates, rounding)
    scales = _scales(node, 2)
    if len(scales) != len(axes):
        raise LoadError(f"Expected {len(axes)} scales, got {len(scales)}")
    by_axis = dict(zip(axes, scales, strict=True))
    full = [by_axis.get(axis, 1.0) for axis in range(x.ndim)]
    return _scaled(node, x, full, coordinates, rounding)


def _sized(
    node: Node, x: Tensor, axes: Sequence[int], sizes: Sequence[int], coordinates: str,
    rounding: str,
) -> Tensor:  # fmt: skip
    """To given sizes, or to the largest or smallest ones of the old proportions."""
    if len(sizes) != len(axes) or not all(0 < size < 2**31 for size in sizes):
        raise LoadError(f"Expected {len(axes)} sizes of one or more, got {list(sizes)}")
    if not all(x.shape[axis] for axis in axes):
        raise LoadError(f"Expected one element or more along the axes {list(axes)}, got {x.spec}")
    policy = node.text("keep_aspect_ratio_policy", "stretch")
    if policy != "stretch":
        ratios = [size / x.shape[axis] for size, axis in zip(sizes, axes, strict=True)]
        ratio = min(ratios) if policy == "not_larger" else max(ratios)
        sizes = [math.floor(ratio * x.shape[axis] + 0.5) for axis in axes]
    for axis, size in zip(axes, sizes, strict=True):
        if size != x.shape[axis]:
            op = ResizeAxis(axis, size, None, _mode(node), coordinates, rounding)
            x = node.emit(op, x)
    return x


def _scaled(
    node: Node, x: Tensor, scales: Sequence[float], coordinates: str, rounding: str
) -> Tensor:
    if len(scales) != x.ndim:
        raise LoadError(f"Expected {x.ndim} scales, got {len(scales)}")
    for axis, scale in enumerate(scales):
        if scale != 1.0:
            x = node.emit(ResizeAxis(axis, None, scale, _mode(node), coordinates, rounding), x)
    return x


def _scales(node: Node, position: int) -> list[float]:
    """The scales as the decimal numbers that float32 stands for: 0.6, not 0.6000000238."""
    array = node.constant(position)
    if array.ndim != 1 or array.dtype.kind != "f":
        raise LoadError(f"Expected a vector of scales, got {array.dtype}{list(array.shape)}")
    values = [float(str(scale)) for scale in array]
    if not all(0 < value < 2**31 for value in values):
        raise LoadError(f"Expected positive scales, got {values}")
    return values


def _mode(node: Node) -> str:
    return _MODES[node.text("mode", "nearest")]


def _upsample(node: Node) -> Tensor:
    x = node.tensor(0)
    scales = list(node.attributes.get("scales", ())) if node.opset < 9 else _scales(node, 1)
    return _scaled(node, x, scales, "asymmetric", "floor")


RESIZE: Mapping[str, Converter] = {
    "Resize": Converter(
        _resize, (1, 4),
        {
            "mode": tuple(_MODES), "coordinate_transformation_mode": COORDINATES,
            "nearest_mode": ROUNDINGS, "axes": None, "antialias": (0,),
            "keep_aspect_ratio_policy": ("stretch", "not_larger", "not_smaller"),
            "cubic_coeff_a": None, "exclude_outside": None, "extrapolation_value": None,
        },
    ),
    "Upsample": Converter(_upsample, (1, 2), {"mode": tuple(_MODES), "scales": None}),
}  # fmt: skip
