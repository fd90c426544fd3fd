"""Rows of pooling in all its forms, unpooling, resizing, padding by content, and unfolding."""

from __future__ import annotations

from typing import Any

import numpy as np
import op_references as plain
import op_references_spatial as ref
from op_table import F, Input, Row, distinct, exactly, integers, off_zero, torch

import minigraph as mg
from minigraph.ops import axis_map, median, one_dimensional, pad_modes, pool, resize, unfold, unpool
from minigraph.ops import shape as shape_ops
from minigraph.ops.shape import Pad

IMAGE = (2, 3, 6, 7)
ONE = ((1, 1), (1, 1))


def emitted(op: Any) -> Any:
    return lambda first, *rest: first.builder.emit(op, first, *rest)[0]


# ---- pooling: kernel, stride, padding, dilation, ceil mode; padding as written and what it means

WINDOWS = {
    "dilation": ((3, 2), (1, 2), 0, ref.NO_PADDING, (2, 3), False),
    "dilation-padding": ((2, 3), (2, 1), 1, ONE, (3, 2), False),
    "ceil": ((3, 2), (2, 2), 0, ref.NO_PADDING, (1, 1), True),
    "ceil-padding": ((3, 3), (2, 2), 1, ONE, (1, 1), True),
    "ceil-drops-the-last": ((2, 2), (3, 3), ((0, 1), (1, 1)), ((0, 1), (1, 1)), (1, 1), True),
    "ceil-window-larger": ((8, 9), (3, 3), 0, ref.NO_PADDING, (1, 1), True),
    "ceil-dilation": ((2, 2), (3, 2), 1, ONE, (2, 2), True),
    "same": ((3, 2), (2, 2), "same", ((0, 1), (0, 1)), (1, 1), False),
    "same-lower": ((3, 2), (2, 2), "same_lower", ((1, 0), (1, 0)), (1, 1), False),
    "same-dilation": ((2, 3), (1, 2), "same", ((1, 1), (2, 2)), (2, 2), False),
    "asymmetric": ((3, 3), (2, 1), ((0, 2), (1, 0)), ((0, 2), (1, 0)), (1, 1), False),
}


def max_rows(name: str) -> list[Row]:
    kernel, stride, padding, explicit, dilation, ceil = WINDOWS[name]
    sides = [low for low, high in explicit if low == high]
    known = len(sides) == 2 and all(2 * s <= k for s, k in zip(sides, kernel, strict=True))
    window = (kernel, stride, explicit, dilation, ceil)

    def counterpart(x: Any) -> Any:
        return F.max_pool2d(x, kernel, stride, sides, dilation, ceil, return_indices=True)

    return [
        Row(f"MaxPool2d-{name}", (pool.MaxPool2d,), (Input(IMAGE, distinct()),),
            lambda x: mg.max_pool2d(x, kernel, stride, padding, dilation, ceil),
            lambda x: ref.max_pool(x, *window)[0],
            (lambda x: counterpart(x)[0]) if known else None, exact=True),
        Row(f"MaxPool2dWithPositions-{name}", (unpool.MaxPool2dWithPositions,),
            (Input(IMAGE, distinct()),),
            lambda x: mg.max_pool2d_with_positions(x, kernel, stride, padding, dilation, ceil),
            lambda x: ref.max_pool(x, *window), counterpart if known else None, exact=True),
    ]  # fmt: skip


def average_rows(name: str) -> list[Row]:
    kernel, stride, padding, explicit, dilation, ceil = WINDOWS[name]
    sides = [low for low, high in explicit if low == high]
    known = len(sides) == 2 and all(2 * s <= k for s, k in zip(sides, kernel, strict=True))
    known = known and dilation == (1, 1)
    window = (kernel, stride, explicit, dilation, ceil)
    return [
        Row(f"AvgPool2d-{name}-{count}-{divisor}", (pool.AvgPool2d,), (Input(IMAGE),),
            lambda x, c=count, d=divisor: mg.avg_pool2d(
                x, kernel, stride, padding, count_include_pad=c, ceil_mode=ceil,
                divisor_override=d, dilation=dilation),
            lambda x, c=count, d=divisor: ref.avg_pool(x, *window, c, d),
            (lambda x, c=count, d=divisor: F.avg_pool2d(x, kernel, stride, sides, ceil, c, d))
            if known else None)
        for count, divisor in ((True, None), (False, None), (True, 5))
    ]  # fmt: skip


def lp_row(power: int, *window: Any, counterpart: Any = None) -> Row:
    return Row(
        f"lp-pool-{power}-{len(window)}", (pool.AvgPool2d,), (Input(IMAGE, off_zero),),
        lambda x: mg.lp_pool2d(x, power, *window),
        lambda x: ref.lp_pool(x, power, *window), counterpart, half_steps=8.0,
    )  # fmt: skip


POOLING = [
    *(row for name in WINDOWS for row in max_rows(name)),
    *(row for name in WINDOWS for row in average_rows(name)),
    lp_row(1, (3, 2), (2, 2)),
    lp_row(2, (3, 2), (2, 2), counterpart=lambda x: F.lp_pool2d(x, 2, (3, 2), (2, 2))),
    lp_row(3, (3, 2), (2, 2)),
    lp_row(2, (3, 3), (2, 2), ONE, (1, 1), True),
    Row("lp-pool-zeros", (pool.AvgPool2d,), (Input((1, 1, 4, 4), exactly(0.0)),),
        lambda x: mg.lp_pool2d(x, 2, 2), lambda x: np.zeros((1, 1, 2, 2)), gradient=False),
    Row("MaxPool2dWithPositions-ties", (unpool.MaxPool2dWithPositions,),
        (Input(IMAGE, integers(0, 2)),), lambda x: mg.max_pool2d_with_positions(x, 3, 1, 1),
        lambda x: ref.max_pool(x, (3, 3), (1, 1), ONE), gradient=False),
    Row("MaxPool2d-one-large-map", (pool.MaxPool2d,), (Input((1, 1, 512, 512)),),
        lambda x: mg.max_pool2d(x, 2), lambda x: x.reshape(1, 1, 256, 2, 256, 2).max((3, 5)),
        exact=True, gradient=False),
]  # fmt: skip

# ---- unpooling, unfolding

SPOTS = ref.max_pool(np.random.default_rng(0).standard_normal(IMAGE), (2, 2), (2, 2))[1]
SHARED = np.random.default_rng(0).integers(0, 42, (2, 3, 4, 5))


def at(positions: np.ndarray) -> Input:
    return Input(positions.shape, exactly(positions), "int64")


def torch_unpool(x: Any, positions: Any) -> Any:
    return F.max_unpool2d(x, positions, 2, output_size=(6, 7))


UNFOLDED = {
    "plain": ((3, 2), (1, 1), 0, ref.NO_PADDING, (1, 1)),
    "padding": ((3, 3), (2, 2), (1, 2), ((1, 1), (2, 2)), (1, 1)),
    "dilation": ((2, 3), (1, 2), ((0, 1), (2, 1)), ((0, 1), (2, 1)), (3, 2)),
    "gaps": ((2, 2), (3, 4), 0, ref.NO_PADDING, (1, 1)),
}


def unfold_rows(name: str) -> list[Row]:
    kernel, stride, padding, explicit, dilation = UNFOLDED[name]
    window = (kernel, stride, explicit, dilation)
    known = all(low == high for low, high in explicit)
    sides = tuple(low for low, _ in explicit)
    columns = ref.unfold(np.zeros(IMAGE), *window).shape
    weight = (*ref.pooled(np.zeros(IMAGE), ref.windows(IMAGE[2:], *window)).shape[2:], 4, 3)
    return [
        Row(f"Unfold2d-{name}", (unfold.Unfold2d,), (Input(IMAGE),),
            lambda x: mg.unfold2d(x, kernel, stride, padding, dilation),
            lambda x: ref.unfold(x, *window),
            (lambda x: F.unfold(x, kernel, dilation, sides, stride)) if known else None,
            exact=True),
        Row(f"Fold2d-{name}", (unfold.Fold2d,), (Input(columns),),
            lambda x: mg.fold2d(x, (6, 7), kernel, stride, padding, dilation),
            lambda x: ref.fold(x, (6, 7), *window),
            (lambda x: F.fold(x, (6, 7), kernel, dilation, sides, stride)) if known else None),
        Row(f"locally-connected-{name}", (unfold.Unfold2d,),
            (Input(IMAGE), Input((*weight, *kernel))),
            lambda x, w: unfold.locally_connected2d(x, w, stride, padding, dilation),
            lambda x, w: ref.locally_connected(x, w, *window[1:]), tolerance32=1e-5),
    ]  # fmt: skip


def median_row(
    kernel: Any, padding: str, numpy_mode: str, size: Any = IMAGE, **options: Any
) -> Row:
    kernels = (kernel, kernel) if isinstance(kernel, int) else kernel
    return Row(
        f"median-{kernel}-{padding}-{len(options)}".replace(" ", ""), (median.MedianPool2d,),
        (Input(size, distinct(0.05)),),
        lambda x: mg.median_filter2d(x, kernel, padding=padding),
        lambda x: ref.median_filter(x, kernels, numpy_mode), exact=True, **options,
    )  # fmt: skip


MOVING = [
    Row("MaxUnpool2d", (unpool.MaxUnpool2d,), (Input(SPOTS.shape), at(SPOTS)),
        lambda x, p: mg.max_unpool2d(x, p, (6, 7)), lambda x, p: ref.unpool(x, p, (6, 7)),
        torch_unpool, exact=True),
    Row("MaxUnpool2d-shared-positions", (unpool.MaxUnpool2d,), (Input(SHARED.shape), at(SHARED)),
        lambda x, p: mg.max_unpool2d(x, p, (6, 7)), lambda x, p: ref.unpool(x, p, (6, 7))),
    Row("MaxUnpool2d-one-large-map", (unpool.MaxUnpool2d,), (Input((1, 1, 260, 280)),
        at(np.arange(260 * 280).reshape(1, 1, 260, 280)[:, :, ::-1])),
        lambda x, p: mg.max_unpool2d(x, p, (260, 280)), lambda x, p: x[:, :, ::-1], exact=True,
        gradient=False),
    Row("TakeAtPositions", (unpool.TakeAtPositions,), (Input(IMAGE), at(SHARED)),
        emitted(unpool.TakeAtPositions()), ref.take, exact=True),
    Row("bed-of-nails", (Pad,), (Input((2, 3, 3, 2)),), lambda x: mg.bed_of_nails2d(x, (2, 3)),
        lambda x: np.kron(x, [[1, 0, 0], [0, 0, 0]]), exact=True),
    median_row(3, "reflect", "reflect"),
    median_row(3, "zero", "constant"),
    median_row((1, 5), "replicate", "edge"),
    median_row((5, 3), "circular", "wrap"),
    median_row(1, "zero", "constant"),
    median_row(3, "reflect", "reflect", (1, 2, 100, 101), gradient=False),
    Row("MedianPool2d-stride", (median.MedianPool2d,), (Input(IMAGE, distinct()),),
        emitted(median.MedianPool2d((3, 1), (2, 3), dilation=(2, 1))),
        lambda x: np.median([x[:, :, i : i + 2 : 2, ::3] for i in (0, 2, 4)], 0), exact=True),
    *(row for name in UNFOLDED for row in unfold_rows(name)),
    Row("locally-connected-no-image", (unfold.Unfold2d,),
        (Input((0, 1, 3, 3)), Input((2, 2, 2, 1, 2, 2))), unfold.locally_connected2d,
        lambda x, w: np.zeros((0, 2, 2, 2))),
    Row("Flip", (shape_ops.Flip,), (Input((2, 3, 4)),), lambda x: mg.flip(x, (0, -1)),
        lambda x: np.flip(x, (0, 2)), lambda x: torch.flip(x, (0, 2)), exact=True),
    Row("Flip-nothing", (shape_ops.Flip,), (Input((2, 3)),), lambda x: mg.flip(x, ()),
        lambda x: x, exact=True),
]  # fmt: skip

# ---- maps along axes


def resize_row(
    size: Any, scale: Any, mode: str, coordinates: str, rounding: str, counterpart: Any = None
) -> Row:
    made = size or tuple(int(n * s + 1e-9) for n, s in zip(IMAGE[2:], scale, strict=True))
    return Row(
        f"resize-{mode}-{coordinates}-{rounding}-{made[0]}x{made[1]}{'-scale' * (size is None)}",
        (resize.ResizeAxis,),
        (Input(IMAGE),),
        lambda x: mg.resize(
            x, size, scale=scale, mode=mode, coordinates=coordinates, rounding=rounding
        ),
        lambda x: ref.resize(x, made, scale, mode, coordinates, rounding),
        counterpart,
        exact=mode == "nearest",
    )


def interpolate(**options: Any) -> Any:
    return lambda x: F.interpolate(x, **options)


SIZES = [(9, 5), (12, 14), (1, 20)]
PAD = [(0, 0), (1, 0), (2, 3), (4, 1)]


def adjoint_row(name: str, op: axis_map.AxisMap, reference: Any) -> Row:
    shape = (2, 5, 3)
    out = reference(np.zeros(shape)).shape
    return Row(
        f"AxisMapAdjoint-{name}", (axis_map.AxisMapAdjoint,), (Input(out),),
        emitted(axis_map.AxisMapAdjoint(op, shape[op.axis])), ref.adjoint(reference, shape),
    )  # fmt: skip


MAPS = [
    *(resize_row(size, None, "nearest", "half_pixel", rounding,
                 interpolate(size=size, mode="nearest-exact")
                 if rounding == "round_prefer_ceil" else None)
      for size in SIZES[1:] for rounding in resize.ROUNDINGS),
    *(resize_row(size, None, "nearest", "asymmetric", "floor",
                 interpolate(size=size, mode="nearest")) for size in SIZES),
    resize_row((4, 9), None, "nearest", "align_corners", "ceil"),
    resize_row((4, 9), None, "nearest", "pytorch_half_pixel", "round_prefer_floor"),
    *(resize_row(size, None, "bilinear", "half_pixel", "floor",
                 interpolate(size=size, mode="bilinear")) for size in SIZES),
    *(resize_row(size, None, "bilinear", "align_corners", "floor",
                 interpolate(size=size, mode="bilinear", align_corners=True)) for size in SIZES),
    *(resize_row(size, None, "bilinear", coordinates, "floor") for size in SIZES[::2]
      for coordinates in ("asymmetric", "pytorch_half_pixel")),
    resize_row(None, (1.7, 0.4), "bilinear", "half_pixel_symmetric", "floor"),
    resize_row((9, 5), None, "nearest", "half_pixel_symmetric", "ceil"),
    resize_row(None, (2.0, 3.0), "nearest", "asymmetric", "floor",
               interpolate(scale_factor=(2, 3))),
    resize_row(None, (1.5, 0.4), "bilinear", "half_pixel", "floor",
               interpolate(scale_factor=(1.5, 0.4), mode="bilinear")),
    Row("resize-labels", (resize.ResizeAxis,), (Input(IMAGE, integers(0, 255), "uint8"),),
        lambda x: mg.resize(x, scale=2), lambda x: x.repeat(2, 2).repeat(2, 3), gradient=False,
        half=False),
    Row("resize-several-blocks", (resize.ResizeAxis,), (Input((3, 2, 90, 91)),),
        lambda x: mg.resize(x, (130, 60), mode="bilinear"),
        lambda x: ref.resize(x, (130, 60), None, "bilinear"), gradient=False),
    *(Row(f"AdaptiveMean-{size[0]}x{size[1]}", (resize.AdaptiveMeanAxis,), (Input(IMAGE),),
          lambda x, s=size: mg.adaptive_avg_pool2d(x, s),
          lambda x, s=size: ref.adaptive_mean(x, s),
          lambda x, s=size: F.adaptive_avg_pool2d(x, s))
      for size in ((3, 7), (4, 5), (1, 1), (7, 10))),
    Row("PadAxis-reflect", (pad_modes.PadAxis,), (Input(IMAGE),),
        lambda x: mg.pad(x, PAD, mode="reflect"), lambda x: np.pad(x, PAD, mode="reflect"),
        exact=True),
    *(Row(f"PadAxis-{mode}", (pad_modes.PadAxis,), (Input(IMAGE),),
          lambda x, m=mode: mg.pad(x, [(0, 0), (0, 0), *PAD[2:]], mode=m),
          lambda x, m=numpy_mode: np.pad(x, [(0, 0), (0, 0), *PAD[2:]], mode=m),
          lambda x, m=torch_mode: F.pad(x, (4, 1, 2, 3), mode=m), exact=True)
      for mode, numpy_mode, torch_mode in (
          ("replicate", "edge", "replicate"), ("edge", "edge", "replicate"),
          ("circular", "wrap", "circular"), ("wrap", "wrap", "circular"))),
    Row("PadAxis-int", (pad_modes.PadAxis,), (Input((4,), integers(0, 9), "int32"),),
        lambda x: mg.pad(x, [(3, 2)], mode="reflect"), lambda x: np.pad(x, (3, 2), "reflect"),
        gradient=False, half=False),
    Row("Pad-crops", (shape_ops.Slice, Pad), (Input((4, 5)),),
        lambda x: mg.pad(x, [(-1, 2), (0, -2)], 0.5),
        lambda x: np.pad(x[1:, :3], [(0, 2), (0, 0)], constant_values=0.5),
        lambda x: F.pad(x, (0, -2, -1, 2), value=0.5), exact=True),
    adjoint_row("reflect", pad_modes.PadAxis(1, 4, 2, "reflect"),
                lambda x: np.pad(x, [(0, 0), (4, 2), (0, 0)], "reflect")),
    adjoint_row("circular", pad_modes.PadAxis(2, 3, 2, "circular"),
                lambda x: np.pad(x, [(0, 0), (0, 0), (3, 2)], "wrap")),
    adjoint_row("bilinear", resize.ResizeAxis(1, 7, mode="bilinear"),
                lambda x: ref.resize_axis(x, 1, 7, None, "bilinear")),
    adjoint_row("nearest", resize.ResizeAxis(1, 7), lambda x: ref.resize_axis(x, 1, 7)),
    adjoint_row("nearest-fewer", resize.ResizeAxis(0, 1), lambda x: ref.resize_axis(x, 0, 1)),
    adjoint_row("nearest-twice", resize.ResizeAxis(2, scale=2.0), lambda x: x.repeat(2, 2)),
]  # fmt: skip

# ---- one dimension

LINES = Input((2, 4, 11))


def along(x: np.ndarray) -> np.ndarray:
    return x[:, :, None]


SEQUENCES = [
    Row("conv1d", (), (LINES, Input((6, 2, 3))),
        lambda x, w: one_dimensional.conv1d(x, w, 2, (1, 2), 2, 2),
        lambda x, w: plain.conv2d(along(x), along(w), (1, 2), ((0, 0), (1, 2)), (1, 2), 2)[:, :, 0],
        lambda x, w: F.conv1d(F.pad(x, (1, 2)), w, None, 2, 0, 2, 2), tolerance32=2e-4),
    Row("conv_transpose1d", (), (LINES, Input((4, 3, 3))),
        lambda x, w: one_dimensional.conv_transpose1d(x, w, 2, 1, 1, 2, 2),
        lambda x, w: plain.conv_transpose2d(along(x), along(w), (1, 2), ((0, 0), (1, 1)), (1, 2),
                                            2, (0, 1))[:, :, 0],
        lambda x, w: F.conv_transpose1d(x, w, None, 2, 1, 1, 2, 2), tolerance32=2e-4),
    Row("max_pool1d", (), (Input((2, 3, 8), distinct()),),
        lambda x: mg.max_pool1d(x, 3, 2, 1, ceil_mode=True),
        lambda x: ref.max_pool(
            along(x), (1, 3), (1, 2), ((0, 0), (1, 1)), (1, 1), True)[0][:, :, 0],
        lambda x: F.max_pool1d(x, 3, 2, 1, ceil_mode=True), exact=True),
    Row("avg_pool1d", (), (Input((2, 3, 8)),), lambda x: mg.avg_pool1d(x, 3, padding="same"),
        lambda x: ref.avg_pool(along(x), (1, 3), (1, 3), ((0, 0), (0, 1)))[:, :, 0]),
]  # fmt: skip

ROWS = [*POOLING, *MOVING, *MAPS, *SEQUENCES]
