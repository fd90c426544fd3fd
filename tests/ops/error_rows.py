"""What activations, normalisations, indexing, statistics and losses refuse."""

from __future__ import annotations

import numpy as np
from error_table import Bad, emit

import minigraph as mg
from minigraph.ops import activation, elementary, indexing, loss, norm, reduce, shape
from minigraph.ops.local_response import ChannelWindowSum

IMAGE = "float32[2,6,4,4]"
PAIR = "float32[2,3] float32[2,3]"
UNARY = (
    elementary.Erf, elementary.Sin, elementary.Cos, elementary.Floor, elementary.Ceil,
    elementary.Round, activation.Elu, activation.Softplus, activation.Silu, activation.HardSwish,
    activation.Gelu,
)  # fmt: skip

POINTWISE = [
    *(Bad(op, "int32[2]", emit(op), "a floating dtype, got int32") for op in UNARY),
    Bad(elementary.Pow, "int32[2] int32[2]", lambda a, b: a**b, "dtype for a power, got int32"),
    Bad(elementary.Pow, "int32[2]", lambda x: x**5, "dtype for a power, got int32"),
    Bad(elementary.Pow, "float32[2] float32[3]", lambda a, b: a**b, r"\[2\] and \[3\]"),
    Bad(elementary.Pow, "float32[2]", lambda x: x ** "2", "an array, got str"),
    Bad(elementary.PowScalar, "float32[2]", lambda x: x**np.inf, "finite exponent, got inf"),
    Bad(elementary.Clip, "float32[2]", mg.clip, "a minimum, a maximum or both, got neither"),
    Bad(elementary.Clip, "float32[2]", lambda x: mg.clip(x, np.nan), "the minimum, got nan"),
    Bad(elementary.Clip, "float32[2]", lambda x: mg.clip(x, 0.0, x), "number as a bound, got <Ten"),
    Bad(elementary.Clip, "bool[2]", lambda x: mg.clip(x, 0.0), "a floating dtype, got bool"),
    Bad(activation.Elu, "float32[2]", lambda x: mg.elu(x, -1.0), "zero or more, got -1.0"),
    Bad(activation.Softplus, "float32[2]", lambda x: mg.softplus(x, 0.0), "beta, got 0.0"),
    Bad(activation.Gelu, "float32[2]", lambda x: mg.gelu(x, "erf"), "or 'tanh' .* got 'erf'"),
    Bad(activation.Elu, "float32[2]", mg.prelu, r"\(N,C,...\), got float32\[2\]"),
]

REDUCTIONS = [
    Bad(reduce.Min, "bool[2]", mg.reduce_min, "numbers, got bool"),
    Bad(reduce.Min, "float32[2,0]", mg.reduce_min, r"elements along axis 1, got shape \[2, 0\]"),
    Bad(reduce.ArgMin, "float32[2,0]", mg.argmin, r"elements along axis 1, got shape \[2, 0\]"),
    Bad(reduce.CumSum, "bool[2]", lambda x: mg.cumsum(x, 0), "to sum, got bool"),
    Bad(reduce.CumSum, "float32[2]", lambda x: mg.cumsum(x, 1), r"\[-1, 1\), got 1"),
    Bad(shape.ExpandDims, "float32[2]", lambda x: mg.expand_dims(x, 2), r"\[-2, 2\), got 2"),
    Bad(shape.ExpandDims, "float32[2]", lambda x: mg.expand_dims(x, (0, 0)), r"got \[0, 0\]"),
    Bad(reduce.Min, IMAGE, lambda x: mg.variance(x, 1, 2), "correction of 0 or 1, got 2"),
]

NORMS = [
    Bad(norm.GroupMoments, IMAGE, lambda x: mg.group_norm(x, 4), "divides 6 channels, got 4"),
    Bad(norm.GroupMoments, IMAGE, lambda x: mg.group_norm(x, 0), "divides 6 channels, got 0"),
    Bad(norm.GroupMoments, IMAGE, lambda x: mg.group_norm(x, 2.0), "integer for groups, got 2.0"),
    Bad(norm.GroupMoments, "float32[2,3,0]", mg.instance_norm, r"one element .*\[2,3,0\]"),
    Bad(norm.GroupMoments, "float32[2]", mg.instance_norm, r"\(N,C,...\), got float32\[2\]"),
    Bad(norm.GroupMoments, "int32[2,3]", mg.instance_norm, r"got int32\[2,3\]"),
    Bad(norm.GroupMoments, "float32[2]", emit(lambda: norm.GroupMoments(1)), r"float32\[2\]"),
    Bad(norm.GroupMoments, IMAGE, lambda x: mg.layer_norm(x, 4), r"\[-4, 4\), got 4"),
    Bad(norm.GroupMoments, IMAGE, lambda x: mg.layer_norm(x, ()), r"epsilon, got \[\] and"),
    Bad(norm.GroupMoments, IMAGE, lambda x: mg.layer_norm(x, 1, epsilon=0.0), "and 0.0"),
    Bad(ChannelWindowSum, IMAGE, lambda x: mg.local_response_norm(x, 0), "one channel .*got 0"),
    Bad(ChannelWindowSum, "float32[2]", mg.local_response_norm, r"got float32\[2\]"),
    Bad(ChannelWindowSum, IMAGE, lambda x: ChannelWindowSum(-1, 0), "got -1 and 0"),
]

INDEXING = [
    Bad(indexing.Gather, PAIR, mg.gather, "integer indices, got float32"),
    Bad(indexing.Gather, "float32[2,3] int32[2]", lambda x, i: mg.gather(x, i, 2), "got 2"),
    Bad(indexing.IndexAdd, "float32[2,3] int32[4] float32[4,2]", mg.index_add,
        r"updates float32\[4,3\], got float32\[4,2\]"),
    Bad(indexing.IndexAdd, "bool[2] int32[4] bool[4]", mg.index_add, "to add, got bool"),
    Bad(indexing.TakeAlongAxis, "float32[2,3] int32[4,1]",
        lambda x, i: mg.take_along_axis(x, i, 1), r"\[2, 3\] but for axis 1, got \[4, 1\]"),
    Bad(indexing.TakeAlongAxis, "float32[2,3] int32[2]",
        lambda x, i: mg.take_along_axis(x, i, 1), r"got \[2\]"),
    Bad(indexing.ScatterAdd, "float32[2,3] int32[2,1] float32[2,3]",
        lambda x, i, u: mg.scatter_add(x, i, u, 1), r"updates float32\[2,1\], got float32\[2,3\]"),
    Bad(indexing.ScatterAdd, "bool[2] int32[2] bool[2]",
        lambda x, i, u: mg.scatter_add(x, i, u, 0), "to add, got bool"),
    Bad(indexing.OneHot, "float32[2]", lambda t: mg.one_hot(t, 3), "integer labels, got float32"),
    Bad(indexing.OneHot, "int32[2]", lambda t: mg.one_hot(t, 0), "one class or more, got 0"),
    Bad(indexing.OneHot, "int32[2]", lambda t: mg.one_hot(t, 3, 2), r"\[-2, 2\), got 2"),
]  # fmt: skip

LOSSES = [
    *(Bad(loss.LabelWeights, "float32[2,3] float32[2]", f, r"one shape, got \[2, 3\] and \[2\]")
      for f in (mg.mse_loss, mg.l1_loss, mg.huber_loss, mg.binary_cross_entropy_with_logits)),
    Bad(loss.LabelWeights, PAIR, lambda a, b: mg.mse_loss(a, b, "all"), "'none', got 'all'"),
    Bad(loss.LabelWeights, PAIR, lambda a, b: mg.huber_loss(a, b, 0.0), "delta, got 0.0"),
    Bad(loss.LabelWeights, "int32[2] int32[2]", mg.mse_loss, "floating prediction, got int32"),
    Bad(loss.LabelWeights, "float32[2,3] int32[2]",
        lambda x, t: mg.nll_loss(x, t, reduction="all"), "'none', got 'all'"),
    Bad(loss.LabelWeights, "float32[2,3] int32[2]",
        lambda x, t: mg.nll_loss(x, t, class_weights=[1.0, -1.0, 0.0]), "zero or more, got"),
    Bad(loss.LabelWeights, "float32[2,3] int32[2,3]", mg.nll_loss, r"got \[2, 3\]"),
    Bad(loss.LabelWeights, "float32[2,3] int32[2]",
        lambda x, t: mg.dice_loss(x, t, smooth=0.0), "positive smooth, got 0.0"),
]  # fmt: skip

CASES = [*POINTWISE, *REDUCTIONS, *NORMS, *INDEXING, *LOSSES]
