"""The weight gradient of convolutions with few input channels, from the rows of ``rows_lines.py``.

The gradient by one of a kernel's rows and by a step (tap x channel) of it, to output channel k, is
the sum over all output pixels p of ``gy[p][k] * x[the number that p's window takes at the step]``.
A tile of these sums has steps of a few of the kernel's rows as its rows and output channels in
vectors: for one pixel it takes neighbouring numbers of the copied lines, and the pixel's gradients.

``RowSums`` splits the blocks of output rows into a number of parts that the shapes alone
determine, each with sums of its own; ``RowTotals`` adds them in order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace

from minigraph.backends.llvm.convolution.pack import computed
from minigraph.backends.llvm.convolution.rows_lines import Lines, LineSizes, Window
from minigraph.backends.llvm.convolution.tile import Results, Tile, add_steps, carry_tile
from minigraph.backends.llvm.language.code import KernelCode
from minigraph.backends.llvm.language.kernel import Kernel
from minigraph.backends.llvm.language.types import value_type
from minigraph.backends.llvm.language.value import Value
from minigraph.backends.llvm.language.view import View
from minigraph.ir.spec import DType


@dataclass(frozen=True)
class SumTile:
    """Sums that stay in registers: ``kernel_rows`` times ``steps`` rows of vectors of outputs.

    A kernel has a whole number of ``kernel_rows``; of its steps the last tile may have fewer.
    """

    kernel_rows: int
    steps: int
    vectors: int
    lanes: int

    def pieces(self, steps: int) -> Iterator[tuple[int, SumTile]]:
        """All steps of a kernel's row by tiles: where each starts."""
        for start in range(0, steps, self.steps):
            yield start, replace(self, steps=min(self.steps, steps - start))

    @property
    def tile(self) -> Tile:
        return Tile(self.kernel_rows * self.steps, self.vectors, self.lanes, 1)

    @property
    def columns(self) -> int:
        return self.vectors * self.lanes


@dataclass(frozen=True)
class RowSums(KernelCode):
    """Arguments: inputs, gradients; sums ``[part][panel][kernel row][step][output]``, scratch.

    Sizes: ``LineSizes``, output channels, parts, the gradient's strides of image, row and pixel.
    """

    dtype: DType
    window: Window
    form: SumTile
    whole_panels: bool  # no panel is filled up

    pointers = 4
    sizes = len(fields(LineSizes)) + 5

    def emit(self, k: Kernel) -> None:
        own = len(fields(LineSizes))
        s: LineSizes[Value] = LineSizes(*k.sizes[:own])
        outputs, parts, *strides = k.sizes[own:]
        gradient = k.view(k.pointers[1], self.dtype, *strides, 1)
        columns, steps = self.form.columns, self.window.steps
        panels = (outputs + (columns - 1)) // columns
        sums = k.view(k.pointers[2], computed(self.dtype), columns, 1)
        lines = Lines.of(k, self.dtype, self.window, s)
        blocks_down = (s.out_height + s.block - 1) // s.block
        blocks = s.images * blocks_down
        with k.parallel(parts) as part:
            per_part = panels * s.kernel_rows * steps
            kept = sums.at(part * per_part)
            zero = k.zero(value_type(self.dtype, self.form.lanes))
            with k.loop(0, per_part * columns, self.form.lanes) as i:
                kept.strided(1).store(zero, i)
            with k.loop(blocks * part // parts, blocks * (part + 1) // parts) as block:
                image, first = block // blocks_down, block % blocks_down * s.block
                rows = k.minimum(s.block, s.out_height - first)
                lines.fill(image, first, rows)
                with k.loop(0, panels) as panel:
                    masks: list[Value | None] = [None] * self.form.vectors
                    if not self.whole_panels:
                        masks = self._masks(k, outputs - panel * columns)
                    gradients = gradient.at(image, first, 0, panel * columns)
                    gradients = gradients.strided(*gradient.strides[1:])
                    of_panel = kept.at(panel * s.kernel_rows * steps)
                    self._panel(k, s, lines, gradients, of_panel, rows, masks)

    def _masks(self, k: Kernel, outputs: Value) -> list[Value | None]:
        lanes = self.form.lanes
        return [k.first_lanes(outputs - j * lanes, lanes) for j in range(self.form.vectors)]

    def _panel(
        self,
        k: Kernel,
        s: LineSizes[Value],
        lines: Lines,
        gradients: View,
        sums: View,
        rows: Value,
        masks: Sequence[Value | None],
    ) -> None:
        """Add a block's products to a panel's sums, tile by tile."""
        all_steps = self.window.steps
        with k.loop(0, s.kernel_rows, self.form.kernel_rows) as first:
            for step, form in self.form.pieces(all_steps):
                tile = _SumTile(k, form, self.window, lines, gradients, masks)
                tile.add(sums.at(first * all_steps + step), first, step, rows, s.out_width)


@dataclass(frozen=True)
class _SumTile:
    """One tile of sums, within the kernel."""

    k: Kernel
    form: SumTile
    window: Window
    lines: Lines
    gradients: View  # [row][pixel][output]
    masks: Sequence[Value | None]

    def add(self, kept: View, first: Value, step: int, rows: Value, width: Value) -> None:
        """Add the products of some rows of pixels to what is kept."""
        k, form = self.k, self.form
        results = [
            [kept.load(i, j * form.lanes, lanes=form.lanes) for j in range(form.vectors)]
            for i in range(form.tile.rows)
        ]

        def add_row(row: Value, results: Results) -> Results:
            numbers = [
                self.lines.windows(row, first + i, k.index(0)).at(step).settled()
                for i in range(form.kernel_rows)
            ]
            line = self.gradients.at(row).settled()

            def add_pixel(column: Value, results: Results) -> Results:
                return self._pixel(column, numbers, line, results)

            return carry_tile(k, form.tile, k.index(0), width, results, add_pixel)

        results = carry_tile(k, form.tile, k.index(0), rows, results, add_row)
        for i, vectors in enumerate(results):
            for j, vector in enumerate(vectors):
                kept.store(vector, i, j * form.lanes)

    def _pixel(
        self, column: Value, numbers: Sequence[View], line: View, results: Results
    ) -> Results:
        """The products of one pixel."""
        form, place = self.form, column * self.window.pixel
        pixel = line.strided(line.strides[1], 1)

        def number(row: int, _: object) -> Value:
            return numbers[row // form.steps].at(place).load(row % form.steps)

        def vector(_: object, j: int) -> Value:
            return pixel.load(column, j * form.lanes, lanes=form.lanes, mask=self.masks[j])

        return add_steps(self.k, [0], number, vector, results)


@dataclass(frozen=True)
class RowTotals(KernelCode):
    """Add the sums of all parts. Arguments: sums; weight gradient.

    Sizes: parts, output channels, the kernel's rows and columns, channels, then the gradient's
    strides of outputs, rows, columns and channels.
    """

    dtype: DType
    vectors: int  # of a panel
    lanes: int

    pointers = 2
    sizes = 9

    def emit(self, k: Kernel) -> None:
        parts, outputs, rows, across, channels = k.sizes[:5]
        target = k.view(k.pointers[1], self.dtype, *k.sizes[5:])
        columns, lanes = self.vectors * self.lanes, self.lanes
        panels = (outputs + (columns - 1)) // columns
        sums = k.view(k.pointers[0], computed(self.dtype), columns, 1)
        tall = rows * across * channels
        zero = k.zero(value_type(self.dtype, lanes))
        with k.parallel(tall) as row, k.loop(0, outputs, lanes) as output:
            panel, column = output // columns, output % columns

            def add(part: Value, totals: list[Value]) -> list[Value]:
                place = (part * panels + panel) * tall + row
                return [totals[0] + sums.load(place, column, lanes=lanes)]

            (total,) = k.carry(0, parts, [zero], add)
            channel, tap = row % channels, row // channels
            first = target.at(output, tap // across, tap % across, channel)
            steps = [target.strides[0] * lane for lane in range(lanes)]
            first.scatter(total, steps, k.first_lanes(outputs - output, lanes))
