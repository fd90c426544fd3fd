"""Programs on the CuPy backend: state, refusals, steady state, and what may be captured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
from cupy_cases import needs_compiler
from emulated_device import EmulatedDevice

import minigraph as mg
from minigraph.backend import Refused, find_backend
from minigraph.backends.cupy import CupyBackend
from minigraph.backends.cupy.call import Binding, Call, Lowering, simple
from minigraph.backends.cupy.code import KernelCode
from minigraph.backends.cupy.kernels.table import LOWERINGS
from minigraph.ir.errors import IllegalIndexError
from minigraph.ir.op import Op
from minigraph.ir.spec import TensorSpec

pytestmark = needs_compiler

RNG = np.random.default_rng(0)
IMAGE = RNG.standard_normal((2, 6, 5, 4)).astype(np.float32)
INPUTS = {"image": "float32[2,6,5,4]"}


def model(image):
    """A parameter of four axes, one of one, and a mean over the channels."""
    kernel = mg.parameter(image, "kernel", (2, 6, 5, 4), mg.initializers.HeNormal())
    scale = mg.parameter(image, "scale", (6, 1, 1), mg.initializers.Constant(1.0))
    y = mg.tanh(image * kernel) * scale + 0.5
    return {"loss": mg.reduce_mean(y * y), "mean": mg.reduce_mean(y, axis=1)}


@pytest.fixture
def backend() -> CupyBackend:
    return CupyBackend(device=EmulatedDevice())


def test_training_is_as_on_numpy(backend):
    steps = [
        mg.compile(model, INPUTS, optimizer=mg.Adam(0.05), backend=name, seed=3)
        for name in (backend, "numpy")
    ]
    for _ in range(5):
        got, expected = (step(image=IMAGE) for step in steps)
        for name in expected:
            np.testing.assert_allclose(got[name], expected[name], rtol=2e-6, atol=1e-6)
    for name, value in steps[1].state.items():
        np.testing.assert_allclose(steps[0].state[name], value, rtol=1e-5, atol=2e-6)


def test_state_is_written_and_read_in_logical_order(backend):
    step = mg.compile(model, INPUTS, backend=backend)
    kernel = RNG.standard_normal((2, 6, 5, 4)).astype(np.float32)
    step.state["kernel"] = kernel
    np.testing.assert_array_equal(step.state["kernel"], kernel)
    expected = np.tanh(IMAGE * kernel) + 0.5
    np.testing.assert_allclose(step(image=IMAGE)["mean"], expected.mean(1), rtol=1e-5, atol=1e-6)
    step.state["scale"] = np.zeros((6, 1, 1), np.float32)  # what is cached is made anew
    np.testing.assert_allclose(step(image=IMAGE)["mean"], 0.5, rtol=1e-6)


def test_nothing_is_allocated_in_steady_state(backend):
    step = mg.compile(model, INPUTS, optimizer=mg.SGD(0.1), backend=backend)
    step(image=IMAGE)
    before = backend.device.allocations
    for _ in range(3):
        step(image=IMAGE)
    assert backend.device.allocations == before


def test_each_step_is_timed(backend):
    step = mg.compile(model, INPUTS, optimizer=mg.SGD(0.1), backend=backend)
    profile = step.profile(image=IMAGE, runs=2)
    assert len(profile.rows) > 0


def test_clones_share_the_state(backend):
    step = mg.compile(model, INPUTS, backend=backend)
    other = step.clone()
    step.state["scale"] = np.zeros((6, 1, 1), np.float32)
    np.testing.assert_array_equal(other(image=IMAGE)["mean"], step(image=IMAGE)["mean"])


# ---- refusals


@dataclass(frozen=True)
class RefuseNegative(Op):
    """Its operand, all of which must be zero or more."""

    may_refuse: ClassVar[bool] = True

    def infer(self, x: TensorSpec) -> tuple[TensorSpec, ...]:
        return (x,)

    def vjp(self, inputs, outputs, grads):
        return (grads[0],)


@dataclass(frozen=True)
class CopyUnlessNegative(KernelCode):
    may_refuse = True
    comment = "a copy that refuses negative numbers"
    pointers = ("const float* x", "float* y")
    sizes = ("n",)

    def body(self) -> str:
        return """
        const long long i = global_thread<long long>();
        if (i >= n) return;
        if (x[i] < 0) refuse(refused, position, i);
        y[i] = x[i];
        """


def _calls(binding: Binding) -> Sequence[Call]:
    (x,) = binding.inputs
    return [Call(CopyUnlessNegative(), (x,), (binding.output,), (x.spec.size,), grid=1)]


def _refusal(op, inputs, position, value) -> IllegalIndexError:
    return IllegalIndexError(f"Expected no negative number, got {value} at {position}")


class RefusingBackend(CupyBackend):
    lowerings = {  # noqa: RUF012
        **LOWERINGS,
        RefuseNegative: Lowering(simple(_calls).candidates, _calls, _refusal),
    }


def refusing_model(x):
    w = mg.parameter(x, "w", (3, 4), mg.initializers.Constant(1.0))
    (checked,) = x.builder.emit(RefuseNegative(), x * 1.0)  # computed, and soon overwritten
    return {"loss": mg.reduce_sum(mg.exp(checked * w * 0.01))}


def test_a_refused_value_is_named_and_changes_no_state():
    backend = RefusingBackend(device=EmulatedDevice())
    step = mg.compile(refusing_model, {"x": "float32[3,4]"}, optimizer=mg.SGD(0.1), backend=backend)
    good = RNG.uniform(1, 2, (3, 4)).astype(np.float32)
    bad = good.copy()
    bad[1, 2], bad[2, 1] = -7, -8
    for x in (bad, good, bad, good):  # launched one by one, then replayed
        before = step.state["w"]
        if x is bad:
            with pytest.raises(IllegalIndexError, match=r"got -7 at 6\n.*no state was changed"):
                step(x=x)
            np.testing.assert_array_equal(step.state["w"], before)
        else:
            step(x=x)
            assert (step.state["w"] != before).all()


# ---- without a GPU


def test_no_gpu_is_a_reason_and_not_an_error():
    found = find_backend("cupy")
    assert found is CupyBackend or (isinstance(found, Refused) and found.reason)
