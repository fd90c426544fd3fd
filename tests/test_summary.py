"""The table of a model: against sums made by hand and by the graph itself."""

from __future__ import annotations

import numpy as np
import pytest

import minigraph as mg
from minigraph.ir.errors import BuilderError
from minigraph.models.resnet import resnet
from minigraph.models.vgg import vgg
from minigraph.passes import to_inference
from minigraph.receptive_field import receptive_fields
from minigraph.testing import graph_of

SPECS = {"image": "float32[2,3,16,12]", "label": "int32[2]"}


def model(image: mg.Tensor, label: mg.Tensor) -> dict[str, mg.Tensor]:
    with mg.scope(image, "encoder"):
        x = mg.conv2d(image - 0.5, 8, 3, padding=1, name="conv1")
        x = mg.relu(mg.batch_norm(x, name="norm1"))
    x = mg.max_pool2d(x, 2, name="pool")
    x = mg.conv2d(x, 4, 3, bias=False, trainable=False, name="conv2")
    x = mg.dropout(x, 0.5, name="drop")
    logits = mg.dense(mg.flatten(x), 5, name="head")
    return {"loss": mg.softmax_cross_entropy(logits, label), "logits": logits}


def test_rows_have_what_the_layers_have() -> None:
    table = mg.summary(model, SPECS)
    rows = {layer.name: layer for layer in table.layers}
    names = [layer.name for layer in table.layers]
    assert names == [
        "encoder.sub", "encoder.conv1", "encoder.norm1", "encoder.relu", "pool", "conv2",
        "flatten", "head", *names[8:],
    ]  # fmt: skip
    assert not any("drop" in name for name in names)
    conv1, norm1, conv2, head = (
        rows[name] for name in ("encoder.conv1", "encoder.norm1", "conv2", "head")
    )
    assert (conv1.parameters, norm1.parameters, conv2.parameters, head.parameters) == (
        8 * 3 * 9 + 8, 16, 4 * 8 * 9, 5 * 4 * 6 * 4 + 5
    )  # fmt: skip
    assert conv1.kind == "Conv2d" and str(conv1.output) == "float32[2,8,16,12]"
    assert conv1.flops == 2 * 2 * 8 * 16 * 12 * 27 + 2 * 8 * 16 * 12  # and the bias
    assert head.flops == 2 * 2 * 5 * 96 + 2 * 5
    assert conv2.receptive_field.size == (8, 8) and conv2.receptive_field.stride == (2, 2)
    assert head.receptive_field.size == (None, None)


def test_totals_are_those_of_the_graph() -> None:
    table = mg.summary(model, SPECS)
    graph = to_inference(graph_of(model, **SPECS))
    flops = sum(n.op.cost(*(v.spec for v in n.inputs)).flops for n in graph.nodes)
    assert table.flops == flops == sum(layer.flops for layer in table.layers)
    assert table.frozen == 288 and table.statistics == 16
    assert table.parameters == sum(layer.parameters for layer in table.layers)
    assert table.parameters == table.trainable + 288 == 224 + 16 + 288 + 485
    assert "1,013 parameters (288 frozen); 16 running statistics" in table.totals()


def test_functions_graphs_and_executables_are_summarised_alike() -> None:
    table = mg.summary(model, SPECS)
    step = mg.compile(model, SPECS, optimizer=mg.Adam(1e-3), backend="numpy", threads=1)
    for same in (mg.summary(step), mg.summary(graph_of(model, **SPECS))):
        assert (same.layers, same.parameters) == (table.layers, table.parameters)
    other = mg.summary(step, {"image": "float32[7,3,16,12]"})
    assert other.parameters == table.parameters
    assert str(other.layers[0].output).startswith("float32[7,")


def test_a_shared_parameter_counts_once() -> None:
    def shared(x: mg.Tensor) -> mg.Tensor:
        weight = mg.parameter(x, "w", (3, 3), mg.initializers.HeNormal())
        return (x @ weight) @ weight

    table = mg.summary(shared, {"x": "float32[2,3]"})
    assert [layer.parameters for layer in table.layers] == [9, 0]
    assert table.parameters == 9 and table.layers[0].receptive_field is None


def test_receptive_fields_of_some_values_are_those_of_all() -> None:
    """Square kernels take the height's for the width; others do not."""

    def oblong(image: mg.Tensor) -> mg.Tensor:
        x = mg.conv2d(image, 2, (3, 5), padding=(1, 2), name="a")
        return mg.conv2d(x, 2, 3, stride=(1, 2), name="b")

    graph = to_inference(graph_of(oblong, image="float32[1,1,20,21]"))
    found = receptive_fields(graph, "image", {"b.add"})
    assert found == {"b.add": receptive_fields(graph, "image")["b.add"]}
    assert found["b.add"].size == (5, 7) and found["b.add"].stride == (1, 2)


def test_vgg_16_has_its_known_work_and_receptive_field() -> None:
    """15.5 billion multiply-adds; 212 pixels at pool5, as every receptive-field table says."""
    table = mg.summary(lambda image: vgg(image), {"image": "float32[1,3,224,224]"})
    assert table.parameters == 138_357_544
    assert 15.46e9 < table.flops / 2 < 15.5e9
    (pool5,) = (layer for layer in table.layers if layer.name == "pool5")
    assert pool5.receptive_field.size == (212, 212) and pool5.receptive_field.stride == (32, 32)


def test_text_has_aligned_columns() -> None:
    table = mg.summary(lambda image: resnet(image, 10, base=4), {"image": "float32[1,3,32,32]"})
    head, rule, *rows = str(table).splitlines()[: len(table.layers) + 2]
    assert set(rule) == {"-"} and max(map(len, (head, *rows))) == len(rule)
    column = head.index("output")
    assert all(row[column:].startswith("float32[") for row in rows)
    assert str(table).splitlines()[-1] == table.totals()


def test_html_escapes_and_has_all_rows(read_html) -> None:
    evil = "<b>&"
    table = mg.summary(
        lambda image: mg.conv2d(image, 2, 1, name=evil), {"image": "float32[1,1,4,4]"}
    )
    page = read_html(table._repr_html_())
    assert page.rows[1][:3] == [evil, "Conv2d", "float32[1,2,4,4]"]
    assert "4 parameters" in page.text and "b" not in {tag for tag, _ in page.tags}


def test_what_cannot_be_summarised() -> None:
    with pytest.raises(BuilderError, match="specs of its inputs"):
        mg.summary(model)
    with pytest.raises(BuilderError, match="none of them"):
        mg.summary(np.zeros(3), SPECS)
    with pytest.raises(BuilderError, match="no inputs beside a graph"):
        mg.summary(graph_of(model, **SPECS), SPECS)
    with pytest.raises(mg.SpecError, match="Expected an input of image"):
        mg.summary(model, SPECS, image="images")
