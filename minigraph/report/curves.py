"""Curves of a training run: loss, scores and learning rate over epochs. Needs matplotlib."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minigraph.report.matplotlib_figure import new_figure, plain
from minigraph.report.picture_files import write_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Record = Mapping[str, Any]
Points = tuple[list[float], list[float]]

X_AXES = ("epoch", "step")
SPLITS = ("train", "val", "test")
TIME_WORDS = frozenset({"time", "second", "seconds", "timestamp", "waiting"})
RATE = "learning_rate"
BEST = ("val_mean_iou", "val_accuracy", "val_pixel_accuracy", "val_loss")
"""What a run is judged by: the first of these that is recorded."""
PANEL_WIDTHS = {"loss": 5.4, "score": 5.4, "learning rate": 3.6}  # inches
COLOURS = ("#4e79a7", "#f28e2b", "#59a14f", "#e15759", "#b07aa1", "#9c755f")


def read_records(path: str | Path) -> list[dict[str, Any]]:
    """The records of a `metrics.jsonl`: one JSON object a line; empty lines are skipped.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a line that is no JSON object, with its number, or a file that is no text.
    """
    path = Path(path)
    records = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"Expected lines of JSON in UTF-8, got '{error}': {path}") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
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
    best: str | None = "auto",
) -> None:
    """Draw the curves of a run into a file: the loss, the scores, and the learning rate.

    Keys that contain `loss` share the first panel, other numbers the second one; the learning rate
    has its own where it changes. Over the epoch where records have one, else over the step. A
    record need not have every key. A dotted line marks the best epoch.

    Args:
        records: the path of a `metrics.jsonl`, or records such as
            ``{"epoch": 1, "train_loss": 0.7, "val_mean_iou": 0.5}``.
        output: where to write; the ending chooses the format (`.png`, `.svg`, `.pdf`).
        keys: what to draw; by default every number but the epoch, the step and times.
        title: above the panels.
        best: what `best_record` judges by; None marks nothing, nor is a single record marked.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: there is nothing to draw, or no record has one of the `keys`.
    """
    if isinstance(records, str | Path):
        records = read_records(records)
    x_key = next((key for key in X_AXES if any(key in record for record in records)), None)
    if x_key is None:
        raise ValueError(f"Expected records with 'epoch' or 'step', got {len(records)} without")
    curves = _collect(records, x_key, keys)
    panels: dict[str, dict[str, Points]] = {"loss": {}, "score": {}, "learning rate": {}}
    for key, points in curves.items():
        panels["loss" if "loss" in key else "learning rate" if key == RATE else "score"][key] = (
            points
        )
    shown = {label: panel for label, panel in panels.items() if panel}
    judged = None if best is None or len(records) < 2 else best_record(records, best)

    widths = [PANEL_WIDTHS[label] for label in shown]
    figure = new_figure(sum(widths), 3.8, layout="constrained")
    all_axes = figure.subplots(1, len(shown), squeeze=False, width_ratios=widths)[0]
    for axes, (label, panel) in zip(all_axes, shown.items(), strict=True):
        _draw_panel(axes, panel, x_key, label)
        if judged is not None and x_key in judged[1]:
            axes.axvline(
                judged[1][x_key], color="#85858c", linewidth=1.1, linestyle=":", zorder=0.9
            )
    above = [text for text in (title, judged and best_in_words(*judged)) if text]
    if above:
        figure.suptitle(plain("\n".join(above)), fontsize=11)
    write_figure(figure, output)


def _collect(
    records: Sequence[Record], x_key: str, keys: Sequence[str] | None
) -> dict[str, Points]:
    """(x, y) of every curve; values that are not finite leave a gap in the line."""
    present = dict.fromkeys(key for record in records for key in record)
    if keys is None:
        keys = [key for key in present if key not in X_AXES and not _is_time(key)]
        keys = [key for key in keys if any(_is_number(record.get(key)) for record in records)]
        if len({record[RATE] for record in records if _is_number(record.get(RATE))}) == 1:
            keys.remove(RATE)  # a line that says nothing
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


def best_record(records: Sequence[Record], key: str = "auto") -> tuple[str, Record] | None:
    """The key that a run is judged by and the record where it is best; None if there is none.

    Best is the least for a loss, else the greatest; "auto" takes the first of the validation's
    mean IoU, accuracy, pixel accuracy and loss that is recorded. Of equals the first one.
    """
    if key == "auto":
        found = (k for k in BEST if any(is_finite(record.get(k)) for record in records))
        key = next(found, "")
    known = [record for record in records if is_finite(record.get(key))]
    if not known:
        return None
    sign = -1 if "loss" in key else 1
    return key, max(known, key=lambda record: sign * record[key])


def best_in_words(key: str, record: Record) -> str:
    """ "best val mean IoU 0.8795 in epoch 4"."""
    place = next((f" in {x} {record[x]}" for x in X_AXES if x in record), "")
    return f"best {in_words(key)} {record[key]:.4g}{place}"


def _is_number(value: object) -> bool:
    if isinstance(value, int) and not isinstance(value, bool):
        return abs(value) < 2**1023  # JSON has integers beyond all floats
    return isinstance(value, float)


def is_finite(value: object) -> bool:
    """Whether a value of a record is a number that can be drawn and summed."""
    return _is_number(value) and math.isfinite(value)  # type: ignore[arg-type]


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
            label=plain(in_words(key)),
            color=COLOURS[quantities.index(_quantity(key)) % len(COLOURS)],
            linestyle="--" if key.startswith("train") and len(curves) > 1 else "-",
            linewidth=1.8 if longest <= 200 else 1.0,
            marker="o" if longest <= 30 else None,
            markersize=3.5,
        )
    axes.set_xlabel(x_key)
    only = next(iter(curves)) if len(curves) == 1 else quantities[0]
    axes.set_ylabel(label if len(quantities) > 1 else plain(in_words(only)))
    axes.grid(True, color="#e4e4e8", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.locator_params(axis="x", integer=True)
    known = [value for _, y in curves.values() for value in y if not math.isnan(value)]
    if label == "score" and all(0 <= value <= 1 for value in known):
        axes.set_ylim(0, 1.02)
    elif known and min(known) >= 0:
        axes.set_ylim(bottom=0)
    if len(curves) > 1:
        axes.legend(frameon=False, fontsize=9)


def in_words(key: str) -> str:
    """ "val_mean_iou" is "val mean IoU"."""
    return " ".join("IoU" if word == "iou" else word for word in key.split("_"))


def _quantity(key: str) -> str:
    """`val_loss` and `train_loss` are the same quantity, `loss`."""
    first, _, rest = key.partition("_")
    return rest if first in SPLITS and rest else key
