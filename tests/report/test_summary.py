"""The page of a run: whole, escaped, and in need of nothing else."""

from __future__ import annotations

import base64
import csv
import io
import json

import pytest
from PIL import Image

from minigraph.metrics import ConfusionMatrix
from minigraph.report import (
    plot_curves,
    scores_markdown,
    write_markdown_summary,
    write_scores,
    write_summary,
)
from minigraph.report.summary import PICTURES

EVIL = "<img src=x onerror=\"alert('&')\">"
RECORDS = [
    {"epoch": 1, "train_loss": 0.75, "val_loss": 0.6, "val_mean_iou": 0.5, "seconds": 3600.0},
    {"epoch": 2, "train_loss": 0.5, "val_loss": 0.4, "val_mean_iou": 0.625, "seconds": 62.0},
    {"epoch": 3, "train_loss": 0.25, "val_loss": 0.5, "val_mean_iou": 0.6, "note": EVIL},
]


def png(colour) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (3, 2), colour).save(file, "png")
    return file.getvalue()


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "a run <b>"
    folder.mkdir()
    settings = {"model": "unet", "data": EVIL, "crop": None, "machine": {"cpus": 2, "on": [1]}}
    (folder / "settings.json").write_text(json.dumps(settings))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in RECORDS))
    for place, name in enumerate(PICTURES):
        (folder / name).write_bytes(png((place, 0, 0)))
    matrix = ConfusionMatrix(2, class_names=("sky", EVIL))
    matrix.counts[0, 0] = 3
    write_scores(matrix, folder / "scores.csv")
    (folder / "model.safetensors").write_bytes(bytes(1_500_000))
    return folder


def test_the_page_needs_nothing_else(run, read_html):
    path = write_summary(run)
    assert path == run / "report.html"
    source = path.read_text()
    assert "http://" not in source and "https://" not in source and "@import" not in source
    page = read_html(source)
    assert {tag for tag, _ in page.tags} <= {
        "html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "div", "img", "table",
        "thead", "tbody", "tr", "th", "td", "details", "summary",
    }  # fmt: skip
    policy = [a["content"] for tag, a in page.tags if tag == "meta" and "http-equiv" in a]
    assert policy == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]
    assert not any(key.startswith("on") for _, attributes in page.tags for key in attributes)
    assert not page.text.count("None")


def test_pictures_are_embedded_byte_for_byte(run, read_html):
    page = read_html(write_summary(run).read_text())
    sources = [a["src"] for tag, a in page.tags if tag == "img"]
    head = "data:image/png;base64,"
    assert all(source.startswith(head) for source in sources)
    got = [base64.b64decode(source.removeprefix(head)) for source in sources]
    assert got == [(run / name).read_bytes() for name in PICTURES]


def test_names_and_figures_are_shown_as_they_are(run, read_html):
    page = read_html(write_summary(run).read_text())
    assert page.text.count("a run <b>") == 2  # the title and the heading
    assert (
        f"unet on {EVIL}, 3 epochs, 1 h 1 min 2 s of training, best val mean IoU 0.625 in epoch 2"
        in page.text
    )
    assert ["machine.cpus", "2"] in page.rows and ["machine.on", "[1]"] in page.rows
    assert ["crop", "null"] in page.rows and ["data", EVIL] in page.rows
    assert ["sky", "3", "100.00", "100.00", "100.00", ""] in page.rows
    assert [EVIL, "0", "0.00", "-", "-", "absent"] in page.rows
    assert ["2", "0.5", "0.4", "0.625", "62", ""] in page.rows
    assert ["3", "0.25", "0.5", "0.6", "", EVIL] in page.rows
    assert "model.safetensors, 1.50 MB" in page.text


def test_whatever_is_missing_is_left_out(run, read_html):
    for name in [*PICTURES, "metrics.jsonl", "scores.csv", "model.safetensors"]:
        (run / name).unlink()
        page = read_html(write_summary(run).read_text())
        write_markdown_summary(run)
    assert [text for text in ("Curves", "Epochs", "Scores", "Model") if text in page.text] == []
    (run / "settings.json").unlink()
    with pytest.raises(FileNotFoundError, match="Expected a run folder"):
        write_summary(run)


def test_the_markdown_page_links_its_pictures(run):
    path = write_markdown_summary(run)
    text = path.read_text()
    assert path.name == "report.md"
    for name in PICTURES:
        assert f"]({name})" in text
    assert "<img" not in text.replace("\\<img", "")
    assert "| sky | 3 | 100.00 | 100.00 | 100.00 |  |" in text
    assert "best val mean IoU 0.625 in epoch 2" in text


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("settings.json", "{", "Expected JSON"),
        ("settings.json", "[]", "Expected a JSON object, got list"),
        ("metrics.jsonl", "{}\nx", "line 2"),
        ("scores.csv", "class,iou\na\n", "Expected 2 cells in each line"),
        ("metrics.jsonl", "x" * 32_000_001, "at most 32,000,000 bytes"),
    ],
)
def test_files_that_cannot_be_read_are_named(run, name, content, message):
    (run / name).write_text(content)
    for write in (write_summary, write_markdown_summary):
        with pytest.raises(ValueError, match=message) as caught:
            write(run)
        assert name in str(caught.value)
    assert not (run / "report.html").exists()


def test_empty_files_make_a_page(run, read_html):
    (run / "metrics.jsonl").write_text("")
    (run / "scores.csv").write_text("")
    read_html(write_summary(run).read_text())
    write_markdown_summary(run)


def test_a_large_picture_is_linked(run, read_html):
    with (run / "predictions.png").open("ab") as file:
        file.truncate(33_000_000)
    page = read_html(write_summary(run).read_text())
    assert [attributes for tag, attributes in page.tags if tag == "a"] == [
        {"href": "predictions.png"}
    ]
    assert sum(tag == "img" for tag, _ in page.tags) == len(PICTURES) - 1
    assert "Too large for this page (33 MB)" in str(page.text)
    assert "](predictions.png)" in write_markdown_summary(run).read_text()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("scores.csv", b"\x89PNG\r\n\x1a\n\xff"), ("scores.csv", b"a" * 200_000),
        ("settings.json", b"\xff"), ("settings.json", b'{"a":' * 100_000),
        ("settings.json", b'{"a":' * 2000 + b"1" + b"}" * 2000),
        ("metrics.jsonl", b"\xff"), ("metrics.jsonl", b'{"a":' * 100_000),
        ("metrics.jsonl", b"1" * 5000),
    ],
)  # fmt: skip
def test_what_no_reader_understands_is_named(run, name, content):
    (run / name).write_bytes(content)
    for write in (write_summary, write_markdown_summary):
        with pytest.raises(ValueError, match=f"Expected .*{name}"):
            write(run)


def test_numbers_beyond_all_floats_make_a_page(run):
    with (run / "metrics.jsonl").open("a") as file:
        file.write(f'{{"epoch": 4, "val_mean_iou": 1{"0" * 400}, "seconds": 1e400}}\n')
        file.write('{"epoch": 5, "seconds": NaN}\n')
    assert "best val mean IoU 0.625" in write_summary(run).read_text()
    plot_curves(run / "metrics.jsonl", run / "curves.png")


def test_formulas_are_names_in_tables(run, read_html):
    names = ("=1+1", "'@b", "-", "'c", "plain")
    write_scores(ConfusionMatrix(5, class_names=names), run / "scores.csv")
    with (run / "scores.csv").open(newline="") as file:
        cells = [line[0] for line in csv.reader(file)][1:]
    assert cells == ["'=1+1", "''@b", "'-", "'c", "plain"]
    text = str(read_html(write_summary(run).read_text()).text)
    assert all(name in text for name in names) and "'=1+1" not in text and "''@b" not in text


def test_addresses_are_no_links_in_markdown():
    matrix = ConfusionMatrix(2, class_names=("https://a.example/b", "WWW.b.example &lt;"))
    text = scores_markdown(matrix)
    assert r"https\://a.example/b" in text and r"WWW\.b.example \&lt;" in text
