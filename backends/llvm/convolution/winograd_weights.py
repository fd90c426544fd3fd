"""Weights at Winograd's points, in panels: U = G w G^T.

A panel holds the outputs of one register tile: U[point][input channel][output channel]. A weight
(K, C, 3, 3) lies in memory as (K, 3, 3, C). A convolution sums over C, its input gradient over K:

- gradient: the panel's output channels are C, neighbours in memory. They are read as vectors, with
  the window flipped.
- convolution: they are K, and far apart. Squares of lanes x lanes are transposed in registers on
  the way, tap by tap, through a small block in the stack.
"""

from __future__ import annotations

from typing import Generic, NamedTuple

import llvmlite.ir as ir

from minigraph.backend import Slot
from minigraph.backends.llvm.convolution.tile import Tile
from minigraph.backends.llvm.convolution.winograd_tiles import FLOAT, N, store_points
from minigraph.backends.llvm.convolution.winograd_transforms import (
    TAPS,
    Winograd,
    transform,
    transposed,
)
from minigraph.backends.llvm.language.kernel import Kernel
from minigraph.backends.llvm.language.value import Value
from minigraph.backends.llvm.language.view import View


class Weights(NamedTuple, Generic[N]):
    """Channels of the convolution that uses them, and strides. Sizes of a kernel."""

    inputs: N  # summed over
    outputs: N
    filter: N  # from one k to the next
    row: N
    column: N


def weights_of(slot: Slot, adjoint: bool) -> Weights[int]:
    """A weight (K, C, 3, 3) as a convolution from C to K uses it, or its adjoint from K to C."""
    k, c = slot.spec.shape[:2]
    inputs, outputs = (k, c) if adjoint else (c, k)
    stride_k, _, stride_r, stride_s = slot.strides
    return Weights(inputs, outputs, stride_k, stride_r, stride_s)


class PanelWriter:
    """Transforms weights into panels, with room for whole vectors of input channels."""

    def __init__(
        self,
        k: Kernel,
        winograd: Winograd,
        tile: Tile,
        weights: Weights[Value],
        pointer: ir.Value,
        *,
        adjoint: bool,
        input_tail: bool,
        output_tail: bool,
    ) -> None:
        self._k = k
        self._winograd = winograd
        self._tile = tile
        self._weights = weights
        self._view = k.view(pointer, FLOAT, weights.filter, weights.row, weights.column, 1)
        self._adjoint = adjoint
        self._input_tail = input_tail
        self._output_tail = output_tail
        lanes = tile.lanes
        if not adjoint:
            self._block = k.local(FLOAT, TAPS**2 * lanes**2).strided(
                TAPS * lanes**2, lanes**2, lanes, 1
            )

    def write(self, panel: Value, first: Value, count: Value, target: View) -> None:
        """A panel's input channels from ``first`` on, ``count`` of them.

        ``target`` (point, input, output) stands at the first of these channels.
        """
        with self._k.loop(0, self._tile.columns, self._tile.lanes) as column:
            output = panel * self._tile.columns + column
            if self._adjoint:
                self._write_flipped(output, first, count, target.at(0, 0, column))
            else:
                self._write_transposed(output, first, count, target.at(0, 0, column))

    def _write_flipped(self, output: Value, first: Value, count: Value, target: View) -> None:
        k, lanes, last = self._k, self._tile.lanes, TAPS - 1
        mask = None
        if self._output_tail:
            mask = k.first_lanes(self._weights.outputs - output, lanes)
        with k.loop(0, count) as i:
            filters = self._view.at(first + i, 0, 0, output)

            def load(r: int, s: int) -> Value:
                return filters.load(0, last - r, last - s, lanes=lanes, mask=mask)

            store_points(
                self._winograd,
                transform(k, self._winograd.weight_matrix, load),
                target.at(0, i),
            )

    def _write_transposed(self, output: Value, first: Value, count: Value, target: View) -> None:
        k, lanes, block = self._k, self._tile.lanes, self._block
        with k.loop(0, count, lanes) as i:
            mask = None
            if self._input_tail:
                mask = k.first_lanes(count - i, lanes)
            filters = [self._filter(output + lane, first + i) for lane in range(lanes)]
            with k.loop(0, TAPS) as r, k.loop(0, TAPS) as s:
                taps = [one.load(0, r, s, lanes=lanes, mask=mask) for one in filters]
                for number, vector in enumerate(transposed(taps)):
                    block.store(vector, r, s, number)
            with k.loop(0, lanes) as channel:

                def load(r: int, s: int, channel: Value = channel) -> Value:
                    return block.load(r, s, channel, lanes=lanes)

                values = transform(k, self._winograd.weight_matrix, load)
                store_points(self._winograd, values, target.at(0, i + channel))

    def _filter(self, output: Value, channel: Value) -> View:
        """Weights of an output channel; beyond the last one (nobody reads these) the last."""
        if self._output_tail:
            output = self._k.minimum(output, self._k.index(self._weights.outputs) - 1)
        return self._view.at(output, 0, 0, channel)
