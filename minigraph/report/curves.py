"""Curves of a training run: the loss and the metrics over epochs or steps. Needs matplotlib."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Record = Mapping[str, Any]
Points = tuple[list[float], list[float]]

X_AXES = ("epoch", "step")
SPLITS = ("train", "val", "test")
TIME_WORDS = frozenset({"time", "seconds", "timestamp"})
COLOURS = ("#4e79a7", "#f28e2b", "#59a14f", "#e15759", "#b07aa1", "#9c755f")


def read_records(path: str | Path) -> list[dict[str, Any]]:
    """The records of a `metrics.jsonl`: one JSON object a line; empty lines are skipped.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a line that is no JSON object, with its number.
    """
    path = Path(path)
    records = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(
                f"Expected one JSON object a line, got '{error}' in line {number}: {path}"
            ) from error
        if not isinstance(record, dict):
            raise ValueError(
                f"Expected one JSON object a line, got {type(record).__name__} in line {number}: "
                f"{path}"
            )
        records.append(record)
    return records


def plot_curves(
    records: str | Path | Sequence[Record],
    output: str | Path,
    *,
    keys: Sequence[str] | None = None,
    title: str = "",
) -> None:
    """Draw the curves of a run into a file: the loss on the left, the scores on the right.

    Keys that contain `loss` share the left panel, all other numbers the right one. Over the epoch
    where records have one, else over the step. A record need not have every key.

    Args:
        records: the path of a `metrics.jsonl`, or records such as
            ``{"epoch": 1, "train_loss": 0.7, "val_mean_iou": 0.5}``.
        output: where to write; the ending chooses the format (`.png`, `.svg`, `.pdf`).
        keys: what to draw; by default every number but the epoch, the step and times.
        title: above the panels.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: there is nothing to draw, or no record has one of the `keys`.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError('plot_curves needs matplotlib: pip install "minigraph[plot]"') from error
    if isinstance(records, str | Path):
        records = read_records(records)
    x_key = next((key for key in X_AXES if any(key in record for record in records)), None)
    if x_key is None:
        raise ValueError(f"Expected records with 'epoch' or 'step', got {len(records)} without")
    curves = _collect(records, x_key, keys)
    panels = {
        "loss": {key: points for key, points in curves.items() if "loss" in key},
        "score": {key: points for key, points in curves.items() if "loss" not in key},
    }
    shown = {label: panel for label, panel in panels.items() if panel}

    # Figure itself, not pyplot: no global state, no window, no choice of a backend.
    figure = Figure(figsize=(5.4 * len(shown), 3.8), layout="constrained")
    all_axes = figure.subplots(1, len(shown), squeeze=False)[0]
    for axes, (label, panel) in zip(all_axes, shown.items(), strict=True):
        _draw_panel(axes, panel, x_key, label)
    if title:
        figure.suptitle(title, fontsize=12)
    figure.savefig(output, dpi=144)


def _collect(
    records: Sequence[Record], x_key: str, keys: Sequence[str] | None
) -> dict[str, Points]:
    """(x, y) of every curve; values that are not finite leave a gap in the line."""
    present = dict.fromkeys(key for record in records for key in record)
    if keys is None:
        keys = [key for key in present if key not in X_AXES and not _is_time(key)]
        keys = [key for key in keys if any(_is_number(record.get(key)) for record in records)]
    curves: dict[str, Points] = {}
    for key in keys:
        rows = [r for r in records if _is_number(r.get(x_key)) and _is_number(r.get(key))]
        if not rows:
            known = ", ".join(present)
            raise ValueError(f"Expected records with numbers for '{key}', got only: {known}")
        values = [float(row[key]) for row in rows]
        finite = [value if math.isfinite(value) else math.nan for value in values]
        curves[key] = ([float(row[x_key]) for row in rows], finite)
    if not curves:
        raise ValueError(f"Expected numbers to draw, got none in {len(records)} records")
    return curves


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_time(key: str) -> bool:
    return not TIME_WORDS.isdisjoint(key.lower().split("_"))


def _draw_panel(axes: Axes, curves: Mapping[str, Points], x_key: str, label: str) -> None:
    """All curves of one panel: a colour for each quantity, a line style for each split."""
    quantities = list(dict.fromkeys(_quantity(key) for key in curves))
    longest = max(len(x) for x, _ in curves.values())
    for key, (x, y) in curves.items():
        axes.plot(
            x,
            y,
            label=_in_words(key),
            color=COLOURS[quantities.index(_quantity(key)) % len(COLOURS)],
            linestyle="--" if key.startswith("train") and len(curves) > 1 else "-",
            linewidth=1.8 if longest <= 200 else 1.0,
            marker="o" if longest <= 30 else None,
            markersize=3.5,
        )
    axes.set_xlabel(x_key)
    axes.set_ylabel(label if len(quantities) > 1 else _in_words(quantities[0]))
    axes.grid(True, color="#e4e4e8", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.locator_params(axis="x", integer=True)
    known = [value for _, y in curves.values() for value in y if not math.isnan(value)]
    if label == "score" and all(0 <= value <= 1 for value in known):
        axes.set_ylim(0, 1.02)
    elif known and min(known) >= 0:
        axes.set_ylim(bottom=0)
    axes.legend(frameon=False, fontsize=9)


def _in_words(key: str) -> str:
    return " ".join("IoU" if word == "iou" else word for word in key.split("_"))


def _quantity(key: str) -> str:
    """`val_loss` and `train_loss` are the same quantity, `loss`."""
    first, _, rest = key.partition("_")
    return rest if first in SPLITS and rest else key
