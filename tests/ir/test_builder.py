"""The builder: names, ownership, states, operands; where nodes were built."""

from __future__ import annotations

import numpy as np
import pytest

import minigraph as mg
from minigraph.initializers import Constant
from minigraph.ir import DType, Role, TensorSpec
from minigraph.ir.errors import BuilderError, SpecError
from minigraph.ops import new_builder
from minigraph.ops.broadcast import Sum
from minigraph.ops.elementwise import Add, Exp
from minigraph.testing import graph_of

SPEC = TensorSpec((2, 3))


def test_names_are_unique_and_scoped():
    builder = new_builder()
    x = builder.input("x", SPEC)
    names = [mg.exp(x).name, mg.exp(x).name, builder.emit(Exp(), x, name="exp_1")[0].name]
    with builder.scope("a"):
        names.append(mg.exp(x).name)
        with builder.scope("b"):
            names.append(mg.exp(x).name)
            with builder.absolute_scope("top"):
                names.append(mg.exp(x).name)
            names.append(mg.exp(x).name)
    assert names == ["exp", "exp_1", "exp_1_1", "a.exp", "a.b.exp", "top.exp", "a.b.exp_1"]
    graph = builder.build()
    assert len({value.name for value in graph.values()}) == 1 + len(names)


def test_scopes_end_with_an_error():
    builder = new_builder()
    x = builder.input("x", SPEC)
    with pytest.raises(ZeroDivisionError), builder.scope("a"):
        raise ZeroDivisionError
    assert builder.scope_name == "" and mg.exp(x).name == "exp"


@pytest.mark.parametrize(
    "name", ["my layer", "a,b", "a:b", "f(x)", "{a}", "a=b", "100%", "", "a\nb"]
)
def test_names_that_the_text_form_could_not_hold(name):
    builder = new_builder()
    with pytest.raises(BuilderError, match="Expected a name without spaces"):
        builder.input(name, SPEC)
    x = builder.input("x", SPEC)
    with pytest.raises(BuilderError, match="Expected a name"):
        builder.state(name, SPEC, Role.PARAMETER, Constant())
    if name:
        with pytest.raises(BuilderError, match="Expected a name"):
            mg.conv2d(builder.input("image", "float32[1,1,4,4]"), 1, 3, name=name)
        with pytest.raises(BuilderError, match="Expected a name"), mg.scope(x, name):
            mg.exp(x)


@pytest.mark.parametrize("name", ["", " y", "a\nb", "a\u2028b"])
def test_output_names_that_the_text_form_could_not_hold(name):
    builder = new_builder()
    with pytest.raises(BuilderError, match="Expected a printable name"):
        builder.output(name, builder.input("x", SPEC))


def test_unusual_names_are_fine():
    builder = new_builder()
    x = builder.input("größe/1-µ", SPEC)
    builder.output("the output (of %x = y), with: more", mg.exp(x))
    assert mg.ir.parse(str(builder.build()), [Exp]) == builder.build()


def test_repeated_names_of_inputs_and_states():
    builder = new_builder()
    builder.input("x", SPEC)
    builder.state("w", SPEC, Role.PARAMETER, Constant())
    for make in (
        lambda: builder.input("x", SPEC),
        lambda: builder.input("w", SPEC),
        lambda: builder.state("w", SPEC, Role.PARAMETER, Constant()),
        lambda: builder.state("x", SPEC, Role.PARAMETER, Constant()),
    ):
        with pytest.raises(BuilderError, match=r"Expected a new name, got '[xw]', which is in use"):
            make()


def test_tensors_of_another_graph():
    ours, theirs = new_builder(), new_builder()
    x, y = ours.input("x", SPEC), theirs.input("x", SPEC)
    with pytest.raises(BuilderError, match="Expected tensors of one graph"):
        x + y
    for use in (
        lambda: ours.output("y", y),
        lambda: ours.emit(Add(), x, y),
        lambda: ours.update(y, x),
    ):
        with pytest.raises(BuilderError, match="one graph"):
            use()
    with pytest.raises(BuilderError, match="Expected a value of this graph"):
        ours.wrap(y.value)


def test_updates():
    builder = new_builder()
    x = builder.input("x", SPEC)
    w = builder.state("w", SPEC, Role.PARAMETER, Constant())
    with pytest.raises(BuilderError, match="Expected a state variable to update"):
        builder.update(x, x)
    with pytest.raises(BuilderError, match=r"Expected float32\[2,3\] as the next value of 'w'"):
        builder.update(w, mg.reduce_sum(x))
    builder.update(w, x)
    with pytest.raises(BuilderError, match="Expected one update a state, got a second one for 'w'"):
        builder.update(w, w)
    assert builder.existing_state("w").value is w.value
    assert builder.existing_state("v") is None


def test_operands():
    builder = new_builder()
    x = builder.input("x", SPEC)
    half = builder.input("half", "bfloat16[3]")
    assert (half * 2.5).dtype is DType.BFLOAT16
    assert (half + np.float64(2)).dtype is DType.BFLOAT16  # a NumPy scalar is as weak as Python's
    assert (x + half).dtype is DType.FLOAT32
    assert mg.maximum(half, [1.0, 2.0, 3.0]).dtype is DType.BFLOAT16  # nested lists too
    assert (x + np.array([1.0, 2.0, 3.0])).dtype is DType.FLOAT64  # an array is not weak
    assert (np.ones(3, np.float32) - x).shape == (2, 3)
    assert (2 / x).shape == (2, 3) and (1.0 - x).shape == (2, 3)
    assert (x > 0).dtype is DType.BOOL and (~(x >= 0)).dtype is DType.BOOL
    for wrong in ("text", None, {}):
        with pytest.raises(BuilderError, match="Expected a tensor, a number or an array"):
            x + wrong


def test_tensors_are_no_python_values():
    x = new_builder().input("x", SPEC)
    with pytest.raises(BuilderError, match="Expected a Python bool"):
        bool(x > 0)
    with pytest.raises(BuilderError, match=r"use mg.split"):
        list(x)
    assert len(x) == 2
    with pytest.raises(TypeError):
        len(mg.reduce_sum(x))
    assert repr(x) == "<Tensor x: float32[2,3]>"


def test_constants_are_kept_once_and_are_not_the_users_array():
    builder = new_builder()
    x = builder.input("x", SPEC)
    table = np.arange(3, dtype=np.float32)
    y = x + table
    table[:] = 7
    builder.output("y", y + np.arange(3, dtype=np.float32))
    (array,) = builder.build().constants.values()
    np.testing.assert_array_equal(array, [0, 1, 2])
    with pytest.raises(ValueError):
        array[0] = 1


def test_a_scalar_needs_no_table():
    graph = graph_of(lambda x: {"y": x + np.float32(3) + np.array(2, np.float32)}, x="float32[2]")
    assert not graph.constants


def test_errors_name_the_node_and_its_operands():
    builder = new_builder()
    x = builder.input("x", SPEC)
    with builder.scope("block"), pytest.raises(SpecError) as caught:
        builder.emit(Sum((5,), True), x, name="total")
    first, second, *rest = str(caught.value).splitlines()
    assert first == "Expected an axis in [-2, 2), got 5"
    assert second == "  in Sum 'block.total' (axes=(5,), keepdims=True) on x: float32[2,3]"
    assert rest[0].startswith(f"  at {__file__}:")
    assert len(builder.build().nodes) == 0


def test_locations_are_the_users_lines():
    def layer(x):
        return mg.relu(mg.dense(x, 3, name="d"))

    def model(x):
        return {"y": layer(x)}

    graph = graph_of(model, x="float32[2,3]")
    for node in graph.nodes:
        first, second, *_ = graph.locations[node.outputs[0]]
        assert (first.file, first.line) == (__file__, layer.__code__.co_firstlineno + 1)
        assert (second.file, second.line) == (__file__, model.__code__.co_firstlineno + 1)
        assert first.function == "layer"
        assert "mg.relu(mg.dense" in str(first)


def test_a_builder_on_a_graph_leaves_the_graph_alone():
    graph = graph_of(lambda x: {"y": mg.exp(x)}, x="float32[2]")
    text = str(graph)
    builder = new_builder(graph)
    y = builder.wrap(graph.outputs["y"])
    builder.output("z", mg.exp(y))
    assert str(graph) == text and list(graph.outputs) == ["y"]
    bigger = builder.build()
    assert [node.name for node in bigger.nodes] == ["exp", "exp_1"]
    assert bigger.nodes[0] is graph.nodes[0]
