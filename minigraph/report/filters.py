"""First-layer filters as a picture, and how alike they are.

Filters with structure (edges, colours, blobs) that differ from each other are a sign of good
training; noise, or many alike, of the opposite.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import minigraph as mg
from minigraph.ir.graph import Graph, Value
from minigraph.ops.conv import Conv2d
from minigraph.report.matplotlib_figure import new_figure, plain
from minigraph.report.picture_files import write_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = np.ndarray

MOST_FILTERS = 256
GROUND = (0.84, 0.89, 0.96)  # no grey: a filter may be white
PANEL = 4.2  # inches, each of the two


@dataclass(frozen=True, eq=False)
class FilterCorrelations:
    """How alike the filters of a layer are.

    Attributes:
        matrix: Pearson correlation of each two filters over their C * kh * kw weights, float64
            ``(K, K)``; NaN for a filter whose weights are all equal.
        mean_absolute: mean of ``abs`` off the diagonal, such filters left out; NaN for fewer
            than two.
        by_chance: what `mean_absolute` is expected to be for filters of independent normal
            weights: small filters correlate by chance alone. NaN for fewer than 3 weights.
    """

    matrix: Array
    mean_absolute: float
    by_chance: float


def filter_correlations(weight: Array) -> FilterCorrelations:
    """Correlations of the filters of a weight ``(K, C, kh, kw)``.

    Raises:
        ValueError: the weight is of another form, or holds NaN or infinity.
    """
    weight = _checked(weight)
    rows = weight.reshape(len(weight), -1)
    rows = rows - rows.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    flat = norms[:, 0] <= 1e-12 * np.abs(weight).max(initial=0)
    rows = np.divide(rows, norms, out=np.full_like(rows, np.nan), where=~flat[:, None])
    matrix = np.clip(rows @ rows.T, -1, 1)
    known = matrix[np.ix_(~flat, ~flat)]
    off_diagonal = np.abs(known[~np.eye(len(known), dtype=bool)])
    mean = float(off_diagonal.mean()) if off_diagonal.size else math.nan
    return FilterCorrelations(matrix, mean, _by_chance(rows.shape[1]))


def _by_chance(weights: int) -> float:
    """E|r| of two independent normal samples of n values.

    r has the density (1 - r^2)^((n - 4) / 2) / B(1/2, (n - 2) / 2) on [-1, 1] (Fisher 1915), so
    E|r| = 2 / ((n - 2) B(1/2, (n - 2) / 2)) = Gamma((n - 1) / 2) / (sqrt(pi) Gamma(n / 2)).
    """
    if weights < 3:
        return math.nan
    ratio = math.lgamma((weights - 1) / 2) - math.lgamma(weights / 2)
    return math.exp(ratio) / math.sqrt(math.pi)


def first_convolution(executable: mg.Executable) -> tuple[str, Array]:
    """Name and value of the weight ``(K, C, kh, kw)`` of the first convolution on an input image.

    What is done to the image before counts as part of it: normalisation, pooling, fixed filters.

    Raises:
        ValueError: the graph has no convolution of an input ``(N,C,H,W)`` with a weight.
    """
    graph = executable.compiled.built  # before fusion hides convolutions in larger nodes
    images = {value for value in graph.inputs if value.spec.ndim == 4}
    for node in graph.nodes:
        if images.isdisjoint(node.inputs):
            continue
        images.update(node.outputs)
        if isinstance(node.op, Conv2d):
            name = _state_behind(graph, node.inputs[1])
            if name is not None:
                return name, executable.state[name]
    ops = ", ".join(dict.fromkeys(node.op.name for node in graph.nodes))
    raise ValueError(
        f"Expected a convolution of an input image (N,C,H,W) with a weight, got a graph without: "
        f"its operations are {ops}"
    )


def _state_behind(graph: Graph, value: Value) -> str | None:
    """The state variable that a value is, perhaps cast or reshaped."""
    while (maker := graph.producer.get(value)) is not None and len(maker.inputs) == 1:
        (value,) = maker.inputs
    return value.name if value.name in graph.state_by_name else None


def plot_filters(weight: Array, output: str | Path, *, title: str = "") -> None:
    """Draw filters ``(K, C, kh, kw)`` in order, row by row, and their correlations beside them.

    One channel is drawn in grey, three as RGB, of other numbers the mean over channels; the
    middle grey is 0, and all filters share one scale.

    Args:
        weight: the filters; the first 256 are drawn.
        output: where to write; the ending chooses the format (`.png`, `.svg`, `.pdf`).
        title: above both, such as the weight's name.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: the weight is of another form, or holds NaN or infinity.
    """
    weight = _checked(weight)
    shown = weight[:MOST_FILTERS]
    correlations = filter_correlations(shown)
    figure = new_figure(2 * PANEL + 1.6, PANEL + 0.9, layout="constrained")
    left, right = figure.subplots(1, 2)
    _draw_filters(figure, left, shown, len(weight))
    _draw_correlations(figure, right, correlations)
    if title:
        figure.suptitle(plain(title), fontsize=12)
    write_figure(figure, output)


def tile_filters(weight: Array) -> tuple[Array, str, float]:
    """Filters in a grid as nearly square as can be, one pixel apart on pale blue.

    Small filters are enlarged by a whole factor ``s`` to about 12 pixels.

    Returns:
        RGB float ``(rows * (s * kh + 1) + 1, columns * (s * kw + 1) + 1, 3)`` in [0,1]; what the
        colours show; and the weight that is white (its negative is black, 0 the middle grey).
    """
    weight = _checked(weight)
    filters, channels, height, width = weight.shape
    if channels in (1, 3):
        shown, how = weight, "grey" if channels == 1 else "channels as red, green, blue"
    else:
        shown, how = weight.mean(axis=1, keepdims=True), f"mean of {channels} channels"
    limit = float(np.abs(shown).max()) or 1.0
    colours = np.broadcast_to(0.5 + 0.5 * shown / limit, (filters, 3, height, width))
    scale = max(1, round(12 / max(height, width)))
    colours = colours.repeat(scale, axis=2).repeat(scale, axis=3)
    height, width = scale * height, scale * width
    columns = math.ceil(math.sqrt(filters * height / width))
    rows = math.ceil(filters / columns)
    sheet = np.tile(np.array(GROUND), (rows * (height + 1) + 1, columns * (width + 1) + 1, 1))
    for index, colour in enumerate(colours):
        top, left = (index // columns) * (height + 1) + 1, (index % columns) * (width + 1) + 1
        sheet[top : top + height, left : left + width] = colour.transpose(1, 2, 0)
    return sheet, how, limit


def _checked(weight: Array) -> Array:
    weight = np.asarray(weight, np.float64)
    if weight.ndim != 4 or 0 in weight.shape:
        raise ValueError(f"Expected filters (K, C, kh, kw), got an array {weight.shape}")
    if not np.isfinite(weight).all():
        raise ValueError("Expected filters of finite numbers, got NaN or infinity among them")
    return weight


def _draw_filters(figure: Figure, axes: Axes, weight: Array, total: int) -> None:
    sheet, how, limit = tile_filters(weight)
    axes.imshow(sheet, interpolation="nearest")
    axes.set_axis_off()
    filters, channels, height, width = weight.shape
    number = f"{filters} filters" if filters == total else f"first {filters} of {total} filters"
    axes.set_title(f"{number} {channels}x{height}x{width}: {how}", fontsize=10)
    scale = axes.imshow([[0.0]], cmap="gray", vmin=-limit, vmax=limit, visible=False)
    axes.set_xlim(-0.5, sheet.shape[1] - 0.5)
    axes.set_ylim(sheet.shape[0] - 0.5, -0.5)
    _colour_bar(figure, axes, scale)


def _draw_correlations(figure: Figure, axes: Axes, correlations: FilterCorrelations) -> None:
    axes.set_facecolor("#c8c8cc")  # shows through where there is no correlation
    image = axes.imshow(
        correlations.matrix, cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest"
    )
    axes.set_xlabel("filter")
    axes.set_ylabel("filter")
    axes.locator_params(integer=True)
    axes.set_title(correlations_in_words(correlations), fontsize=10)
    _colour_bar(figure, axes, image)


def correlations_in_words(correlations: FilterCorrelations) -> str:
    """ "mean |correlation| 0.31 (by chance 0.27)"."""
    if math.isnan(correlations.mean_absolute):
        return "no correlations: fewer than two filters that vary"
    chance = correlations.by_chance
    tail = "" if math.isnan(chance) else f" (by chance {chance:.2f})"
    return f"mean |correlation| {correlations.mean_absolute:.2f}{tail}"


def _colour_bar(figure: Figure, axes: Axes, image: object) -> None:
    bar = figure.colorbar(image, ax=axes, shrink=0.75, pad=0.02)  # type: ignore[arg-type]
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8, length=0)
