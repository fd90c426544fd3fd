"""Axes, slices and sizes, wherever a version of ONNX keeps them: in attributes or in inputs."""

from __future__ import annotations

from collections.abc import Sequence

from minigraph.ir.errors import LoadError
from minigraph.onnx.node import Node


def axes_of(node: Node, since: int, position: int = 1) -> list[int] | None:
    """The axes: the attribute ``axes``, from opset ``since`` on an input; None where left out."""
    if node.opset < since:
        return node.integers("axes") if "axes" in node.attributes else None
    return node.integers_at(position) if node.has(position) else None


def slices_of(node: Node, shape: Sequence[int]) -> list[slice]:
    """One Python slice an axis; steps may be negative."""
    if node.opset < 10:
        starts, ends = node.integers("starts"), node.integers("ends")
        axes = node.integers("axes", range_list(len(starts)))
        steps = [1] * len(starts)
    else:
        starts, ends = node.integers_at(1), node.integers_at(2)
        axes = node.integers_at(3) if node.has(3) else range_list(len(starts))
        steps = node.integers_at(4) if node.has(4) else [1] * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps):
        raise LoadError("Expected as many starts as ends, axes and steps, got other numbers")
    slices = [slice(None)] * len(shape)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if not -len(shape) <= axis < len(shape) or step == 0:
            raise LoadError(
                f"Expected an axis of {len(shape)} and a step other than 0, got {axis}, {step}"
            )
        size = shape[axis]
        if step > 0:
            slices[axis] = slice(start, end, step)
            continue
        # Towards the front: ends before the first element stay there, where Python would wrap.
        first = min(max(start + size if start < 0 else start, -1), size - 1)
        last = max(end + size if end < 0 else end, -1)
        slices[axis] = slice(first, None if last < 0 else last, step) if first >= 0 else slice(0, 0)
    return slices


def split_sizes(node: Node, size: int) -> list[int]:
    """The sizes of the pieces of a Split along an axis of ``size``."""
    if node.opset < 13:
        sizes = node.integers("split") if "split" in node.attributes else None
    else:
        sizes = node.integers_at(1) if node.has(1) else None
    count = len(node.outputs)
    if sizes is None:
        if node.attributes.get("num_outputs", count) != count:
            raise LoadError(f"Expected {count} outputs, got num_outputs of another number")
        piece = -(-size // count)
        sizes = [max(min(piece, size - piece * number), 0) for number in range(count)]
    if len(sizes) != count or any(piece < 0 for piece in sizes) or sum(sizes) != size:
        raise LoadError(f"Expected {count} sizes that sum to {size}, got {sizes}")
    return sizes


def range_list(count: int) -> list[int]:
    """0, 1, ... ``count`` - 1."""
    return list(range(count))
