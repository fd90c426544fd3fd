"""Programs on the LLVM backend: refusals, new states of every layout, choices, empty programs."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("llvmlite")

import minigraph as mg
from minigraph.backends.llvm.target import host
from minigraph.ir.errors import IllegalLabelError
from minigraph.ir.graph import Role

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_two_refusing_nodes_leave_the_threads_in_step(threads):
    """More threads than processors: a slow one must not see the second refusal at the first."""

    def model(x, a, b):
        return {"a": mg.softmax_cross_entropy(x, a), "b": mg.softmax_cross_entropy(x, b)}

    specs = {"x": "float32[64,10]", "a": "int32[64]", "b": "int32[64]"}
    exe = mg.compile(model, specs, backend="llvm", threads=threads)
    x = RNG.standard_normal((64, 10)).astype(np.float32)
    good = RNG.integers(0, 10, 64).astype(np.int32)
    bad = good.copy()
    bad[[7, 30]] = 77
    expected = exe(x=x, a=good, b=good)
    for _ in range(50):
        with pytest.raises(IllegalLabelError, match="77"):
            exe(x=x, a=good, b=bad)
        assert exe(x=x, a=good, b=good) == expected


def test_a_new_state_may_be_a_slice_of_something_wider():
    def model(x):
        wide = mg.relu(x)
        start = mg.initializers.Constant(0.0)
        kept = x.builder.state("kept", "float32[1,2,4,4]", Role.STATISTIC, start)
        x.builder.update(kept, wide[:, :2, 1:5, 1:5])
        scale = mg.parameter(x, "scale", (1,), mg.initializers.Constant(1.0))
        return {"loss": mg.reduce_mean(wide * scale)}

    x = RNG.standard_normal((1, 5, 7, 7)).astype(np.float32)
    step = mg.compile(model, {"x": "float32[1,5,7,7]"}, optimizer=mg.SGD(0.1), backend="llvm")
    step(x=x)
    np.testing.assert_array_equal(step.state["kept"], np.maximum(x, 0)[:, :2, 1:5, 1:5])


def test_a_sum_over_nothing_stays_in_its_place():
    def model(x, y):
        empty = mg.reduce_sum(x, axis=0, keepdims=True)
        return {"z": mg.concat([y * 2.0, empty, y * 3.0])}

    exe = mg.compile(model, {"x": "float32[0,3,2,2]", "y": "float32[1,2,2,2]"}, backend="llvm")
    y = np.ones((1, 2, 2, 2), np.float32)
    z = exe(x=np.zeros((0, 3, 2, 2), np.float32), y=y)["z"]
    np.testing.assert_array_equal(z[0, :, 0, 0], [2, 2, 0, 0, 0, 3, 3])


@pytest.mark.parametrize(
    ("shape", "channels"), [((1, 64, 8, 8), 128), ((2, 16, 40, 40), 16), ((8, 3, 30, 30), 40)]
)
def test_no_choice_depends_on_the_threads(shape, channels):
    def model(x):
        y = mg.relu(mg.conv2d(x, channels, 3, padding="same", name="a"))
        return {"loss": mg.reduce_mean(mg.conv2d(y, channels, 3, padding="same", name="b"))}

    specs = {"x": mg.TensorSpec(shape)}
    chosen = []
    for threads in (1, 2, 16, 64):
        step = mg.compile(model, specs, optimizer=mg.SGD(0.1), backend="llvm", threads=threads)
        chosen.append({n.name: c.algorithm.name for n, c in step.compiled.choices.items()})
    assert all(other == chosen[0] for other in chosen)


def test_a_program_without_work_can_be_profiled():
    exe = mg.compile(lambda x: {"y": x + 1.0}, {"x": "float32[0,3]"}, backend="llvm")
    assert exe(x=np.zeros((0, 3), np.float32))["y"].shape == (0, 3)
    assert "Add" in str(exe.profile(x=np.zeros((0, 3), np.float32)))


@pytest.mark.skipif(not host().is_x86, reason="other processors have no such mode")
@pytest.mark.parametrize("threads", [1, 3])
def test_subnormal_results_are_zero_and_subnormal_operands_are_not(threads):
    exe = mg.compile(
        lambda x: {"product": x * 1e-30, "log": mg.log(x)}, {"x": "float32[8]"},
        backend="llvm", threads=threads,
    )  # fmt: skip
    got = exe(x=np.full(8, 1e-10, np.float32))["product"]
    np.testing.assert_array_equal(got, 0)
    tiny = np.full(8, 1e-40, np.float32)
    np.testing.assert_allclose(exe(x=tiny)["log"], np.log(1e-40), rtol=1e-5)
    assert np.float32(1e-30) * np.float32(1e-10) > 0, "the caller's mode has changed"
