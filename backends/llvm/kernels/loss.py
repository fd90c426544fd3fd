"""Softmax cross-entropy and its gradient, for a vector of positions at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from minigraph.backend import Slot
from minigraph.backends.llvm.call import Binding, Call, Context, Lowering, simple
from minigraph.backends.llvm.kernels.copy import fill_calls
from minigraph.backends.llvm.kernels.lines import (
    Layout,
    LineSpace,
    Tile,
    Tiles,
    line_lanes,
    line_space,
    panel_elements,
)
from minigraph.backends.llvm.kernels.reduction import reduction_call
from minigraph.backends.llvm.kernels.softmax import (
    change_rows,
    exponentiate,
    line_maximum,
    panel_bytes,
    thread_panel,
)
from minigraph.backends.llvm.kernels.statistics import Sum
from minigraph.backends.llvm.language import mathematics
from minigraph.backends.llvm.language.code import KernelCode
from minigraph.backends.llvm.language.kernel import Kernel
from minigraph.backends.llvm.language.types import FLOAT64, INDEX, INT32, value_type
from minigraph.backends.llvm.language.value import Value
from minigraph.backends.llvm.language.view import View
from minigraph.ir.spec import DType, TensorSpec
from minigraph.iteration import Axis, reduction_space
from minigraph.lowering.labels import refuses_labels
from minigraph.ops import loss
from minigraph.places import carve, carved_bytes

_MOST_PARTS = 256  # that the positions of a loss are summed in: fixed, whatever the threads


@dataclass(frozen=True)
class Labels:
    """How positions are labelled: a part of the fields of this module's kernels.

    A call passes pointers to the labels and the class weights (to the labels once more where there
    are none), and the void label.
    """

    dtype: DType
    has_void: bool
    weighted: bool
    weight: DType  # of class weights, and of whatever is computed

    def read(
        self, k: Kernel, tile: Tile, pointers: Sequence[Any], void: Value
    ) -> tuple[Value, Value, Value]:
        """Of a tile: its labels (0 for void), its weights (0 for void), which positions count.

        Labels that are neither a class nor void are refused.
        """
        raw = tile.load(k.view(pointers[0], self.dtype, 1), 0).to(INDEX)
        counts = tile.mask & raw.differs(void) if self.has_void else tile.mask
        legal = (raw >= 0) & (raw < tile.tiles.elements)
        wrong = counts & ~legal
        with k.when(k.any(wrong)):
            positions = tile.logical_positions()
            for lane in range(raw.lanes):
                k.refuse(wrong.lane(lane), positions.lane(lane))
        label = (counts & legal).select(raw, raw.like(0))
        ones = k.constant(1, value_type(self.weight, raw.lanes))
        weight = ones
        if self.weighted:
            weights = k.view(pointers[1], self.weight, 1)
            weight = weights.gather([label.lane(lane) for lane in range(raw.lanes)])
        return label.to(INT32), counts.select(weight, ones.like(0)), counts


@dataclass(frozen=True)
class LossSums(KernelCode):
    """Each part's sums of ``w_t (log(sum(e^x)) - x_t)`` and of ``w_t``, as float64.

    Arguments: logits, labels, class weights; sums of losses, sums of weights, a panel for each
    thread; number of parts, void label, elements of a panel; the lines.
    """

    dtype: DType
    labels: Labels
    layout: Layout

    pointers = 6

    @property
    def sizes(self) -> int:
        return 3 + self.layout.sizes

    def emit(self, k: Kernel) -> None:
        parts, void, room = k.sizes[:3]
        lanes = line_lanes(self.dtype.accumulator, k.target)
        tiles = Tiles(k, self.layout, lanes)
        panel = thread_panel(k, tiles, k.pointers[5], self.dtype, room)
        losses, weights = (k.view(pointer, DType.FLOAT64, 1) for pointer in k.pointers[3:5])

        def add(number: Value, totals: list[Value]) -> list[Value]:
            tile = tiles.tile(number)
            label, weight, counts = self.labels.read(k, tile, k.pointers[1:3], void)
            tile.fetch(k.view(k.pointers[0], self.dtype, 1), 0, panel, k.index(0), tiles.elements)
            of_position = self._losses(k, panel, tiles, label) * weight
            counted = counts.select(of_position, of_position.like(0))  # infinity times 0 is not 0
            return [totals[0] + counted.to(FLOAT64), totals[1] + weight.to(FLOAT64)]

        with k.parallel(parts) as part:
            start, stop = tiles.count * part // parts, tiles.count * (part + 1) // parts
            zeros = [k.zero(FLOAT64.with_lanes(lanes))] * 2
            total, weight = k.carry(start, stop, zeros, add)
            losses.store(k.sum_lanes(total), part)
            weights.store(k.sum_lanes(weight), part)

    def _losses(self, k: Kernel, panel: View, tiles: Tiles, label: Value) -> Value:
        """``log(sum(e^(x - max))) - (x_t - max)``"""
        largest = line_maximum(k, panel, tiles)

        def add(e: Value, values: list[Value]) -> list[Value]:
            total, true = values
            x = panel.load(e, lanes=tiles.lanes) - largest
            return [total + mathematics.exp(k, x), label.equals(e.to(INT32)).select(x, true)]

        zero = k.zero(largest.type)
        total, true = k.carry(0, tiles.elements, [zero, zero], add)
        return mathematics.log(k, total) - true


@dataclass(frozen=True)
class LossGradient(KernelCode):
    """``g w_t (softmax(x) - onehot(t))``

    Arguments: logits, labels, class weights, g; target, a panel for each thread; void label,
    elements of a panel; the lines.
    """

    dtype: DType
    labels: Labels
    layout: Layout

    pointers = 6

    @property
    def sizes(self) -> int:
        return 2 + self.layout.sizes

    def emit(self, k: Kernel) -> None:
        void, room = k.sizes[:2]
        lanes = line_lanes(self.dtype.accumulator, k.target)
        tiles = Tiles(k, self.layout, lanes)
        panel = thread_panel(k, tiles, k.pointers[5], self.dtype, room)
        logits, target = (k.view(k.pointers[i], self.dtype, 1) for i in (0, 4))
        g = k.view(k.pointers[3], self.labels.weight, 1).load()
        first = k.index(0)
        with k.parallel(tiles.count) as number:
            tile = tiles.tile(number)
            label, weight, counts = self.labels.read(k, tile, k.pointers[1:3], void)
            tile.fetch(logits, 0, panel, first, tiles.elements)
            largest = line_maximum(k, panel, tiles)
            share = 1.0 / exponentiate(k, panel, tiles, largest, keep=True)
            factor = weight * g

            def gradient(e: Value, power: Value) -> Value:
                probability = power * share
                is_true = label.equals(e.to(INT32))
                z = is_true.select(probability - 1.0, probability) * factor
                return counts.select(z, z.like(0))

            change_rows(k, panel, tiles, gradient)
            tile.put(target, 1, panel, first, tiles.elements)


@dataclass(frozen=True)
class WeightsOfLabels(KernelCode):
    """Each position's weight. Arguments: labels, class weights; target; void label; the lines."""

    labels: Labels
    layout: Layout

    pointers = 3

    @property
    def sizes(self) -> int:
        return 1 + self.layout.sizes

    def emit(self, k: Kernel) -> None:
        tiles = Tiles(k, self.layout, line_lanes(self.labels.weight, k.target))
        target = k.view(k.pointers[2], self.labels.weight, 1)
        with k.parallel(tiles.count) as number:
            tile = tiles.tile(number)
            _, weight, _ = self.labels.read(k, tile, k.pointers[:2], k.sizes[0])
            tile.store(target, 1, weight)


# ---- calls


def _labels(binding: Binding, weights: Sequence[Slot]) -> tuple[Labels, Slot, int]:
    """How positions are labelled, the place of the class weights, the void label."""
    logits, labels = binding.inputs[:2]
    void = binding.op.void_label
    kind = Labels(labels.spec.dtype, void is not None, bool(weights), logits.spec.dtype.accumulator)
    return kind, weights[0] if weights else labels, 0 if void is None else void


def _room(binding: Binding, space: LineSpace) -> int:
    dtype = binding.inputs[0].spec.dtype.accumulator
    return panel_elements(space.elements, line_lanes(dtype, binding.target))


def _sums(binding: Binding) -> list[Call]:
    logits, labels, *weights = binding.inputs
    dtype = logits.spec.dtype
    results = [slot for slot in binding.outputs if slot is not None]
    if logits.spec.size == 0:
        return [call for slot in results for call in fill_calls(slot, 0.0)]
    kind, of_classes, void = _labels(binding, weights)
    space = line_space(1, (logits,), (labels.strides,))
    parts = min(_MOST_PARTS, space.positions)
    losses, totals, panels = carve(binding.workspace, *_sum_parts(space.positions, 0))
    code = LossSums(dtype, kind, space.layout)
    sizes = (parts, void, _room(binding, space), *space.sizes)
    calls = [Call(code, (logits, labels, of_classes), (losses, totals, panels), sizes)]
    over_parts = reduction_space([Axis(parts, 1)])
    for slot, sums in zip(binding.outputs, (losses, totals), strict=True):
        if slot is not None:
            calls.append(reduction_call(Sum(), sums, slot, over_parts, binding.target))
    return calls


def _sum_parts(positions: int, panels: int) -> list[tuple[DType, int]]:
    """Losses and weights of each part; then the panels."""
    parts = min(_MOST_PARTS, positions)
    return [(DType.FLOAT64, parts), (DType.FLOAT64, parts), (DType.UINT8, panels)]


def _gradient(binding: Binding) -> list[Call]:
    (logits, labels, g, *weights), target = binding.inputs, binding.output
    if logits.spec.size == 0:
        return []
    kind, of_classes, void = _labels(binding, weights)
    space = line_space(1, (logits, target), (labels.strides,))
    code = LossGradient(logits.spec.dtype, kind, space.layout)
    assert binding.workspace is not None
    reads, writes = (logits, labels, of_classes, g), (target, binding.workspace)
    return [Call(code, reads, writes, (void, _room(binding, space), *space.sizes))]


def _label_weights(binding: Binding) -> list[Call]:
    (logits, labels, *weights), target = binding.inputs, binding.output
    if target.spec.size == 0:
        return []
    kind, of_classes, void = _labels(binding, weights)
    without_classes = (target.strides[0], *target.strides[2:])
    space = line_space(1, (logits,), (labels.strides, without_classes))
    code = WeightsOfLabels(kind, space.layout)
    return [Call(code, (labels, of_classes), (target,), (void, *space.sizes))]


def _panels_workspace(op: Any, inputs: tuple[TensorSpec, ...], context: Context) -> int:
    logits = inputs[0]
    return panel_bytes(logits.dtype, logits.shape[1], context)


def _sums_workspace(op: Any, inputs: tuple[TensorSpec, ...], context: Context) -> int:
    logits = inputs[0]
    positions = logits.size // logits.shape[1]
    return carved_bytes(*_sum_parts(positions, _panels_workspace(op, inputs, context)))


LOWERINGS: Mapping[type, Lowering] = {
    loss.CrossEntropy: refuses_labels(simple(_sums, workspace=_sums_workspace)),
    loss.CrossEntropyGrad: refuses_labels(simple(_gradient, workspace=_panels_workspace)),
    loss.LabelWeights: refuses_labels(simple(_label_weights)),
}
