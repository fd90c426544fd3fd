"""Which ops run in 16 bit under mixed precision: every op is in one of these four sets.

The sets follow the lists of ``torch.autocast``. An op that is in none of them (an op of your own)
stays in float32.
"""

from __future__ import annotations

from minigraph.ir.constant import Constant, Full
from minigraph.ir.op import Op
from minigraph.ops import (
    activation,
    axis_map,
    broadcast,
    control,
    conv,
    elementary,
    elementwise,
    fused,
    indexing,
    local_response,
    loss,
    matmul,
    median,
    norm,
    pad_modes,
    pool,
    random,
    reduce,
    resize,
    shape,
    softmax,
    unfold,
    unpool,
)

Ops = frozenset[type[Op]]

IN_16_BIT: Ops = frozenset({
    conv.Conv2d, conv.ConvTranspose2d, conv.Conv2dGradWeight, matmul.MatMul,
})  # fmt: skip
"""Sums of products: always in 16 bit, whatever they are given. Their sums are kept in float32."""

ARITHMETIC: Ops = frozenset({
    elementwise.Add, elementwise.Sub, elementwise.Mul, elementwise.Div,
})  # fmt: skip
"""In 16 bit where their images are; computed in float32 and then rounded beside a statistic."""

FOLLOWING: Ops = frozenset({
    # the elements as they are, moved or chosen
    broadcast.Reshape, broadcast.Expand, shape.Flatten, shape.Squeeze, shape.ExpandDims,
    shape.Transpose, shape.Concat, shape.Split, shape.Slice, shape.Pad, shape.Flip,
    indexing.Gather, indexing.IndexAdd, indexing.TakeAlongAxis, indexing.ScatterAdd,
    elementwise.Maximum, elementwise.Minimum, elementwise.Neg, elementwise.Abs, elementwise.Sign,
    elementwise.Where, elementwise.Equal, elementwise.NotEqual, elementwise.Less,
    elementwise.LessEqual, elementwise.Greater, elementwise.GreaterEqual, elementary.Clip,
    elementary.Floor, elementary.Ceil, elementary.Round,
    reduce.Max, reduce.Min, reduce.ArgMax, reduce.ArgMin,
    random.Dropout, control.StopGradient,
    # activations
    elementwise.Relu, elementwise.ReluGrad, elementwise.LeakyRelu, elementwise.Sigmoid,
    elementwise.Tanh, activation.Elu, activation.Silu, activation.HardSwish, activation.Gelu,
    # windows, pooling, resizing
    pool.MaxPool2d, pool.MaxPool2dScatter, pool.MaxPool2dGather, pool.AvgPool2d,
    pool.AvgPool2dGrad, median.MedianPool2d, unpool.MaxPool2dWithPositions, unpool.MaxUnpool2d,
    unpool.TakeAtPositions, unfold.Unfold2d, unfold.Fold2d, resize.ResizeAxis,
    resize.AdaptiveMeanAxis, pad_modes.PadAxis, axis_map.AxisMapAdjoint,
})  # fmt: skip
"""In 16 bit where all they are given is, parameters and numbers aside, which are rounded."""

IN_FLOAT32: Ops = frozenset({
    # sums and statistics
    broadcast.Sum, reduce.Mean, reduce.CumSum, norm.ChannelMoments, norm.GroupMoments,
    local_response.ChannelWindowSum,
    # functions that spread a small error, or go beyond float16
    elementwise.Sqrt, elementwise.Exp, elementwise.Log, elementary.Pow, elementary.PowScalar,
    elementary.Erf, elementary.Sin, elementary.Cos, activation.Softplus,
    # softmax and losses
    softmax.Softmax, softmax.LogSoftmax, loss.CrossEntropy, loss.CrossEntropyGrad,
    loss.LabelWeights,
    # no arithmetic, or none that a model function writes
    Constant, Full, elementwise.LogicalAnd, elementwise.LogicalOr, elementwise.LogicalNot,
    elementwise.Cast, indexing.OneHot, reduce.Count, control.WhenTraining, fused.Fused,
})  # fmt: skip
"""Left as they are: a 16-bit operand is widened for them."""
