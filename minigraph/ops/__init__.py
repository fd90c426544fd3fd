"""The operations. ``ALL_OPS`` names every one of them; nothing registers itself."""

from minigraph.ir.constant import Constant, Full
from minigraph.ops import (
    activation,
    broadcast,
    control,
    conv,
    elementary,
    elementwise,
    fused,
    loss,
    matmul,
    norm,
    pool,
    random,
    reduce,
    shape,
    softmax,
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
    # elementary, activation
    elementary.Pow,
    elementary.PowScalar,
    elementary.Clip,
    elementary.Erf,
    elementary.Sin,
    elementary.Cos,
    elementary.Floor,
    elementary.Ceil,
    elementary.Round,
    activation.Elu,
    activation.Softplus,
    activation.Silu,
    activation.HardSwish,
    activation.Gelu,
    # shape
    shape.Flatten,
    shape.Squeeze,
    shape.Transpose,
    shape.Concat,
    shape.Split,
    shape.Slice,
    shape.Pad,
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
