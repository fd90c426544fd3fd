"""Training and inference from one function, and the choice of outputs."""

from __future__ import annotations

import pytest

import minigraph as mg
from minigraph.ir.errors import BuilderError
from minigraph.ops.control import WhenTraining
from minigraph.passes import keep_outputs, to_inference, to_training
from minigraph.testing import assert_rewrite, graph_of


def choice(x):
    return {"y": mg.when_training(mg.tanh(x), mg.exp(x)) + 1.0}


def test_training_takes_the_first():
    after = graph_of(lambda x: {"y": mg.tanh(x) + 1.0}, x="float32[3]")
    assert_rewrite(to_training, graph_of(choice, x="float32[3]"), after, values=False)


def test_inference_takes_the_second():
    after = graph_of(lambda x: {"y": mg.exp(x) + 1.0}, x="float32[3]")
    assert_rewrite(to_inference, graph_of(choice, x="float32[3]"), after, values=False)


def test_nested_choices():
    def nested(x):
        inner = mg.when_training(mg.tanh(x), mg.exp(x))
        return {"y": mg.when_training(inner * 2.0, inner * 3.0)}

    graph = graph_of(nested, x="float32[3]")
    twice = graph_of(lambda x: {"y": mg.tanh(x) * 2.0}, x="float32[3]")
    thrice = graph_of(lambda x: {"y": mg.exp(x) * 3.0}, x="float32[3]")
    assert_rewrite(to_training, graph, twice, values=False)
    assert_rewrite(to_inference, graph, thrice, values=False)


def test_batch_norm_and_dropout_in_inference():
    def model(x):
        return {"y": mg.dropout(mg.batch_norm(x, name="norm"), name="drop")}

    graph = graph_of(model, x="float32[4,3,2,2]")
    inference, training = to_inference(graph), to_training(graph)
    assert not inference.updates and set(training.updates) == {
        "norm.running_mean", "norm.running_var", "random.key",
    }  # fmt: skip
    names = [node.op.name for node in inference.nodes]
    assert "ChannelMoments" not in names and "Dropout" not in names
    names = [node.op.name for node in training.nodes]
    assert names.count("ChannelMoments") == 1 and names.count("Dropout") == 1
    for result in (inference, training):
        assert not any(isinstance(node.op, WhenTraining) for node in result.nodes)


def test_a_graph_without_choices_is_left():
    graph = graph_of(lambda x: {"y": mg.tanh(x)}, x="float32[3]")
    assert_rewrite(to_training, graph, graph)
    assert_rewrite(to_inference, graph, graph)


def two_heads(image, label):
    logits = mg.dense(image, 3, name="d")
    extra = mg.dense(image, 2, name="unused")
    return {
        "logits": logits,
        "extra": extra,
        "loss": mg.softmax_cross_entropy(logits, label),
    }


SPECS = {"image": "float32[2,4]", "label": "int32[2]"}


def test_keep_outputs_drops_what_they_do_not_need():
    kept = keep_outputs(graph_of(two_heads, **SPECS), ["logits"])
    assert list(kept.outputs) == ["logits"]
    assert [value.name for value in kept.inputs] == ["image"]
    assert {state.name for state in kept.state} == {"d.weight", "d.bias"}


def test_keep_outputs_takes_names_of_values():
    graph = graph_of(two_heads, **SPECS)
    kept = keep_outputs(graph, ["loss", "d.mat_mul", "d.weight", "image"])
    assert list(kept.outputs) == ["loss", "d.mat_mul", "d.weight", "image"]
    assert kept.outputs["d.weight"] is graph.by_name["d.weight"]


def test_an_output_wins_over_a_value_of_the_same_name():
    def model(x):
        first = x.builder.emit(mg.ops.elementwise.Tanh(), x, name="y")[0]
        return {"y": first * 2.0}

    graph = graph_of(model, x="float32[3]")
    assert keep_outputs(graph, ["y"]).outputs["y"] is graph.outputs["y"]


def test_unknown_names_are_answered_with_close_ones():
    with pytest.raises(BuilderError) as caught:
        keep_outputs(graph_of(two_heads, **SPECS), ["logit"])
    text = str(caught.value)
    assert text.startswith("Expected the name of an output or a value, got 'logit'")
    assert "did you mean logits" in text and "(outputs: logits, extra, loss)" in text
