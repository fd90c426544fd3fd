"""Optimisers: they add their update to the graph, with slots as state.

Rules treat one parameter each (``rules``); wrappers change what an optimiser sees or when it acts:
weight decay, clipping, accumulation, groups (``wrappers``), loss scaling (``loss_scale``).
"""

from minigraph.optimizers.base import (
    LEARNING_RATE,
    Optimizer,
    Rule,
    Variables,
    add_updates,
    weights_only,
)
from minigraph.optimizers.loss_scale import (
    DynamicLossScale,
    FixedLossScale,
    LossScale,
    add_scaled_updates,
    loss_scale_of,
)
from minigraph.optimizers.rules import (
    SGD,
    AdaGrad,
    Adam,
    AdamW,
    Momentum,
    Nesterov,
    RMSProp,
    optimizer_from_name,
)
from minigraph.optimizers.wrappers import (
    Accumulate,
    ClipGlobalNorm,
    ClipValue,
    Groups,
    WeightDecay,
)

__all__ = [
    "LEARNING_RATE",
    "SGD",
    "Accumulate",
    "AdaGrad",
    "Adam",
    "AdamW",
    "ClipGlobalNorm",
    "ClipValue",
    "DynamicLossScale",
    "FixedLossScale",
    "Groups",
    "LossScale",
    "Momentum",
    "Nesterov",
    "Optimizer",
    "RMSProp",
    "Rule",
    "Variables",
    "WeightDecay",
    "add_scaled_updates",
    "add_updates",
    "loss_scale_of",
    "optimizer_from_name",
    "weights_only",
]
