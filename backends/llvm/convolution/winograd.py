"""Winograd's algorithm as candidates for 3x3 convolutions, and as calls."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from minigraph.backend import Algorithm
from minigraph.backends.llvm.call import Binding, Call, Context
from minigraph.backends.llvm.convolution.method import (
    NOMINAL_THREADS,
    Problem,
    estimated_seconds,
    problem_of,
)
from minigraph.backends.llvm.convolution.tile import choose_tile
from minigraph.backends.llvm.convolution.winograd_forward import (
    ManyChannels,
    ManyTiles,
    TransformInputs,
    TransformWeights,
    Variant,
)
from minigraph.backends.llvm.convolution.winograd_gradient import (
    GradientVariant,
    SumChunks,
    WeightGradient,
)
from minigraph.backends.llvm.convolution.winograd_plan import (
    CHANNEL_BLOCK,
    GradientPlan,
    Plan,
)
from minigraph.backends.llvm.convolution.winograd_tiles import source_of, tiles_of
from minigraph.backends.llvm.convolution.winograd_transforms import BY_OUTPUTS, TAPS, Winograd
from minigraph.backends.llvm.convolution.winograd_weights import weights_of
from minigraph.backends.llvm.kernels.epilogue import Epilogue, epilogue_sizes
from minigraph.ir.spec import DType, TensorSpec
from minigraph.lowering.epilogue import anchor_of, anchor_operands, epilogue_places
from minigraph.ops.conv import Conv2dGradWeight, ConvTranspose2d
from minigraph.ops.geometry import ConvGeometry, Padding
from minigraph.places import carve

NAMES = {
    "winograd-f2": (2, False),
    "winograd-f2-tiles": (2, True),
    "winograd-f4": (4, False),
    "winograd-f4-tiles": (4, True),
}
"""Algorithms: outputs along each side of a tile, and whether items of work are cut by tiles."""

ATTAINED = 0.75  # of the multiply-adds that could be done


def winograd_candidates(
    op: Any, inputs: Sequence[TensorSpec], context: Context
) -> tuple[Algorithm, ...]:
    """Algorithms for a node whose op, or anchor, is a convolution or one of its gradients."""
    problem = problem_of(op, inputs)
    if not _is_supported(problem.geometry) or problem.dtype is not DType.FLOAT32:
        return ()
    weight = anchor_operands(op, range(len(inputs)))[1]
    found = (_candidate(name, problem, weight, context) for name in NAMES)
    return tuple(one for one in found if one is not None)


def _candidate(name: str, problem: Problem, weight: int, context: Context) -> Algorithm | None:
    anchor, geometry = problem.op, problem.geometry
    nominal = Context(NOMINAL_THREADS, context.target)  # for times, which decide
    plan: Plan | GradientPlan
    timed: Plan | GradientPlan
    if isinstance(anchor, Conv2dGradWeight):
        plan, prepared = gradient_plan(name, geometry, context), 0
        timed = gradient_plan(name, geometry, nominal)
        error = gradient_error(plan.winograd, plan.tiles)
    else:
        plan = forward_plan(name, anchor, geometry, context)
        timed = forward_plan(name, anchor, geometry, nominal)
        prepared = plan.prepared()
        error = forward_error(plan.winograd, plan.inputs)
    if not plan.fits:
        return None
    return Algorithm(
        name,
        plan.workspace(),
        estimated_seconds(
            context, problem.dtype, timed.multiply_adds(), problem.bytes + timed.moved(), ATTAINED
        ),
        error,
        prepared=prepared,
        prepares=(weight,) if prepared else (),
    )


def forward_error(winograd: Winograd, channels: int) -> float:
    """max|error| / max|result| of a convolution or its adjoint, with about a third on top.

    Measured against float64 on normally distributed operands of 4 to 512 channels: F(2, 3) 2.2e-7
    to 8.6e-7; F(4, 3) 7.1e-7 to 3.5e-6. It grows with the square root of the channels that are
    summed.
    """
    constant, slope = (1, 0.5) if winograd.outputs == 2 else (6, 1.5)
    return float(np.finfo(np.float32).eps) * (constant + slope * math.sqrt(channels))


def gradient_error(winograd: Winograd, tiles: int) -> float:
    """The same of a weight gradient, which sums over tiles.

    Measured with 8 to 64 channels: F(2, 3) 1.7e-7 (16 tiles), 7.3e-7 (4096), 5.1e-6 (131072);
    F(4, 3) 6.6e-7 (4), 2.8e-6 (4096), 7.6e-6 (32768).
    """
    constant, slope = (4, 0.15) if winograd.outputs == 2 else (8, 0.4)
    return float(np.finfo(np.float32).eps) * (constant + slope * math.sqrt(tiles))


def _is_supported(geometry: ConvGeometry) -> bool:
    """3x3, dense, and the padding of no more than a window; something to compute."""
    return (
        geometry.kernel == (TAPS, TAPS)
        and geometry.stride == geometry.dilation == (1, 1)
        and geometry.groups == 1
        and all(0 <= p < TAPS for side in geometry.padding for p in side)
        and geometry.batch > 0
    )


def winograd_calls(binding: Binding) -> list[Call]:
    """The calls of a step whose algorithm is one of ``NAMES``."""
    anchor = anchor_of(binding.op)
    if isinstance(anchor, Conv2dGradWeight):
        return gradient_calls(anchor, binding)
    return forward_calls(anchor, binding)


# ---- the convolution, and its adjoint: that of the flipped weights


def forward_plan(name: str, anchor: Any, geometry: ConvGeometry, context: Context) -> Plan:
    """The plan of a Conv2d or ConvTranspose2d."""
    outputs_of_tile, by_tiles = NAMES[name]
    winograd = BY_OUTPUTS[outputs_of_tile]
    inputs, outputs = geometry.in_channels, geometry.out_channels
    size = (geometry.out_height, geometry.out_width)
    if isinstance(anchor, ConvTranspose2d):
        inputs, outputs = outputs, inputs
        size = (geometry.height, geometry.width)
    tiles = tiles_of(winograd, geometry.batch, *size).total
    tile = choose_tile(context.target, DType.FLOAT32, outputs)
    return Plan(winograd, tile, tiles, inputs, outputs, context.threads, by_tiles)


def forward_calls(anchor: Any, binding: Binding) -> list[Call]:
    """Calls of a Conv2d or ConvTranspose2d with its epilogue."""
    image, weight = anchor_operands(binding.op, binding.inputs)
    geometry = anchor.geometry(image.spec, weight.spec)
    context = Context(binding.threads, binding.target)
    plan = forward_plan(binding.algorithm, anchor, geometry, context)
    winograd = plan.winograd
    adjoint = isinstance(anchor, ConvTranspose2d)
    tiles = tiles_of(winograd, geometry.batch, *binding.output.spec.shape[2:])
    lanes, columns, m = plan.tile.lanes, plan.tile.columns, winograd.outputs
    variant = Variant(
        m,
        plan.tile,
        adjoint,
        input_tail=plan.inputs % lanes != 0,
        output_tail=plan.outputs % columns != 0,
        partial_tiles=tiles.height % m != 0 or tiles.width % m != 0,
    )
    padding = adjoint_padding(geometry.padding) if adjoint else geometry.padding
    source, weights = source_of(image, padding), weights_of(weight, adjoint)
    scratch = carve(binding.workspace, *plan.parts())
    epilogue = Epilogue.of(binding)
    extras, extra_sizes = epilogue_places(binding), epilogue_sizes(binding)
    if plan.by_tiles:
        u = binding.prepared
        assert u is not None
        sizes = (*weights, plan.panels)
        code = TransformWeights(replace(variant, partial_tiles=False))  # whatever the image
        first = Call(code, (weight,), (u,), sizes, prepares=True)
        second = Call(
            ManyTiles(variant, epilogue),
            (image, u, *extras),
            (binding.output, *scratch),
            (*source, *tiles, plan.inputs, plan.outputs, plan.block, plan.panels_of_item,
             *extra_sizes),
        )  # fmt: skip
    else:
        *own, v = scratch
        rows = -(-plan.tiles // plan.tile.rows) * plan.tile.rows
        first = Call(
            TransformInputs(m, CHANNEL_BLOCK, variant.input_tail),
            (image,),
            (own[0], v),
            (*source, *tiles, plan.inputs, rows),
        )
        second = Call(
            ManyChannels(variant, CHANNEL_BLOCK, epilogue),
            (v, weight, *extras),
            (binding.output, *own),
            (*weights, *tiles, plan.group, *extra_sizes),
        )
    return [first, second]


def adjoint_padding(padding: Padding) -> Padding:
    """Of the convolution with flipped weights that is the adjoint."""
    (top, bottom), (left, right) = padding
    reach = TAPS - 1
    return (reach - top, reach - bottom), (reach - left, reach - right)


# ---- the weight gradient


def gradient_plan(name: str, geometry: ConvGeometry, context: Context) -> GradientPlan:
    """The plan of a Conv2dGradWeight."""
    outputs_of_tile, by_tiles = NAMES[name]
    winograd = BY_OUTPUTS[outputs_of_tile]
    tiles = tiles_of(winograd, geometry.batch, geometry.out_height, geometry.out_width).total
    inputs, outputs = geometry.in_channels, geometry.out_channels
    tile = choose_tile(context.target, DType.FLOAT32, inputs)
    return GradientPlan(winograd, tile, tiles, inputs, outputs, context.threads, by_tiles)


def gradient_calls(anchor: Conv2dGradWeight, binding: Binding) -> list[Call]:
    """Calls of a Conv2dGradWeight."""
    image, gradient = anchor_operands(binding.op, binding.inputs)
    geometry = anchor.geometry(image.spec, gradient.spec)
    context = Context(binding.threads, binding.target)
    plan = gradient_plan(binding.algorithm, geometry, context)
    winograd = plan.winograd
    tiles = tiles_of(winograd, geometry.batch, geometry.out_height, geometry.out_width)
    lanes = plan.tile.lanes
    variant = GradientVariant(
        winograd.outputs,
        plan.tile,
        input_tail=plan.inputs % lanes != 0,
        output_tail=plan.outputs % lanes != 0,
    )
    sources = (*source_of(image, geometry.padding), *source_of(gradient))
    zeros, v, z, d = carve(binding.workspace, *plan.parts())
    epilogue, result = Epilogue.of(binding), binding.output
    extras, extra_sizes = epilogue_places(binding), epilogue_sizes(binding)
    if not plan.by_tiles:
        code = WeightGradient(variant, False, epilogue)
        writes = (result, zeros, v, z, d)
        return [
            Call(
                code,
                (image, gradient, *extras),
                writes,
                (*sources, *tiles, *plan.cut, *extra_sizes),
            )
        ]
    plain = Epilogue.plain(DType.FLOAT32)
    return [
        Call(
            WeightGradient(variant, True, plain),
            (image, gradient),
            (d, zeros, v, z, d),
            (*sources, *tiles, *plan.cut, 0, 0, 0),
        ),
        Call(
            SumChunks(variant, epilogue),
            (d, *extras),
            (result,),
            (plan.inputs, plan.outputs, plan.chunks, *extra_sizes),
        ),
    ]
