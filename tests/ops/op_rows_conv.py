"""Rows of convolution in its three directions, pooling and matrix products."""

from __future__ import annotations

from typing import Any

import numpy as np
import op_references as ref
from op_table import F, Input, Row, distinct, integers

import minigraph as mg
from minigraph import Tensor
from minigraph.ops import conv, pool
from minigraph.ops.elementwise import Add, Relu
from minigraph.ops.fused import Body, Fused, Instruction
from minigraph.ops.matmul import MatMul, matmul

Pair = tuple[int, int]
ONE = ((1, 1), (1, 1))
LOOSE = {"tolerance32": 2e-4}  # fast algorithms may use the whole error budget


def torch_pad(x: Any, padding: Any) -> Any:
    """Padding that torch's convolutions do not know, done before."""
    (top, bottom), (left, right) = padding
    return F.pad(x, (left, right, top, bottom))


def conv_row(
    name: str,
    x: tuple[int, ...],
    w: tuple[int, ...],
    padding: Any = 0,
    explicit: Any = ref.NO_PADDING,
    stride: Pair = (1, 1),
    dilation: Pair = (1, 1),
    groups: int = 1,
    **options: Any,
) -> Row:
    """``padding`` is what the user writes, ``explicit`` what it means."""
    return Row(
        f"Conv2d-{name}",
        (conv.Conv2d,),
        (Input(x), Input(w)),
        lambda x, w: conv.conv2d(x, w, stride, padding, dilation, groups),
        lambda x, w: ref.conv2d(x, w, stride, explicit, dilation, groups),
        lambda x, w: F.conv2d(torch_pad(x, explicit), w, None, stride, 0, dilation, groups),
        **LOOSE,
        **options,
    )


def transpose_row(
    name: str,
    x: tuple[int, ...],
    w: tuple[int, ...],
    padding: Any = 0,
    explicit: Any = ref.NO_PADDING,
    stride: Pair = (1, 1),
    dilation: Pair = (1, 1),
    groups: int = 1,
    extra: Pair = (0, 0),
    given: Any = None,
) -> Row:
    """``given`` is the output padding that the user writes, ``extra`` what it means."""
    written = extra if given is None else given

    def counterpart(x: Any, w: Any) -> Any:
        y = F.conv_transpose2d(x, w, None, stride, 0, extra, groups, dilation)
        (top, bottom), (left, right) = explicit
        return y[:, :, top : y.shape[2] - bottom, left : y.shape[3] - right]

    return Row(
        f"ConvTranspose2d-{name}",
        (conv.ConvTranspose2d,),
        (Input(x), Input(w)),
        lambda x, w: conv.conv_transpose2d(x, w, stride, padding, written, dilation, groups),
        lambda x, w: ref.conv_transpose2d(x, w, stride, explicit, dilation, groups, extra),
        counterpart,
        **LOOSE,
    )


def weight_row(
    name: str,
    x: tuple[int, ...],
    outputs: int,
    kernel: Pair,
    stride: Pair = (1, 1),
    padding: Any = ref.NO_PADDING,
    dilation: Pair = (1, 1),
    groups: int = 1,
) -> Row:
    sizes = [
        ref.out_size(*axis) for axis in zip(x[2:], kernel, stride, padding, dilation, strict=True)
    ]
    op = conv.Conv2dGradWeight(kernel, stride, padding, dilation, groups)
    return Row(
        f"Conv2dGradWeight-{name}",
        (conv.Conv2dGradWeight,),
        (Input(x), Input((x[0], outputs, *sizes))),
        lambda x, g: x.builder.emit(op, x, g)[0],
        lambda x, g: ref.conv2d_grad_weight(x, g, kernel, stride, padding, dilation, groups),
        **LOOSE,
    )


def conv_bias_relu(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
    """The body that the fusion pass makes of a convolution, its bias and ReLU."""
    steps = (
        Instruction(conv.Conv2d(padding=ONE), (0, 1)),
        Instruction(Add(), (3, 2)),
        Instruction(Relu(), (4,)),
    )
    return x.builder.emit(Fused(Body(3, steps, (5,))), x, w, b)[0]


CONVOLUTIONS = [
    conv_row("valid", (2, 3, 6, 7), (4, 3, 3, 3), "valid"),
    conv_row("padding-1", (2, 3, 6, 7), (4, 3, 3, 3), 1, ONE),
    conv_row("padding-2-1", (1, 2, 5, 6), (3, 2, 3, 3), (2, 1), ((2, 2), (1, 1))),
    conv_row("asymmetric", (2, 2, 5, 6), (3, 2, 3, 3), ((0, 2), (2, 1)), ((0, 2), (2, 1))),
    conv_row("stride-2", (2, 3, 7, 8), (4, 3, 3, 3), 1, ONE, (2, 2)),
    conv_row("stride-2-unused-rest", (1, 2, 8, 10), (3, 2, 3, 3), 0, stride=(2, 2)),
    conv_row("stride-3-1", (1, 2, 9, 6), (3, 2, 3, 3), ((1, 0), (0, 1)), ((1, 0), (0, 1)), (3, 1)),
    conv_row("same", (2, 2, 5, 6), (3, 2, 3, 3), "same", ONE),
    conv_row("same-stride-2-odd", (1, 2, 7, 7), (3, 2, 3, 3), "same", ONE, (2, 2)),
    conv_row("same-stride-2-even", (1, 2, 8, 6), (3, 2, 3, 3), "same", ((0, 1), (0, 1)), (2, 2)),
    conv_row("same-even-kernel", (1, 2, 5, 5), (3, 2, 4, 2), "same", ((1, 2), (0, 1))),
    conv_row("same-dilation", (1, 2, 6, 7), (3, 2, 3, 3), "same", ((2, 2), (3, 3)),
             dilation=(2, 3)),
    conv_row("dilation", (1, 2, 8, 9), (3, 2, 3, 3), 2, ((2, 2), (2, 2)), dilation=(2, 2)),
    conv_row("dilation-stride", (1, 2, 10, 11), (3, 2, 3, 3), 0, stride=(2, 3), dilation=(3, 2)),
    conv_row("groups", (2, 4, 5, 6), (6, 2, 3, 3), 1, ONE, groups=2),
    conv_row("depthwise", (2, 3, 6, 5), (3, 1, 3, 3), 1, ONE, groups=3),
    conv_row("depthwise-multiplier", (1, 3, 6, 5), (6, 1, 3, 3), 1, ONE, (2, 2), groups=3),
    conv_row("1x1", (2, 3, 4, 5), (4, 3, 1, 1)),
    conv_row("1x1-stride-2", (2, 3, 5, 6), (4, 3, 1, 1), stride=(2, 2)),
    conv_row("1x7", (1, 2, 4, 9), (3, 2, 1, 7), (0, 3), ((0, 0), (3, 3))),
    conv_row("kernel-is-input", (2, 3, 4, 5), (6, 3, 4, 5)),
    conv_row("2x2-stride-2", (2, 3, 4, 6), (4, 3, 2, 2), stride=(2, 2)),
    conv_row("5x5", (1, 1, 7, 7), (2, 1, 5, 5), 2, ((2, 2), (2, 2))),
    Row("Conv2d-itself", (conv.Conv2d,), (Input((2, 2, 3, 3)),),
        lambda x: conv.conv2d(x, x, padding=1), lambda x: ref.conv2d(x, x, padding=ONE), **LOOSE),
    transpose_row("plain", (2, 3, 4, 5), (3, 2, 3, 3)),
    transpose_row("stride-2", (2, 3, 3, 4), (3, 2, 3, 3), stride=(2, 2)),
    transpose_row("2x2-stride-2", (2, 3, 3, 4), (3, 2, 2, 2), stride=(2, 2)),
    transpose_row("padding-1", (2, 3, 4, 4), (3, 2, 3, 3), 1, ONE, (2, 2)),
    transpose_row("output-padding", (1, 3, 3, 4), (3, 2, 3, 3), 1, ONE, (2, 3), extra=(1, 2)),
    transpose_row("asymmetric", (1, 2, 4, 5), (2, 3, 4, 3), ((0, 2), (1, 0)), ((0, 2), (1, 0)),
                  (2, 1)),
    transpose_row("dilation", (1, 2, 4, 5), (2, 3, 3, 3), 1, ONE, (2, 1), (2, 3)),
    transpose_row("groups", (2, 4, 3, 4), (4, 3, 3, 3), 1, ONE, (2, 2), groups=2, extra=(1, 1)),
    transpose_row("depthwise", (1, 3, 4, 4), (3, 1, 3, 3), groups=3),
    transpose_row("kernel-below-stride", (1, 2, 3, 3), (2, 3, 2, 2), stride=(3, 3), extra=(2, 1)),
    transpose_row("same", (1, 2, 3, 4), (2, 3, 3, 4), "same", ((0, 1), (1, 1)), (2, 2), given=0),
    transpose_row("same-small-kernel", (1, 2, 3, 4), (2, 3, 1, 2), "same", stride=(3, 2),
                  extra=(2, 0), given=0),
    weight_row("3x3", (2, 3, 5, 6), 4, (3, 3), padding=ONE),
    weight_row("stride-2", (2, 2, 7, 8), 3, (3, 3), (2, 2)),
    weight_row("asymmetric", (1, 2, 5, 6), 3, (3, 2), (2, 1), ((0, 2), (1, 0))),
    weight_row("dilation", (1, 2, 8, 9), 3, (3, 3), dilation=(2, 3)),
    weight_row("groups", (2, 4, 5, 5), 6, (3, 3), padding=ONE, groups=2),
    weight_row("1x1", (2, 3, 4, 4), 2, (1, 1)),
    Row("Fused-conv-bias-relu", (Fused,), (Input((2, 3, 6, 7)), Input((4, 3, 3, 3)),
        Input((1, 4, 1, 1))), conv_bias_relu,
        lambda x, w, b: np.maximum(ref.conv2d(x, w, padding=ONE) + b, 0), gradient=False, **LOOSE),
]  # fmt: skip


def torch_padding(kernel: Pair, padding: Any) -> Pair | None:
    """The padding as torch's pooling takes it, or None: symmetric and at most half the kernel."""
    sides = tuple(low for low, high in padding if low == high)
    fits = len(sides) == 2 and all(2 * side <= k for side, k in zip(sides, kernel, strict=True))
    return sides if fits else None  # type: ignore[return-value]


def max_row(
    name: str,
    kernel: Any,
    stride: Any = None,
    padding: Any = 0,
    explicit: Any = ref.NO_PADDING,
    size: Pair = (6, 7),
    domain: Any = distinct(),  # noqa: B008
    **options: Any,
) -> Row:
    kernels = (kernel, kernel) if isinstance(kernel, int) else kernel
    strides = kernels if stride is None else (stride, stride) if isinstance(stride, int) else stride
    sides = torch_padding(kernels, explicit)
    return Row(
        f"MaxPool2d-{name}",
        (pool.MaxPool2d,),
        (Input((2, 3, *size), domain),),
        lambda x: mg.max_pool2d(x, kernel, stride, padding),
        lambda x: ref.max_pool2d(x, kernels, strides, explicit)[0],
        (lambda x: F.max_pool2d(x, kernels, strides, sides)) if sides else None,
        exact=True,
        **options,
    )


def locally_distinct(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Small numbers with no ties within any 3x3 window."""
    row, column = np.indices(shape)[2:]
    return (5 * row + column + rng.integers(31, size=(*shape[:2], 1, 1))) % 31 * 0.1


def avg_row(
    name: str,
    kernel: Pair,
    stride: Pair | None = None,
    padding: Any = 0,
    explicit: Any = ref.NO_PADDING,
    count: bool = True,
) -> Row:
    strides = kernel if stride is None else stride
    sides = torch_padding(kernel, explicit)
    return Row(
        f"AvgPool2d-{name}{'' if count else '-without-padding'}",
        (pool.AvgPool2d,),
        (Input((2, 3, 6, 7)),),
        lambda x: mg.avg_pool2d(x, kernel, stride, padding, count_include_pad=count),
        lambda x: ref.avg_pool2d(x, kernel, strides, explicit, count),
        (lambda x: F.avg_pool2d(x, kernel, strides, sides, False, count)) if sides else None,
    )


OVERLAP = ((3, 2), (2, 1), ((1, 2), (0, 1)))  # kernel, stride, padding
PLACES = ref.windows((2, 3, 6, 7), *OVERLAP)


def positions(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """A place inside the image for each window."""
    chosen = np.zeros(shape, np.uint8)
    for index in np.ndindex(*shape):
        inside = PLACES[index[2], index[3]]
        chosen[index] = inside[rng.integers(len(inside))][0]
    return chosen


def scatter_reference(gy: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    gx = np.zeros((2, 3, 6, 7))
    for n, c, i, j in np.ndindex(*gy.shape):
        row, column = dict(PLACES[i, j])[int(chosen[n, c, i, j])]
        gx[n, c, row, column] += gy[n, c, i, j]
    return gx


def gather_reference(x: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    y = ref.pooled(x, PLACES)
    for n, c, i, j in np.ndindex(*y.shape):
        y[n, c, i, j] = x[n, c, *dict(PLACES[i, j])[int(chosen[n, c, i, j])]]
    return y


def spread_reference(count: bool) -> Any:
    def reference(gy: np.ndarray) -> np.ndarray:
        gx = np.zeros((2, 3, 6, 7))
        for (i, j), inside in PLACES.items():
            share = gy[:, :, i, j] / (6 if count else len(inside))
            for _, (row, column) in inside:
                gx[:, :, row, column] += share
        return gx

    return reference


POOLED = ref.pooled(np.zeros((2, 3, 6, 7)), PLACES).shape
CHOSEN = Input(POOLED, positions, "uint8")


def emitted(op: Any) -> Any:
    return lambda first, *rest: first.builder.emit(op, first, *rest)[0]


POOLING = [
    max_row("2x2", 2),
    max_row("overlap", 3, 2),
    max_row("overlap-padding", 3, 2, 1, ONE),
    max_row("3x2-asymmetric", *OVERLAP[:2], OVERLAP[2], OVERLAP[2]),
    max_row("1x1-stride-2", 1, 2),
    max_row("whole-image", (6, 7)),
    max_row("gaps", 2, 3),
    max_row("full-padding", 3, 1, 2, ((2, 2), (2, 2))),
    max_row("several-blocks", 3, 2, 1, ONE, size=(110, 101), domain=locally_distinct),
    max_row("ties", 2, 1, domain=integers(0, 2), gradient=False),
    max_row("17x17", 17, 1, size=(18, 19)),  # positions do not fit uint8
    Row("MaxPool2d-positions", (pool.MaxPool2d,), (Input((2, 3, 6, 7), integers(0, 3)),),
        lambda x: x.builder.emit(pool.MaxPool2d(*OVERLAP), x),
        lambda x: ref.max_pool2d(x, *OVERLAP), gradient=False),
    Row("MaxPool2dScatter", (pool.MaxPool2dScatter,), (Input(POOLED), CHOSEN),
        emitted(pool.MaxPool2dScatter(*OVERLAP, input_size=(6, 7))), scatter_reference),
    Row("MaxPool2dGather", (pool.MaxPool2dGather,), (Input((2, 3, 6, 7)), CHOSEN),
        emitted(pool.MaxPool2dGather(*OVERLAP)), gather_reference, exact=True),
    avg_row("2x2", (2, 2)),
    avg_row("overlap", (3, 2), (2, 1)),
    *(avg_row("padding", (3, 3), (2, 2), 1, ONE, count) for count in (True, False)),
    *(avg_row("asymmetric", *OVERLAP[:2], OVERLAP[2], OVERLAP[2], count)
      for count in (True, False)),
    Row("AvgPool2dGrad", (pool.AvgPool2dGrad,), (Input(POOLED),),
        emitted(pool.AvgPool2dGrad(*OVERLAP, input_size=(6, 7))), spread_reference(True)),
    Row("AvgPool2dGrad-without-padding", (pool.AvgPool2dGrad,), (Input(POOLED),),
        emitted(pool.AvgPool2dGrad(*OVERLAP, count_include_pad=False,
            input_size=(6, 7))), spread_reference(False)),
    Row("global-avg-pool", (), (Input((2, 3, 4, 5)),), mg.global_avg_pool2d,
        lambda x: x.mean((2, 3)), lambda x: F.adaptive_avg_pool2d(x, 1)[:, :, 0, 0]),
    Row("global-max-pool", (), (Input((2, 3, 4, 5), distinct()),), mg.global_max_pool2d,
        lambda x: x.max((2, 3)), lambda x: F.adaptive_max_pool2d(x, 1)[:, :, 0, 0], exact=True),
]  # fmt: skip


def product_row(
    name: str, a: tuple[int, ...], b: tuple[int, ...], ta: bool = False, tb: bool = False
) -> Row:
    def reference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        left, right = "ki" if ta else "ik", "jk" if tb else "kj"
        return np.einsum(f"...{left},...{right}->...ij", a, b)

    op = MatMul(ta, tb)
    plain = not ta and not tb
    return Row(
        f"MatMul-{name}",
        (MatMul,),
        (Input(a), Input(b)),
        matmul if plain else lambda a, b: a.builder.emit(op, a, b)[0],
        reference,
        (lambda a, b: a @ b) if plain else None,
        tolerance32=1e-5,
    )


PRODUCTS = [
    product_row("plain", (3, 4), (4, 5)),
    product_row("transpose-a", (4, 3), (4, 5), True),
    product_row("transpose-b", (3, 4), (5, 4), False, True),
    product_row("transpose-both", (4, 3), (5, 4), True, True),
    product_row("batch", (2, 3, 4), (2, 4, 5)),
    product_row("batch-broadcast", (2, 1, 3, 4), (6, 4, 2)),
    product_row("batch-one-sided", (3, 4), (2, 4, 5)),
    product_row("batch-transpose-a", (2, 4, 3), (4, 5), True),
    product_row("batch-transpose-both", (4, 3), (2, 5, 4), True, True),
    product_row("batch-transpose-b", (1, 3, 4), (2, 5, 4), False, True),
    product_row("row-column", (1, 4), (4, 1)),
    product_row("inner-zero", (3, 0), (0, 2)),
    product_row("nothing", (0, 3), (3, 2)),
    product_row("large", (300, 70), (70, 150)),
]

ROWS = [*CONVOLUTIONS, *POOLING, *PRODUCTS]
