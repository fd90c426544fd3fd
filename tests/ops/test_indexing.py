"""Indices out of range, order of additions, and threads."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest

import minigraph as mg

CASES: dict[str, Any] = {
    "gather": (lambda x, i: mg.gather(x, i, 1), (2, 3), "axis 1"),
    "index_add": (
        lambda x, i: mg.index_add(x, i, mg.gather(x, [[0] * 3] * 2, 1), 1), (2, 3), "axis 1",
    ),
    "take_along_axis": (lambda x, i: mg.take_along_axis(x, i, -1), (5, 2), "axis 1"),
    "scatter_add": (lambda x, i: mg.scatter_add(x, i, x[:, :2], -1), (5, 2), "axis 1"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("wrong", [4, -5, 2**40])
def test_an_index_outside_is_refused_with_its_place(name: str, wrong: int) -> None:
    function, shape, axis = CASES[name]

    def model(x: mg.Tensor, i: mg.Tensor) -> dict[str, mg.Tensor]:
        w = mg.parameter(x, "w", (5, 4), mg.initializers.Constant(1.0))
        return {"loss": mg.reduce_sum(function(w * x, i))}

    inputs = {"x": "float32[5,4]", "i": mg.TensorSpec(shape, mg.DType.INT64)}
    step = mg.compile(model, inputs, optimizer=mg.SGD(0.1), backend="numpy")
    indices = np.zeros(shape, np.int64)
    indices[1, 0] = wrong
    with pytest.raises(mg.IllegalIndexError) as caught:
        step(x=np.ones((5, 4)), i=indices)
    text = str(caught.value)
    assert f"Expected an index in [-4, 4) for {axis}, got {wrong} at [1, 0]" in text
    assert "no state was changed" in text
    assert (step.state["w"] == 1.0).all()
    indices[1, 0] = 3
    step(x=np.ones((5, 4)), i=indices)
    assert (step.state["w"] != 1.0).any()


def test_nothing_can_be_taken_from_an_empty_axis_but_nothing() -> None:
    exe = mg.compile(
        lambda x, i: mg.gather(x, i, 0), {"x": "float32[0,2]", "i": "int32[1]"}, backend="numpy"
    )
    with pytest.raises(mg.IllegalIndexError, match=r"in \[0, 0\) for axis 0, got 0 at \[0\]"):
        exe(x=np.zeros((0, 2)), i=[0])
    exe = mg.compile(
        lambda x, i: mg.gather(x, i, 0), {"x": "float32[0,2]", "i": "int32[0]"}, backend="numpy"
    )
    assert exe(x=np.zeros((0, 2)), i=np.zeros(0, np.int32))["output"].shape == (0, 2)


@pytest.mark.parametrize("name", ["index_add", "scatter_add"])
def test_additions_to_one_place_run_in_order_whatever_the_threads(name: str) -> None:
    rng = np.random.default_rng(0)
    u = rng.standard_normal((2, 5000)).astype(np.float32) * 10.0 ** rng.integers(-6, 6, (2, 5000))
    u = u.astype(np.float32)
    indices = np.zeros(5000 if name == "index_add" else (2, 5000), np.int64)
    expected = np.zeros(2, np.float32)
    for column in u.T:
        expected += column

    def model(u: mg.Tensor, i: mg.Tensor) -> mg.Tensor:
        return getattr(mg, name)(u[:, :3] * 0.0, i, u, 1)

    inputs = {"u": "float32[2,5000]", "i": mg.TensorSpec(indices.shape, mg.DType.INT64)}
    for threads in (1, 3):
        exe = mg.compile(model, inputs, backend="numpy", threads=threads)
        np.testing.assert_array_equal(exe(u=u, i=indices)["output"][:, 0], expected)


def test_one_hot_gives_zeros_for_void() -> None:
    exe = mg.compile(lambda t: mg.one_hot(t, 3, dtype="bfloat16"), {"t": "uint8[3]"})
    got = exe(t=[2, 255, 0])["output"].astype(float)
    assert got.tolist() == [[0, 0, 1], [0, 0, 0], [1, 0, 0]]


def new_ops(x: mg.Tensor, t: mg.Tensor) -> dict[str, mg.Tensor]:
    """A training step through the kernels that have scratch for each worker."""
    y = mg.gelu(mg.group_norm(mg.conv2d(x, 8, 3, padding="same", name="a"), 2))
    y = mg.silu(mg.local_response_norm(mg.instance_norm(y), 3)) + mg.elu(y)
    y = mg.hard_swish(mg.softplus(mg.conv2d(y, 4, 1, name="b")))
    y = mg.gather(y, [3, 1, 1, 0], 1)
    losses = mg.softmax_cross_entropy(y, t, reduction="none")
    return {"loss": mg.reduce_mean(losses) + mg.dice_loss(y, t)}


BATCH = {
    "x": np.random.default_rng(0).normal(size=(3, 3, 40, 40)).astype(np.float32),
    "t": np.random.default_rng(1).integers(0, 4, (3, 40, 40)).astype(np.uint8),
}
INPUTS = {"x": "float32[3,3,40,40]", "t": "uint8[3,40,40]"}


def test_the_bits_do_not_follow_the_number_of_threads() -> None:
    states = []
    for threads in (1, 2, 5):
        step = mg.compile(new_ops, INPUTS, optimizer=mg.Adam(0.01), threads=threads)
        for _ in range(2):
            step(BATCH)
        states.append({name: array.tobytes() for name, array in step.state.items()})
    assert states[0] == states[1] == states[2]


@pytest.mark.parametrize("threads", [1, 2])
def test_steps_allocate_nothing(threads: int) -> None:
    step = mg.compile(new_ops, INPUTS, optimizer=mg.SGD(0.01), threads=threads)
    out = {"loss": np.empty((), np.float32)}
    for _ in range(3):
        step(BATCH, out=out)
    tracemalloc.start()
    try:
        step(BATCH, out=out)
        tracemalloc.reset_peak()
        start, _ = tracemalloc.get_traced_memory()
        for _ in range(5):
            step(BATCH, out=out)
        now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak - start < 64_000
    assert now - start < 16_000
