"""Every op type that can be imported, by domain."""

from __future__ import annotations

from collections.abc import Mapping

from minigraph.onnx.node import Converter
from minigraph.onnx.operators.activation import ACTIVATIONS
from minigraph.onnx.operators.conv_pool import CONV_POOL
from minigraph.onnx.operators.elementwise import ELEMENTWISE
from minigraph.onnx.operators.loss import LOSS
from minigraph.onnx.operators.norm import NORM
from minigraph.onnx.operators.optimizer import OPTIMIZER
from minigraph.onnx.operators.reduce import REDUCE
from minigraph.onnx.operators.resize import RESIZE
from minigraph.onnx.operators.scatter import SCATTER
from minigraph.onnx.operators.shape import SHAPE

TRAINING_DOMAIN = "ai.onnx.preview.training"

CONVERTERS: Mapping[str, Mapping[str, Converter]] = {
    "": {
        **CONV_POOL, **ELEMENTWISE, **ACTIVATIONS, **SHAPE, **REDUCE, **NORM, **LOSS, **RESIZE,
        **SCATTER,
    },
    TRAINING_DOMAIN: OPTIMIZER,
}  # fmt: skip
