"""What notebooks show: whole tables, everything escaped, long ones cut."""

from __future__ import annotations

import html

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigraph as mg
from minigraph.display import MOST_ROWS, escape, table
from minigraph.metrics import ConfusionMatrix

EVIL = "<script>'&\"</script>"  # names may not hold brackets, commas or spaces; all else they may


def network(image, label):
    x = mg.relu(mg.conv2d(image, 4, 3, padding=1, name=EVIL))
    x = mg.relu(mg.conv2d(x, 3, 3, padding=1, name="head", trainable=False))
    return {"loss": mg.softmax_cross_entropy(x, label), "prediction": mg.argmax(x)}


SPECS = {"image": "float32[2,2,8,8]", "label": "int32[2,8,8]"}


@pytest.fixture(scope="module")
def step() -> mg.Executable:
    return mg.compile(
        network, SPECS, optimizer=mg.Momentum(0.1), outputs=["loss"], backend="numpy", threads=1
    )


@given(st.text())
def test_escape_is_that_of_the_standard_library(text):
    assert escape(text) == html.escape(text)


def test_tables_hold_their_cells(read_html):
    page = read_html(table(("a", "<b>"), [(1, "x & y"), (None, EVIL)], {0}))
    assert page.rows == [["a", "<b>"], ["1", "x & y"], ["None", EVIL]]
    assert [a for tag, a in page.tags if tag == "td"] == [{"class": "number"}, {}] * 2
    with pytest.raises(ValueError):
        table(("a", "b"), [(1,)])


def shown(read_html, thing):
    page = read_html(thing._repr_html_())
    assert "script" not in {tag for tag, _ in page.tags}
    assert not any(key.startswith("on") for _, attributes in page.tags for key in attributes)
    return page


def test_graph(step, read_html):
    graph = step.compiled.built
    page = shown(read_html, graph)
    parameters = 4 * 2 * 9 + 4 + 3 * 4 * 9 + 3
    flops = sum(n.op.cost(*(v.spec for v in n.inputs)).flops for n in graph.nodes)
    assert f"Graph: {len(graph.nodes)} nodes (" in page.text
    assert f"{parameters} parameters; {flops / 1e9:.3f} GFLOP" in page.text
    rows = {row[0]: row for row in page.rows}
    name = f"{EVIL}.conv2d"
    assert rows[name][1:] == [
        "Conv2d", "stride=(1, 1), padding=((1, 1), (1, 1)), dilation=(1, 1), groups=1",
        f"image, {EVIL}.weight", "float32[2,4,8,8]",
    ]  # fmt: skip
    assert ["input", "image", "float32[2,2,8,8]"] in page.rows
    assert ["frozen", "head.weight", "float32[3,4,3,3]"] in page.rows
    assert any(row[:2] == ["update", f"{EVIL}.weight"] for row in page.rows)


def test_fused_nodes_say_what_they_do(step, read_html):
    inference = mg.compile(network, SPECS, outputs=["prediction"], backend="numpy", threads=1)
    page = shown(read_html, inference.graph)
    fused = next(row for row in page.rows if "Conv2d+Add+Relu" in row)
    assert fused[2].startswith("Conv2d(stride=(1, 1)") and fused[2].endswith(", then Relu()")


def test_empty_graph(read_html):
    page = shown(read_html, mg.compile(lambda image: image, {"image": "float32[1]"}).graph)
    assert "Graph: 0 nodes (none); 0 parameters; 0.000 GFLOP" in page.text


def test_long_tables_are_cut_and_say_so(read_html):
    def model(x):
        for _ in range(MOST_ROWS + 41):
            x = mg.exp(x)
        return x

    exe = mg.compile(model, {"x": "float32[1]"}, backend="numpy", threads=1)
    page = shown(read_html, exe.graph)
    assert sum(len(row) == 5 and row[1] == "Exp" for row in page.rows) == MOST_ROWS
    assert "... and 41 more: print(graph)" in page.text


def test_executable(step, read_html):
    page = shown(read_html, step)
    assert "Executable: training step on numpy, 1 thread" in page.text
    facts = {row[0]: row[1] for row in page.rows if len(row) == 2}
    assert facts["output"] == "loss: float32[]"
    assert facts["parameters"] == "187"
    assert facts["memory"].startswith(f"{step.memory.total_bytes / 1e6:.2f} MB: work ")
    for report in step.compiled.reports:
        expected = [report.name, str(report.nodes_before), str(report.nodes_after), report.changes]
        assert expected in page.rows
    assert [step.memory.peak_values[0][0], f"{step.memory.peak_values[0][1]:,}"] in page.rows


def test_texts_in_a_line(step):
    assert repr(step) == (
        "<Executable: training step on numpy, 1 thread; image: float32[2,2,8,8], "
        "label: int32[2,8,8] -> loss: float32[]>"
    )
    count = len(step.state)
    assert repr(step.state).startswith(f"<ModelState: {count} variables, ")
    assert repr(step.graph).startswith("<Graph: 2 inputs, ")


def test_state(step, read_html):
    page = shown(read_html, step.state)
    assert page.rows[0] == ["name", "role", "spec", "bytes"]
    assert {row[0] for row in page.rows[1:]} == set(step.state)
    assert ["head.weight", "frozen", "float32[3,4,3,3]", "432"] in page.rows
    total = sum(array.nbytes for array in step.state.values())
    assert f"{len(step.state)} variables, {total:,} bytes" in page.text


def test_profile(step, read_html):
    batch = {"image": np.zeros((2, 2, 8, 8)), "label": np.zeros((2, 8, 8), int)}
    profile = step.profile(batch, runs=1)
    page = shown(read_html, profile)
    assert "median of 1 run" in page.text
    slowest = max(profile.rows, key=lambda row: row.seconds)
    assert page.rows[1][:3] == [slowest.name, slowest.op, slowest.algorithm]
    assert len(page.rows) == 1 + min(30, len(profile.rows))
    assert ("quicker nodes are left out" in page.text) == (len(profile.rows) > 30)


def test_confusion_matrix(read_html):
    matrix = ConfusionMatrix(3, 255, ("sky", EVIL, "never"))
    matrix.update(np.array([0, 0, 1, 1, 1]), np.array([0, 1, 1, 1, 255]))
    page = shown(read_html, matrix)
    assert page.rows[1:] == [
        ["sky", "1", "25.00", "100.00", "50.00"],
        [EVIL, "3", "75.00", "66.67", "66.67"],
        ["never (absent)", "0", "0.00", "-", "-"],
        ["mean, absent left out", "4", "", "83.33", "58.33"],
    ]
    assert "accuracy 75.00 % of 4 places" in page.text
