"""Strides under other shapes, against NumPy's own reshape."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigraph as mg
from minigraph.backend import dense_strides, row_major
from minigraph.ir.spec import TensorSpec
from minigraph.layouts import assign_layouts, reshaped_strides, significant
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


@pytest.mark.parametrize(
    ("shape", "views"),
    [((2, 3, 4, 4), 0), ((2, 12, 1, 1), 1), ((2, 1, 4, 4), 1), ((0, 3, 4, 4), 1)],
)
def test_flattening_channels_last_is_a_view_only_where_nothing_moves(shape, views):
    graph = graph_of(lambda x: {"y": mg.flatten(x)}, x=TensorSpec(shape))
    channels_last = assign_layouts(graph, lambda s: (0, 2, 3, 1) if s.ndim == 4 else row_major(s))
    assert len(channels_last.views) == views
    assert len(assign_layouts(graph, row_major).views) == 1
