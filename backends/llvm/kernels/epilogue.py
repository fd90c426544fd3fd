"""Epilogues within kernels: what is done to results before they are stored.

Kernels of anchors do not know what: they hand each vector of results to ``EpilogueWriter.store``
with its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import llvmlite.ir as ir

from minigraph.backend import Slot, Strides
from minigraph.backends.llvm.call import Binding
from minigraph.backends.llvm.kernels.instructions import EMITTERS
from minigraph.backends.llvm.language.kernel import Kernel
from minigraph.backends.llvm.language.value import Value
from minigraph.backends.llvm.language.view import Index, View
from minigraph.lowering.epilogue import EpilogueBody, Kind, epilogue_outputs, epilogue_places


@dataclass(frozen=True)
class Epilogue(EpilogueBody):
    """An epilogue as part of the fields of a kernel's code."""

    @property
    def pointers(self) -> int:
        """Places that a call passes: the operands (read), then the outputs (written)."""
        return len(self.kinds) + len(self.outputs)

    @property
    def sizes(self) -> int:
        """Strides that a call passes: of image, row and pixel, for each tensor and output."""
        return 3 * (len(self.outputs) + sum(kind is Kind.TENSOR for kind in self.kinds))

    def writer(
        self, k: Kernel, pointers: Sequence[ir.Value], sizes: Sequence[Value]
    ) -> EpilogueWriter:
        """In a kernel: what finishes and stores results. Takes its own pointers and sizes."""
        views, strides = [], iter(sizes)
        kinds = (*self.kinds, *(Kind.TENSOR for _ in self.outputs))
        for pointer, kind, dtype in zip(pointers, kinds, self.dtypes[1:], strict=True):
            if kind is Kind.TENSOR:
                views.append(k.view(pointer, dtype, *(next(strides) for _ in range(3)), 1))
            else:
                views.append(k.view(pointer, dtype, 1))
        return EpilogueWriter(k, self, views[: len(self.kinds)], views[len(self.kinds) :])


@dataclass(frozen=True)
class EpilogueWriter:
    """An epilogue within a kernel."""

    k: Kernel
    epilogue: Epilogue
    operands: Sequence[View]
    outputs: Sequence[View]

    def at(self, *pixel: Index) -> EpilogueWriter:
        """The same, with pixels counted from this one (image, row, column)."""
        kinds = self.epilogue.kinds
        moved = [
            view.at(*pixel) if kind is Kind.TENSOR else view
            for kind, view in zip(kinds, self.operands, strict=True)
        ]
        outputs = [view.at(*pixel) for view in self.outputs]
        return replace(self, operands=moved, outputs=outputs)

    def store(
        self,
        result: Value,
        pixel: Sequence[Index],
        channel: Index,
        mask: Value | None = None,
    ) -> None:
        """Finish and store neighbouring channels of one pixel.

        ``pixel`` is (image, row, column) of the output (for matrices: 0, 0, row); ``channel`` is
        the first lane's; lanes where ``mask`` does not hold are neither read nor written. All is
        read before anything is written: outputs may lie where operands do.
        """
        values = self._values(result, pixel, channel, mask)
        for number, view in zip(self.epilogue.outputs, self.outputs, strict=True):
            view.store(values[number], *pixel, channel, mask=mask)

    def _values(
        self, result: Value, pixel: Sequence[Index], channel: Index, mask: Value | None
    ) -> list[Value]:
        """The result, the operands beside it, the results of all instructions."""
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
        return values


def epilogue_sizes(binding: Binding) -> list[int]:
    """The sizes that a call passes to its epilogue."""
    sizes: list[int] = []
    epilogue = Epilogue.of(binding)
    for kind, slot in zip(epilogue.kinds, epilogue_places(binding), strict=True):
        if kind is Kind.TENSOR:
            sizes += _pixel_strides(slot)
    for slot in epilogue_outputs(binding):
        sizes += _pixel_strides(slot)
    return sizes


def _pixel_strides(slot: Slot) -> Strides:
    """Strides of image, row and column; the rows of a matrix count as columns of pixels."""
    strides = slot.strides
    return (strides[0], strides[2], strides[3]) if len(strides) == 4 else (0, 0, strides[0])
