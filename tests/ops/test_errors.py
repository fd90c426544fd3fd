"""Illegal inputs and attributes: the error says what was expected and what came, in numbers."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import error_rows
import numpy as np
import pytest
from error_table import Bad, emit

import minigraph as mg
from minigraph.ir import parse
from minigraph.ir.constant import Constant, Full
from minigraph.ops import (
    ALL_OPS,
    TEXT_CLASSES,
    axis_map,
    broadcast,
    control,
    conv,
    fused,
    loss,
    matmul,
    median,
    norm,
    pad_modes,
    pool,
    resize,
    unfold,
    unpool,
)
from minigraph.ops import elementwise as ew
from minigraph.ops import random as rnd
from minigraph.ops import reduce as red
from minigraph.ops import shape as sh
from minigraph.ops import softmax as sm

X = "float32[2,3,8,8]"
BINARY = (ew.Add, ew.Sub, ew.Mul, ew.Div, ew.Maximum, ew.Minimum)
COMPARISONS = (ew.Equal, ew.NotEqual, ew.Less, ew.LessEqual, ew.Greater, ew.GreaterEqual)
UNARY = (ew.Abs, ew.Sign, ew.Sqrt, ew.Exp, ew.Log, ew.Relu, ew.Sigmoid, ew.Tanh, ew.LeakyRelu)

ELEMENTWISE = [
    *(Bad(op, "float32[2,3] float32[4]", emit(op), r"\[2, 3\] and \[4\] .*axis -1: 3 against 4")
      for op in (*BINARY, *COMPARISONS)),
    *(Bad(op, "float32[2] float64[2]", emit(op), "one dtype, got float32 and float64")
      for op in (*BINARY, *COMPARISONS)),
    *(Bad(op, "bool[2] bool[2]", emit(op), "got bool") for op in BINARY),
    Bad(ew.Div, "int32[2] int32[2]", emit(ew.Div), "floating dtype to divide, got int32"),
    *(Bad(op, "int32[2]", emit(op), "a floating dtype, got int32") for op in UNARY),
    Bad(ew.Neg, "uint8[2]", lambda x: -x, "a signed dtype, got uint8"),
    Bad(ew.Neg, "bool[2]", lambda x: -x, "a signed dtype, got bool"),
    Bad(ew.ReluGrad, "float32[2] float32[3]", emit(ew.ReluGrad), r"float32\[2\] and float32\[3\]"),
    Bad(ew.LeakyRelu, "float32[2]", lambda x: mg.leaky_relu(x, -0.5), "zero or more, got -0.5"),
    Bad(ew.LeakyRelu, "float32[2]", lambda x: mg.leaky_relu(x, np.inf), "finite .* got inf"),
    Bad(ew.LeakyRelu, "float32[2]", lambda x: mg.leaky_relu(x, np.nan), "got nan"),
    *(Bad(op, "float32[2] bool[2]", emit(op), "bool, got float32")
      for op in (ew.LogicalAnd, ew.LogicalOr)),
    Bad(ew.LogicalNot, "int32[2]", lambda x: ~x, "bool, got int32"),
    Bad(ew.Where, "float32[2] float32[2]", lambda c, x: mg.where(c, x, x),
        "bool condition, got float32"),
    Bad(ew.Where, "bool[2] float32[2] int32[2]", emit(ew.Where), "got float32 and int32"),
    Bad(ew.Where, "bool[3] float32[2]", lambda c, x: mg.where(c, x, 0.0), r"\[3\] and \[2\]"),
    Bad(ew.Cast, "float32[2]", lambda x: mg.cast(x, "complex64"), "float64, got complex64"),
    Bad(ew.Add, "float32[2]", lambda x: x + "1", "a number or an array, got str: '1'"),
    Bad(ew.Add, "float32[2]", lambda x: x + None, "got NoneType"),
    Bad(Full, "uint8[2]", lambda x: x + 300, r"an integer in \[0, 255\] for uint8, got 300"),
    Bad(Full, "uint8[2]", lambda x: x - (-1), r"an integer in \[0, 255\] for uint8, got -1"),
    Bad(Full, "int32[2]", lambda x: x * 2**40, "for int32, got 1099511627776"),
    Bad(Constant, "float32[2]", lambda x: x * np.ones(2, complex), "got complex128"),
]  # fmt: skip

SHAPES = [
    Bad(broadcast.Reshape, "float32[2,3]", lambda x: broadcast.reshape(x, (4,)),
        r"6 elements, got \[4\] for 4"),
    Bad(broadcast.Reshape, "float32[2,3]", lambda x: broadcast.reshape(x, (-1, 4)),
        r"6 elements, got \[-1, 4\]"),
    Bad(broadcast.Reshape, "float32[2,3]", lambda x: broadcast.reshape(x, (-1, -1)),
        r"at most one -1, got \[-1, -1\]"),
    Bad(broadcast.Reshape, "float32[2,3]", lambda x: broadcast.reshape(x, (1.5, 4)), "got 1.5"),
    Bad(broadcast.Expand, "float32[2,3]", lambda x: broadcast.expand(x, (2, 4)),
        r"\[2, 3\] and \[2, 4\]"),
    Bad(broadcast.Expand, "float32[2,3]", lambda x: broadcast.expand(x, (1, 3)),
        r"broadcasts to \[1, 3\], got \[2, 3\]"),
    Bad(sh.Flatten, "float32[2,3]", lambda x: mg.flatten(x, 3), r"\[0, 2\], got 3"),
    Bad(sh.Flatten, "float32[2,3]", lambda x: mg.flatten(x, -1), r"\[0, 2\], got -1"),
    Bad(sh.Squeeze, "float32[2,1]", lambda x: sh.squeeze(x, 0), r"size 1 on axis 0, .*\[2, 1\]"),
    Bad(sh.Squeeze, "float32[2,1]", lambda x: sh.squeeze(x, 2), r"\[-2, 2\), got 2"),
    Bad(sh.Transpose, "float32[2,3]", lambda x: mg.transpose(x, (0, 0)),
        r"permutation of \[0, 1\], got \[0, 0\]"),
    Bad(sh.Transpose, "float32[2,3]", lambda x: mg.transpose(x, (0,)), r"got \[0\]"),
    Bad(sh.Concat, "float32[2,3] float32[3,3]", lambda a, b: mg.concat([a, b], 1),
        r"float32\[2,3\] and float32\[3,3\] \(operand 1\)"),
    Bad(sh.Concat, "float32[2,3] float32[2]", lambda a, b: mg.concat([a, b], 1),
        r"agree outside axis 1, got float32\[2,3\] and float32\[2\]"),
    Bad(sh.Concat, "float32[2,3] float64[2,3]", lambda a, b: mg.concat([a, b], 1), "float64"),
    Bad(sh.Concat, "float32[2,3]", lambda x: mg.concat([x, x], 2), r"\[-2, 2\), got 2"),
    Bad(sh.Concat, "float32[2,3]", lambda x: mg.concat([]), "at least one tensor"),
    Bad(sh.Split, "float32[2,3]", lambda x: mg.split(x, 2), "divides 3, got 2"),
    Bad(sh.Split, "float32[2,3]", lambda x: mg.split(x, [1, 1]),
        r"sum to 3 \(axis 1 of \[2, 3\]\), got \[1, 1\]"),
    Bad(sh.Split, "float32[2,3]", lambda x: mg.split(x, [4, -1]), r"got \[4, -1\]"),
    Bad(sh.Split, "float32[2,3]", lambda x: mg.split(x, 1.5), "got 1.5"),
    Bad(sh.Slice, "float32[2,3]", lambda x: x[::-1], "one or more, got None:None:-1"),
    Bad(sh.Slice, "float32[2,3]", lambda x: x[0, 0, 0], "at most 2 slices, got 3"),
    Bad(sh.Slice, "float32[2,3]", lambda x: x[2], r"\[-2, 2\) on axis 0, got 2"),
    Bad(sh.Slice, "float32[2,3]", lambda x: x[0, -4], r"\[-3, 3\) on axis 1, got -4"),
    Bad(sh.Slice, "float32[2,3]", lambda x: x[1.5], "integers as an index, got 1.5"),
    Bad(sh.Slice, "float32[2,3]", lambda x: x[1.5:], "integer for a slice, got 1.5"),
    Bad(sh.Slice, "float32[2,3]", lambda x: x[True], "got True"),
    Bad(sh.Slice, "float32[2,3]", lambda x: x[..., ...], "at most one ellipsis"),
    Bad(sh.Pad, "float32[2,3]", lambda x: mg.pad(x, [(1, 1)]), "2 paddings, got 1"),
    Bad(sh.Pad, "float32[2]", emit(lambda: sh.Pad((0,), (-1,), (0,))), r"more, .*high=\[-1\]"),
    Bad(sh.Pad, "float32[2]", lambda x: mg.pad(x, [(-1, -2)]), r"at most 2 .*got \(-1, -2\)"),
    Bad(sh.Pad, "float32[2]", lambda x: mg.pad(x, [(1, 1, 1)]), r"got \[\(1, 1, 1\)\]"),
    Bad(sh.Pad, "float32[2]", lambda x: mg.pad(x, 1), "got 1"),
    Bad(sh.Pad, "uint8[2]", lambda x: mg.pad(x, [(1, 1)], -1), r"\[0, 255\] for uint8, got -1"),
    Bad(sh.Pad, "int32[2]", lambda x: mg.pad(x, [(1, 1)], 0.5), "for int32, got 0.5"),
    Bad(control.WhenTraining, "float32[2] float32[3]", mg.when_training,
        r"float32\[2\] and float32\[3\]"),
]  # fmt: skip

REDUCTIONS = [
    *(Bad(op, "float32[2,3]", lambda x, f=function: f(x, 2), r"axis in \[-2, 2\), got 2")
      for op, function in ((broadcast.Sum, mg.reduce_sum), (red.Mean, mg.reduce_mean),
                           (red.Max, mg.reduce_max), (red.Count, red.count))),
    Bad(broadcast.Sum, "float32[2,3]", lambda x: mg.reduce_sum(x, -3), r"\[-2, 2\), got -3"),
    Bad(broadcast.Sum, "float32[2,3]", lambda x: mg.reduce_sum(x, (0, -2)), r"got \[0, -2\]"),
    Bad(broadcast.Sum, "float32[2,3]", lambda x: mg.reduce_sum(x, 0.5), "integers .*got 0.5"),
    Bad(broadcast.Sum, "bool[2,3]", emit(broadcast.Sum), "got bool"),
    Bad(red.Mean, "int32[2,3]", mg.reduce_mean, "a floating dtype, got int32"),
    Bad(red.Max, "bool[2,3]", mg.reduce_max, "numbers, got bool"),
    Bad(red.Max, "float32[2,0]", mg.reduce_max, r"along axis 1, got shape \[2, 0\]"),
    Bad(red.ArgMax, "float32[2,3]", lambda x: mg.argmax(x, 2), r"\[-2, 2\), got 2"),
    Bad(red.ArgMax, "float32[2,0]", mg.argmax, r"along axis 1, got shape \[2, 0\]"),
    *(Bad(op, *rest) for op, f in ((sm.Softmax, mg.softmax), (sm.LogSoftmax, mg.log_softmax))
      for rest in (("float32[2]", f, r"\[-1, 1\), got 1"), ("int32[2,3]", f, "got int32"),
                   ("float32[2,0]", f, r"along axis 1, got shape \[2, 0\]"))),
    Bad(norm.ChannelMoments, "float32[3]", norm.channel_moments, r"got float32\[3\]"),
    Bad(norm.ChannelMoments, "float32[0,3]", norm.channel_moments, r"one element, .*\[0,3\]"),
    Bad(norm.ChannelMoments, "float32[2]", mg.batch_norm, r"tensor \(N,C,...\).* got float32\[2\]"),
    Bad(norm.ChannelMoments, X, lambda x: mg.batch_norm(x, momentum=1.5), "got 1.5"),
    Bad(matmul.MatMul, "float32[2,3] float32[2,3]", matmul.matmul,
        r"agree, got 3 of \[2, 3\] and 2 of \[2, 3\]"),
    Bad(matmul.MatMul, "float32[3]", lambda x: x @ x, r"2 axes .*got float32\[3\]"),
    Bad(matmul.MatMul, "int32[3,3]", lambda x: x @ x, r"floating dtype, got int32\[3,3\]"),
    Bad(matmul.MatMul, "float32[2,3,4] float32[3,4,5]", matmul.matmul, r"\[2\] and \[3\]"),
    Bad(matmul.MatMul, "float32[3,4] float32[3,4]",
        emit(lambda: matmul.MatMul(transpose_a=True, transpose_b=True)),
        r"got 3 of \[3, 4\] transposed and 4 of \[3, 4\] transposed"),
    Bad(matmul.MatMul, "float32[2,3,4]", lambda x: mg.dense(x, 5), r"got float32\[2,3,4\]"),
]  # fmt: skip


def conv2d(**options: Any) -> Callable[..., Any]:
    return lambda x, w: conv.conv2d(x, w, **options)


def transposed(**options: Any) -> Callable[..., Any]:
    return lambda x, w: conv.conv_transpose2d(x, w, **options)


W = f"{X} float32[4,3,3,3]"
T = f"{X} float32[3,4,3,3]"

WINDOWS = [
    Bad(conv.Conv2d, f"{X} float32[4,2,3,3]", conv2d(), r"2 input channels .*groups 1\), got 3"),
    Bad(conv.Conv2d, f"{X} float32[4,1,3,3]", conv2d(groups=3), "divisible by groups 3, got 4"),
    Bad(conv.Conv2d, f"{X} float32[4,3,9,3]", conv2d(), r"at least 9 .*got 8 with .*\(0, 0\)"),
    Bad(conv.Conv2d, W, conv2d(dilation=4), r"at least 9 \(kernel 3, dilation 4\), got 8"),
    Bad(conv.Conv2d, f"{X} float32[3,3]", conv2d(), r"4 axes for the weight .*float32\[3,3\]"),
    Bad(conv.Conv2d, f"{X} float64[4,3,3,3]", emit(conv.Conv2d), "got float32 and float64"),
    Bad(conv.Conv2d, f"{X} float32[4,3,0,3]", conv2d(), "kernel of at least 1, got 0"),
    Bad(conv.Conv2d, "int32[2,3,8,8] int32[4,3,3,3]", conv2d(), "floating dtype .*int32"),
    *(Bad(conv.Conv2d, W, conv2d(**{name: value}), says) for name, value, says in (
        ("stride", 0, "stride of one or more, got 0"), ("dilation", (1, -1), "got -1"),
        ("groups", 0, "groups of one or more, got 0"), ("stride", (1, 2, 3), r"got \(1, 2, 3\)"),
        ("stride", 1.5, "got 1.5"), ("padding", -1, "zero or more.*got -1"),
        ("padding", ((1, -2), (0, 0)), r"got \(\(1, -2\), \(0, 0\)\)"),
        ("padding", "full", "got 'full'"), ("padding", 0.5, "got 0.5"),
        ("padding", (1, 2, 3), r"got \(1, 2, 3\)"), ("padding", None, "got None"))),
    Bad(conv.Conv2d, X, lambda x: mg.conv2d(x, 4, 3, groups=2), "3 input and 4 output .*got 2"),
    Bad(conv.Conv2d, X, lambda x: mg.conv2d(x, 0, 3), "channels of one or more, got 0"),
    Bad(conv.Conv2d, "float32[2,3]", lambda x: mg.conv2d(x, 4, 3), r"float32\[2,3\]"),
    Bad(conv.ConvTranspose2d, W, transposed(), r"4 input channels .*got 3"),
    Bad(conv.ConvTranspose2d, T, transposed(groups=2), "divisible by groups 2, got 3"),
    Bad(conv.ConvTranspose2d, T, transposed(stride=2, output_padding=2), "stride 2, got 2"),
    Bad(conv.ConvTranspose2d, T, transposed(output_padding=-1), "stride 1, got -1"),
    Bad(conv.ConvTranspose2d, T, transposed(padding=5), "at least 1x1, got 0x0"),
    Bad(conv.ConvTranspose2d, T, transposed(stride=0), "one or more, got 0"),
    Bad(conv.Conv2dGradWeight, f"{X} float32[2,4,6,6]",
        emit(lambda: conv.Conv2dGradWeight((5, 5))), r"of \[2, 4, 4, 4\], got \[2, 4, 6, 6\]"),
    Bad(conv.Conv2dGradWeight, f"{X} float32[2,4,6]",
        emit(lambda: conv.Conv2dGradWeight((3, 3))), r"4 axes .*float32\[2,4,6\]"),
    *(Bad(op, *rest) for op, f in ((pool.MaxPool2d, mg.max_pool2d), (pool.AvgPool2d, mg.avg_pool2d))
      for rest in (
          (X, lambda x, f=f: f(x, 9), "9x9 window fits, got 8x8"),
          (X, lambda x, f=f: f(x, 2, padding=2), r"smaller than the kernel 2, got \(2, 2\)"),
          (X, lambda x, f=f: f(x, 0), r"one or more, got \(0, 0\)"),
          (X, lambda x, f=f: f(x, 2, 0), r"got \(2, 2\), \(0, 0\)"),
          ("float32[2,8,8]", lambda x, f=f: f(x, 2), r"4 axes \(N,C,H,W\), got float32\[2,8,8\]"),
          ("int32[2,3,8,8]", lambda x, f=f: f(x, 2), "floating dtype, got int32"))),
    Bad(pool.MaxPool2dScatter, "float32[1,1,3,3] uint8[1,1,3,3]",
        emit(lambda: pool.MaxPool2dScatter((2, 2), (2, 2), input_size=(8, 8))),
        r"\[1, 1, 4, 4\], got \[1, 1, 3, 3\]"),
    Bad(pool.MaxPool2dGather, "float32[1,1,8,8] int32[1,1,4,4]",
        emit(lambda: pool.MaxPool2dGather((2, 2), (2, 2))), "positions of uint8, got int32"),
    Bad(pool.MaxPool2dGather, "float32[1,1,8,8] uint8[1,1,4,3]",
        emit(lambda: pool.MaxPool2dGather((2, 2), (2, 2))), r"got \[1, 1, 4, 3\]"),
    Bad(pool.AvgPool2dGrad, "float32[1,1,3,3]",
        emit(lambda: pool.AvgPool2dGrad((2, 2), (2, 2), input_size=(8, 8))),
        r"\[1, 1, 4, 4\], got \[1, 1, 3, 3\]"),
]  # fmt: skip


P = "float32[1,1,3,3] int64[1,1,3,3]"

SPATIAL = [
    *(Bad(op, X, lambda x, f=f, o=options: f(x, 3, **o), says)
      for op, f in ((pool.MaxPool2d, mg.max_pool2d), (pool.AvgPool2d, mg.avg_pool2d),
                    (unpool.MaxPool2dWithPositions, mg.max_pool2d_with_positions),
                    (unfold.Unfold2d, mg.unfold2d))
      for options, says in (
          ({"dilation": 0}, r"dilation of one or more, got \(0, 0\)"),
          ({"dilation": 4}, "3x3 window fits, got 8x8"), ({"padding": "full"}, "got 'full'"),
          ({"padding": 3}, r"smaller than the kernel 3, got \(3, 3\)"))),
    Bad(pool.MaxPool2d, "float32[1,1,1,9]", lambda x: mg.max_pool2d(x, (2, 1), 1, (1, 0), (2, 1)),
        "one at -1 of kernel 2 and dilation 2 over 1"),
    Bad(pool.AvgPool2d, X, lambda x: mg.avg_pool2d(x, 2, divisor_override=0), "or more, got 0"),
    Bad(pool.AvgPool2d, X, lambda x: mg.lp_pool2d(x, 0, 2), "power of one or more, got 0"),
    Bad(unpool.MaxUnpool2d, P, lambda x, p: mg.max_unpool2d(x, p, 0), r"1x1, got \(0, 0\)"),
    Bad(unpool.MaxUnpool2d, "float32[1,1,3,3] int32[1,1,3,3]",
        lambda x, p: mg.max_unpool2d(x, p, 6), r"int64\[1,1,3,3\], got int32\[1,1,3,3\]"),
    Bad(unpool.MaxUnpool2d, "float32[1,1,3,3] int64[1,1,3,4]",
        lambda x, p: mg.max_unpool2d(x, p, 6), r"int64\[1,1,3,3\], got int64\[1,1,3,4\]"),
    Bad(unpool.TakeAtPositions, "float32[1,2,3,3] int64[1,1,3,3]", emit(unpool.TakeAtPositions),
        r"int64\[1,2,3,3\], got int64\[1,1,3,3\]"),
    Bad(unpool.TakeAtPositions, "float32[3,3] int64[1,1,3,3]", emit(unpool.TakeAtPositions),
        r"images .*got float32\[3,3\]"),
    Bad(sh.Pad, "float32[3,3]", lambda x: mg.bed_of_nails2d(x, 2), r"got float32\[3,3\]"),
    Bad(sh.Pad, X, lambda x: mg.bed_of_nails2d(x, 0), r"one or more, got \(0, 0\)"),
    Bad(sh.Flip, "float32[2,3]", lambda x: mg.flip(x, 2), r"\[-2, 2\), got 2"),
    Bad(median.MedianPool2d, X, lambda x: mg.median_filter2d(x, 4), r"centre, got \(4, 4\)"),
    Bad(median.MedianPool2d, X, lambda x: mg.median_filter2d(x, padding="edge"), "got 'edge'"),
    Bad(median.MedianPool2d, "float32[3]", lambda x: mg.median_filter2d(x), r"got float32\[3\]"),
    Bad(median.MedianPool2d, X, emit(lambda: median.MedianPool2d((3, 3), (1, 1), ((1, 1), (0, 0)))),
        r"inside the image, got padding \(\(1, 1\), \(0, 0\)\)"),
    Bad(median.MedianPool2d, X, emit(lambda: median.MedianPool2d((2, 3), (1, 1))), "an odd kernel"),
    Bad(unfold.Fold2d, "float32[1,5,4]", lambda x: mg.fold2d(x, (3, 3), 2), r"C\*4,.*\[1,5,4\]"),
    Bad(unfold.Fold2d, "float32[1,4,5]", lambda x: mg.fold2d(x, (3, 3), 2), r"4 positions, .*5\]"),
    Bad(unfold.Unfold2d, f"{X} float32[3,3]", unfold.locally_connected2d, r"got float32\[3,3\]"),
    Bad(unfold.Unfold2d, f"{X} float32[6,6,4,2,3,3]", unfold.locally_connected2d, "2 input chan"),
    Bad(unfold.Unfold2d, f"{X} float32[5,6,4,3,3,3]", unfold.locally_connected2d,
        "6x6 positions, got"),
    Bad(unfold.Unfold2d, X, lambda x: mg.locally_connected2d(x, 0, 3), "one or more, got 0"),
    *(Bad(resize.ResizeAxis, X, lambda x, o=options: mg.resize(x, **o), says)
      for options, says in (
          ({}, "a size or a scale, got size=None"), ({"size": 4, "scale": 2.0}, "got size=4"),
          ({"size": 0}, "one or more, got 0"), ({"size": 1.5}, "got 1.5"),
          ({"scale": 0.0}, "positive scale, got 0.0"), ({"scale": np.nan}, "got nan"),
          ({"scale": "2"}, "got '2'"), ({"scale": (1, 2, 3)}, r"got \(1, 2, 3\)"),
          ({"scale": 0.1}, "along axis 2, got 8 and 0.1"),
          ({"size": 4, "mode": "cubic"}, "nearest, bilinear, got 'cubic'"),
          ({"size": 4, "coordinates": "centre"}, "half_pixel, .*got 'centre'"),
          ({"size": 4, "rounding": "up"}, "floor, ceil, got 'up'"))),
    Bad(resize.ResizeAxis, "uint8[2,3,8,8]", lambda x: mg.resize(x, 4, mode="bilinear"),
        "floating dtype, got uint8"),
    Bad(resize.ResizeAxis, "float32[8,8]", lambda x: mg.resize(x, 4), r"got float32\[8,8\]"),
    Bad(resize.AdaptiveMeanAxis, X, lambda x: mg.adaptive_avg_pool2d(x, 0), "or more, got 0"),
    Bad(resize.AdaptiveMeanAxis, "float32[1,1,0,4]", lambda x: mg.adaptive_avg_pool2d(x, 2),
        "along axis 2, got none"),
    Bad(pad_modes.PadAxis, "float32[3]", lambda x: mg.pad(x, [(3, 0)], mode="reflect"),
        r"at most 2 with mode 'reflect' along axis 0 of 3 elements, got \(3, 0\)"),
    Bad(pad_modes.PadAxis, "float32[3]", lambda x: mg.pad(x, [(0, 4)], mode="wrap"),
        "at most 3 with mode 'circular'"),
    Bad(pad_modes.PadAxis, "float32[0]", lambda x: mg.pad(x, [(0, 4)], mode="edge"), "at most 0"),
    Bad(pad_modes.PadAxis, "float32[3]", lambda x: mg.pad(x, [(0, -1)], mode="edge"),
        r"zero or more .*got \(0, -1\)"),
    Bad(pad_modes.PadAxis, "float32[3]", lambda x: mg.pad(x, [(0, 0)], mode="mirror"), "'mirror'"),
    Bad(pad_modes.PadAxis, "float32[3]", lambda x: mg.pad(x, [(1, 0)], "reflect"),
        "write mode='reflect'"),
    Bad(pad_modes.PadAxis, "float32[3,3]", lambda x: mg.pad(x, [(0, 0)], mode="edge"),
        "2 paddings, got 1"),
    Bad(axis_map.AxisMapAdjoint, "float32[3]",
        emit(lambda: axis_map.AxisMapAdjoint(pad_modes.PadAxis(0, 1, 1, "reflect"), 4)),
        r"6 elements along axis 0, got \[3\]"),
    Bad(conv.Conv2d, "float32[3,3]", lambda x: mg.conv1d(x, 2, 3), r"\(N,C,L\), got float32"),
    Bad(conv.Conv2d, "float32[1,3,3]", lambda x: mg.conv1d(x, 2, 4), "at least 4 .*got 3"),
]  # fmt: skip


def cross_entropy(**options: Any) -> Callable[..., Any]:
    return lambda x, t: mg.softmax_cross_entropy(x, t, **options)


LOSSES = [
    Bad(loss.CrossEntropy, "float32[2,3] int32[3]", cross_entropy(),
        r"shape \[2\] for logits \[2, 3\] .*got \[3\]"),
    Bad(loss.CrossEntropy, "float32[2,3,4,4] int32[2,3,4,4]", cross_entropy(),
        r"\[2, 4, 4\] .*got \[2, 3, 4, 4\]"),
    Bad(loss.CrossEntropy, "float32[2,3] float32[2]", cross_entropy(), "int64, got float32"),
    Bad(loss.CrossEntropy, "int32[2,3] int32[2]", cross_entropy(), r"logits .*int32\[2,3\]"),
    Bad(loss.CrossEntropy, "float32[2] int32[2]", cross_entropy(), r"got float32\[2\]"),
    Bad(loss.CrossEntropy, "float32[2,0] int32[2]", cross_entropy(), r"one class, .*\[2,0\]"),
    Bad(loss.CrossEntropy, "float32[2,256] int32[2]", cross_entropy(), "256 classes, got 255"),
    Bad(loss.CrossEntropy, "float32[2,3] int32[2]", cross_entropy(void_label=2),
        "outside the 3 classes, got 2"),
    Bad(loss.CrossEntropy, "float32[2,3] int32[2]", cross_entropy(class_weights=[1.0, 2.0]),
        r"float32\[3\], got float32\[2\]"),
    Bad(loss.CrossEntropy, "float32[2,3] int32[2]", cross_entropy(reduction="all"), "got 'all'"),
    Bad(loss.CrossEntropyGrad, "float32[2,3] int32[2] float32[1]", emit(loss.CrossEntropyGrad),
        r"float32\[\] as the loss's gradient, got float32\[1\]"),
    Bad(loss.LabelWeights, "float32[2,3] int32[3]", emit(loss.LabelWeights), r"got \[3\]"),
    Bad(rnd.Dropout, X, lambda x: mg.dropout(x, 1.0), r"in \[0, 1\), got 1.0"),
    Bad(rnd.Dropout, X, lambda x: mg.dropout(x, -0.1), "got -0.1"),
    Bad(rnd.Dropout, "int32[2]", lambda x: mg.dropout(x, 0.5), "floating dtype, got int32"),
    Bad(rnd.Dropout, "float32[2] int64[3]", lambda x, k: rnd.dropout(x, 0.5, k, 0),
        r"key int64\[2\], got int64\[3\]"),
    Bad(fused.Fused, "float32[2]",
        emit(lambda: fused.Fused(fused.Body(2, (fused.Instruction(ew.Neg(), (1,)),), (2,)))),
        "2 inputs, got 1"),
    Bad(fused.Fused, "float32[2]", emit(lambda: fused.Fused(fused.Body(1, (), (0,)))),
        "at least one instruction"),
    Bad(fused.Fused, "float32[2]",
        emit(lambda: fused.Fused(fused.Body(1, (fused.Instruction(ew.Neg(), (1,)),), (1,)))),
        "before instruction 0"),
    Bad(fused.Fused, "float32[2]",
        emit(lambda: fused.Fused(fused.Body(1, (fused.Instruction(ew.Neg(), (0,)),), (5,)))),
        r"\(5,\)"),
]  # fmt: skip

ANYTHING_GOES = {control.StopGradient}

CASES = [*ELEMENTWISE, *SHAPES, *REDUCTIONS, *WINDOWS, *SPATIAL, *LOSSES, *error_rows.CASES]


def test_every_op_refuses_something() -> None:
    assert {case.op for case in CASES} == set(ALL_OPS) - ANYTHING_GOES


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c.op.__name__}: {c.says}")
def test_refused_with_the_numbers(case: Bad) -> None:
    specs = {f"x{i}": spec for i, spec in enumerate(case.specs.split())}

    def model(**tensors: Any) -> Any:
        case.call(*tensors.values())
        pytest.fail("it was accepted")

    with pytest.raises(mg.MinigraphError) as caught:
        mg.compile(model, specs, backend="numpy")
    first, *rest = str(caught.value).splitlines()
    assert first.startswith("Expected")
    assert re.search(case.says, first), first
    assert any(f"{__file__}:" in line for line in rest)  # where the user wrote it


def test_numpy_integers_are_plain_ones() -> None:
    """Attributes are kept as Python's integers, which the text form can print."""
    one, two = np.int64(1), np.int32(2)

    def model(x: mg.Tensor) -> dict[str, mg.Tensor]:
        y = mg.conv2d(x, 4, (two, two), stride=two, padding=(one, one), groups=1)
        y = mg.max_pool2d(mg.reduce_max(y, (one,), keepdims=True), two, one)
        y = mg.concat(mg.split(mg.transpose(y, np.array([0, 1, 3, 2])), one, one), one)
        y = mg.softmax(mg.flatten(mg.pad(y, [(0, 0), (0, 0), (one, 0), (0, 0)]), one), one)
        return {"y": y[:one, one:two], "z": y[one], "sum": mg.reduce_sum(y, one)}

    exe = mg.compile(model, {"x": "float32[2,3,8,8]"}, backend="numpy")
    assert parse(str(exe.compiled.built), TEXT_CLASSES) == exe.compiled.built
