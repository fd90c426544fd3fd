"""Sums of channels over all pixels, of what an elementwise body makes of images.

All results of the body are summed in one pass over its operands. Sums are float64. The lines of
the images are cut into chunks, as many as the shape says, whose sums a second call adds in order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from minigraph.backend import Algorithm, Refused
from minigraph.backends.llvm.call import Binding, Call, Context, Lowering
from minigraph.backends.llvm.kernels.instructions import EMITTERS, evaluate
from minigraph.backends.llvm.kernels.reduction import reduction_call
from minigraph.backends.llvm.kernels.reduction_space import chunks
from minigraph.backends.llvm.kernels.statistics import Sum
from minigraph.backends.llvm.language.code import KernelCode
from minigraph.backends.llvm.language.kernel import Kernel
from minigraph.backends.llvm.language.types import FLOAT64
from minigraph.backends.llvm.language.value import Value
from minigraph.backends.llvm.language.view import Index, View
from minigraph.ir.spec import DType, TensorSpec
from minigraph.iteration import Axis, reduction_space
from minigraph.lowering.epilogue import Kind, epilogue_outputs, kind_of
from minigraph.ops.broadcast import normalise_axes
from minigraph.ops.fused import Body, FusedSum
from minigraph.places import part

_VECTORS = 2  # of channels, that are summed together


@dataclass(frozen=True)
class ChannelSums(KernelCode):
    """``sums[chunk][output][channel] = sum over the chunk's pixels of body(operands)[output]``

    Arguments: operands; sums; images, height, width, channels, chunks; then three strides (image,
    row, pixel) for each operand that is an image.
    """

    body: Body
    kinds: tuple[Kind, ...]
    dtypes: tuple[DType, ...]
    lanes: int

    @property
    def pointers(self) -> int:
        return len(self.dtypes) + 1

    @property
    def sizes(self) -> int:
        return 5 + 3 * self.kinds.count(Kind.TENSOR)

    def emit(self, k: Kernel) -> None:
        images, height, width, channels, parts = k.sizes[:5]
        lines, columns = images * height, _VECTORS * self.lanes
        blocks = (channels + (columns - 1)) // columns
        views = self._views(k)
        outputs = len(self.body.outputs)
        sums = k.view(k.pointers[-1], DType.FLOAT64, channels * outputs, channels, 1)
        with k.parallel(parts * blocks) as item:
            chunk, channel = item // blocks, item % blocks * columns
            left = channels - channel
            masks = [k.first_lanes(left - v * self.lanes, self.lanes) for v in range(_VECTORS)]

            def add_line(line: Value, totals: list[Value]) -> Sequence[Value]:
                here = self._at(views, line // height, line % height, 0)

                def add_pixel(pixel: Value, totals: list[Value]) -> Sequence[Value]:
                    return self._add(k, self._at(here, 0, 0, pixel), channel, masks, totals)

                return k.carry(0, width, totals, add_pixel)

            zero = k.zero(FLOAT64.with_lanes(self.lanes))
            first, last = lines * chunk // parts, lines * (chunk + 1) // parts
            totals = k.carry(first, last, [zero] * (outputs * _VECTORS), add_line)
            for number, total in enumerate(totals):
                output, v = divmod(number, _VECTORS)
                sums.store(total, chunk, output, channel + v * self.lanes, mask=masks[v])

    def _views(self, k: Kernel) -> list[View]:
        strides = iter(k.sizes[5:])
        views = []
        for pointer, kind, dtype in zip(k.pointers, self.kinds, self.dtypes, strict=False):
            steps: list[Index] = [1]
            if kind is Kind.TENSOR:
                steps = [*(next(strides) for _ in range(3)), 1]
            views.append(k.view(pointer, dtype, *steps))
        return views

    def _at(self, views: Sequence[View], *pixel: Index) -> list[View]:
        """Images seen from another pixel."""
        return [
            view.at(*pixel) if kind is Kind.TENSOR else view
            for kind, view in zip(self.kinds, views, strict=True)
        ]

    def _add(
        self,
        k: Kernel,
        views: Sequence[View],
        channel: Value,
        masks: Sequence[Value],
        totals: Sequence[Value],
    ) -> list[Value]:
        """One pixel more: a few vectors of channels of each output."""
        added = list(totals)
        for v, mask in enumerate(masks):
            values = []
            for kind, view in zip(self.kinds, views, strict=True):
                if kind is Kind.SCALAR:
                    values.append(view.splat(lanes=self.lanes))
                else:
                    line = view.strided(1)
                    values.append(line.load(channel + v * self.lanes, lanes=self.lanes, mask=mask))
            for output, value in enumerate(evaluate(k, self.body, values)):
                number = output * _VECTORS + v
                added[number] = added[number] + value.spread(self.lanes).to(added[number].type)
        return added


def _refusal(op: FusedSum, inputs: Sequence[TensorSpec], context: Context) -> Refused | None:
    specs = op.body.specs(*inputs)
    result = specs[op.body.outputs[0]]
    if result.ndim != 4 or set(normalise_axes(op.axes, 4)) != {0, 2, 3} or result.size == 0:
        return Refused("only channels of images are summed")
    if any(specs[number].shape != result.shape for number in op.body.outputs):
        return Refused("the results differ in shape")
    if not all(spec.dtype.is_floating for spec in (*inputs, *op.infer(*inputs))):
        return Refused("only floats are summed")
    if any(kind_of(spec, result) is None for spec in inputs):
        return Refused("an operand is neither a scalar, nor one a channel, nor one an element")
    if any(type(instruction.op) not in EMITTERS for instruction in op.body.instructions):
        return Refused("an op of the body is not elementwise")
    if result.shape[1] < _lanes(inputs, context):
        return Refused("there are too few channels for a vector")
    return None


def _lanes(inputs: Sequence[TensorSpec], context: Context) -> int:
    return context.target.lanes(8 if DType.FLOAT64 in {spec.dtype for spec in inputs} else 4)


def _parts(shape: Sequence[int]) -> int:
    images, channels, height, width = shape
    return min(chunks(images * height * width, channels), images * height)


def _shape(op: FusedSum, inputs: Sequence[TensorSpec]) -> tuple[int, ...]:
    return op.body.specs(*inputs)[op.body.outputs[0]].shape


def _candidates(
    op: FusedSum, inputs: tuple[TensorSpec, ...], context: Context
) -> tuple[Algorithm, ...] | Refused:
    refusal = _refusal(op, inputs, context)
    if refusal is not None:
        return refusal
    shape = _shape(op, inputs)
    workspace = _parts(shape) * len(op.body.outputs) * shape[1] * DType.FLOAT64.itemsize
    return (Algorithm("llvm", workspace, op.cost(*inputs).bytes / 1e10),)


def _calls(binding: Binding) -> list[Call]:
    op: FusedSum = binding.op
    specs = [slot.spec for slot in binding.inputs]
    context = Context(binding.threads, binding.target)
    shape = images, channels, height, width = _shape(op, specs)
    result = TensorSpec(shape, specs[0].dtype)
    kinds = tuple(kind for spec in specs if (kind := kind_of(spec, result)) is not None)
    parts, outputs = _parts(shape), len(op.body.outputs)
    assert binding.workspace is not None and len(kinds) == len(specs)
    code = ChannelSums(op.body, kinds, tuple(spec.dtype for spec in specs), _lanes(specs, context))
    strides: list[int] = []
    for kind, slot in zip(kinds, binding.inputs, strict=True):
        if kind is Kind.TENSOR:
            strides += [slot.strides[axis] for axis in (0, 2, 3)]
    size = parts * outputs * channels
    sums = part(binding.workspace, 0, (size,), DType.FLOAT64, (1,))
    sizes = (images, height, width, channels, parts, *strides)
    calls = [Call(code, binding.inputs, (sums,), sizes)]
    for number, slot in enumerate(epilogue_outputs(binding)):
        offset = number * channels * DType.FLOAT64.itemsize
        own = part(binding.workspace, offset, (size - number * channels,), DType.FLOAT64, (1,))
        step = slot.strides[1] if op.keepdims else slot.strides[0]
        space = reduction_space([Axis(parts, outputs * channels), Axis(channels, 1, step)])
        calls.append(reduction_call(Sum(), own, slot, space, binding.target))
    return calls


LOWERINGS: Mapping[type, Lowering] = {FusedSum: Lowering(_candidates, _calls)}
