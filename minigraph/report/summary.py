"""A run folder on one page: HTML that needs no other file, or Markdown that links the pictures."""

from __future__ import annotations

import base64
import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minigraph.display import details, escape, percent, table
from minigraph.report.curves import (
    Record,
    best_in_words,
    best_record,
    in_words,
    is_finite,
    read_records,
)
from minigraph.report.scores import markdown_table, markdown_text
from minigraph.report.spreadsheet import name_in_csv
from minigraph.whole_file import write_whole

MOST_BYTES = 32_000_000  # of one file that is taken into the page

PICTURES = {
    "curves.png": ("Curves", "Loss and scores over the epochs; the dotted line is the best one."),
    "predictions.png": ("Predictions", "Held-out images, their truth, and what the model says."),
    "confusion.png": (
        "Confusion",
        "What each true class was called, in per cent of the class: right in blue, wrong in red.",
    ),
    "filters.png": (
        "First-layer filters",
        "Structure, and little correlation between them, speak for good training.",
    ),
    "feature-maps.png": (
        "Feature maps",
        "What the layers make of one image; a channel in pale blue is the same everywhere.",
    ),
}
"""File, heading and what it tells, in the order of the page."""

SHARES = ("share_of_truth", "accuracy", "iou")

_STYLE = """
:root { color-scheme: light dark; --ink: #1f1f24; --faint: #66666e; --line: #dedee4;
  --ground: #fff }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e4e9; --faint: #a2a2ab; --line: #3b3b44; --ground: #17171b }
}
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--ground);
  max-width: 62rem; margin: 2rem auto; padding: 0 1rem }
h1 { margin-bottom: 0; overflow-wrap: anywhere }
h2 { margin: 2.2rem 0 .3rem; font-size: 1.2rem }
p { margin: .3rem 0 .6rem } p.about { color: var(--faint) }
img { max-width: 100%; background: #fff; border-radius: 6px; padding: 6px; box-sizing: border-box }
.wide { overflow-x: auto }
table { border-collapse: collapse; font-size: .92rem }
th, td { text-align: left; vertical-align: top; padding: .2rem 1.1rem .2rem 0;
  border-bottom: 1px solid var(--line); overflow-wrap: anywhere }
th { font-weight: 600 }
.number { text-align: right; font-variant-numeric: tabular-nums }
summary { cursor: pointer }
"""

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"  # no script, no request


@dataclass(frozen=True)
class Run:
    """What a run folder holds; whatever is missing is empty."""

    name: str
    settings: Mapping[str, Any]
    records: Sequence[Record]
    scores: Sequence[Mapping[str, str]]
    pictures: Sequence[Path]
    model: Path | None

    @classmethod
    def read(cls, folder: str | Path) -> Run:
        """Read a run folder.

        Raises:
            FileNotFoundError: no such folder, or nothing of a run in it.
            ValueError: a file that cannot be read as what it should be, with its path.
        """
        folder = Path(folder)
        pictures = [folder / name for name in PICTURES if (folder / name).is_file()]
        metrics, model = folder / "metrics.jsonl", folder / "model.safetensors"
        settings, scores = folder / "settings.json", folder / "scores.csv"
        if not pictures and not any(path.is_file() for path in (metrics, settings, scores)):
            raise FileNotFoundError(
                f"Expected a run folder (with settings.json, metrics.jsonl, ...), got {folder}"
            )
        for path in (metrics, settings, scores):
            if path.is_file() and path.stat().st_size > MOST_BYTES:
                raise ValueError(
                    f"Expected tables of at most {MOST_BYTES:,} bytes in a summary, got "
                    f"{path.stat().st_size:,}: {path}"
                )
        return cls(
            name=folder.resolve().name,
            settings=_settings(settings) if settings.is_file() else {},
            records=read_records(metrics) if metrics.is_file() else [],
            scores=_scores(scores) if scores.is_file() else [],
            pictures=pictures,
            model=model if model.is_file() else None,
        )

    @property
    def headline(self) -> str:
        """What was trained, for how long, and how good it got."""
        model, data = self.settings.get("model"), self.settings.get("data")
        parts = [f"{model} on {data}"] if model and data else []
        if self.records:
            parts.append(f"{len(self.records)} epoch{'s' if len(self.records) > 1 else ''}")
        seconds = [r["seconds"] for r in self.records if is_finite(r.get("seconds"))]
        if seconds:
            parts.append(f"{_duration(sum(seconds))} of training")
        best = best_record(self.records)
        parts += [best_in_words(*best)] if best else []
        return ", ".join(parts)


def write_summary(folder: str | Path) -> Path:
    """Write ``report.html`` into a run folder: all of it on one page that can be sent around.

    Pictures are embedded, but for those of more than 32 MB, which are linked; the page loads and
    runs nothing. It suits dark and light screens.

    Args:
        folder: with any of settings.json, metrics.jsonl, scores.csv, curves.png, predictions.png,
            confusion.png, filters.png, feature-maps.png, model.safetensors.

    Returns:
        The path of the page.

    Raises:
        FileNotFoundError: no such folder, or nothing of a run in it.
        ValueError: a file that cannot be read as what it should be, with its path.
    """
    run = Run.read(folder)
    shown = {path.name: _embedded(path) for path in run.pictures}
    scores = ""
    if run.scores:
        head, rows = _score_table(run.scores)
        scores = _section("Scores per class", "", table(head, rows, set(range(1, len(head)))))
    parts = [
        *(shown.pop(name, "") for name in ("curves.png", "predictions.png")),
        scores,
        *shown.values(),
    ]
    if run.records:
        head, rows = _record_table(run.records)
        every = table(head, rows, set(range(len(head))))
        parts.append(_section("Epochs", "", details(f"all {len(rows)}", every)))
    if run.settings:
        parts.append(_section("Settings", "", table(("", ""), _flat(run.settings))))
    if run.model:
        parts.append(_section("Model", "", f"<p>{escape(_model_in_words(run.model))}</p>"))
    title = escape(run.name)
    page = (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n"
        f'<p class="about">{escape(run.headline)}</p>\n{"".join(parts)}</body>\n</html>\n'
    )
    return _write(Path(folder) / "report.html", page)


def write_markdown_summary(folder: str | Path) -> Path:
    """Write ``report.md`` into a run folder, which links the pictures beside it.

    Raises as `write_summary` does.
    """
    run = Run.read(folder)
    parts = [f"# {markdown_text(run.name)}", markdown_text(run.headline)]
    for path in run.pictures:
        heading, about = PICTURES[path.name]
        parts.append(f"## {heading}\n\n{about}\n\n![{heading}]({path.name})")
    if run.scores:
        parts.append(f"## Scores per class\n\n{markdown_table(*_score_table(run.scores))}")
    if run.records:
        parts.append(f"## Epochs\n\n{markdown_table(*_record_table(run.records))}")
    if run.settings:
        parts.append(f"## Settings\n\n{markdown_table(('setting', 'is'), _flat(run.settings))}")
    if run.model:
        parts.append(f"## Model\n\n{markdown_text(_model_in_words(run.model))}")
    text = "\n\n".join(part.strip() for part in parts if part) + "\n"
    return _write(Path(folder) / "report.md", text)


def _write(path: Path, text: str) -> Path:
    write_whole(path, text.encode())
    return path


def _settings(path: Path) -> Mapping[str, Any]:
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(settings, dict):
            _flat(settings)  # as it will be shown: it must not be nested too deeply for that
            return settings
    except (ValueError, RecursionError) as error:
        raise ValueError(f"Expected JSON, got '{error}': {path}") from None
    raise ValueError(f"Expected a JSON object, got {type(settings).__name__}: {path}")


def _scores(path: Path) -> list[dict[str, str]]:
    """The lines of a scores.csv. Raises ValueError for lines that have not the header's cells."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            lines = list(csv.reader(file))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"Expected a CSV file in UTF-8, got '{error}': {path}") from None
    wrong = next((line for line in lines if len(line) != len(lines[0])), None)
    if wrong is not None:
        raise ValueError(
            f"Expected {len(lines[0])} cells in each line, as in the first, got {len(wrong)}: "
            f"{path}"
        )
    return [dict(zip(lines[0], line, strict=True)) for line in lines[1:]]


def _score_table(scores: Sequence[Mapping[str, str]]) -> tuple[list[str], list[list[str]]]:
    head = [f"{in_words(key)} %" if key in SHARES else in_words(key) for key in scores[0]]
    return head, [[_score(key, text) for key, text in line.items()] for line in scores]


def _score(key: str, text: str) -> str:
    """Shares in per cent, "-" where there is none; whatever is no number as it is."""
    if key == "class":
        return name_in_csv(text)
    if key == "absent":
        return {"0": "", "1": "absent"}.get(text, text)
    if key not in SHARES:
        return text
    try:
        return percent(float(text or "nan"))
    except ValueError:
        return text


def _record_table(records: Sequence[Record]) -> tuple[list[str], list[list[str]]]:
    keys = list(dict.fromkeys(key for record in records for key in record))
    rows = [[_value(record[key]) if key in record else "" for key in keys] for record in records]
    return [in_words(key) for key in keys], rows


def _flat(settings: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """(name, value) of all settings; those of an inner object as ``outer.name``."""
    rows = []
    for key, value in settings.items():
        if isinstance(value, dict) and value:
            rows += _flat(value, f"{prefix}{key}.")
        else:
            rows.append((f"{prefix}{key}", _value(value)))
    return rows


def _value(value: Any) -> str:
    if isinstance(value, str):
        return value
    return f"{value:.4g}" if isinstance(value, float) else json.dumps(value)


def _embedded(path: Path) -> str:
    heading, about = PICTURES[path.name]
    if path.stat().st_size > MOST_BYTES:
        link = f'<a href="{escape(path.name)}">{escape(path.name)}</a>'
        size = f"{path.stat().st_size / 1e6:.0f} MB"
        return _section(heading, about, f"<p>Too large for this page ({size}): {link}</p>")
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    return _section(
        heading, about, f'<img alt="{escape(heading)}" src="data:image/png;base64,{data}">'
    )


def _section(heading: str, about: str, content: str) -> str:
    line = f'<p class="about">{escape(about)}</p>\n' if about else ""
    return f'<h2>{escape(heading)}</h2>\n{line}<div class="wide">{content}</div>\n'


def _model_in_words(path: Path) -> str:
    return f"{path.name}, {path.stat().st_size / 1e6:.2f} MB: mg.load(path) needs no model code"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    words: Iterable[tuple[int, str]] = ((hours, "h"), (minutes, "min"), (rest, "s"))
    return " ".join(f"{number} {unit}" for number, unit in words if number) or "0 s"
