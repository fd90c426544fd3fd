"""Normalisations."""

from __future__ import annotations

from collections.abc import Mapping

from minigraph.ir.errors import LoadError
from minigraph.ir.graph import Role
from minigraph.ir.spec import DType
from minigraph.ir.tensor import Tensor
from minigraph.onnx.dtypes import dtype_of
from minigraph.onnx.node import Converter, Node, Results, Weight
from minigraph.ops.broadcast import expand, reshape
from minigraph.ops.control import when_training
from minigraph.ops.elementary import power
from minigraph.ops.elementwise import absolute, cast, equal, sqrt, where
from minigraph.ops.local_response import ChannelWindowSum
from minigraph.ops.norm import channel_moments, group_norm, normalise, unbiased
from minigraph.ops.reduce import reduce_mean, reduce_sum


def _batch_norm(node: Node) -> Results:
    """Statistics that are initialisers go on running when our training steps train the model.

    ONNX's momentum is the share that is kept, ours the share that is new.
    """
    x, scale, shift = node.tensor(0), node.tensor(1), node.tensor(2)
    mean, variance = node.statistic(3), node.statistic(4)
    epsilon, kept = node.number("epsilon", 1e-5), node.number("momentum", 0.9)
    for vector in (scale, shift, mean, variance):
        if x.ndim < 2 or vector.shape != (x.shape[1],):
            raise LoadError(f"Expected a vector of the channels of {x.spec}, got {vector.spec}")
    if node.opset < 7 and "is_test" not in node.attributes:
        raise node.refuse("Expected is_test=1 before opset 7, got none: the node trains")
    if node.opset >= 14 and node.integer("training_mode", 0):
        return _training_batch_norm(x, scale, shift, mean, variance, epsilon, kept)
    if not x.dtype.is_floating or any(node.wants(output) for output in range(1, 5)):
        raise node.refuse("Expected an inference form with one output, got more")
    if not _keeps_running(node):
        return normalise(x, mean, variance, scale, shift, epsilon)
    batch_mean, batch_variance = channel_moments(x)
    builder = x.builder
    for state, batch in ((mean, batch_mean), (variance, unbiased(batch_variance, x))):
        node.variables.updated.add(state.name)
        builder.update(state, state * kept + cast(batch, state.dtype) * (1.0 - kept))
    now = when_training(cast(batch_mean, mean.dtype), mean)
    spread = when_training(cast(batch_variance, variance.dtype), variance)
    return normalise(x, now, spread, scale, shift, epsilon)


def _keeps_running(node: Node) -> bool:
    """Whether both statistics are variables of this node alone."""
    for position in (3, 4):
        value = node.value(position)
        if not isinstance(value, Weight) or not value.is_parameter:
            return False
        tensor = node.variables.parameter(value, Role.STATISTIC)
        if tensor.name in node.variables.updated:
            return False
    return node.value(3) is not node.value(4)


def _training_batch_norm(
    x: Tensor, scale: Tensor, shift: Tensor, mean: Tensor, variance: Tensor, epsilon: float,
    kept: float,
) -> Results:  # fmt: skip
    """The batch's moments, and the running ones as outputs: with the biased variance, in ONNX."""
    now, spread = channel_moments(x)
    running = (
        cast(state * kept + cast(batch, state.dtype) * (1.0 - kept), state.dtype)
        for state, batch in ((mean, now), (variance, spread))
    )
    return normalise(x, now, spread, scale, shift, epsilon), *running


def _instance_norm(node: Node) -> Tensor:
    x, scale, shift = node.tensors()
    if x.ndim < 3:
        raise LoadError(f"Expected (N,C,...), got {x.spec}")
    return group_norm(x, x.shape[1], scale, shift, node.number("epsilon", 1e-5))


def _group_norm(node: Node) -> Tensor:
    """Before opset 21 there is one scale and shift a group, from then on one a channel."""
    x, scale, shift = node.tensors()
    groups = node.integer("num_groups")
    if x.ndim < 2 or groups < 1 or x.shape[1] % groups:
        raise LoadError(f"Expected groups that divide the channels of {x.spec}, got {groups}")
    if node.opset < 21:
        each = (groups, x.shape[1] // groups)
        scale, shift = (
            reshape(expand(reshape(v, (groups, 1)), each), (x.shape[1],)) for v in (scale, shift)
        )
    return group_norm(x, groups, scale, shift, node.number("epsilon", 1e-5))


def _layer_norm(node: Node) -> Results:
    x, scale = node.tensor(0), node.tensor(1)
    axes = _axes_from(node, x)
    work = _working_dtype(node, x)
    wide = cast(x, work)
    mean = reduce_mean(wide, axes, keepdims=True)
    centred = wide - mean
    variance = reduce_mean(centred * centred, axes, keepdims=True)
    root = sqrt(variance + node.number("epsilon", 1e-5))
    y = cast(centred / root, x.dtype) * scale
    return (y + node.tensor(2) if node.has(2) else y), mean, 1.0 / root


def _rms_norm(node: Node) -> Tensor:
    x, scale = node.tensors()
    wide = cast(x, _working_dtype(node, x))
    mean_square = reduce_mean(wide * wide, _axes_from(node, x), keepdims=True)
    return cast(wide / sqrt(mean_square + node.number("epsilon", 1e-5)), scale.dtype) * scale


def _axes_from(node: Node, x: Tensor) -> tuple[int, ...]:
    axis = node.integer("axis", -1)
    if not -x.ndim <= axis < x.ndim:
        raise LoadError(f"Expected an axis of {x.spec}, got {axis}")
    return tuple(range(axis % x.ndim, x.ndim))


def _working_dtype(node: Node, x: Tensor) -> DType:
    stash = dtype_of(node.integer("stash_type", 1))
    return x.dtype if x.dtype is DType.FLOAT64 else stash


def _mean_variance_norm(node: Node) -> Tensor:
    x, axes = node.tensor(0), node.integers("axes", [0, 2, 3])
    centred = x - reduce_mean(x, axes, keepdims=True)
    deviation = sqrt(reduce_mean(centred * centred, axes, keepdims=True))
    return centred / (deviation + 1e-9)


def _lp_norm(node: Node) -> Tensor:
    x, axis = node.tensor(0), node.integer("axis", -1)
    if node.integer("p", 2) == 1:
        length = reduce_sum(absolute(x), axis, keepdims=True)
    else:
        length = sqrt(reduce_sum(x * x, axis, keepdims=True))
    nothing = equal(length, 0.0)
    return where(nothing, 0.0, x / where(nothing, 1.0, length))


def _lrn(node: Node) -> Tensor:
    """As ``mg.local_response_norm``, but the odd channel of an even window lies behind."""
    x, size = node.tensor(0), node.integer("size")
    if not 1 <= size <= 2**16:
        raise LoadError(f"Expected a size of one channel or more, got {size}")
    alpha, beta = node.number("alpha", 1e-4), node.number("beta", 0.75)
    wide = cast(x, x.dtype.accumulator)
    total = node.emit(ChannelWindowSum((size - 1) // 2, size // 2), wide * wide)
    scale = total * (alpha / size) + node.number("bias", 1.0)
    return cast(wide * power(scale, -beta), x.dtype)


_WITH_EPSILON = {"epsilon": None}

NORM: Mapping[str, Converter] = {
    "BatchNormalization": Converter(
        _batch_norm, (5, 5),
        {"epsilon": None, "momentum": None, "spatial": (1,), "training_mode": (0, 1),
         "is_test": (1,)},
    ),
    "InstanceNormalization": Converter(_instance_norm, (3, 3), _WITH_EPSILON),
    "GroupNormalization": Converter(
        _group_norm, (3, 3), {"epsilon": None, "num_groups": None, "stash_type": (1,)}
    ),
    "LayerNormalization": Converter(
        _layer_norm, (2, 3), {"axis": None, "epsilon": None, "stash_type": None}
    ),
    "RMSNormalization": Converter(
        _rms_norm, (2, 2), {"axis": None, "epsilon": None, "stash_type": None}
    ),
    "MeanVarianceNormalization": Converter(_mean_variance_norm, (1, 1), {"axes": None}),
    "LpNormalization": Converter(_lp_norm, (1, 1), {"axis": None, "p": (1, 2)}),
    "LRN": Converter(
        _lrn, (1, 1), {"alpha": None, "beta": None, "bias": None, "size": None}
    ),
}  # fmt: skip
