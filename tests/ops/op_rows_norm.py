"""Rows of reductions beyond sum, mean and max, of statistics and of normalisations."""

from __future__ import annotations

from typing import Any

import numpy as np
from op_table import F, Input, Row, distinct, exactly, integers, off_zero, positive, torch

import minigraph as mg
from minigraph import Tensor
from minigraph.ops import broadcast, norm, reduce
from minigraph.ops.local_response import ChannelWindowSum
from minigraph.ops.shape import ExpandDims


def torch_axes(x: Any, axis: Any) -> tuple[int, ...]:
    return tuple(range(x.ndim)) if axis is None else axis if isinstance(axis, tuple) else (axis,)


def numpy_variance(x: np.ndarray, axis: Any, correction: int, keepdims: bool) -> np.ndarray:
    mean = x.mean(axis, keepdims=True)
    number = x.size // mean.size
    return ((x - mean) ** 2).sum(axis, keepdims=keepdims) / (number - correction)


def variance_rows(axis: Any, correction: int, keepdims: bool) -> list[Row]:
    name = f"{axis}-{correction}-{keepdims}"
    return [
        Row(f"variance-{name}", (broadcast.Sum,), (Input((2, 3, 4)),),
            lambda x: mg.variance(x, axis, correction, keepdims),
            lambda x: numpy_variance(x, axis, correction, keepdims),
            lambda x: torch.var(x, torch_axes(x, axis), correction=correction, keepdim=keepdims)),
        Row(f"standard_deviation-{name}", (broadcast.Sum,), (Input((2, 3, 4)),),
            lambda x: mg.standard_deviation(x, axis, correction, keepdims),
            lambda x: np.sqrt(numpy_variance(x, axis, correction, keepdims)),
            lambda x: torch.std(x, torch_axes(x, axis), correction=correction, keepdim=keepdims)),
    ]  # fmt: skip


def logsumexp(x: np.ndarray, axis: Any, keepdims: bool = False) -> np.ndarray:
    return np.log(np.exp(x).sum(axis, keepdims=keepdims))


REDUCTIONS = [
    *(Row(f"Min-{axis}-{keep}", (reduce.Min,), (Input((2, 3, 4), distinct()),),
          lambda x, axis=axis, keep=keep: mg.reduce_min(x, axis, keep),
          lambda x, axis=axis, keep=keep: x.min(axis, keepdims=keep),
          lambda x, axis=axis, keep=keep: torch.amin(x, torch_axes(x, axis), keep), exact=True)
      for axis, keep in ((None, False), ((0, 2), True))),
    Row("Min-uint8", (reduce.Min,), (Input((3, 4), integers(0, 255), "uint8"),),
        lambda x: mg.reduce_min(x, 1), lambda x: x.min(1), gradient=False, half=False),
    *(Row(f"ArgMin-{axis}-{keep}", (reduce.ArgMin,), (Input((2, 3, 4), distinct()),),
          lambda x, axis=axis, keep=keep: mg.argmin(x, axis, keep),
          lambda x, axis=axis, keep=keep: x.argmin(axis, keepdims=keep),
          lambda x, axis=axis, keep=keep: torch.argmin(x, axis, keep), gradient=False)
      for axis, keep in ((1, False), (-1, True))),
    Row("ArgMin-ties", (reduce.ArgMin,), (Input((5, 6), integers(0, 2)),), mg.argmin,
        lambda x: x.argmin(1), gradient=False),
    *(Row(f"CumSum-{axis}-{shape}", (reduce.CumSum,), (Input(shape),),
          lambda x, axis=axis: mg.cumsum(x, axis), lambda x, axis=axis: x.cumsum(axis),
          lambda x, axis=axis: torch.cumsum(x, axis))
      for axis, shape in ((0, (3, 4, 2)), (-1, (2, 5)), (1, (2, 0)))),
    Row("CumSum-reverse", (reduce.CumSum,), (Input((3, 5)),),
        lambda x: mg.cumsum(x, 1, reverse=True), lambda x: x[:, ::-1].cumsum(1)[:, ::-1]),
    Row("CumSum-int32", (reduce.CumSum,), (Input((3, 5), integers(-9, 9), "int32"),),
        lambda x: mg.cumsum(x, 0), lambda x: x.cumsum(0, dtype=np.int32), gradient=False,
        half=False),
    Row("ExpandDims", (ExpandDims,), (Input((2, 3)),), lambda x: mg.expand_dims(x, (0, -2)) * 1.0,
        lambda x: x[None, :, None], lambda x: x[None, :, None], exact=True),
    *variance_rows(None, 1, False),
    *variance_rows((0, 2), 0, True),
    *variance_rows(-1, 0, False),
    *(Row(f"logsumexp-{axis}-{keep}", (reduce.Max,), (Input((2, 3, 4)),),
          lambda x, axis=axis, keep=keep: mg.logsumexp(x, axis, keep),
          lambda x, axis=axis, keep=keep: logsumexp(x, axis, keep),
          lambda x, axis=axis, keep=keep: torch.logsumexp(x, torch_axes(x, axis), keep))
      for axis, keep in ((None, False), ((-1, 0), False), (1, True))),
    Row("logsumexp-huge", (reduce.Max,), (Input((2, 3), exactly([-1e30, 1000.0, 1000.0])),),
        lambda x: mg.logsumexp(x, 1), lambda x: np.full(2, 1000 + np.log(2)), half=False,
        gradient=False),
    *(Row(f"l{order}_norm-{axis}-{keep}", (broadcast.Sum,), (Input((2, 3, 4), off_zero),),
          lambda x, f=f, axis=axis, keep=keep: f(x, axis, keep),
          lambda x, order=order, axis=axis, keep=keep:
              (np.abs(x) ** order).sum(axis, keepdims=keep) ** (1 / order),
          lambda x, order=order, axis=axis, keep=keep:
              torch.linalg.vector_norm(x, order, torch_axes(x, axis), keep))
      for order, f in ((1, mg.l1_norm), (2, mg.l2_norm))
      for axis, keep in ((None, False), ((0, 2), True))),
]  # fmt: skip


# ---- normalisations


def grouped(x: np.ndarray, groups: int) -> np.ndarray:
    return x.reshape(x.shape[0], groups, int(np.prod(x.shape[1:])) // groups)


def group_moments(x: np.ndarray, groups: int) -> tuple[np.ndarray, np.ndarray]:
    rows, ones = grouped(x, groups), (1,) * (x.ndim - 2)
    repeats = x.shape[1] // groups
    return tuple(
        np.repeat(moment, repeats, axis=1).reshape(*x.shape[:2], *ones)
        for moment in (rows.mean(-1), ((rows - rows.mean(-1, keepdims=True)) ** 2).mean(-1))
    )  # type: ignore[return-value]


def moments_row(name: str, shape: tuple[int, ...], groups: int, used: slice = slice(0, 2),
                **options: Any) -> Row:  # fmt: skip
    return Row(
        f"GroupMoments-{name}",
        (norm.GroupMoments,),
        (Input(shape),),
        lambda x: x.builder.emit(norm.GroupMoments(groups), x)[used],
        lambda x: group_moments(x, groups)[used],
        **options,
    )


def group_norm(x: np.ndarray, groups: int, w: np.ndarray, b: np.ndarray) -> np.ndarray:
    mean, variance = group_moments(x, groups)
    shape = (-1, *(1,) * (x.ndim - 2))
    return (x - mean) / np.sqrt(variance + 1e-5) * w.reshape(shape) + b.reshape(shape)


def group_norm_row(shape: tuple[int, ...], groups: int) -> Row:
    c = shape[1]
    return Row(
        f"group_norm-{'x'.join(map(str, shape))}-{groups}",
        (norm.GroupMoments,),
        (Input(shape), Input((c,), positive), Input((c,))),
        lambda x, w, b: norm.group_norm(x, groups, w, b),
        lambda x, w, b: group_norm(x, groups, w, b),
        lambda x, w, b: F.group_norm(x, groups, w, b),
    )


def layer_norm_row(shape: tuple[int, ...], axes: tuple[int, ...]) -> Row:
    sizes = tuple(shape[axis] for axis in axes)
    others = tuple(axis for axis in range(len(shape)) if axis not in axes)

    def reference(x: np.ndarray, w: np.ndarray, b: np.ndarray) -> np.ndarray:
        normal = (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + 1e-5)
        return normal * np.expand_dims(w, others) + np.expand_dims(b, others)

    def counterpart(x: Any, w: Any, b: Any) -> Any:
        order = (*others, *axes)
        moved = F.layer_norm(x.permute(order), sizes, w, b)
        return moved.permute([order.index(axis) for axis in range(x.ndim)])

    return Row(
        f"layer_norm-{axes}",
        (reduce.Mean,),
        (Input(shape), Input(sizes, positive), Input(sizes)),
        lambda x, w, b: norm.layer_norm(x, axes, w, b),
        reference,
        counterpart,
    )


def window_sum(x: np.ndarray, before: int, after: int) -> np.ndarray:
    y = np.zeros_like(x)
    for c in range(x.shape[1]):
        y[:, c] = x[:, max(0, c - before) : c + after + 1].sum(axis=1)
    return y


def window_row(before: int, after: int, shape: tuple[int, ...] = (2, 5, 3), **options: Any) -> Row:
    return Row(
        f"ChannelWindowSum-{before}-{after}-{'x'.join(map(str, shape))}",
        (ChannelWindowSum,),
        (Input(shape),),
        lambda x: x.builder.emit(ChannelWindowSum(before, after), x)[0],
        lambda x: window_sum(x, before, after),
        **options,
    )


def lrn_row(size: int, alpha: float, beta: float, k: float) -> Row:
    def function(x: Tensor) -> Tensor:
        return mg.local_response_norm(x, size, alpha, beta, k)

    def reference(x: np.ndarray) -> np.ndarray:
        total = window_sum(x**2, size // 2, (size - 1) // 2)
        return x / (k + alpha / size * total) ** beta

    return Row(
        f"local_response_norm-{size}",
        (ChannelWindowSum,),
        (Input((2, 6, 2, 3)),),
        function,
        reference,
        lambda x: F.local_response_norm(x, size, alpha, beta, k),
    )


NORMS = [
    moments_row("images", (2, 6, 2, 3), 3),
    moments_row("one-group", (2, 4, 3), 1),
    moments_row("instance", (3, 4, 2, 2), 4),
    moments_row("features", (3, 6), 2),
    moments_row("mean-only", (2, 4, 3), 2, slice(0, 1)),
    moments_row("variance-only", (2, 4, 3), 2, slice(1, 2)),
    moments_row("one-element", (2, 3, 1), 3),
    moments_row("empty-batch", (0, 4, 3), 2),
    moments_row("several-pieces", (2, 4, 130, 70), 2, gradient=False),
    moments_row("many-small", (70, 300, 2), 300, gradient=False),
    group_norm_row((2, 6, 3, 2), 3),
    group_norm_row((3, 4, 5), 1),
    layer_norm_row((2, 3, 4, 2), (1, 2, 3)),
    layer_norm_row((2, 8, 2, 1), (1,)),
    layer_norm_row((2, 3, 4, 2), (1, 3)),
    layer_norm_row((2, 3, 4), (0, 1, 2)),
    *(window_row(before, after) for before, after in ((0, 0), (2, 1), (9, 9))),
    window_row(1, 1, (0, 4, 2)),
    window_row(2, 2, (9, 8, 40, 40), gradient=False),
    window_row(2, 2, (1, 8, 120, 120), gradient=False),
    lrn_row(5, 1e-2, 0.75, 2.0),
    lrn_row(4, 0.5, 0.75, 1.0),
]

ROWS = [*REDUCTIONS, *NORMS]
