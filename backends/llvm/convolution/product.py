"""Convolutions, transposed convolutions and matrix products by one kernel.

Every output pixel (or row of a matrix) is a sum over taps and channels of numbers that it reads
through the table of ``indirection.py``, times the packed panels of ``pack.py``::

    for each block of pixels (and phase of a transposed convolution), and a few panels:
        note where its pixels find their inputs
        for each step of the sum (some taps, some channels: as much as stays in the cache):
            for each panel of output channels:
                for each tile of the block: add the products
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Generic, TypeVar

from minigraph.backends.llvm.convolution.axis import AXIS_SIZES, Windows, phase_windows, windows
from minigraph.backends.llvm.convolution.indirection import Image, Indirection, words_of_block
from minigraph.backends.llvm.convolution.pack import computed
from minigraph.backends.llvm.convolution.tile import (
    ColumnOperand,
    Results,
    Tile,
    add_products,
    add_steps,
    carry_tile,
    zeros,
)
from minigraph.backends.llvm.kernels.epilogue import Epilogue, EpilogueWriter
from minigraph.backends.llvm.language.code import KernelCode
from minigraph.backends.llvm.language.kernel import Kernel
from minigraph.backends.llvm.language.value import Value
from minigraph.backends.llvm.language.view import Index, View
from minigraph.ir.spec import DType

N = TypeVar("N")  # int where a call is made, Value within the kernel


@dataclass(frozen=True)
class ProductSizes(Generic[N]):
    """What a call of ``Product`` passes before its axes and its epilogue's strides."""

    images: N
    height: N  # of the inputs
    width: N
    image_stride: N
    row_stride: N
    pixel_stride: N
    groups: N
    channels: N  # of a group
    outputs: N  # of a group
    group_stride: N  # between the inputs of groups
    packed_group_stride: N
    output_group_stride: N
    taps: N  # of all phases together
    block: N  # pixels
    panels_at_once: N  # that one thread goes through with the same block
    taps_at_once: N  # in one step of the sum
    channels_at_once: N
    scratch_bytes: N  # of a thread
    phase_taps: N  # of one phase, at most


@dataclass(frozen=True)
class Product(KernelCode):
    """Arguments: inputs, packed panels, the epilogue's; output, scratch. Sizes: see above."""

    dtype: DType
    tile: Tile
    epilogue: Epilogue
    transposed: bool
    few_channels: int  # so many channels are written out without a loop; 0: many
    in_steps: bool  # the sum takes several steps, and is kept in scratch memory in between
    whole_panels: bool  # no panel is filled up
    flat: bool  # outputs lie at one distance from pixel to pixel
    depthwise: bool = False  # each output channel is summed from the input channel of its number

    @property
    def pointers(self) -> int:
        return 3 + self.epilogue.pointers

    @property
    def sizes(self) -> int:
        return len(fields(ProductSizes)) + 2 * AXIS_SIZES + self.epilogue.sizes

    def emit(self, k: Kernel) -> None:
        own = len(fields(ProductSizes))
        s: ProductSizes[Value] = ProductSizes(*k.sizes[:own])
        down = k.sizes[own : own + AXIS_SIZES]
        across = k.sizes[own + AXIS_SIZES : own + 2 * AXIS_SIZES]
        strides = k.sizes[own + 2 * AXIS_SIZES :]
        writer = self.epilogue.writer(k, k.pointers[2:-1], strides)
        scratch = Scratch.of(k, self, s)
        panels = (s.outputs + (self.tile.columns - 1)) // self.tile.columns
        chunks = (panels + s.panels_at_once - 1) // s.panels_at_once
        phases_down, phases_across = (
            axis[2] if self.transposed else k.index(1) for axis in (down, across)
        )
        most = s.images
        for axis, phases in ((down, phases_down), (across, phases_across)):
            most = most * ((axis[0] + phases - 1) // phases)
        blocks = (most + s.block - 1) // s.block
        with k.parallel(chunks * s.groups * blocks * phases_down * phases_across) as item:
            column_phase, rest = item % phases_across, item // phases_across
            row_phase, rest = rest % phases_down, rest // phases_down
            block, rest = rest % blocks, rest // blocks
            group, chunk = rest % s.groups, rest // s.groups
            rows = phase_windows(k, down, row_phase) if self.transposed else windows(down)
            columns = phase_windows(k, across, column_phase) if self.transposed else windows(across)
            first = block * s.block
            total = s.images * rows.count * columns.count
            with k.when(first < total):
                count = k.minimum(s.block, total - first)
                body = _Block(k, self, s, writer, scratch, group, first, count)
                body.fill(rows, columns)
                body.panels(
                    chunk * s.panels_at_once,
                    k.minimum((chunk + 1) * s.panels_at_once, panels),
                    k.index(rows.taps) * columns.taps,
                    _taps_before(rows, columns, across[1]),
                )


def _taps_before(rows: Windows, columns: Windows, kernel_across: Value) -> Value | int:
    """Taps of other phases that lie before this one's in a panel: see ``Pack``."""
    if isinstance(rows.taps_before, int) or isinstance(rows.taps, int):
        return 0
    return rows.taps_before * kernel_across + rows.taps * columns.taps_before


@dataclass(frozen=True)
class Scratch:
    """Memory of one thread."""

    indirection: Indirection
    nothing: View  # zeros: what windows read outside of images, and what sums start from
    sums: View  # [panel][pixel][column]

    @staticmethod
    def of(k: Kernel, code: Product, s: ProductSizes[Value]) -> Scratch:
        memory = k.view(k.pointers[-1], DType.UINT8, 1).at(k.thread * s.scratch_bytes)
        indirection = Indirection.within(k, memory, s.block)
        dtype = computed(code.dtype)
        nothing = k.view(indirection.addresses.at(s.phase_taps).pointer, dtype, 1)
        lanes = code.tile.lanes
        length = nothing_length(code.tile, s.outputs if code.depthwise else s.channels, k)
        with k.loop(0, length, lanes) as i:
            nothing.store(k.zero(nothing.type.with_lanes(lanes)), i)
        columns = code.tile.columns
        sums = k.view(nothing.at(length).pointer, dtype, s.block * columns, columns, 1)
        return Scratch(indirection, nothing, sums)


def nothing_length(tile: Tile, channels: Value, k: Kernel) -> Value:
    """Zeros that suffice for a pixel's channels and for a tile, in whole cache lines."""
    return (k.maximum(channels, tile.rows * tile.columns) + 15) // 16 * 16


def scratch_bytes(
    tile: Tile, dtype: DType, channels: int, block: int, taps: int, kept_panels: int
) -> int:
    """What a thread needs; ``kept_panels``: of sums that are kept from step to step."""
    size = computed(dtype).itemsize
    zeros_needed = -(-max(channels, tile.rows * tile.columns) // 16) * 16
    words = 8 * words_of_block(block, taps)
    return words + size * (zeros_needed + kept_panels * block * tile.columns)


def granule(tile: Tile) -> int:
    """Pixels that blocks must be multiples of: whole tiles, and whole vectors of addresses."""
    return math.lcm(tile.rows, 8)


@dataclass(frozen=True)
class Kept:
    """Sums that are kept between steps. Weights are asked for before they are read, as the sums of
    few pixels are no quicker than memory."""

    sums: View  # [pixel][column] of a panel
    is_first: Value  # step
    is_last: Value
    following: View  # what is read next: the next panel's part of this step, or the next step's;
    # after the last step, that of the next panels or of another phase


@dataclass(frozen=True)
class Step:
    """A range of taps and of channels to add; ``kept`` is None where that is all of them."""

    tap: Value
    tap_stop: Value
    channel: Value
    channel_stop: Value
    kept: Kept | None


@dataclass(frozen=True)
class _Block:
    """One block of pixels, within the kernel."""

    k: Kernel
    code: Product
    s: ProductSizes[Value]
    writer: EpilogueWriter
    scratch: Scratch
    group: Value
    first: Value
    count: Value

    def fill(self, rows: Windows, columns: Windows) -> None:
        s, k = self.s, self.k
        strides = (s.image_stride, s.row_stride, s.pixel_stride)
        inputs = k.view(k.pointers[0], self.code.dtype, *strides)
        image = Image(inputs.shifted(self.group * s.group_stride), s.height, s.width)
        self.scratch.indirection.fill(
            image, rows, columns, self.first, self.count, granule(self.code.tile),
            self.scratch.nothing.address(0),
        )  # fmt: skip

    def panels(self, start: Value, stop: Value, taps: Value, before: Value | int) -> None:
        """The panels in ``range(start, stop)``, each with all steps of the sum."""
        s, k, width = self.s, self.k, self.code.tile.columns
        packed = k.view(k.pointers[1], computed(self.code.dtype), s.channels * width, width, 1)
        packed = packed.shifted(self.group * s.packed_group_stride)
        packed = packed.at(before).strided(packed.strides[0] * s.taps, *packed.strides)
        if self.code.in_steps:
            self._steps(start, stop, packed, taps)
            return
        with k.loop(start, stop) as panel:
            whole = Step(k.index(0), taps, k.index(0), s.channels, None)
            self._tiles(panel, packed.at(panel).strided(*packed.strides[1:]), whole)

    def _steps(self, start: Value, stop: Value, packed: View, taps: Value) -> None:
        """The sum in steps. There is one even where a phase has no taps: it stores zeros."""
        s, k = self.s, self.k
        with (
            k.loop(0, k.maximum(taps, 1), s.taps_at_once) as tap,
            k.loop(0, s.channels, s.channels_at_once) as channel,
            k.loop(start, stop) as panel,
        ):
            tap_stop = k.minimum(tap + s.taps_at_once, taps)
            channel_stop = k.minimum(channel + s.channels_at_once, s.channels)
            is_first = tap.equals(0) & channel.equals(0)
            is_last = (tap_stop >= taps) & (channel_stop >= s.channels)
            sums = self.scratch.sums
            there = sums.at(panel - start).strided(*sums.strides[1:])
            weights = packed.at(panel).strided(*packed.strides[1:])
            # In a panel, what a step reads begins where what the one before reads ends.
            following = (panel + 1 < stop).select(
                packed.address(panel + 1, tap, channel),
                packed.address(start, tap_stop - 1, channel_stop),
            )
            kept = Kept(there, is_first, is_last, k.view(k.pointer_at(following), packed.dtype, 1))
            self._tiles(panel, weights, Step(tap, tap_stop, channel, channel_stop, kept))

    def _tiles(self, panel: Value, b: View, step: Step) -> None:
        """One step of the sum for all tiles of the block."""
        k, tile = self.k, self.code.tile
        left = self.s.outputs - panel * tile.columns
        masks: list[Value | None] = [None] * tile.vectors
        if not self.code.whole_panels:
            masks = [k.first_lanes(left - j * tile.lanes, tile.lanes) for j in range(tile.vectors)]
        kept = step.kept
        with k.loop(0, self.count, tile.rows) as i:
            results = zeros(k, tile, self.code.dtype)
            if kept is not None:  # go on from what is kept, or from zeros
                before = kept.is_first.select(self.scratch.nothing.address(0), kept.sums.address(i))
                view = k.view(k.pointer_at(before), kept.sums.dtype, *kept.sums.strides)
                results = _load(tile, view)
            if self.code.depthwise:
                results = self._sum_by_channel(i, b, panel, step, masks, results)
            else:
                results = self._sum(i, b, step, results)
            if kept is None:
                self._finish(i, panel, results, masks)
            else:
                with k.when_else(kept.is_last) as (then, otherwise):
                    with then:
                        self._finish(i, panel, results, masks)
                    with otherwise:
                        _store(tile, kept.sums.at(i), results)

    def _sum(self, i: Value, b: View, step: Step, results: Results) -> Results:
        k, tile, code = self.k, self.code.tile, self.code

        def add_tap(t: Value, results: Results) -> Results:
            table = self.scratch.indirection
            rows = [table.pixel_at(t, i + row, code.dtype) for row in range(tile.rows)]
            panel = b.at(t).strided(tile.columns, 1)

            def number(row: int, c: Value | int) -> Value:
                return rows[row].load(c)

            def vector(c: Value | int, j: int) -> Value:
                return panel.load(c, j * tile.lanes, lanes=tile.lanes)

            if code.few_channels:
                return add_steps(k, range(code.few_channels), number, vector, results)
            operand: ColumnOperand = vector
            if step.kept is not None:
                operand = self._asking(vector, step.kept, step, i // tile.rows, t)
            return add_products(k, tile, step.channel, step.channel_stop, number, operand, results)

        return carry_tile(k, tile, step.tap, step.tap_stop, results, add_tap)

    def _asking(
        self, vector: ColumnOperand, kept: Kept, step: Step, number: Value, t: Value
    ) -> ColumnOperand:
        """Ask for what is read next, meanwhile: a vector a step. The first tiles (by ``number``),
        as many as a panel has vectors, ask for all of it; the others ask again."""
        tile = self.code.tile
        number = self.k.minimum(number, tile.vectors - 1)
        taps, channels = step.tap_stop - step.tap, step.channel_stop - step.channel
        vectors = (number * taps + t - step.tap) * channels - step.channel
        following = kept.following.at(vectors * tile.lanes).strided(tile.lanes)

        def asking(c: Index, j: int) -> Value:
            if j == 0:
                following.prefetch(c)
            return vector(c, j)

        return asking

    def _sum_by_channel(
        self,
        i: Value,
        b: View,
        panel: Value,
        step: Step,
        masks: Sequence[Value | None],
        results: Results,
    ) -> Results:
        """Depthwise: vectors of inputs times vectors of weights, tap by tap."""
        k, tile = self.k, self.code.tile
        first = panel * tile.columns

        def add_tap(t: Value, results: Results) -> Results:
            weights = [
                b.at(t).load(0, 0, j * tile.lanes, lanes=tile.lanes) for j in range(tile.vectors)
            ]
            sums = []
            for row, vectors in enumerate(results):
                line = self.scratch.indirection.pixel_at(t, i + row, self.code.dtype).at(first)
                inputs = [
                    line.load(j * tile.lanes, lanes=tile.lanes, mask=mask)
                    for j, mask in enumerate(masks)
                ]
                sums.append([k.fma(*each) for each in zip(inputs, weights, vectors, strict=True)])
            return sums

        return carry_tile(k, tile, step.tap, step.tap_stop, results, add_tap)

    def _finish(
        self, i: Value, panel: Value, results: Results, masks: Sequence[Value | None]
    ) -> None:
        """Store a tile's finished rows, those that are pixels."""
        k, tile, s = self.k, self.code.tile, self.s
        channel = self.group * s.output_group_stride + panel * tile.columns
        for row, vectors in enumerate(results):
            with k.when(i + row < self.count):
                if self.code.flat:
                    pixel: Sequence[Value | int] = (0, 0, self.first + i + row)
                else:
                    pixel = self.scratch.indirection.pixel(i + row)
                for j, (vector, mask) in enumerate(zip(vectors, masks, strict=True)):
                    self.writer.store(vector, pixel, channel + j * tile.lanes, mask)


def _load(tile: Tile, kept: View) -> Results:
    return [
        [kept.load(row, j * tile.lanes, lanes=tile.lanes) for j in range(tile.vectors)]
        for row in range(tile.rows)
    ]


def _store(tile: Tile, kept: View, results: Results) -> None:
    for row, vectors in enumerate(results):
        for j, vector in enumerate(vectors):
            kept.store(vector, row, j * tile.lanes)
