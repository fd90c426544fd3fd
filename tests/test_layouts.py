"""Strides under other shapes, against NumPy's own reshape."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigraph as mg
from minigraph.backend import dense_strides, row_major
from minigraph.ir.spec import TensorSpec
from minigraph.layouts import Alias, assign_layouts, reshaped_strides, significant
from minigraph.testing import graph_of


def numpy_strides(shape, strides, new_shape):
    """What NumPy makes of it; None where it would have to copy."""
    array = np.lib.stride_tricks.as_strided(np.empty(1, np.uint8), shape, strides)
    try:
        return np.reshape(array, new_shape, copy=False).strides
    except ValueError:
        return None


@given(st.permutations([2, 3, 4, 5]), st.permutations(range(4)), st.data())
def test_reshape_as_numpy_does(sizes, order, data):
    strides = dense_strides(TensorSpec(tuple(sizes)), tuple(order))
    flat = data.draw(st.sampled_from([(120,), (6, 20), (2, 60), (1, 24, 5), (4, 5, 6), (8, 3, 5)]))
    expected = numpy_strides(sizes, strides, flat)
    got = reshaped_strides(tuple(sizes), strides, flat)
    if expected is None:
        assert got is None
    else:
        assert got == significant(flat, expected)


class ChannelsLast:
    takes_gaps = True
    takes_device_arrays = False

    def axis_order(self, spec):
        return (0, 2, 3, 1) if spec.ndim == 4 else row_major(spec)


class RowMajor:
    takes_gaps = False
    takes_device_arrays = False

    def axis_order(self, spec):
        return row_major(spec)


@pytest.mark.parametrize(
    ("shape", "views"),
    [((2, 3, 4, 4), 0), ((2, 12, 1, 1), 1), ((2, 1, 4, 4), 1), ((0, 3, 4, 4), 1)],
)
def test_flattening_channels_last_is_a_view_only_where_nothing_moves(shape, views):
    graph = graph_of(lambda x: {"y": mg.flatten(x)}, x=TensorSpec(shape))
    assert len(assign_layouts(graph, ChannelsLast()).done) == views
    assert len(assign_layouts(graph, RowMajor()).done) == 1


def test_operands_of_a_concatenation_are_computed_in_place():
    def model(x):
        return {"y": mg.relu(mg.concat([mg.relu(x), mg.tanh(x)]))}

    graph = graph_of(model, x="float32[2,3,4,5]")
    layouts = assign_layouts(graph, ChannelsLast())
    relu, tanh, concat = (graph.nodes[i].outputs[0] for i in range(3))
    assert layouts.done == {graph.nodes[2]}
    assert layouts.strides[relu] == layouts.strides[tanh] == (120, 1, 30, 6)
    assert layouts.aliases[relu] == Alias(concat, 0)
    assert layouts.aliases[tanh] == Alias(concat, 12)


@pytest.mark.parametrize(
    "model",
    [
        lambda x: mg.concat([x, mg.relu(x)]),  # an input
        lambda x: mg.concat([y := mg.relu(x), y]),  # one value twice
        lambda x: mg.concat([mg.concat([mg.relu(x), mg.tanh(x)]), mg.exp(x)]),  # one within another
    ],
)
def test_what_cannot_be_placed_is_copied(model):
    graph = graph_of(lambda x: {"y": model(x)}, x="float32[2,3,4,5]")
    last = graph.nodes[-1]
    assert last not in assign_layouts(graph, ChannelsLast()).done


def test_slices_of_an_image_are_views_where_channels_adjoin():
    def model(x):
        a, b = mg.split(mg.relu(x), [1, 2], 1)
        return {"a": a, "b": b, "rows": mg.tanh(x)[:, :, 1::2], "odd": mg.exp(x)[:, ::2]}

    graph = graph_of(model, x="float32[2,3,4,5]")
    layouts = assign_layouts(graph, ChannelsLast())
    b, rows, odd = (graph.outputs[name] for name in ("b", "rows", "odd"))
    assert layouts.strides[b] == (60, 1, 15, 3) and layouts.aliases[b].offset == 4
    assert layouts.strides[rows] == (60, 1, 30, 3) and layouts.aliases[rows].offset == 60
    assert odd not in layouts.aliases
