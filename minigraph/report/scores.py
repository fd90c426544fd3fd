"""Scores per class as a table: text, Markdown, HTML and CSV."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from minigraph.display import percent, scores_html
from minigraph.metrics import ConfusionMatrix
from minigraph.report.spreadsheet import csv_name
from minigraph.whole_file import write_whole

COLUMNS = ("class", "places", "share_of_truth", "accuracy", "iou", "absent")


def scores_csv(matrix: ConfusionMatrix) -> str:
    """A line a class, shares of 1; what does not exist is empty. Means are not among them.

    A name that a spreadsheet would take for a formula has an apostrophe before it. ``absent`` is 1
    for a class in neither truth nor prediction, which the mean IoU leaves out.
    """
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    for score in matrix.per_class():
        shares = [_exact(value) for value in (score.share, score.accuracy, score.iou)]
        writer.writerow([csv_name(score.name), score.places, *shares, int(score.absent)])
    return file.getvalue()


def scores_markdown(matrix: ConfusionMatrix) -> str:
    """A table for a page on GitHub and the like, in per cent."""
    rows = [
        (
            f"{score.name} (absent)" if score.absent else score.name,
            *map(percent, (score.share, score.accuracy, score.iou)),
        )
        for score in matrix.per_class()
    ]
    rows.append(("mean", "", percent(matrix.mean_class_accuracy), percent(matrix.mean_iou)))
    return markdown_table(("class", "share of truth %", "accuracy %", "IoU %"), rows)


def write_scores(matrix: ConfusionMatrix, output: str | Path) -> None:
    """Write the table; the ending chooses the form: `.csv`, `.md`, `.html` or `.txt`.

    Raises:
        ValueError: another ending.
    """
    output = Path(output)
    form = _FORMS.get(output.suffix)
    if form is None:
        raise ValueError(
            f"Expected a file name that ends in {', '.join(_FORMS)}, got {output.name}"
        )
    write_whole(output, form(matrix).encode())


_FORMS: Mapping[str, Callable[[ConfusionMatrix], str]] = {
    ".csv": scores_csv, ".md": scores_markdown, ".html": scores_html, ".txt": str,
}  # fmt: skip


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Cells as text: what would end a cell or start a tag is escaped. Numbers stand right."""
    lines = ["| " + " | ".join(map(_cell, row)) + " |" for row in (head, *rows)]
    lines.insert(1, "| " + " | ".join(["---", *["---:"] * (len(head) - 1)]) + " |")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return markdown_text(text).replace("|", "\\|")


def markdown_text(text: str) -> str:
    """Text on one line in which no tag and no link starts, nor a character's code.

    GitHub makes links of bare addresses too: of what has ``://`` in it or starts with ``www.``.
    """
    text = re.sub(r"[\\`*_\[\]<&]|:(?=//)|(?<=www)\.", r"\\\g<0>", text, flags=re.IGNORECASE)
    return " ".join(text.split())


def _exact(value: float) -> str:
    return "" if math.isnan(value) else repr(value)
