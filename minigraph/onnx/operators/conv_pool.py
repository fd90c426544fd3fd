"""Convolution and pooling of sequences (N,C,L), images (N,C,H,W) and volumes (N,C,D,H,W)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from minigraph.ir.errors import LoadError
from minigraph.ir.spec import DType
from minigraph.ir.tensor import Tensor
from minigraph.onnx.node import MAX_ATTRIBUTE, Converter, Node, Results
from minigraph.onnx.operators.volume import Axis, volume_conv, volume_conv_transpose
from minigraph.ops.broadcast import reshape
from minigraph.ops.conv import Conv2d, ConvTranspose2d
from minigraph.ops.elementary import floor
from minigraph.ops.elementwise import cast
from minigraph.ops.geometry import Padding, Pair, effective_kernel, same_padding
from minigraph.ops.norm import channel_shape
from minigraph.ops.pad_modes import pad
from minigraph.ops.pool import AvgPool2d, MaxPool2d, lp_pool2d
from minigraph.ops.reduce import reduce_max, reduce_mean
from minigraph.ops.shape import squeeze
from minigraph.ops.unpool import MaxPool2dWithPositions, max_unpool2d

_SLIDING = {
    "auto_pad": ("NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"), "dilations": None,
    "kernel_shape": None, "pads": None, "strides": None,
}  # fmt: skip


_MAX_MAPS = 2**20

_WHOLE = Axis(1, 1, (0, 0), 1)


def _axes(node: Node, sizes: Sequence[int], kernel: Sequence[int]) -> list[Axis]:
    """The window along each spatial axis, automatic padding in numbers."""
    count = len(sizes)
    if len(kernel) != count or not all(0 < k < MAX_ATTRIBUTE for k in kernel):
        raise LoadError(f"Expected a kernel of {count} sizes, got {list(kernel)}")
    strides, dilations = node.sizes("strides", count, 1), node.sizes("dilations", count, 1)
    if min(*strides, *dilations) < 1:
        raise LoadError(f"Expected strides and dilations of one or more, got {strides, dilations}")
    pads = _padding(node, sizes, kernel, strides, dilations)
    return [Axis(*axis) for axis in zip(kernel, strides, pads, dilations, strict=True)]


def _padding(
    node: Node,
    sizes: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
) -> list[tuple[int, int]]:
    mode = node.text("auto_pad", "NOTSET")
    if mode.startswith("SAME"):
        pads = [same_padding(*axis) for axis in zip(sizes, kernel, strides, dilations, strict=True)]
        return [(b, a) for a, b in pads] if mode == "SAME_LOWER" else pads
    if mode == "VALID":
        return [(0, 0)] * len(sizes)
    values = node.sizes("pads", 2 * len(sizes), 0)
    return list(zip(values[: len(sizes)], values[len(sizes) :], strict=True))


def _as_image(x: Tensor) -> Tensor:
    """(N,C,L) as (N,C,1,L)."""
    return reshape(x, (-1, x.shape[1], 1, x.shape[2])) if x.ndim == 3 else x


def _spatial(x: Tensor, most: int = 2) -> tuple[int, ...]:
    """Sizes of the spatial axes. Raises for a number of them that is not supported."""
    if not 3 <= x.ndim <= most + 2:
        raise LoadError(f"Expected (N,C,...) with 1 to {most} spatial axes, got {x.spec}")
    return x.shape[2:]


# ---- convolution


def _conv(node: Node) -> Tensor:
    x, w = node.tensor(0), node.tensor(1)
    if w.ndim != x.ndim:
        raise LoadError(f"Expected a weight of {x.ndim} axes, got {w.spec}")
    axes = _axes(node, _spatial(x, 3), node.integers("kernel_shape", w.shape[2:]))
    if [axis.kernel for axis in axes] != list(w.shape[2:]):
        raise LoadError(f"Expected the kernel_shape {list(w.shape[2:])} of the weight, got another")
    if min(min(axis.padding) for axis in axes) < 0:
        raise LoadError("Expected paddings of zero or more, got a negative one")
    if len(axes) == 3:
        return _biased(node, volume_conv(x, w, axes, node.integer("group", 1)))
    rows, columns = axes if len(axes) == 2 else (_WHOLE, axes[0])
    op = Conv2d(
        (rows.stride, columns.stride), (rows.padding, columns.padding),
        (rows.dilation, columns.dilation), node.integer("group", 1),
    )  # fmt: skip
    y = node.emit(op, _as_image(x), _as_image(w))
    return _biased(node, squeeze(y, 2) if x.ndim == 3 else y)


def _conv_transpose(node: Node) -> Tensor:
    x, w = node.tensor(0), node.tensor(1)
    if w.ndim != x.ndim:
        raise LoadError(f"Expected a weight of {x.ndim} axes, got {w.spec}")
    sizes = _spatial(x, 3)
    axes = _axes(node, sizes, node.integers("kernel_shape", w.shape[2:]))
    extra = node.sizes("output_padding", len(sizes), 0)
    pads = _transposed_padding(node, sizes, axes, extra)
    # What the paddings cut off and the output padding adds, at the high end, come to one number.
    cut = [(low, high - more) for (low, high), more in zip(pads, extra, strict=True)]
    if len(axes) == 3:
        return _biased(node, volume_conv_transpose(x, w, axes, cut, node.integer("group", 1)))
    if len(axes) == 1:
        axes, cut = [_WHOLE, *axes], [(0, 0), *cut]
    rows, columns = axes
    op = ConvTranspose2d(
        (rows.stride, columns.stride), _clipped(cut, 1), (rows.dilation, columns.dilation),
        node.integer("group", 1),
    )  # fmt: skip
    y = node.emit(op, _as_image(x), _as_image(w))
    beyond = _clipped(cut, -1)
    if any(map(any, beyond)):  # nothing reaches so far: zeros
        y = pad(y, [(0, 0), (0, 0), *beyond])
    return _biased(node, squeeze(y, 2) if x.ndim == 3 else y)


def _clipped(pads: Sequence[tuple[int, int]], sign: int) -> tuple[tuple[int, int], tuple[int, int]]:
    first, second = ((max(sign * low, 0), max(sign * high, 0)) for low, high in pads)
    return first, second


def _transposed_padding(
    node: Node, sizes: Sequence[int], axes: Sequence[Axis], extra: Sequence[int]
) -> list[tuple[int, int]]:
    """Explicit paddings, or those that reach ``output_shape`` or a size times the stride."""
    mode = node.text("auto_pad", "NOTSET")
    if "output_shape" in node.attributes:
        wanted = node.integers("output_shape")[-len(sizes) :]
    elif mode.startswith("SAME"):
        wanted = [size * axis.stride for size, axis in zip(sizes, axes, strict=True)]
    else:
        return [axis.padding for axis in axes]
    if len(wanted) != len(sizes) or not all(0 < size < 2**31 for size in wanted):
        raise LoadError(f"Expected an output_shape of {len(sizes)} sizes, got {wanted}")
    pads = []
    for size, axis, more, goal in zip(sizes, axes, extra, wanted, strict=True):
        reach = effective_kernel(axis.kernel, axis.dilation)
        total = axis.stride * (size - 1) + more + reach - goal
        if total < 0:  # what is lacking is added at the end
            pads.append((0, total))
            continue
        half = total // 2
        pads.append((half, total - half) if mode == "SAME_UPPER" else (total - half, half))
    return pads


def _biased(node: Node, y: Tensor) -> Tensor:
    return y + reshape(node.tensor(2), channel_shape(y)) if node.has(2) else y


# ---- pooling

Pooling = Callable[[Tensor, tuple[Axis, Axis]], Tensor]


def _pooled(x: Tensor, axes: Sequence[Axis], pool: Pooling) -> Tensor:
    """Pool over one to three spatial axes with a pooling of two.

    Maxima, sums and, since windows are boxes, means over a box are those along one axis of those
    over the others.
    """
    if len(axes) == 1:
        return squeeze(pool(_as_image(x), (_WHOLE, axes[0])), 2)
    if len(axes) == 2:
        return pool(x, (axes[0], axes[1]))
    n, c, depth, *plane = x.shape
    y = pool(reshape(x, (n, c * depth, *plane)), (axes[1], axes[2]))
    plane = list(y.shape[2:])
    y = pool(reshape(y, (n, c, depth, plane[0] * plane[1])), (axes[0], _WHOLE))
    return reshape(y, (n, c, y.shape[2], *plane))


def _window(axes: tuple[Axis, Axis], ceil_mode: bool) -> tuple[Pair, Pair, Padding, Pair, bool]:
    rows, columns = axes
    return (
        (rows.kernel, columns.kernel), (rows.stride, columns.stride),
        (rows.padding, columns.padding), (rows.dilation, columns.dilation), ceil_mode,
    )  # fmt: skip


def _pool_axes(node: Node, x: Tensor) -> list[Axis]:
    return _axes(node, _spatial(x, 3), node.integers("kernel_shape"))


def _max_pool(node: Node) -> Results:
    x = node.tensor(0)
    axes, ceil_mode = _pool_axes(node, x), bool(node.integer("ceil_mode", 0))
    if node.wants(1):
        return _max_pool_with_indices(node, x, axes, ceil_mode)
    wide = x if x.dtype.is_floating else cast(x, _float_that_holds(node, x.dtype))
    y = _pooled(wide, axes, lambda x, two: node.emit(MaxPool2d(*_window(two, ceil_mode)), x))
    return cast(y, x.dtype)


def _float_that_holds(node: Node, dtype: DType) -> DType:
    if dtype in (DType.UINT8, DType.BOOL):
        return DType.FLOAT32
    if dtype is DType.INT32:
        return DType.FLOAT64
    raise node.refuse(f"Expected a dtype that a float holds, got {dtype}")


def _max_pool_with_indices(node: Node, x: Tensor, axes: list[Axis], ceil_mode: bool) -> Results:
    """ONNX counts positions over all of (N,C,H,W), by rows or (``storage_order``) by columns."""
    if len(axes) > 2:
        raise node.refuse("Expected at most 2 spatial axes for the output Indices, got 3")
    image = _as_image(x)
    two = (axes[0], axes[1]) if len(axes) == 2 else (_WHOLE, axes[0])
    wide = image if x.dtype.is_floating else cast(image, _float_that_holds(node, x.dtype))
    op = MaxPool2dWithPositions(*_window(two, ceil_mode))
    y, positions = wide.builder.emit(op, wide)
    height, width = image.shape[2:]
    if node.integer("storage_order", 0):
        flat = cast(positions, DType.FLOAT64)  # exact: an image has fewer than 2^53 pixels
        row = floor((flat + 0.5) / float(width))
        column = flat - row * float(width)
        positions = cast(column * float(height) + row, DType.INT64)
    positions = positions + _first_of_maps(node, image.shape)
    y = cast(y, x.dtype)
    return (squeeze(y, 2), squeeze(positions, 2)) if x.ndim == 3 else (y, positions)


def _first_of_maps(node: Node, shape: Sequence[int]) -> Tensor:
    """The number of elements before each map of (N,C,H,W), as (N,C,1,1)."""
    n, c, *plane = shape
    if n * c > _MAX_MAPS:
        raise LoadError(f"Expected at most {_MAX_MAPS} maps with positions, got {list(shape)}")
    first = np.arange(n * c, dtype=np.int64).reshape(n, c, 1, 1) * (plane[0] * plane[1])
    return node.variables.tensor(first)


def _max_unpool(node: Node) -> Tensor:
    """The inverse of MaxPool's Indices, which count over what was pooled: over ``output_shape``.

    ONNX's reference counts over the smallest image that the kernel gives, and pads that; onnx issue
    2398 and onnxruntime pull request 2193 say why it should not. They differ for odd sizes alone.
    """
    x, indices = node.tensor(0), node.tensor(1)
    sizes = _spatial(x)
    axes = _axes(node, sizes, node.integers("kernel_shape"))
    shape = [
        (size - 1) * axis.stride - sum(axis.padding) + axis.kernel
        for size, axis in zip(sizes, axes, strict=True)
    ]
    if node.has(2):
        shape = node.integers_at(2)[2:]
    if len(shape) != len(sizes) or not all(0 < size < 2**31 for size in shape):
        raise LoadError(f"Expected {len(sizes)} sizes of one or more to unpool to, got {shape}")
    rows, columns = shape if len(shape) == 2 else (1, shape[0])
    maps = (*x.shape[:2], rows, columns)
    positions = _as_image(indices) - _first_of_maps(node, maps)
    y = max_unpool2d(_as_image(x), positions, (rows, columns))
    return squeeze(y, 2) if x.ndim == 3 else y


def _average_pool(node: Node) -> Tensor:
    x = node.tensor(0)
    ceil_mode = bool(node.integer("ceil_mode", 0))
    with_padding = bool(node.integer("count_include_pad", 0))

    def pool(x: Tensor, axes: tuple[Axis, Axis]) -> Tensor:
        return node.emit(AvgPool2d(*_window(axes, ceil_mode), with_padding), x)

    return _pooled(x, _pool_axes(node, x), pool)


def _lp_pool(node: Node) -> Tensor:
    x, power = node.tensor(0), node.integer("p", 2)
    if not 1 <= power <= 16:
        raise LoadError(f"Expected a power p from 1 to 16, got {power}")
    ceil_mode = bool(node.integer("ceil_mode", 0))

    def pool(x: Tensor, axes: tuple[Axis, Axis]) -> Tensor:
        return lp_pool2d(x, power, *_window(axes, ceil_mode))

    return _pooled(x, _pool_axes(node, x), pool)


def _global(reduction: Callable[..., Tensor]) -> Callable[[Node], Tensor]:
    def convert(node: Node) -> Tensor:
        x = node.tensor(0)
        _spatial(x, x.ndim - 2)
        return reduction(x, tuple(range(2, x.ndim)), keepdims=True)

    return convert


CONV_POOL: Mapping[str, Converter] = {
    "Conv": Converter(_conv, (2, 3), {**_SLIDING, "group": None}),
    "ConvTranspose": Converter(
        _conv_transpose, (2, 3),
        {**_SLIDING, "group": None, "output_padding": None, "output_shape": None},
    ),
    "MaxPool": Converter(
        _max_pool, (1, 1), {**_SLIDING, "ceil_mode": (0, 1), "storage_order": (0, 1)}
    ),
    "AveragePool": Converter(
        _average_pool, (1, 1), {**_SLIDING, "ceil_mode": (0, 1), "count_include_pad": (0, 1)}
    ),
    "LpPool": Converter(_lp_pool, (1, 1), {**_SLIDING, "ceil_mode": (0, 1), "p": None}),
    "MaxUnpool": Converter(
        _max_unpool, (2, 3), {"kernel_shape": None, "pads": None, "strides": None}
    ),
    "GlobalAveragePool": Converter(_global(reduce_mean)),
    "GlobalMaxPool": Converter(_global(reduce_max)),
}  # fmt: skip
