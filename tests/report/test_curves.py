"""Curves of a run."""

from __future__ import annotations

import json
import math
import sys

import pytest
from PIL import Image

from minigraph.report import best_record, plot_curves, read_records

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


def test_the_learning_rate_has_a_panel_where_it_changes(matplotlib, tmp_path):
    output = tmp_path / "curves.svg"
    changing = [{**record, "learning_rate": 0.1 / record["epoch"]} for record in RECORDS]
    plot_curves(changing, output)
    assert "<!-- learning rate -->" in svg_text(output)
    plot_curves([{**record, "learning_rate": 0.1} for record in RECORDS], output)
    assert "learning rate" not in svg_text(output)
    plot_curves([{**RECORDS[0], "learning_rate": 0.1}], output, keys=["learning_rate"])
    assert "<!-- learning rate -->" in svg_text(output)


def test_times_are_no_scores(matplotlib, tmp_path):
    output = tmp_path / "curves.svg"
    plot_curves([{**r, "images_per_second": 9.0, "waiting": 0.1} for r in RECORDS], output)
    assert "second" not in svg_text(output) and "waiting" not in svg_text(output)


def test_the_best_epoch_is_marked(matplotlib, tmp_path):
    output = tmp_path / "curves.svg"
    plot_curves(RECORDS, output, title="10 $ a $ run")
    assert "best val mean IoU 0.8 in epoch 5 -->" in svg_text(output)
    plot_curves(RECORDS, output, best=None)
    assert "best" not in svg_text(output)
    plot_curves(RECORDS[:1], output)
    assert "best" not in svg_text(output)


@pytest.mark.parametrize(
    ("records", "key", "expected"),
    [
        (RECORDS, "auto", ("val_mean_iou", 5)),
        (RECORDS, "train_loss", ("train_loss", 5)),
        ([{"step": 1, "val_loss": math.nan, "epoch": 1}, {"epoch": 2, "val_loss": 2},
          {"epoch": 3, "val_loss": 2}], "auto", ("val_loss", 2)),
        ([{"epoch": 1, "val_accuracy": 0.5, "val_loss": 1}, {"epoch": 2, "val_loss": 0}],
         "auto", ("val_accuracy", 1)),
    ],
)  # fmt: skip
def test_best_record(records, key, expected):
    found = best_record(records, key)
    assert found is not None
    assert (found[0], found[1]["epoch"]) == expected


def test_a_best_record_without_a_place_is_named_and_not_marked(matplotlib, tmp_path):
    records = [{"epoch": 1, "val_loss": 2.0}, {"val_loss": 1.0}]
    plot_curves(records, tmp_path / "curves.svg")
    assert "<!-- best val loss 1 -->" in svg_text(tmp_path / "curves.svg")


def test_no_best_record():
    assert best_record([]) is None
    assert best_record([{"epoch": 1, "val_loss": math.inf}]) is None
    assert best_record(RECORDS, "val_loss") is None
