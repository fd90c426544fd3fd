"""Exact tiled inference: a large image in windows that fit in memory, one program for all.

Every window is as large as every other, so one program serves them all, and its memory is known
before it runs. Windows overlap by the halo: each output pixel is taken from a window that computes
it exactly, so the result is that of the whole image, up to the rounding of another order of sums.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from math import ceil

import numpy as np

import minigraph as mg
from minigraph.backend import load_backend
from minigraph.compiler import Options, compile_inference
from minigraph.ir.footprint import Interval
from minigraph.ir.graph import Graph
from minigraph.passes import keep_outputs, to_inference
from minigraph.receptive_field import AxisTrace, trace_axis
from minigraph.windows import Region, exact_regions

Array = np.ndarray
Size = tuple[int, int]  # (height, width) in pixels
Traces = tuple[AxisTrace, AxisTrace]  # along the height, along the width


@dataclass(frozen=True)
class Window:
    """One window along one axis.

    Attributes:
        start: its first pixel.
        kept: for each output, the positions that are taken from it, counted in the whole image.
        offsets: for each output, which of those its own position 0 is.
    """

    start: int
    kept: dict[str, Interval]
    offsets: dict[str, int]


@dataclass(frozen=True)
class TilePlan:
    """How images of one size are cut.

    Attributes:
        tile: of every window.
        rows, columns: the windows along the height and along the width.
        outputs: the outputs' specs for the whole image.
        axes: for each output, which axes its height and width are.
    """

    tile: Size
    rows: tuple[Window, ...]
    columns: tuple[Window, ...]
    outputs: dict[str, mg.TensorSpec]
    axes: dict[str, Size]


@dataclass(frozen=True)
class Piece:
    """A part of one output: ``whole[place] = values``."""

    place: tuple[slice, ...]
    values: Array


class TileTooSmall(ValueError):
    """A tile that is lost at its own borders; ``least`` pixels might do."""

    def __init__(self, message: str, least: int) -> None:
        super().__init__(message)
        self.least = least


def plan_tiles(model: mg.Executable, shape: tuple[int, ...], tile: Size) -> TilePlan:
    """As few windows as ``tile`` allows, all of one size up to that, for images (N,C,H,W).

    ``model`` is an inference executable with one input. Windows start at multiples of the total
    stride, and their sizes leave the same remainder by it as the image's. Raises SpecError, with
    the node's name, for a model whose output depends on the whole image, and TileTooSmall, a
    ValueError, for a tile that is no larger than what is lost at its borders.
    """
    name = _image_input(model, shape)
    whole_graph = _graph(model, shape)
    wholes = (trace_axis(whole_graph, name, 2), trace_axis(whole_graph, name, 3))
    for trace, value in product(wholes, whole_graph.outputs.values()):
        trace.check_local(value)
    most = (_fitting(wholes[0], tile[0]), _fitting(wholes[1], tile[1]))
    (rows, columns), traces = _plan_axes(model, shape, wholes, most)
    counts = (len(rows), len(columns))
    # The smallest tile that needs no more windows does the least work.
    height, width = map(_even, wholes, traces, counts)
    while True:
        (rows, columns), _ = _plan_axes(model, shape, wholes, (height, width))
        if (len(rows), len(columns)) == counts:
            break
        height += wholes[0].period if len(rows) > counts[0] else 0
        width += wholes[1].period if len(columns) > counts[1] else 0
    outputs = {name: value.spec for name, value in whole_graph.outputs.items()}
    axes = {
        name: (wholes[0].axes[value], wholes[1].axes[value])
        for name, value in whole_graph.outputs.items()
    }
    return TilePlan((height, width), rows, columns, outputs, axes)


def run_tiles(
    model: mg.Executable, crop: Callable[[slice, slice], Array], plan: TilePlan
) -> Iterator[dict[str, Piece]]:
    """Run the model on each window in turn; give what is to be kept of each output.

    ``crop(rows, columns)`` gives these rows and columns of the images, (N,C,H,W).
    """
    (name,) = model.inputs
    height, width = plan.tile
    for row in plan.rows:
        for column in plan.columns:
            down = slice(row.start, row.start + height)
            across = slice(column.start, column.start + width)
            results = model({name: crop(down, across)})
            yield {output: _piece(output, results, plan, row, column) for output in results}


def predict_tiled(model: mg.Executable, images: Array, tile: Size) -> dict[str, Array]:
    """The outputs of ``model`` for images (N,C,H,W), computed in windows of at most ``tile``.

    What ``model(image=images)`` returns, up to rounding, in the memory of one window. Raises as
    `plan_tiles` does.
    """
    plan = plan_tiles(model, images.shape, tile)
    results = {name: np.empty(s.shape, s.dtype.numpy) for name, s in plan.outputs.items()}
    for pieces in run_tiles(model, lambda rows, columns: images[:, :, rows, columns], plan):
        for name, piece in pieces.items():
            results[name][piece.place] = piece.values
    return results


def pixels_within(model: mg.Executable, memory: int) -> int:
    """How many pixels of one image an inference executable takes in about ``memory`` bytes.

    From the memory plan, as one thread would need it, and the outputs, at the shape that the model
    was compiled for, in proportion. Parameters come on top.
    """
    (spec,) = model.inputs.values()
    one_thread = load_backend(model.backend.name, 1)  # results must not depend on the threads
    plan = compile_inference(
        model.graph_for({}), tuple(model.outputs), backend=one_thread, options=Options()
    ).plan
    needed = plan.work_bytes + sum(output.nbytes for output in model.outputs.values())
    return memory * spec.shape[0] * spec.shape[2] * spec.shape[3] // needed


# ---- planning


def _image_input(model: mg.Executable, shape: tuple[int, ...]) -> str:
    """The name of a model's one input. Raises ValueError where it takes something else."""
    if len(model.inputs) != 1 or len(shape) != 4 or min(shape) < 1:
        raise ValueError(
            f"Expected a model of one input, images (N,C,H,W), got {', '.join(model.inputs)} and "
            f"the shape {list(shape)}"
        )
    return next(iter(model.inputs))


def _graph(model: mg.Executable, shape: tuple[int, ...]) -> Graph:
    ((name, spec),) = model.inputs.items()
    return keep_outputs(to_inference(model.graph_for({name: (shape, spec.dtype)})), model.outputs)


def _fitting(whole: AxisTrace, tile: int) -> int:
    """The largest size up to ``tile`` that leaves the image's remainder by the total stride."""
    size, period = whole.extent(whole.source), whole.period
    fitting = size - max(0, ceil(Fraction(size - tile, period))) * period
    if fitting < 1:
        least = size % period or period
        raise TileTooSmall(
            f"Expected a tile of at least {least} pixels (the image's {size} and a total stride of "
            f"{period}), got {tile}",
            least,
        )
    return fitting


def _plan_axes(
    model: mg.Executable, shape: tuple[int, ...], wholes: Traces, tile: Size
) -> tuple[tuple[tuple[Window, ...], tuple[Window, ...]], Traces]:
    (name,) = model.inputs
    graph = _graph(model, (*shape[:2], *tile))
    traces = (trace_axis(graph, name, 2), trace_axis(graph, name, 3))
    for trace, value in product(traces, graph.outputs.values()):
        trace.check_local(value)
    return (_plan_axis(wholes[0], traces[0]), _plan_axis(wholes[1], traces[1])), traces


def _even(whole: AxisTrace, window: AxisTrace, count: int) -> int:
    """The size at which ``count`` windows might just do: they overlap by the halo."""
    pixels, most = whole.extent(whole.source), window.extent(window.source)
    if count == 1:
        return most
    least = ceil((pixels + (count - 1) * sum(_halo(whole, window))) / count)
    return min(most, least + (pixels - least) % whole.period)


def _plan_axis(whole: AxisTrace, window: AxisTrace) -> tuple[Window, ...]:
    """From the low border on, each window as far as the positions that are covered allow."""
    last = whole.extent(whole.source) - window.extent(window.source)
    end = _regions(whole, window, last)
    strides = {name: whole.strides[value] for name, value in whole.graph.outputs.items()}
    covered = dict.fromkeys(strides, 0)
    windows: list[Window] = []
    start = 0
    while True:
        regions = _regions(whole, window, start)
        if any(region.exact[0] > covered[name] for name, region in regions.items()):
            if start == last:
                raise _too_small(whole, window)
            start += whole.period  # an output that begins far from the low border
            continue
        kept = {
            name: (covered[name], max(covered[name], region.exact[1]))
            for name, region in regions.items()
        }
        windows.append(Window(start, kept, {name: r.offset for name, r in regions.items()}))
        if start == last:
            if any(stop < regions[name].whole for name, (_, stop) in kept.items()):
                raise _too_small(whole, window)
            return tuple(windows)
        covered = {name: stop for name, (_, stop) in kept.items()}
        # Between the borders all windows lose as much as the last one does at its low side.
        reach = min(last - (end[name].exact[0] - covered[name]) * strides[name] for name in strides)
        following = min(last, reach // whole.period * whole.period)
        if following <= start:
            raise _too_small(whole, window)
        start = int(following)


def _regions(whole: AxisTrace, window: AxisTrace, start: int) -> dict[str, Region]:
    regions = exact_regions(whole, window, start)
    return {name: regions[value] for name, value in window.graph.outputs.items()}


def _halo(whole: AxisTrace, window: AxisTrace) -> tuple[int, int]:
    """Pixels that a window loses at a cut before it, and at one behind it."""
    size = window.extent(window.source)
    last = whole.extent(whole.source) - size
    stride = {name: window.strides[value] for name, value in window.graph.outputs.items()}
    first_cut, last_cut = _regions(whole, window, 0), _regions(whole, window, last)
    before = max((r.exact[0] - r.offset) * stride[name] for name, r in last_cut.items())
    behind = max(size - r.exact[1] * stride[name] for name, r in first_cut.items())
    return ceil(before), ceil(behind)


def _too_small(whole: AxisTrace, window: AxisTrace) -> TileTooSmall:
    """The error for a window that loses all, or all but less than a period, at its borders."""
    (before, behind), size = _halo(whole, window), window.extent(window.source)
    least = max(before + behind, size) + whole.period  # mirrored borders may need more than halos
    least += (size - least) % whole.period
    return TileTooSmall(
        f"Expected a tile of at least {least} pixels (a halo of {before} before and {behind} "
        f"behind, and the total stride {whole.period}), got {size}",
        least,
    )


# ---- running


def _piece(
    name: str, results: dict[str, Array], plan: TilePlan, row: Window, column: Window
) -> Piece:
    values = results[name]
    place, part = [slice(None)] * values.ndim, [slice(None)] * values.ndim
    for axis, window in zip(plan.axes[name], (row, column), strict=True):
        start, stop = window.kept[name]
        offset = window.offsets[name]
        place[axis], part[axis] = slice(start, stop), slice(start - offset, stop - offset)
    return Piece(tuple(place), values[tuple(part)])
