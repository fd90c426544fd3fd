"""minigraph: a define-then-run deep-learning framework for convolutional networks.

A model is a function of symbolic tensors. ``mg.compile`` runs it once, adds gradients and the
optimiser's update to the graph, rewrites and plans it, and returns something to call::

    step = mg.compile(model, {"image": "float32[64,1,28,28]", "label": "int32[64]"},
                      optimizer=mg.SGD(0.1))
    loss = step(image=images, label=labels)["loss"]
"""

from minigraph.api import compile, load
from minigraph.autodiff import gradients
from minigraph.backend import load_backend
from minigraph.executable import Executable
from minigraph.ir.errors import (
    BuilderError,
    IllegalLabelError,
    InputError,
    LoadError,
    MemoryLimitError,
    MinigraphError,
    SpecError,
    StateError,
    UnsupportedError,
    WriteError,
)
from minigraph.ir.spec import DType, TensorSpec
from minigraph.ir.tensor import Tensor
from minigraph.layers import (
    batch_norm,
    conv1d,
    conv2d,
    conv_transpose1d,
    conv_transpose2d,
    dense,
    dropout,
    locally_connected2d,
    parameter,
    scope,
)
from minigraph.ops.broadcast import expand, reshape
from minigraph.ops.control import stop_gradient, when_training
from minigraph.ops.elementwise import (
    absolute,
    cast,
    equal,
    exp,
    leaky_relu,
    log,
    logical_and,
    logical_not,
    logical_or,
    maximum,
    minimum,
    not_equal,
    relu,
    sigmoid,
    sign,
    sqrt,
    tanh,
    where,
)
from minigraph.ops.loss import softmax_cross_entropy
from minigraph.ops.matmul import matmul
from minigraph.ops.median import median_filter2d
from minigraph.ops.one_dimensional import avg_pool1d, max_pool1d
from minigraph.ops.pad_modes import pad
from minigraph.ops.pool import (
    avg_pool2d,
    global_avg_pool2d,
    global_max_pool2d,
    lp_pool2d,
    max_pool2d,
)
from minigraph.ops.reduce import argmax, reduce_max, reduce_mean, reduce_sum
from minigraph.ops.resize import adaptive_avg_pool2d, resize
from minigraph.ops.shape import concat, flatten, flip, split, squeeze, transpose
from minigraph.ops.softmax import log_softmax, softmax
from minigraph.ops.unfold import fold2d, unfold2d
from minigraph.ops.unpool import bed_of_nails2d, max_pool2d_with_positions, max_unpool2d
from minigraph.optimizers import (
    SGD,
    Accumulate,
    AdaGrad,
    Adam,
    AdamW,
    ClipGlobalNorm,
    ClipValue,
    Groups,
    Momentum,
    Nesterov,
    RMSProp,
    WeightDecay,
    weights_only,
)
from minigraph.schedules import Cosine, OneCycle, Polynomial, StepDecay, WarmUp

__version__ = "0.1.0"

__all__ = [
    "SGD",
    "Accumulate",
    "AdaGrad",
    "Adam",
    "AdamW",
    "BuilderError",
    "ClipGlobalNorm",
    "ClipValue",
    "Cosine",
    "DType",
    "Executable",
    "Groups",
    "IllegalLabelError",
    "InputError",
    "LoadError",
    "MemoryLimitError",
    "MinigraphError",
    "Momentum",
    "Nesterov",
    "OneCycle",
    "Polynomial",
    "RMSProp",
    "SpecError",
    "StateError",
    "StepDecay",
    "Tensor",
    "TensorSpec",
    "UnsupportedError",
    "WarmUp",
    "WeightDecay",
    "WriteError",
    "absolute",
    "adaptive_avg_pool2d",
    "argmax",
    "avg_pool1d",
    "avg_pool2d",
    "batch_norm",
    "bed_of_nails2d",
    "cast",
    "compile",
    "concat",
    "conv1d",
    "conv2d",
    "conv_transpose1d",
    "conv_transpose2d",
    "dense",
    "dropout",
    "equal",
    "exp",
    "expand",
    "flatten",
    "flip",
    "fold2d",
    "global_avg_pool2d",
    "global_max_pool2d",
    "gradients",
    "leaky_relu",
    "load",
    "load_backend",
    "locally_connected2d",
    "log",
    "log_softmax",
    "logical_and",
    "logical_not",
    "logical_or",
    "lp_pool2d",
    "matmul",
    "max_pool1d",
    "max_pool2d",
    "max_pool2d_with_positions",
    "max_unpool2d",
    "maximum",
    "median_filter2d",
    "minimum",
    "not_equal",
    "pad",
    "parameter",
    "reduce_max",
    "reduce_mean",
    "reduce_sum",
    "relu",
    "reshape",
    "resize",
    "scope",
    "sigmoid",
    "sign",
    "softmax",
    "softmax_cross_entropy",
    "split",
    "sqrt",
    "squeeze",
    "stop_gradient",
    "tanh",
    "transpose",
    "unfold2d",
    "weights_only",
    "when_training",
    "where",
]
