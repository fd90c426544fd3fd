"""Softmax cross-entropy and its gradient; the weights of labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from minigraph.backend import Slot
from minigraph.backends.cupy.call import (
    Binding,
    Call,
    Context,
    Lowering,
    blocks_for,
    index_type,
    simple,
)
from minigraph.backends.cupy.code import COMPUTED, STORED, KernelCode, loaded, stored
from minigraph.backends.cupy.kernels.copy import fill_calls
from minigraph.backends.cupy.kernels.expressions import function, literal
from minigraph.backends.cupy.kernels.lines import THREADS, Layout, line_space, logical_strides
from minigraph.backends.cupy.kernels.reduction import reduction_calls
from minigraph.backends.cupy.kernels.softmax import exponential_functions, exponential_sums
from minigraph.backends.cupy.kernels.statistics import Sum
from minigraph.ir.spec import DType, TensorSpec
from minigraph.iteration import Axis
from minigraph.lowering.labels import refuses_labels
from minigraph.ops import loss
from minigraph.places import carve, carved_bytes

_MOST_PARTS = 512  # that the positions of a loss are summed in: fixed by the shape


@dataclass(frozen=True)
class Labels:
    """How positions are labelled: a part of the fields of this module's kernels."""

    dtype: DType
    void: int | None
    weighted: bool
    weight: DType  # of class weights, and of whatever is computed

    @property
    def pointers(self) -> list[str]:
        weights = [f"const {STORED[self.weight]}* weights"] if self.weighted else []
        return [f"const {STORED[self.dtype]}* labels", *weights]

    def read(self) -> list[str]:
        """The ``label`` of a line, whether it ``counts``, its ``weight`` (0 for void).

        A label that is neither a class nor void is refused, and does not count.
        """
        of = COMPUTED[self.weight]
        counts = "inside"
        if self.void is not None:
            counts += f" && label != {literal(self.void, DType.INT64)}"
        weight = "weights[label]" if self.weighted else literal(1, self.weight)
        return [
            "const long long label = inside ? labels[labels_at] : 0;",
            f"bool counts = {counts};",
            "if (counts && (label < 0 || label >= elements)) {",
            "    if (lane == 0) refuse(refused, position, logical_at);",
            "    counts = false;",
            "}",
            f"const {of} weight = counts ? {weight} : {literal(0, self.weight)};",
        ]


@dataclass(frozen=True)
class LossSums(KernelCode):
    """Each block's sums of ``w_t (log(sum(e^x)) - x_t)`` and of ``w_t``, as float64.

    A block goes through every ``gridDim.x``-th set of lines; the sums of its threads are merged
    halves, quarters and so on.
    """

    may_refuse = True

    dtype: DType
    labels: Labels
    layout: Layout
    index: str

    comment = "cross-entropy: sums of losses and of weights, block by block"

    @property
    def pointers(self) -> list[str]:
        read = [f"const {STORED[self.dtype]}* x", *self.labels.pointers]
        return [*read, "double* losses", "double* totals"]

    @property
    def sizes(self) -> list[str]:
        return self.layout.sizes(["x"], ["labels", "logical"])

    def functions(self) -> str:
        return exponential_functions(self.symbol, self.dtype, self.layout)

    def body(self) -> str:
        of, index, log = COMPUTED[self.dtype], self.index, function("log", self.dtype)
        true = loaded("x[x_at + label * x_along]", self.dtype)
        of_line = [
            f"const {index} number = start + line;",
            "const bool inside = number < lines;",
            f"const {index} stop = inside ? elements : 0;",
            *self.layout.offsets("number", ["x", "labels", "logical"], index),
            *self.labels.read(),
            *exponential_sums(self.symbol, self.dtype, self.layout, index),
            "if (counts && lane == 0) {",
            f"    loss_sum += ({log}(total) - ({true} - largest)) * weight;",
            "    weight_sum += weight;",
            "}",
        ]
        step = f"({index})gridDim.x * {self.layout.lines}"
        return "\n".join(
            [
                *self.layout.shared(of),
                f"__shared__ double shared_losses[{THREADS}], shared_weights[{THREADS}];",
                *self.layout.threads(),
                "double loss_sum = 0.0, weight_sum = 0.0;",
                f"{index} start = ({index})blockIdx.x * {self.layout.lines};",
                f"for (; start < lines; start += {step}) {{",
                *(f"    {text}" for text in of_line),
                "}",
                "shared_losses[threadIdx.x] = loss_sum;",
                "shared_weights[threadIdx.x] = weight_sum;",
                f"for (int half = {THREADS // 2}; half > 0; half /= 2) {{",
                "    __syncthreads();",
                "    if (threadIdx.x < half) {",
                "        shared_losses[threadIdx.x] += shared_losses[threadIdx.x + half];",
                "        shared_weights[threadIdx.x] += shared_weights[threadIdx.x + half];",
                "    }",
                "}",
                "if (threadIdx.x == 0) {",
                "    losses[blockIdx.x] = shared_losses[0];",
                "    totals[blockIdx.x] = shared_weights[0];",
                "}",
            ]
        )


@dataclass(frozen=True)
class LossGradient(KernelCode):
    """``g w_t (softmax(x) - onehot(t))``; 0 where the label is void, whatever the logits."""

    may_refuse = True

    dtype: DType
    labels: Labels
    layout: Layout
    index: str

    comment = "cross-entropy: gradient of the logits"

    @property
    def pointers(self) -> list[str]:
        of = STORED[self.dtype]
        g = f"const {STORED[self.labels.weight]}* g"
        return [f"const {of}* x", *self.labels.pointers, g, f"{of}* y"]

    @property
    def sizes(self) -> list[str]:
        return self.layout.sizes(["x", "y"], ["labels", "logical"])

    def functions(self) -> str:
        return exponential_functions(self.symbol, self.dtype, self.layout)

    def body(self) -> str:
        of, index = COMPUTED[self.dtype], self.index
        one, zero = literal(1, self.dtype), literal(0, self.dtype)
        x = loaded("x[x_at + e * x_along]", self.dtype)
        z = f"(e == label ? probability - {one} : probability) * factor"
        return "\n".join(
            [
                *self.layout.shared(of),
                *self.layout.threads(),
                f"const {index} number = ({index})blockIdx.x * {self.layout.lines} + line;",
                "const bool inside = number < lines;",
                f"const {index} stop = inside ? elements : 0;",
                *self.layout.offsets("number", ["x", "y", "labels", "logical"], index),
                *self.labels.read(),
                *exponential_sums(self.symbol, self.dtype, self.layout, index),
                f"const {of} share = {one} / total, factor = weight * *g;",
                f"{self.layout.loop(index)} {{",
                f"    const {of} probability = {function('exp', self.dtype)}({x} - largest) "
                "* share;",
                f"    const {of} z = {z};",
                f"    y[y_at + e * y_along] = {stored(f'(counts ? z : {zero})', self.dtype)};",
                "}",
            ]
        )


@dataclass(frozen=True)
class WeightsOfLabels(KernelCode):
    """Each position's weight, one a thread."""

    may_refuse = True

    labels: Labels
    layout: Layout
    index: str

    comment = "weights of labels"

    @property
    def pointers(self) -> list[str]:
        return [*self.labels.pointers, f"{STORED[self.labels.weight]}* y"]

    @property
    def sizes(self) -> list[str]:
        return self.layout.sizes(["x"], ["labels", "y", "logical"])

    def body(self) -> str:
        index = self.index
        return "\n".join(
            [
                f"const {index} number = global_thread<{index}>();",
                "const bool inside = number < lines;",
                "const int lane = 0;",
                *self.layout.offsets("number", ["labels", "y", "logical"], index),
                *self.labels.read(),
                "if (inside) y[y_at] = weight;",
            ]
        )


# ---- calls


def _labels(binding: Binding, weights: Sequence[Slot]) -> Labels:
    logits, labels = binding.inputs[:2]
    void, computed = binding.op.void_label, logits.spec.dtype.accumulator
    return Labels(labels.spec.dtype, void, bool(weights), computed)


def _sums(binding: Binding) -> list[Call]:
    logits, labels, *weights = binding.inputs
    if logits.spec.size == 0:
        results = [slot for slot in binding.outputs if slot is not None]
        return [call for slot in results for call in fill_calls(slot, 0.0)]
    logical = logical_strides(1, logits.spec.shape)
    space = line_space(1, (logits,), (labels.strides, logical))
    parts = min(_MOST_PARTS, blocks_for(space.lines, space.layout.lines))
    sums = carve(binding.workspace, (DType.FLOAT64, parts), (DType.FLOAT64, parts))
    kind, index = _labels(binding, weights), index_type(logits, labels)
    code = LossSums(logits.spec.dtype, kind, space.layout, index)
    calls = [Call(code, (logits, labels, *weights), tuple(sums), space.sizes, parts)]
    for slot, of_parts in zip(binding.outputs, sums, strict=True):
        if slot is not None:
            calls += reduction_calls(Sum(), of_parts, (slot,), [Axis(parts, 1)], None)
    return calls


def _sums_workspace(op: Any, inputs: tuple[TensorSpec, ...], context: Context) -> int:
    parts = min(_MOST_PARTS, inputs[1].size)
    return carved_bytes((DType.FLOAT64, parts), (DType.FLOAT64, parts))


def _gradient(binding: Binding) -> list[Call]:
    (logits, labels, g, *weights), target = binding.inputs, binding.output
    if logits.spec.size == 0:
        return []
    logical = logical_strides(1, logits.spec.shape)
    space = line_space(1, (logits, target), (labels.strides, logical))
    kind, index = _labels(binding, weights), index_type(logits, labels, target)
    code = LossGradient(logits.spec.dtype, kind, space.layout, index)
    blocks = blocks_for(space.lines, space.layout.lines)
    return [Call(code, (logits, labels, *weights, g), (target,), space.sizes, blocks)]


def _label_weights(binding: Binding) -> list[Call]:
    (logits, labels, *weights), target = binding.inputs, binding.output
    if target.spec.size == 0:
        return []
    without_classes = (target.strides[0], *target.strides[2:])
    logical = logical_strides(1, logits.spec.shape)
    space = line_space(1, (logits,), (labels.strides, without_classes, logical))
    code = WeightsOfLabels(_labels(binding, weights), space.layout, index_type(logits, labels))
    blocks = blocks_for(space.lines, code.threads)
    return [Call(code, (labels, *weights), (target,), space.sizes, blocks)]


LOWERINGS: Mapping[type, Lowering] = {
    loss.CrossEntropy: refuses_labels(simple(_sums, workspace=_sums_workspace)),
    loss.CrossEntropyGrad: refuses_labels(simple(_gradient, overwrites=(0,))),
    loss.LabelWeights: refuses_labels(simple(_label_weights)),
}
