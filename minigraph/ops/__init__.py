"""The operations. ``ALL_OPS`` names every one of them; nothing registers itself."""

from minigraph.ir.constant import Constant, Full
from minigraph.ops import (
    axis_map,
    broadcast,
    control,
    conv,
    elementwise,
    fused,
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
from minigraph.ops.operators import new_builder

ALL_OPS = (
    Constant,
    Full,
    # broadcast
    broadcast.Reshape,
    broadcast.Expand,
    broadcast.Sum,
    # elementwise
    elementwise.Add,
    elementwise.Sub,
    elementwise.Mul,
    elementwise.Div,
    elementwise.Maximum,
    elementwise.Minimum,
    elementwise.Neg,
    elementwise.Abs,
    elementwise.Sign,
    elementwise.Sqrt,
    elementwise.Exp,
    elementwise.Log,
    elementwise.Relu,
    elementwise.ReluGrad,
    elementwise.LeakyRelu,
    elementwise.Sigmoid,
    elementwise.Tanh,
    elementwise.Equal,
    elementwise.NotEqual,
    elementwise.Less,
    elementwise.LessEqual,
    elementwise.Greater,
    elementwise.GreaterEqual,
    elementwise.LogicalAnd,
    elementwise.LogicalOr,
    elementwise.LogicalNot,
    elementwise.Where,
    elementwise.Cast,
    # shape
    shape.Flatten,
    shape.Squeeze,
    shape.Transpose,
    shape.Concat,
    shape.Split,
    shape.Slice,
    shape.Pad,
    shape.Flip,
    # reduce
    reduce.Mean,
    reduce.Max,
    reduce.ArgMax,
    reduce.Count,
    # conv
    conv.Conv2d,
    conv.ConvTranspose2d,
    conv.Conv2dGradWeight,
    # pool
    pool.MaxPool2d,
    pool.MaxPool2dScatter,
    pool.MaxPool2dGather,
    pool.AvgPool2d,
    pool.AvgPool2dGrad,
    median.MedianPool2d,
    # unpool, unfold
    unpool.MaxPool2dWithPositions,
    unpool.MaxUnpool2d,
    unpool.TakeAtPositions,
    unfold.Unfold2d,
    unfold.Fold2d,
    # axis maps
    resize.ResizeAxis,
    resize.AdaptiveMeanAxis,
    pad_modes.PadAxis,
    axis_map.AxisMapAdjoint,
    # matmul, softmax, norm, loss, random, control
    matmul.MatMul,
    softmax.Softmax,
    softmax.LogSoftmax,
    norm.ChannelMoments,
    loss.CrossEntropy,
    loss.CrossEntropyGrad,
    loss.LabelWeights,
    random.Dropout,
    control.StopGradient,
    control.WhenTraining,
    # fused
    fused.Fused,
)

TEXT_CLASSES = (*ALL_OPS, fused.Body, fused.Instruction)
"""Classes that the text form of a graph may name."""

__all__ = ["ALL_OPS", "TEXT_CLASSES", "new_builder"]
