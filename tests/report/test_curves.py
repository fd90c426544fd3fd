"""Curves of a run."""

from __future__ import annotations

import json
import math
import sys

import pytest
from PIL import Image

from minigraph.report import plot_curves, read_records

RECORDS = [
    {"epoch": epoch, "train_loss": 1 / epoch, "val_mean_iou": 1 - 1 / epoch, "seconds": 2.5}
    for epoch in range(1, 6)
]


@pytest.fixture
def jsonl(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text("\n".join(map(json.dumps, RECORDS)) + "\n\n")
    return path


def test_records_are_read_line_by_line(jsonl):
    assert read_records(jsonl) == RECORDS


@pytest.mark.parametrize(
    ("line", "message"),
    [('{"epoch": 6', "line 7"), ("[1, 2]", "got list in line 7")],
)
def test_bad_lines_are_named(jsonl, line, message):
    with jsonl.open("a") as file:
        file.write(line)
    with pytest.raises(ValueError, match=message) as caught:
        read_records(jsonl)
    assert str(jsonl) in str(caught.value)


def svg_text(path) -> str:
    """Labels as text: matplotlib notes what it draws in comments."""
    return path.read_text()


@pytest.fixture
def matplotlib():
    return pytest.importorskip("matplotlib", reason='needs pip install "minigraph[plot]"')


def test_loss_and_scores_get_a_labelled_panel_each(matplotlib, jsonl, tmp_path):
    output = tmp_path / "curves.svg"
    plot_curves(jsonl, output, title="a run")
    text = svg_text(output)
    for words in ("a run", "epoch", "train loss", "val mean IoU"):
        assert f"<!-- {words} -->" in text
    assert "seconds" not in text


def test_a_picture_is_written(matplotlib, tmp_path):
    output = tmp_path / "curves.png"
    plot_curves(RECORDS, output)
    both = Image.open(output).size
    plot_curves(RECORDS, output, keys=["train_loss"])
    assert Image.open(output).width < both[0]


def test_steps_gaps_and_not_a_number_are_drawn(matplotlib, tmp_path):
    records = [
        {"step": 0, "loss": 1.0},
        {"step": 1, "loss": math.nan},
        {"step": 2, "loss": math.inf, "note": "text is left out"},
        {"step": 3, "accuracy": 0.5},
    ]
    output = tmp_path / "curves.svg"
    plot_curves(records, output)
    text = svg_text(output)
    assert "<!-- step -->" in text and "<!-- accuracy -->" in text and "note" not in text


@pytest.mark.parametrize(
    ("records", "keys", "message"),
    [
        ([], None, "'epoch' or 'step', got 0"),
        ([{"loss": 1.0}], None, "'epoch' or 'step'"),
        ([{"epoch": 1, "note": "x"}], None, "Expected numbers to draw"),
        ([{"epoch": 1, "loss": 1.0}], ["val_loss"], "'val_loss', got only: epoch, loss"),
    ],
)
def test_nothing_to_draw_is_said(matplotlib, tmp_path, records, keys, message):
    with pytest.raises(ValueError, match=message):
        plot_curves(records, tmp_path / "curves.png", keys=keys)


def test_without_matplotlib_the_way_out_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r'pip install "minigraph\[plot\]"'):
        plot_curves(RECORDS, tmp_path / "curves.png")
