"""A transposed convolution in the form that is asked for by name: same values, same gradients."""

from __future__ import annotations

import numpy as np
import pytest

import minigraph as mg
from minigraph.backend import load_backend
from minigraph.compiler import default_passes
from minigraph.ir.errors import BuilderError
from minigraph.ops import conv
from minigraph.ops.broadcast import reshape
from minigraph.ops.conv import Conv2d, ConvTranspose2d
from minigraph.ops.shape import Pad
from minigraph.passes import LowerTransposedConvolution
from minigraph.testing import assert_rewrite, assert_unchanged, graph_of

SPECS = {"x": "float32[2,4,3,4]", "w": "float32[4,1,3,3]"}
FORMS = ["zero_insertion", "sub_pixel"]


def upsampled(x, w):
    return {"y": mg.relu(conv.conv_transpose2d(x, w, 2, 1, groups=2))}


def exchanged(w, kernel):
    """(4,1,R,S) in two groups to (2,2,R,S), flipped."""
    by_group = mg.transpose(reshape(w, (2, 2, 1, *kernel)), (0, 2, 1, 3, 4))
    return mg.flip(reshape(by_group, (2, 2, *kernel)), (2, 3))


def test_zero_insertion():
    def after(x, w):
        (spread,) = x.builder.emit(Pad((0,) * 4, (0,) * 4, (0, 0, 1, 1)), x)
        padded = mg.pad(spread, [(0, 0), (0, 0), (1, 1), (1, 1)])
        (y,) = x.builder.emit(Conv2d(groups=2), padded, exchanged(w, (3, 3)))
        return {"y": mg.relu(y)}

    assert_rewrite(
        LowerTransposedConvolution("zero_insertion"),
        graph_of(upsampled, **SPECS), graph_of(after, **SPECS), tolerance=1e-6,
    )  # fmt: skip


def test_sub_pixel():
    """Padding 1 and stride 2: even outputs meet the kernel's middle, odd ones its two ends."""

    def after(x, w):
        phases = ((slice(1, 3, 2), (0, 0)), (slice(0, 3, 2), (0, 1)))  # part of kernel, borders
        maps = []
        for rows, vertical in phases:
            for columns, horizontal in phases:
                part = w[:, :, rows, columns]
                padded = mg.pad(x, [(0, 0), (0, 0), vertical, horizontal])
                kernel = exchanged(part, part.shape[2:])
                maps.append(x.builder.emit(Conv2d(groups=2), padded, kernel)[0])
        shuffled = reshape(mg.concat(maps), (-1, 2, 2, 2, 3, 4))
        shuffled = mg.transpose(shuffled, (0, 3, 4, 1, 5, 2))
        y = reshape(shuffled, (-1, 2, 6, 8))[:, :, :5, :7]
        return {"y": mg.relu(y)}

    assert_rewrite(
        LowerTransposedConvolution("sub_pixel"),
        graph_of(upsampled, **SPECS), graph_of(after, **SPECS), tolerance=1e-6,
    )  # fmt: skip


def test_the_adjoint_is_the_op_itself():
    assert_unchanged(LowerTransposedConvolution("adjoint"), graph_of(upsampled, **SPECS))


@pytest.mark.parametrize("form", FORMS)
def test_other_ops_are_left(form):
    graph = graph_of(lambda x, w: {"y": conv.conv2d(x, w, groups=4)}, **SPECS)
    pass_ = LowerTransposedConvolution(form)
    assert pass_(graph) == graph  # its input gradient, which is one, is lowered


@pytest.mark.parametrize("form", FORMS)
def test_a_training_step_in_either_form(form):
    def model(x):
        y = mg.conv_transpose2d(mg.conv2d(x, 4, 3, stride=2, name="a"), 2, 3, stride=2, name="b")
        return {"loss": mg.reduce_mean(y * y)}

    def losses(passes):
        step = mg.compile(
            model, {"x": "float64[2,3,9,9]"}, optimizer=mg.SGD(0.1), passes=passes, backend="numpy"
        )
        used = {type(node.op) for node in step.graph.nodes}
        x = np.random.default_rng(0).standard_normal((2, 3, 9, 9))
        return used, [float(step(x=x)["loss"]) for _ in range(4)]

    backend = load_backend("numpy", 2)
    used, expected = losses(default_passes(backend))
    assert ConvTranspose2d in used or any("Fused" in op.__name__ for op in used)
    used, got = losses((LowerTransposedConvolution(form), *default_passes(backend)))
    assert ConvTranspose2d not in used
    np.testing.assert_allclose(got, expected, rtol=1e-12)


def test_an_unknown_form_is_refused():
    with pytest.raises(BuilderError, match="adjoint, zero_insertion, sub_pixel, got 'subpixel'"):
        LowerTransposedConvolution("subpixel")
