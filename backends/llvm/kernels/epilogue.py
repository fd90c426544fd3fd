"""What a convolution or matrix product does to its results before it stores them.

A fused node's body is an anchor (the convolution) and elementwise ops on its result: bias,
activation, residual, the mask of a ReLU's gradient. Kernels of anchors do not know which: they hand
each vector of results to ``EpilogueWriter.store`` with its place. A plain, unfused node has the
empty epilogue.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

import llvmlite.ir as ir

from minigraph.backend import Refused, Slot, Strides, Supported
from minigraph.backends.llvm.call import Binding
from minigraph.backends.llvm.kernels.instructions import EMITTERS
from minigraph.backends.llvm.language.kernel import Kernel
from minigraph.backends.llvm.language.value import Value
from minigraph.backends.llvm.language.view import Index, View
from minigraph.ir.spec import DType, TensorSpec
from minigraph.ops.fused import Body, Fused, Instruction
from minigraph.ops.matmul import MatMul


class Kind(Enum):
    """How an operand of an epilogue lies beside the results."""

    SCALAR = "scalar"  # one number for all
    CHANNEL = "channel"  # one a channel
    TENSOR = "tensor"  # one an element


@dataclass(frozen=True)
class Epilogue:
    """Elementwise instructions on an anchor's results. Operand 0 is the result; then the others.

    Part of the fields of a kernel's code: it says nothing of the anchor, so that all layers with
    the same activation share their code.
    """

    instructions: tuple[Instruction, ...]
    kinds: tuple[Kind, ...]  # of the operands beside the result
    dtypes: tuple[DType, ...]  # of them, then of what is stored

    @property
    def pointers(self) -> int:
        """Places that a call passes: the operands (read), then the output (written)."""
        return len(self.dtypes)

    @property
    def sizes(self) -> int:
        """Strides that a call passes: of image, row and pixel, for each tensor and the output."""
        return 3 * (1 + sum(kind is Kind.TENSOR for kind in self.kinds))

    def writer(
        self, k: Kernel, pointers: Sequence[ir.Value], sizes: Sequence[Value]
    ) -> EpilogueWriter:
        """In a kernel: what finishes and stores results. Takes its own pointers and sizes."""
        views, strides = [], iter(sizes)
        kinds = (*self.kinds, Kind.TENSOR)
        for pointer, kind, dtype in zip(pointers, kinds, self.dtypes, strict=True):
            if kind is Kind.TENSOR:
                views.append(k.view(pointer, dtype, *(next(strides) for _ in range(3)), 1))
            else:
                views.append(k.view(pointer, dtype, 1))
        return EpilogueWriter(k, self, views[:-1], views[-1])


@dataclass(frozen=True)
class EpilogueWriter:
    """An epilogue within a kernel."""

    k: Kernel
    epilogue: Epilogue
    operands: Sequence[View]
    output: View

    def at(self, *pixel: Index) -> EpilogueWriter:
        """The same, with pixels counted from this one (image, row, column)."""
        kinds = self.epilogue.kinds
        moved = [
            view.at(*pixel) if kind is Kind.TENSOR else view
            for kind, view in zip(kinds, self.operands, strict=True)
        ]
        return replace(self, operands=moved, output=self.output.at(*pixel))

    def store(
        self,
        result: Value,
        pixel: Sequence[Index],
        channel: Index,
        mask: Value | None = None,
    ) -> None:
        """Finish and store neighbouring channels of one pixel.

        ``pixel`` is (image, row, column) of the output (for matrices: 0, 0, row); ``channel`` is
        the first lane's; lanes where ``mask`` does not hold are neither read nor written.
        """
        self.output.store(self.finish(result, pixel, channel, mask), *pixel, channel, mask=mask)

    def finish(
        self, result: Value, pixel: Sequence[Index], channel: Index, mask: Value | None = None
    ) -> Value:
        """What would be stored."""
        lanes = result.lanes
        values = [result]
        for kind, view in zip(self.epilogue.kinds, self.operands, strict=True):
            if kind is Kind.SCALAR:
                values.append(view.splat(lanes=lanes))
            elif kind is Kind.CHANNEL:
                values.append(view.load(channel, lanes=lanes, mask=mask))
            else:
                values.append(view.load(*pixel, channel, lanes=lanes, mask=mask))
        for instruction in self.epilogue.instructions:
            given = [values[number] for number in instruction.operands]
            values.append(EMITTERS[type(instruction.op)](self.k, instruction.op, given))
        return values[-1] if self.epilogue.instructions else result


def anchor_of(op: Any) -> Any:
    """The convolution (or product) that a node runs, fused or not."""
    return op.body.anchor.op if isinstance(op, Fused) else op


def anchor_operands(op: Any, operands: Sequence[Any]) -> list[Any]:
    """The anchor's own operands among those of the node."""
    if not isinstance(op, Fused):
        return list(operands)
    return [operands[number] for number in op.body.anchor.operands]


def epilogue_of(binding: Binding) -> Epilogue:
    """The epilogue of a node, fused or not."""
    output = binding.output.spec.dtype
    if not isinstance(binding.op, Fused):
        return Epilogue((), (), (output,))
    body, specs = binding.op.body, [slot.spec for slot in binding.inputs]
    extras = extra_operands(body)
    result = body.specs(*specs)[body.inputs]
    kinds = tuple(_kind(specs[number], result) for number in extras)
    assert all(kind is not None for kind in kinds)
    # Operand numbers: the anchor's result becomes 0, the others follow, then later results.
    position = {body.inputs: 0} | {number: 1 + i for i, number in enumerate(extras)}
    for i in range(1, len(body.instructions)):
        position[body.inputs + i] = len(extras) + i
    instructions = tuple(
        Instruction(instruction.op, tuple(position[n] for n in instruction.operands))
        for instruction in body.instructions[1:]
    )
    dtypes = (*(specs[number].dtype for number in extras), output)
    return Epilogue(instructions, kinds, dtypes)  # type: ignore[arg-type]


def epilogue_places(binding: Binding) -> list[Slot]:
    """What an epilogue reads: a call's last reads. What it writes is ``binding.output``."""
    if not isinstance(binding.op, Fused):
        return []
    return [binding.inputs[number] for number in extra_operands(binding.op.body)]


def epilogue_sizes(binding: Binding) -> list[int]:
    """The sizes that a call passes to its epilogue."""
    sizes: list[int] = []
    epilogue = epilogue_of(binding)
    for kind, slot in zip(epilogue.kinds, epilogue_places(binding), strict=True):
        if kind is Kind.TENSOR:
            sizes += _pixel_strides(slot)
    return [*sizes, *_pixel_strides(binding.output)]


def extra_operands(body: Body) -> list[int]:
    """Numbers of a body's operands that instructions after the anchor read."""
    later = [n for i in body.instructions[1:] for n in i.operands if n < body.inputs]
    return list(dict.fromkeys(later))


def can_finish(body: Body, inputs: Sequence[TensorSpec]) -> Supported | Refused:
    """Whether all that follows the anchor can be an epilogue."""
    if body.outputs != (body.inputs + len(body.instructions) - 1,):
        return Refused("only the last result of a body can be stored")
    specs = body.specs(*inputs)
    result = specs[body.inputs]
    if result.ndim not in (2, 4) or (isinstance(body.anchor.op, MatMul) and result.ndim == 4):
        return Refused("matrices in batches have no epilogue")
    for instruction in body.instructions[1:]:
        if type(instruction.op) not in EMITTERS:
            return Refused(f"{instruction.op.name} is not elementwise")
    if any(spec.shape != result.shape for spec in specs[body.inputs :]):
        return Refused("the shape changes within the body")
    if any(_kind(specs[number], result) is None for number in extra_operands(body)):
        return Refused("an operand is neither a scalar, nor one a channel, nor one an element")
    return Supported()


def _kind(spec: TensorSpec, result: TensorSpec) -> Kind | None:
    """How an operand lies beside results whose channels are axis 1."""
    if spec.shape == result.shape:
        return Kind.TENSOR
    if spec.size == 1:
        return Kind.SCALAR
    padded = (1,) * (result.ndim - spec.ndim) + spec.shape
    channels = (1, result.shape[1]) + (1,) * (result.ndim - 2)
    return Kind.CHANNEL if padded == channels else None


def _pixel_strides(slot: Slot) -> Strides:
    """Strides of image, row and column; the rows of a matrix count as columns of pixels."""
    strides = slot.strides
    return (strides[0], strides[2], strides[3]) if len(strides) == 4 else (0, 0, strides[0])
