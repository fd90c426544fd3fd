"""Ops that move elements, and those that tell sizes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from minigraph.ir.errors import LoadError
from minigraph.ir.spec import DType, broadcast_shapes
from minigraph.ir.tensor import Tensor
from minigraph.onnx.dtypes import dtype_of
from minigraph.onnx.node import Converter, Node, Results, Value
from minigraph.onnx.operators.shape_arguments import axes_of, range_list, slices_of, split_sizes
from minigraph.ops import shape as ops
from minigraph.ops.broadcast import expand, reshape
from minigraph.ops.elementwise import cast, equal, where
from minigraph.ops.indexing import gather, one_hot, take_along_axis
from minigraph.ops.pad_modes import pad
from minigraph.ops.unfold import fold2d

_MAX_SIZE = 2**48
_MAX_RANGE = 2**20


def shape_of(value: Value) -> tuple[int, ...]:
    """The shape of a tensor or of known values."""
    return value.shape if isinstance(value, Tensor | np.ndarray) else value.array.shape


def _sized(shape: list[int]) -> tuple[int, ...]:
    """A shape from a file: not more elements than any memory has, before anything is made."""
    if any(size < 0 for size in shape) or math.prod(shape) > _MAX_SIZE or len(shape) > 32:
        raise LoadError(f"Expected a shape that memory could hold, got {shape}")
    return tuple(shape)


def _int64(sizes: int | Sequence[int]) -> np.ndarray:
    try:
        return np.array(sizes, np.int64)
    except OverflowError:
        raise LoadError(f"Expected sizes that memory could hold, got {sizes}") from None


def _shape(node: Node) -> np.ndarray:
    shape = shape_of(node.value(0))
    ends = node.integer("end", len(shape)) if "end" in node.attributes else None
    return _int64(shape[slice(node.integer("start", 0), ends)])


def _size(node: Node) -> np.ndarray:
    return _int64(math.prod(shape_of(node.value(0))))


def _constant(node: Node) -> np.ndarray:
    if "value" in node.attributes:
        return node.array("value")
    if "value_float" in node.attributes:
        return np.array(node.number("value_float"), np.float32)
    if "value_floats" in node.attributes:
        return np.array(node.numbers("value_floats"), np.float32)
    if "value_int" in node.attributes:
        return np.array(node.integer("value_int"), np.int64)
    if "value_ints" in node.attributes:
        return np.array(node.integers("value_ints"), np.int64)
    raise node.refuse(f"Expected a dense tensor or numbers, got {', '.join(node.attributes)}")


def _constant_of_shape(node: Node) -> Value:
    shape = _sized(node.integers_at(0))
    fill = np.zeros(1, np.float32)
    if "value" in node.attributes:
        fill = node.array("value")
    if fill.size != 1:
        raise LoadError(f"Expected one element to fill with, got {list(fill.shape)}")
    if math.prod(shape) <= 65_536:
        return np.full(shape, fill.reshape(()), fill.dtype)
    return expand(node.variables.tensor(fill.reshape(())), shape)


def _reshape(node: Node) -> Tensor:
    x = node.tensor(0)
    wanted = node.integers("shape") if node.opset < 5 else node.integers_at(1)
    if not node.integer("allowzero", 0):
        if len([s for s in wanted[x.ndim :] if s == 0]):
            raise LoadError(f"Expected zeros in {wanted} to copy axes of {x.spec}, got others")
        wanted = [x.shape[axis] if size == 0 else size for axis, size in enumerate(wanted)]
    return reshape(x, wanted)


def _flatten(node: Node) -> Tensor:
    x, axis = node.tensor(0), node.integer("axis", 1)
    if not -x.ndim <= axis <= x.ndim:
        raise LoadError(f"Expected an axis in [{-x.ndim}, {x.ndim}], got {axis}")
    axis = axis + x.ndim if axis < 0 else axis
    if axis == 1:
        return ops.flatten(x, 1)
    return reshape(x, (math.prod(x.shape[:axis]), math.prod(x.shape[axis:])))


def _transpose(node: Node) -> Tensor:
    x = node.tensor(0)
    return ops.transpose(x, node.integers("perm", list(range(x.ndim))[::-1]))


def _squeeze(node: Node) -> Tensor:
    x, axes = node.tensor(0), axes_of(node, since=13)
    if axes is None:
        axes = [axis for axis, size in enumerate(x.shape) if size == 1]
    return ops.squeeze(x, axes) if axes else x


def _unsqueeze(node: Node) -> Tensor:
    axes = axes_of(node, since=13)
    if axes is None or len(axes) > 32:
        raise LoadError(f"Expected axes, got {axes}")
    return ops.expand_dims(node.tensor(0), axes)


def _concat(node: Node) -> Tensor:
    return ops.concat(node.tensors(), node.integer("axis"))


def _split(node: Node) -> Results:
    x, axis = node.tensor(0), node.integer("axis", 0)
    if not -x.ndim <= axis < x.ndim:
        raise LoadError(f"Expected an axis of {x.ndim}, got {axis}")
    return ops.split(x, split_sizes(node, x.shape[axis]), axis)


def _slice(node: Node) -> Tensor:
    x = node.tensor(0)
    slices = slices_of(node, x.shape)
    # Our slices go forwards: those that go backwards are the same elements, then flipped.
    forwards, backwards = [], []
    for axis, (part, size) in enumerate(zip(slices, x.shape, strict=True)):
        taken = range(*part.indices(size))
        if taken.step < 0:
            backwards.append(axis)
            taken = taken[::-1]
        forwards.append(slice(taken.start, taken.stop, taken.step) if len(taken) else slice(0, 0))
        if taken == range(size):
            forwards[-1] = slice(None)
    y = x[tuple(forwards)] if x.ndim else x
    return ops.flip(y, backwards) if backwards else y


def _pad(node: Node) -> Tensor:
    x, mode = node.tensor(0), node.text("mode", "constant")
    amounts = _paddings(node, x.ndim)
    if node.opset < 11:
        return pad(x, amounts, node.number("value", 0.0), mode)
    if not node.has(2):
        return pad(x, amounts, 0.0, mode)
    if mode != "constant" or not isinstance(node.value(2), Tensor):
        return pad(x, amounts, node.number_at(2), mode)
    # A value that is computed stands wherever padded ones are zero.
    inside = pad(node.full(1, x.shape, DType.UINT8), amounts) > 0
    return where(inside, pad(x, amounts), reshape(node.tensor(2), ()))


def _paddings(node: Node, ndim: int) -> list[tuple[int, int]]:
    """What is put before and after the elements of each axis."""
    if node.opset < 11:
        pads, axes = node.integers("pads"), range_list(ndim)
    else:
        pads = node.integers_at(1)
        axes = node.integers_at(3) if node.has(3) else range_list(ndim)
    if len(pads) != 2 * len(axes) or not all(-ndim <= axis < ndim for axis in axes):
        raise LoadError(f"Expected two paddings for each of the axes {axes}, got {pads}")
    if not all(abs(amount) < 2**31 for amount in pads):
        raise LoadError(f"Expected paddings that memory could hold, got {pads}")
    full = [(0, 0)] * ndim
    for axis, low, high in zip(axes, pads[: len(axes)], pads[len(axes) :], strict=True):
        full[axis] = (low, high)
    return full


def _expand(node: Node) -> Tensor:
    x = node.tensor(0)
    return expand(x, _sized(list(broadcast_shapes(x.shape, tuple(node.integers_at(1))))))


def _tile(node: Node) -> Tensor:
    x, repeats = node.tensor(0), node.integers_at(1)
    if len(repeats) != x.ndim:
        raise LoadError(f"Expected {x.ndim} numbers of repeats, got {repeats}")
    paired = _sized([n for pair in zip(repeats, x.shape, strict=True) for n in pair])
    singles = [n for size in x.shape for n in (1, size)]
    shape = [count * size for count, size in zip(repeats, x.shape, strict=True)]
    return reshape(expand(reshape(x, singles), paired), shape)


def _gather(node: Node) -> Tensor:
    return gather(node.tensor(0), node.tensor(1), node.integer("axis", 0))


def _gather_elements(node: Node) -> Tensor:
    x, indices, axis = node.tensor(0), node.tensor(1), node.integer("axis", 0)
    if not -x.ndim <= axis < x.ndim or x.ndim != indices.ndim:
        raise LoadError(f"Expected indices of {x.ndim} axes and an axis of them, got {axis}")
    axis %= x.ndim
    # ONNX's indices may be smaller than the tensor along the other axes.
    cut = [slice(None) if a == axis else slice(0, size) for a, size in enumerate(indices.shape)]
    return take_along_axis(x[tuple(cut)], indices, axis)


def _depth_to_space(node: Node) -> Tensor:
    x, block = node.tensor(0), node.integer("blocksize")
    if x.ndim != 4 or block < 1 or x.shape[1] % (block * block):
        raise LoadError(f"Expected images with channels divisible by {block} squared, got {x.spec}")
    n, c, height, width = x.shape
    c //= block * block
    if node.text("mode", "DCR") == "DCR":
        parts = reshape(x, (n, block, block, c, height, width))
        moved = ops.transpose(parts, (0, 3, 4, 1, 5, 2))
    else:
        parts = reshape(x, (n, c, block, block, height, width))
        moved = ops.transpose(parts, (0, 1, 4, 2, 5, 3))
    return reshape(moved, (n, c, height * block, width * block))


def _space_to_depth(node: Node) -> Tensor:
    x, block = node.tensor(0), node.integer("blocksize")
    if x.ndim != 4 or block < 1 or x.shape[2] % block or x.shape[3] % block:
        raise LoadError(f"Expected images with sizes divisible by {block}, got {x.spec}")
    n, c, height, width = x.shape
    rows, columns = height // block, width // block
    parts = reshape(x, (n, c, rows, block, columns, block))
    if node.text("mode", "DCR") == "DCR":
        moved = ops.transpose(parts, (0, 3, 5, 1, 2, 4))
    else:
        moved = ops.transpose(parts, (0, 1, 3, 5, 2, 4))
    return reshape(moved, (n, c * block * block, rows, columns))


def _one_hot(node: Node) -> Tensor:
    labels, classes = node.tensor(0), int(node.number_at(1))
    values = node.tensor(2)
    if not 0 < classes < 2**31 or values.shape != (2,):
        raise LoadError(f"Expected classes and two values, got {classes} and {values.spec}")
    labels = labels if labels.dtype.is_integer else cast(labels, DType.INT64)
    wrapped = where(labels < 0, labels + classes, labels)
    chosen = equal(one_hot(wrapped, classes, node.integer("axis", -1)), 1.0)
    return where(chosen, values[1], values[0])


def _range(node: Node) -> np.ndarray:
    """Constant operands alone: how many elements there are must be known."""
    start, limit, delta = (node.constant(position) for position in range(3))
    return known_range(start, limit, delta)


def known_range(start: np.ndarray, limit: np.ndarray, delta: np.ndarray) -> np.ndarray:
    """``start``, ``start + delta``, ... before ``limit``, in the dtype of ``start``."""
    first, last, step = (np.asarray(a).reshape(()).item() for a in (start, limit, delta))
    if step == 0 or not all(map(math.isfinite, (first, last, step))):
        raise LoadError(f"Expected a step other than zero, got {step}")
    count = max(math.ceil((last - first) / step), 0)
    if count > _MAX_RANGE:
        raise LoadError(f"Expected a range of at most {_MAX_RANGE} elements, got {count}")
    return (first + np.arange(count) * step).astype(start.dtype)


def _eye_like(node: Node) -> np.ndarray:
    x = node.value(0)
    shape = shape_of(x)
    if len(shape) != 2 or math.prod(shape) > _MAX_RANGE:
        raise LoadError(f"Expected a matrix of at most {_MAX_RANGE} elements, got {list(shape)}")
    dtype = dtype_of(node.integer("dtype")) if "dtype" in node.attributes else _dtype(x)
    return np.eye(*shape, node.integer("k", 0), dtype=dtype.numpy)


def _dtype(value: Value) -> DType:
    if isinstance(value, Tensor):
        return value.dtype
    return DType.of((value if isinstance(value, np.ndarray) else value.array).dtype)


def _triangle(node: Node) -> Tensor:
    """The elements on one side of a diagonal, zeros elsewhere."""
    x = node.tensor(0)
    offset = int(node.number_at(1)) if node.has(1) else 0
    if x.ndim < 2 or math.prod(x.shape[-2:]) > _MAX_RANGE:
        raise LoadError(f"Expected matrices of at most {_MAX_RANGE} elements, got {x.spec}")
    offset = min(max(offset, -x.shape[-2] - 1), x.shape[-1] + 1)
    ones = np.ones(x.shape[-2:], bool)
    kept = np.triu(ones, offset) if node.integer("upper", 1) else np.tril(ones, offset)
    return where(node.variables.tensor(kept), x, ops.zeros_like(x))


def _col2im(node: Node) -> Tensor:
    """Overlapping blocks added up: torch's ``fold``. Images alone."""
    x, image, block = node.tensor(0), node.integers_at(1), node.integers_at(2)
    if len(image) != 2 or len(block) != 2 or x.ndim != 3:
        raise node.refuse(f"Expected blocks of images, got {x.spec} for {image}")
    pads = node.sizes("pads", 4, 0)
    return fold2d(
        x, (image[0], image[1]), block, node.sizes("strides", 2, 1),
        ((pads[0], pads[2]), (pads[1], pads[3])), node.sizes("dilations", 2, 1),
    )  # fmt: skip


SHAPE: Mapping[str, Converter] = {
    "Shape": Converter(_shape, (1, 1), {"start": None, "end": None}),
    "Size": Converter(_size),
    "Constant": Converter(
        _constant, (0, 0),
        {"value": None, "value_float": None, "value_floats": None, "value_int": None,
         "value_ints": None},
    ),
    "ConstantOfShape": Converter(_constant_of_shape, (1, 1), {"value": None}),
    "Reshape": Converter(_reshape, (1, 2), {"allowzero": (0, 1), "shape": None}),
    "Flatten": Converter(_flatten, (1, 1), {"axis": None}),
    "Transpose": Converter(_transpose, (1, 1), {"perm": None}),
    "Squeeze": Converter(_squeeze, (1, 2), {"axes": None}),
    "Unsqueeze": Converter(_unsqueeze, (1, 2), {"axes": None}),
    "Concat": Converter(_concat, (1, 2**20), {"axis": None}),
    "Split": Converter(_split, (1, 2), {"axis": None, "split": None, "num_outputs": None}),
    "Slice": Converter(_slice, (1, 5), {"axes": None, "starts": None, "ends": None}),
    "Pad": Converter(
        _pad, (1, 4),
        {"mode": ("constant", "reflect", "edge", "wrap"), "pads": None, "value": None},
    ),
    "Expand": Converter(_expand, (2, 2)),
    "Tile": Converter(_tile, (2, 2)),
    "Gather": Converter(_gather, (2, 2), {"axis": None}),
    "GatherElements": Converter(_gather_elements, (2, 2), {"axis": None}),
    "DepthToSpace": Converter(_depth_to_space, (1, 1), {"blocksize": None, "mode": ("DCR", "CRD")}),
    "SpaceToDepth": Converter(_space_to_depth, (1, 1), {"blocksize": None, "mode": ("DCR", "CRD")}),
    "Range": Converter(_range, (3, 3)),
    "EyeLike": Converter(_eye_like, (1, 1), {"dtype": None, "k": None}),
    "Trilu": Converter(_triangle, (1, 2), {"upper": (0, 1)}),
    "Col2Im": Converter(
        _col2im, (3, 3), {"dilations": None, "pads": None, "strides": None}
    ),
    "OneHot": Converter(_one_hot, (3, 3), {"axis": None}),
}  # fmt: skip
