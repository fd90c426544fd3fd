"""Passes: functions from graph to graph. One file a pass; the compiler's tuple sets the order."""

from minigraph.passes.common_nodes import merge_common_nodes
from minigraph.passes.dead_nodes import eliminate_dead_nodes
from minigraph.passes.dense_to_convolution import (
    convert_dense_to_convolution,
    dense_to_convolution,
    to_fully_convolutional,
)
from minigraph.passes.fold_batch_norm import fold_batch_norm
from minigraph.passes.fold_constants import fold_constants
from minigraph.passes.fuse_elementwise import FuseElementwise
from minigraph.passes.fuse_epilogue import FuseEpilogue
from minigraph.passes.fuse_sum import FuseSum
from minigraph.passes.lower_transposed_convolution import LowerTransposedConvolution
from minigraph.passes.mask_pooled_gradient import mask_pooled_gradient
from minigraph.passes.mode import keep_outputs, to_inference, to_training, with_outputs
from minigraph.passes.pipeline import Pass, PassReport, run_passes
from minigraph.passes.precision import MixedPrecision, precision_of
from minigraph.passes.rewrite import Emitter, Rule, rewrite
from minigraph.passes.widening import read_narrow, recompute_widening

__all__ = [
    "Emitter",
    "FuseElementwise",
    "FuseEpilogue",
    "FuseSum",
    "LowerTransposedConvolution",
    "MixedPrecision",
    "Pass",
    "PassReport",
    "Rule",
    "convert_dense_to_convolution",
    "dense_to_convolution",
    "eliminate_dead_nodes",
    "fold_batch_norm",
    "fold_constants",
    "keep_outputs",
    "mask_pooled_gradient",
    "merge_common_nodes",
    "precision_of",
    "read_narrow",
    "recompute_widening",
    "rewrite",
    "run_passes",
    "to_fully_convolutional",
    "to_inference",
    "to_training",
    "with_outputs",
]
