"""Rows of the ops that move elements, and of reductions."""

from __future__ import annotations

from typing import Any

import numpy as np
from op_table import Input, Row, booleans, distinct, exactly, integers, off_zero, torch

import minigraph as mg
from minigraph import Tensor
from minigraph.ops import broadcast, reduce, shape
from minigraph.ops.control import StopGradient


def moved(name: str, op: Any, size: tuple[int, ...], function: Any, reference: Any = None,
          counterpart: Any = None) -> Row:  # fmt: skip
    """One input, elements moved; without a reference, NumPy and torch do what the function does."""
    both = function if reference is None else reference
    ops = op if isinstance(op, tuple) else (op,)
    same = function if reference is None else counterpart
    return Row(name, ops, (Input(size),), function, both, same, exact=True)


def padded(low: Any, high: Any, interior: Any, value: float = 0.0) -> Any:
    def function(x: Tensor) -> Tensor:
        return x.builder.emit(shape.Pad(low, high, interior, value), x)[0]

    return function


def pad_reference(low: Any, high: Any, interior: Any, value: float = 0.0) -> Any:
    """Element by element."""

    def reference(x: np.ndarray) -> np.ndarray:
        sizes = [
            lo + n + max(n - 1, 0) * between + hi
            for lo, n, between, hi in zip(low, x.shape, interior, high, strict=True)
        ]
        y = np.full(sizes, value)
        for index in np.ndindex(*x.shape):
            place = tuple(
                lo + i * (between + 1) for lo, i, between in zip(low, index, interior, strict=True)
            )
            y[place] = x[index]
        return y

    return reference


def pad_row(name: str, size: tuple[int, ...], *padding: Any) -> Row:
    return moved(name, shape.Pad, size, padded(*padding), pad_reference(*padding))


def concatenated(name: str, axis: int, *sizes: tuple[int, ...]) -> Row:
    return Row(
        name,
        (shape.Concat,),
        tuple(Input(size) for size in sizes),
        lambda *xs: mg.concat(xs, axis),
        lambda *xs: np.concatenate(xs, axis),
        lambda *xs: torch.cat(xs, axis),
        exact=True,
    )


def split_some(x: Tensor) -> Tensor:
    """Only the middle piece of three is used."""
    return mg.split(x, [1, 2, 2], 1)[1] * 2.0


MOVES = [
    moved("Reshape", broadcast.Reshape, (2, 6), lambda x: broadcast.reshape(x, (3, -1)),
          lambda x: x.reshape(3, 4), lambda x: x.reshape(3, 4)),
    moved("Reshape-scalar", broadcast.Reshape, (1, 1), lambda x: broadcast.reshape(x, ()),
          lambda x: x.reshape(())),
    moved("Reshape-empty", broadcast.Reshape, (0, 4), lambda x: broadcast.reshape(x, (2, 0, 7)),
          lambda x: x.reshape(2, 0, 7)),
    moved("Expand", broadcast.Expand, (2, 1, 3), lambda x: broadcast.expand(x, (5, 2, 4, 3)),
          lambda x: np.broadcast_to(x, (5, 2, 4, 3)), lambda x: x.expand(5, 2, 4, 3)),
    moved("Expand-scalar", broadcast.Expand, (), lambda x: broadcast.expand(x, (2, 3)),
          lambda x: np.broadcast_to(x, (2, 3)), lambda x: x.expand(2, 3)),
    moved("Expand-to-nothing", broadcast.Expand, (1, 3), lambda x: broadcast.expand(x, (0, 3)),
          lambda x: np.broadcast_to(x, (0, 3))),
    moved("Flatten", shape.Flatten, (2, 3, 2, 2), mg.flatten, lambda x: x.reshape(2, 12),
          lambda x: torch.flatten(x, 1)),
    moved("Flatten-all", shape.Flatten, (2, 3), lambda x: mg.flatten(x, 0),
          lambda x: x.reshape(6), lambda x: torch.flatten(x)),
    moved("Flatten-nothing", shape.Flatten, (2, 3), lambda x: mg.flatten(x, 2),
          lambda x: x.reshape(2, 3, 1)),
    moved("Squeeze", shape.Squeeze, (1, 3, 1, 2), lambda x: shape.squeeze(x, (0, -2)),
          lambda x: x.squeeze((0, 2)), lambda x: x.squeeze(2).squeeze(0)),
    moved("Transpose", shape.Transpose, (2, 3, 4), lambda x: mg.transpose(x, (2, 0, 1)),
          lambda x: x.transpose(2, 0, 1), lambda x: x.permute(2, 0, 1)),
    moved("Transpose-reverse", shape.Transpose, (2, 3, 4), mg.transpose, lambda x: x.T),
    moved("Transpose-large", shape.Transpose, (5, 130, 140), lambda x: mg.transpose(x, (0, 2, 1)),
          lambda x: x.transpose(0, 2, 1)),
    *(moved(f"{name}-large-{'x'.join(map(str, size))}", op, size, function, reference)
      for size in ((70001,), (2, 40000), (40000, 2))
      for name, op, function, reference in (
          ("Expand", broadcast.Expand, lambda x: broadcast.expand(x, (2, *x.shape)),
           lambda x: np.stack([x, x])),
          ("Slice", shape.Slice, lambda x: x[..., 1:], None),
          ("Split", shape.Split, lambda x: mg.split(x, [1, x.shape[-1] - 1], -1),
           lambda x: tuple(np.split(x, [1], -1))),
          ("Transpose", shape.Transpose, mg.transpose, np.transpose),
          ("Concat", shape.Concat, lambda x: mg.concat([x, x], -1),
           lambda x: np.concatenate([x, x], -1)),
      )),
    moved("StopGradient", StopGradient, (2, 3), mg.stop_gradient, lambda x: x),
    concatenated("Concat-channels", 1, (2, 1, 3), (2, 3, 3), (2, 2, 3)),
    concatenated("Concat-last", -1, (2, 3), (2, 1)),
    concatenated("Concat-first-one", 0, (2, 3)),
    concatenated("Concat-empty-piece", 1, (2, 3), (2, 0), (2, 1)),
    Row("Concat-itself", (shape.Concat,), (Input((2, 3)),), lambda x: mg.concat([x, x * x, x], 0),
        lambda x: np.concatenate([x, x * x, x], 0)),
    moved("Split-equal", shape.Split, (2, 6), lambda x: mg.split(x, 3),
          lambda x: tuple(np.split(x, 3, 1)), lambda x: torch.split(x, 2, 1)),
    moved("Split-sizes", shape.Split, (5, 2), lambda x: mg.split(x, [1, 0, 4], -2),
          lambda x: tuple(np.split(x, [1, 1], 0)), lambda x: torch.split(x, [1, 0, 4], 0)),
    Row("Split-one-used", (shape.Split,), (Input((2, 5)),), split_some, lambda x: 2 * x[:, 1:3]),
    moved("Slice-range", shape.Slice, (5, 4), lambda x: x[1:4]),
    moved("Slice-steps", shape.Slice, (7, 6), lambda x: x[1::3, :5:2]),
    moved("Slice-negative", shape.Slice, (5, 4), lambda x: x[-4:-1, -2:]),
    moved("Slice-beyond", shape.Slice, (5, 4), lambda x: x[2:99, -99:2]),
    moved("Slice-nothing", shape.Slice, (5, 4), lambda x: x[3:1]),
    moved("Getitem-index", (shape.Slice, shape.Squeeze), (4, 3), lambda x: x[2]),
    moved("Getitem-last", (shape.Slice, shape.Squeeze), (4, 3), lambda x: x[-1]),
    moved("Getitem-ellipsis", (shape.Slice, shape.Squeeze), (4, 3, 5), lambda x: x[..., -2]),
    moved("Getitem-mixed", (shape.Slice, shape.Squeeze), (4, 3, 5, 2),
          lambda x: x[1, ..., 1:4:2, 0]),
    moved("Getitem-to-scalar", (shape.Slice, shape.Squeeze), (4, 3), lambda x: x[1, 2]),
    pad_row("Pad", (2, 3), (1, 0), (2, 3), (0, 0)),
    pad_row("Pad-interior", (3, 4), (0, 1), (1, 0), (1, 2)),
    pad_row("Pad-value", (2, 3), (1, 1), (1, 1), (0, 1), -0.75),
    pad_row("Pad-one-element", (1, 2), (0, 2), (1, 0), (3, 1)),
    pad_row("Pad-empty", (0, 2), (1, 0), (1, 0), (2, 0), 1.0),
    pad_row("Pad-none", (2,), (0,), (0,), (0,)),
    moved("Pad-function", shape.Pad, (2, 3), lambda x: mg.pad(x, [(1, 0), (0, 2)], 2.0),
          lambda x: np.pad(x, [(1, 0), (0, 2)], constant_values=2.0)),
    Row("Pad-int", (shape.Pad,), (Input((2,), integers(0, 9), "int32"),),
        lambda x: mg.pad(x, [(1, 2)], -3), lambda x: np.pad(x, (1, 2), constant_values=-3),
        gradient=False, half=False),
]  # fmt: skip


def over(
    op: Any,
    function: Any,
    reference: Any,
    counterpart: Any,
    axis: Any,
    keepdims: bool,
    size: tuple[int, ...] = (2, 3, 4),
    domain: Any = off_zero,
    **options: Any,
) -> Row:
    """A reduction over some axes."""
    name = f"{op.__name__}-axes-{axis}{'-keep' * keepdims}-of-{'x'.join(map(str, size))}"
    return Row(
        name.replace(" ", ""),
        (op,),
        (Input(size, domain),),
        lambda x: function(x, axis, keepdims),
        lambda x: reference(x, axis=axis, keepdims=keepdims),
        counterpart and (lambda x: counterpart(x, axis, keepdims)),
        **options,
    )


def torch_sum(x: Any, axis: Any, keepdims: bool) -> Any:
    return torch.sum(x, dim=axis, keepdim=keepdims)


def torch_mean(x: Any, axis: Any, keepdims: bool) -> Any:
    return torch.mean(x, dim=axis, keepdim=keepdims)


def torch_max(x: Any, axis: Any, keepdims: bool) -> Any:
    return torch.amax(x, dim=() if axis is None else axis, keepdim=keepdims)


def summed(axis: Any, keepdims: bool, size: tuple[int, ...] = (2, 3, 4)) -> Row:
    return over(broadcast.Sum, mg.reduce_sum, np.sum, torch_sum, axis, keepdims, size)


def averaged(axis: Any, keepdims: bool, size: tuple[int, ...] = (2, 3, 4)) -> Row:
    return over(reduce.Mean, mg.reduce_mean, np.mean, torch_mean, axis, keepdims, size)


def largest(axis: Any, keepdims: bool, size: tuple[int, ...] = (2, 3, 4)) -> Row:
    return over(reduce.Max, mg.reduce_max, np.max, torch_max, axis, keepdims, size, distinct(),
                exact=True)  # fmt: skip


def position(axis: int, keepdims: bool, domain: Any = distinct()) -> Row:  # noqa: B008
    return over(
        reduce.ArgMax, mg.argmax, np.argmax,
        lambda x, axis, keepdims: torch.argmax(x, axis, keepdims),
        axis, keepdims, domain=domain, gradient=False,
    )  # fmt: skip


def count_row(axis: Any, expected: float, size: tuple[int, ...] = (2, 3, 4)) -> Row:
    return Row(
        f"Count-axes-{axis}-of-{'x'.join(map(str, size))}".replace(" ", ""),
        (reduce.Count,),
        (Input(size),),
        lambda x: reduce.count(x, axis, x.dtype),
        lambda x: np.array(float(expected)),
        gradient=False,
    )


REDUCTIONS = [
    summed(None, False), summed(1, False), summed((0, 2), True), summed((-1,), False),
    summed((0, 1), False), summed((1, 2), True), summed(None, True), summed(0, False, (0, 3)),
    summed(None, False, ()), summed((2, 0), False, (3, 1, 300)),
    averaged(None, False), averaged(2, True), averaged((0, 2), False), averaged((-2, -1), True),
    averaged(None, False, ()), averaged((0, 2, 3), False, (3, 4, 5, 6)),
    largest(None, False), largest(1, False), largest((0, 2), True), largest(-1, False),
    largest(None, False, ()), largest((0, 1), False, (3, 5)),
    Row("Max-ties-value", (reduce.Max,), (Input((3, 4), exactly(2.0)),),
        lambda x: mg.reduce_max(x, 1), lambda x: x.max(1), gradient=False),
    Row("Max-int64", (reduce.Max,), (Input((3, 4), integers(-9, 9), "int64"),),
        lambda x: mg.reduce_max(x, 0), lambda x: x.max(0), gradient=False, half=False),
    position(1, False), position(-1, True), position(0, False),
    Row("ArgMax-ties", (reduce.ArgMax,), (Input((5, 6), integers(0, 2)),), mg.argmax,
        lambda x: np.argmax(x, 1), gradient=False),
    Row("Sum-int64", (broadcast.Sum,), (Input((3, 4), integers(-9, 9), "int64"),),
        lambda x: mg.reduce_sum(x, 0), lambda x: x.sum(0), gradient=False, half=False),
    Row("Sum-uint8", (broadcast.Sum,), (Input((3, 4), exactly(200), "uint8"),),
        lambda x: mg.reduce_sum(x, 1), lambda x: x.sum(1, dtype=np.int32), gradient=False,
        half=False),
    Row("Sum-bool", (broadcast.Sum,), (Input((3, 4), booleans, "bool"),),
        lambda x: mg.reduce_sum(x, 1), lambda x: x.sum(1, dtype=np.int32), gradient=False,
        half=False),
    count_row(None, 24), count_row(1, 3), count_row((0, -1), 8), count_row(1, 3, (0, 3)),
    count_row(0, 0, (0, 3)),
]  # fmt: skip

ROWS = [
    *(Row(**{**vars(r), "gradient": False}) if r.name == "StopGradient" else r for r in MOVES),
    *REDUCTIONS,
]
