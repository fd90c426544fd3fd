"""The verifier: every kind of broken graph, and what its error shows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

import minigraph as mg
from minigraph.initializers import Constant as Start
from minigraph.ir import DType, Graph, Node, Op, Role, State, TensorSpec, Value, verify
from minigraph.ir.constant import Constant
from minigraph.ir.errors import VerifyError
from minigraph.ops import new_builder
from minigraph.ops.elementwise import Add, Exp, Tanh
from minigraph.ops.shape import Split
from minigraph.testing import graph_of

SPEC = TensorSpec((2, 3))
X = Value("x", SPEC)


def chain(length: int = 8) -> Graph:
    def model(x):
        w = mg.parameter(x, "w", (3,), Start(1.0))
        for _ in range(length):
            x = mg.tanh(x) + w
        return {"y": x}

    return graph_of(model, x=SPEC)


def node(op, *inputs, name="y", spec=SPEC) -> Node:
    return Node(op, inputs, (Value(name, spec),))


def broken(graph: Graph) -> str:
    with pytest.raises(VerifyError) as caught:
        verify(graph)
    return str(caught.value)


def test_a_good_graph_is_returned():
    graph = chain()
    assert verify(graph) is graph


def test_use_before_definition():
    first = node(Exp(), X, name="a")
    second = node(Tanh(), first.outputs[0], name="b")
    assert "%a is used before it is defined" in broken(Graph((X,), (), (second, first)))
    stranger = node(Exp(), Value("x", SPEC))
    assert "%x is used before it is defined" in broken(Graph((X,), (), (stranger,)))


def test_a_cycle():
    a, b = Value("a", SPEC), Value("b", SPEC)
    nodes = (Node(Exp(), (b,), (a,)), Node(Exp(), (a,), (b,)))
    assert "%b is used before it is defined" in broken(Graph((X,), (), nodes))


def test_values_and_names_defined_twice():
    once = node(Exp(), X)
    assert "%y is defined twice" in broken(Graph((X,), (), (once, once)))
    assert "%y is defined twice" in broken(Graph((X,), (), (once, node(Tanh(), X))))
    assert "%x is defined twice" in broken(Graph((X,), (), (node(Exp(), X, name="x"),)))
    twice = State(Value("x", SPEC), Role.PARAMETER)
    assert "%x is used twice" in broken(Graph((X,), (twice,)))
    assert "%x is used twice" in broken(Graph((X, X)))


def test_two_outputs_of_one_name():
    halves = (Value("h", TensorSpec((1, 3))), Value("h", TensorSpec((1, 3))))
    assert "%h is defined twice" in broken(Graph((X,), (), (Node(Split(0, (1, 1)), (X,), halves),)))
    one = Value("h", TensorSpec((1, 3)))
    split = Node(Split(0, (1, 1)), (X,), (one, one))
    assert "%h is defined twice" in broken(Graph((X,), (), (split,)))


def test_wrong_output_spec():
    text = broken(Graph((X,), (), (node(Exp(), X, spec=TensorSpec((2, 4))),)))
    assert "Expected float32[2,3] as Exp infers, got float32[2,4]" in text
    text = broken(Graph((X,), (), (node(Exp(), X, spec=SPEC.with_dtype("float64")),)))
    assert "got float64[2,3]" in text


def test_wrong_number_of_outputs():
    for outputs in ((), (Value("a", SPEC), Value("b", SPEC))):
        assert "as Exp infers" in broken(Graph((X,), (), (Node(Exp(), (X,), outputs),)))


def test_wrong_operands():
    y = Value("y", SPEC.with_dtype("int32"))
    assert "Expected one dtype" in broken(Graph((X, y), (), (node(Add(), X, y, name="z"),)))
    for operands in ((X,), (X, X, X)):
        text = broken(Graph((X,), (), (node(Add(), *operands),)))
        assert "Add cannot infer its outputs: TypeError" in text


def test_an_op_whose_infer_fails_is_reported_as_the_node():
    @dataclass(frozen=True)
    class Careless(Op):
        def infer(self, *inputs):
            raise KeyError("oops")

    text = broken(Graph((X,), (), (node(Careless(), X),)))
    assert "Careless cannot infer its outputs: KeyError: 'oops'" in text
    assert "-> %y: float32[2,3] = Careless(%x)" in text


def test_constants():
    array = np.zeros((2, 3), np.float32)
    constant = node(Constant("0123", SPEC), name="c")
    assert "the constant 0123 is not in the graph's table" in broken(Graph((), (), (constant,)))
    for wrong in (array.T, array.astype(np.float64)):
        text = broken(Graph((), (), (constant,), constants={"0123": wrong}))
        assert "Expected float32[2,3] for the constant 0123" in text
    verify(Graph((), (), (constant,), constants={"0123": array}))


def test_results_that_no_node_defines():
    y = Value("y", SPEC)
    assert "output 'out' is %y, which no node defines" in broken(Graph((X,), outputs={"out": y}))
    state = State(Value("w", SPEC), Role.PARAMETER)
    text = broken(Graph((X,), (state,), updates={"w": y}))
    assert "the update of %w is %y, which no node defines" in text


def test_updates():
    w = State(Value("w", TensorSpec((3,))), Role.PARAMETER)
    assert "no state variable of that name" in broken(Graph((X,), (w,), updates={"v": X}))
    text = broken(Graph((X,), (w,), updates={"w": X}))
    assert "Expected float32[3] as the update of %w, got float32[2,3]" in text


def test_the_error_shows_the_node_its_neighbours_and_the_users_line():
    graph = chain()
    position = 7
    wrong = graph.nodes[position]
    bad = Node(wrong.op, wrong.inputs, (Value(wrong.name, TensorSpec((9,), DType.INT32)),))
    locations = {**graph.locations, bad.outputs[0]: graph.locations[wrong.outputs[0]]}
    nodes = (*graph.nodes[:position], bad, *graph.nodes[position + 1 :])
    text = broken(graph.replace(nodes=nodes, locations=locations))
    lines = text.splitlines()
    assert lines[0].startswith("Expected float32[2,3] as ")
    assert f"-> {bad}" in lines
    for offset in (-3, -2, -1, 1, 2, 3):
        assert f"   {graph.nodes[position + offset]}" in lines
    assert not any(str(graph.nodes[position + 4]) in line for line in lines)
    place = chain.__code__.co_firstlineno + 4
    assert any(line.startswith(f"  at {__file__}:{place} in model") for line in lines)
    assert any("x = mg.tanh(x) + w" in line for line in lines)


def test_builders_make_graphs_that_verify():
    builder = new_builder()
    x = builder.input("x", SPEC)
    w = builder.state("w", SPEC, Role.PARAMETER, Start(0.0))
    builder.update(w, w + x)
    builder.output("halves", mg.split(x, 3)[1])
    verify(builder.build())
