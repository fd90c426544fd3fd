"""The picture of a confusion matrix, and the table of scores in its forms."""

from __future__ import annotations

import csv
import sys

import numpy as np
import pytest
from PIL import Image

from minigraph.metrics import ConfusionMatrix
from minigraph.report import confusion, plot_confusion, scores_csv, scores_markdown, write_scores
from minigraph.report.confusion import _cell, row_shares


def matrix(counts, names=None) -> ConfusionMatrix:
    made = ConfusionMatrix(len(counts), class_names=names)
    made.counts[:] = counts
    return made


THREE = matrix([[90, 10, 0], [0, 0, 0], [1, 0, 3]], ("sky", "never", "a|b"))


@pytest.fixture
def matplotlib():
    return pytest.importorskip("matplotlib", reason='needs pip install "minigraph[plot]"')


def test_rows_are_shares_of_the_truth():
    got = row_shares(THREE.counts)
    np.testing.assert_array_equal(got[[0, 2]], [[0.9, 0.1, 0], [0.25, 0, 0.75]])
    assert np.isnan(got[1]).all()


@pytest.mark.parametrize(
    ("value", "decimal", "text"),
    [
        (100, True, "100"), (99.99, True, ">99.9"), (99.94, True, "99.9"), (12.34, True, "12.3"),
        (0.049, True, "<0.1"), (0.05, True, "0.1"), (99.6, False, ">99"), (99.4, False, "99"),
        (0.4, False, "<1"), (0.6, False, "1"), (0, True, "0.0"),
    ],
)  # fmt: skip
def test_cells_do_not_claim_what_is_not_quite_so(value, decimal, text):
    assert _cell(value, decimal) == text


def test_numbers_names_and_absent_rows_are_written(matplotlib, tmp_path):
    plot_confusion(THREE, tmp_path / "confusion.svg", title="10 $ a $ run")
    text = (tmp_path / "confusion.svg").read_text()
    for words in ("90.0", "10.0", "25.0", "75.0", "not in the truth", "truth", "prediction"):
        assert f"<!-- {words} -->" in text, words
    assert text.count("<!-- sky -->") == 2
    assert "<!-- 96.2% -->" in text and "<!-- 0.0 -->" not in text


def test_cells_of_many_classes_have_no_numbers(matplotlib, monkeypatch, tmp_path):
    monkeypatch.setattr(confusion, "MOST_NUMBERED", 2)
    plot_confusion(THREE, tmp_path / "confusion.svg")
    text = (tmp_path / "confusion.svg").read_text()
    assert "<!-- 90.0 -->" not in text and "<!-- not in the truth -->" in text


def colour_at(picture: np.ndarray, row: float, column: float) -> np.ndarray:
    """The colour of a matrix of two blue cells on the diagonal, from where the blue is."""
    blue = np.argwhere((np.abs(picture - (37, 94, 160)) < 4).all(axis=-1))
    (top, left), (bottom, right) = blue.min(axis=0), blue.max(axis=0)
    height, width = bottom - top, right - left
    return picture[int(top + row * height), int(left + column * width)]


def test_right_is_blue_and_wrong_is_red(matplotlib, tmp_path):
    plot_confusion(matrix([[99, 1], [0, 5]]), tmp_path / "confusion.png")
    picture = np.asarray(Image.open(tmp_path / "confusion.png").convert("RGB")).astype(int)
    red, green, blue = colour_at(picture, 0.1, 0.6)  # 1%: a tenth of the way from white to red
    assert red > 245 and 225 < green < 242 and 225 < blue < 242
    np.testing.assert_allclose(colour_at(picture, 0.9, 0.1), 255, atol=3)


@pytest.mark.parametrize("classes", [1, 2, 11, 21])
def test_every_number_of_classes_is_drawn_with_cells_of_a_size(matplotlib, tmp_path, classes):
    counts = np.eye(classes, dtype=int) * 7
    plot_confusion(matrix(counts), tmp_path / "confusion.png")
    cell = max(2.6 / classes, 0.52 if classes <= 12 else 0.4) * 144
    width, height = Image.open(tmp_path / "confusion.png").size
    assert cell * classes + 60 < width < cell * classes + 220
    assert cell * classes + 60 < height < cell * classes + 160


def confusion_svg(matrix: ConfusionMatrix, folder) -> str:
    plot_confusion(matrix, folder / "named.svg")
    return (folder / "named.svg").read_text()


def test_nothing_counted_and_classes_beyond_all_labels(matplotlib, tmp_path):
    plot_confusion(ConfusionMatrix(3), tmp_path / "confusion.svg")
    assert (tmp_path / "confusion.svg").read_text().count("<!-- not in the truth -->") == 3
    matrix = ConfusionMatrix(150)
    np.fill_diagonal(matrix.counts, 3)
    plot_confusion(matrix, tmp_path / "confusion.png")
    with Image.open(tmp_path / "confusion.png") as picture:
        pixels = np.asarray(picture.convert("RGB"))
    blue = (pixels == (37, 94, 160)).all(axis=-1)
    assert blue.sum() >= 150 * 10**2 and max(pixels.shape) < 2500
    assert "class 7" not in confusion_svg(matrix, tmp_path)


def test_without_matplotlib_the_way_out_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r'pip install "minigraph\[plot\]"'):
        plot_confusion(THREE, tmp_path / "confusion.png")


def test_csv_holds_the_exact_scores():
    lines = list(csv.DictReader(scores_csv(THREE).splitlines()))
    assert [line["class"] for line in lines] == list(THREE.class_names)
    assert [float(line["iou"] or "nan") for line in lines] == pytest.approx(
        THREE.iou.tolist(), nan_ok=True, abs=0
    )
    assert [line["accuracy"] for line in lines] == ["0.9", "", "0.75"]
    assert [float(line["share_of_truth"]) for line in lines] == [100 / 104, 0, 4 / 104]
    assert [line["absent"] for line in lines] == ["0", "0", "0"]  # "never" was predicted
    assert scores_csv(ConfusionMatrix(1)).splitlines()[1] == "0,0,0.0,,,1"


def test_markdown_keeps_its_columns():
    lines = scores_markdown(THREE).splitlines()
    assert lines[1] == "| --- | ---: | ---: | ---: |"
    assert lines[4] == "| a\\|b | 3.85 | 75.00 | 75.00 |"
    assert lines[5] == "| mean |  | 82.50 | 54.70 |"
    assert "never (absent)" in scores_markdown(matrix([[1, 0], [0, 0]], ("x", "never")))


def test_tables_are_written_by_ending(tmp_path, read_html):
    for ending in ("csv", "md", "html", "txt"):
        write_scores(THREE, tmp_path / f"scores.{ending}")
    assert (tmp_path / "scores.txt").read_text() == str(THREE)
    assert read_html((tmp_path / "scores.html").read_text()).rows[1][0] == "sky"
    with pytest.raises(ValueError, match=r"ends in \.csv, .*, got scores\.xls"):
        write_scores(THREE, tmp_path / "scores.xls")
