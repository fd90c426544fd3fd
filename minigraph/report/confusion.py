"""The confusion matrix as a picture. Needs matplotlib."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from minigraph.metrics import ConfusionMatrix
from minigraph.report.matplotlib_figure import new_figure, plain
from minigraph.report.picture_files import write_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = np.ndarray

LONGEST_NAME = 18  # characters of a class's name that are shown
MOST_NAMED = 128  # beyond, axes count classes
WIDE = 12  # inches of a picture without names
MOST_NUMBERED = 40  # beyond, colours alone
FEW_CLASSES = 12  # up to here cells have room for a decimal
RIGHT, WRONG, EMPTY = (37, 94, 160), (196, 48, 43), (237, 237, 240)  # red, green, blue
FAINT = "#77777d"


def plot_confusion(matrix: ConfusionMatrix, output: str | Path, *, title: str = "") -> None:
    """Draw what each true class was called: rows are the truth, in per cent of the row.

    Right answers (the diagonal) are blue, wrong ones red; cells of exactly 0 are left empty, and
    beyond 40 classes no cell has a number. A class that is never true has a grey row that says so;
    at the right stands each class's share of the truth. Beyond 128 classes there is no room for
    text: colours alone, and axes that count the classes.

    Args:
        matrix: counts over a data set.
        output: where to write; the ending chooses the format (`.png`, `.svg`, `.pdf`).
        title: above the matrix.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: an ending that is no format of a picture.
    """
    classes = matrix.classes
    named = classes <= MOST_NAMED
    cell = max(2.6 / classes, 0.52 if classes <= FEW_CLASSES else 0.4)  # inches
    size = cell * classes if named else max(WIDE, classes / 144)  # a dot or more for each cell
    figure = new_figure(size, size)
    axes = figure.add_axes((0, 0, 1, 1))  # the labels lie outside, and are cut out with it below
    shares = row_shares(matrix.counts)
    axes.imshow(_colours(shares), interpolation="nearest")
    axes.set_xlabel("prediction")
    axes.set_ylabel("truth")
    if named:
        _write_cells(axes, shares)
        _write_labels(axes, matrix, cell)
    if title:
        axes.set_title(plain(title), fontsize=12, pad=12)
    write_figure(figure, output, bbox_inches="tight", pad_inches=0.12)


def row_shares(counts: Array) -> Array:
    """Each row of counts ``(classes, classes)`` as shares of its sum; NaN where that is 0."""
    sums = counts.sum(axis=1, keepdims=True)
    shares = np.full(counts.shape, np.nan)
    return np.divide(counts, sums, out=shares, where=sums > 0)


def _colours(shares: Array) -> Array:
    """RGB uint8 ``(classes, classes, 3)``: white to blue on the diagonal, white to red elsewhere.

    The square root lifts small shares: an error of 4% is a fifth of the way to full red.
    """
    full = np.where(np.eye(len(shares), dtype=bool)[..., None], RIGHT, WRONG)
    depth = np.sqrt(np.nan_to_num(shares))[..., None]
    colours = np.round(255 + depth * (full - 255)).astype(np.uint8)
    colours[np.isnan(shares).all(axis=1)] = EMPTY
    return colours


def _write_cells(axes: Axes, shares: Array) -> None:
    classes = len(shares)
    few = classes <= FEW_CLASSES
    size = 8.5 if few else 7
    for row, column in np.argwhere(shares > 0) if classes <= MOST_NUMBERED else ():
        axes.text(
            column,
            row,
            _cell(100 * shares[row, column], few),
            ha="center",
            va="center",
            fontsize=size,
            color="white" if shares[row, column] > 0.35 else "#2d2d32",
        )
    for row in np.flatnonzero(np.isnan(shares).all(axis=1)).tolist():
        axes.text(
            (classes - 1) / 2, row, "not in the truth", ha="center", va="center",
            fontsize=size, color=FAINT, style="italic",
            bbox={"facecolor": "#" + bytes(EMPTY).hex(), "edgecolor": "none", "pad": 1.5},
        )  # fmt: skip


def _cell(value: float, decimal: bool) -> str:
    """Per cent in few characters; what is not quite 0 or 100 does not look as if it were."""
    digits, half = (1, 0.05) if decimal else (0, 0.5)
    if 0 < value < half:
        return f"<{2 * half:g}"
    if 100 - half <= value < 100:
        return f">{100 - 2 * half:g}"
    return f"{value:.{digits}f}" if value < 100 else "100"


def _write_labels(axes: Axes, matrix: ConfusionMatrix, cell: float) -> None:
    names = [_short(name) for name in matrix.class_names]
    places, size = range(len(names)), 9 if len(names) <= FEW_CLASSES else 8
    upright = max(map(len, names)) * 0.01 * size < cell
    axes.set_xticks(
        places,
        names,
        fontsize=size,
        rotation=0 if upright else 45,
        ha="center" if upright else "right",
        rotation_mode="anchor",
    )
    axes.set_yticks(places, names, fontsize=size)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    edges = np.arange(len(names) + 1) - 0.5
    axes.vlines(edges, edges[0], edges[-1], color="#f0f0f3", linewidth=1.2)
    axes.hlines(edges, edges[0], edges[-1], color="#f0f0f3", linewidth=1.2)

    right = axes.secondary_yaxis("right")
    shares = [f"{_cell(100 * score.share, True)}%" for score in matrix.per_class()]
    right.set_yticks(places, ["" if s == "0.0%" else s for s in shares], fontsize=size)
    right.set_ylabel("share of the truth", color=FAINT)
    right.tick_params(length=0, labelcolor=FAINT)
    right.spines[:].set_visible(False)


def _short(name: str) -> str:
    name = " ".join(name.split())
    name = name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"
    return plain(name)
