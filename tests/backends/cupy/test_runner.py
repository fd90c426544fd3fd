"""Programs on the CuPy backend: state, refusals, steady state, and what may be captured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import numpy as np
import pytest
from cupy_cases import needs_compiler
from emulated_device import EmulatedDevice

import minigraph as mg
from minigraph.backend import Refused, find_backend
from minigraph.backends.cupy import CupyBackend
from minigraph.backends.cupy.call import Binding, Call, LibraryCall, Lowering, simple
from minigraph.backends.cupy.code import KernelCode
from minigraph.backends.cupy.kernels.table import LOWERINGS
from minigraph.ir.errors import IllegalIndexError
from minigraph.ir.graph import Role
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


# ---- inputs of the next call


def scaled(image):
    return {"y": image * 2.0}


def test_announced_inputs_travel_while_the_device_computes(backend):
    step = mg.compile(scaled, INPUTS, backend=backend)
    batches = [IMAGE + k for k in range(6)]
    step(image=batches[0])
    log = backend.device.log
    for batch, following in pairwise(batches):
        log.clear()
        step.prefetch(image=following)
        np.testing.assert_array_equal(step(image=batch)["y"], batch * 2)
        arrival = ["upload"] if batch is batches[0] else ["wait_for_uploads", "copy"]
        assert log == [*arrival, "replay", "upload_ahead", "download", "synchronise"]


def test_inputs_that_were_announced_in_vain_are_not_used(backend):
    step = mg.compile(scaled, INPUTS, backend=backend)
    for announced, given in [(1, 2), (3, 3), (4, 5), (6, 7), (7, 6)]:
        arrays = {k: IMAGE + k for k in (announced, given)}
        step.prefetch(image=arrays[announced])
        np.testing.assert_array_equal(step(image=arrays[given])["y"], arrays[given] * 2)


def test_an_announced_call_may_be_made_with_more_outputs(backend):
    """The program that fetched the arrays ahead does not see that call; then they may change."""

    def model(image):
        return {"y": mg.relu(image * 2.0) + 1.0}

    step = mg.compile(model, INPUTS, backend=backend)
    first, buffer = np.abs(IMAGE), np.abs(IMAGE) + 1
    step(image=buffer, fetch=("relu",))
    for round_ in range(3):
        step(image=first)
        step.prefetch(image=buffer)
        step(image=first)  # meanwhile the other travels
        step(image=buffer, fetch=("relu",))
        buffer += round_ + 1
        np.testing.assert_array_equal(step(image=buffer)["y"], buffer * 2 + 1)


def test_announcing_allocates_once(backend):
    step = mg.compile(scaled, INPUTS, backend=backend)
    step.prefetch(image=IMAGE)
    step(image=IMAGE)
    before = backend.device.allocations
    for k in range(3):
        step.prefetch(image=IMAGE + k)
        step(image=IMAGE)
    assert backend.device.allocations == before


def test_a_cpu_has_nothing_to_fetch():
    step = mg.compile(scaled, INPUTS, backend="numpy")
    step.prefetch(image=IMAGE + 1)
    np.testing.assert_array_equal(step(image=IMAGE)["y"], IMAGE * 2)


def test_only_inputs_of_the_model_may_be_announced(backend):
    step = mg.compile(scaled, INPUTS, backend=backend)
    with pytest.raises(mg.InputError, match="unknown: picture"):
        step.prefetch(image=IMAGE, picture=IMAGE)


# ---- memory


def test_a_program_too_large_for_the_device_is_refused_when_it_is_compiled():
    backend = CupyBackend(device=EmulatedDevice(total_bytes=1 << 20))
    mg.compile(scaled, INPUTS, backend=backend)
    specs = {"image": "float32[2,6,500,400]"}
    needed, free = r"Expected room for [\d,]+ bytes on emulated", r"free of 1,048,576"
    with pytest.raises(mg.MemoryLimitError, match=rf"(?s){needed}.*{free}.*fullest at"):
        mg.compile(scaled, specs, backend=backend)


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


@dataclass(frozen=True)
class LibraryCopy(Op):
    """Its operand, copied by what cannot look at the refusal flag."""

    def infer(self, x: TensorSpec) -> tuple[TensorSpec, ...]:
        return (x,)


def _library_copy(binding: Binding) -> Sequence[LibraryCall]:
    (x,), y = binding.inputs, binding.output
    size = x.spec.nbytes
    return [LibraryCall(lambda device, at: device.copy(at[1], at[0], size), (x,), (y,))]


class LibraryBackend(RefusingBackend):
    lowerings = {**RefusingBackend.lowerings, LibraryCopy: simple(_library_copy)}  # noqa: RUF012


def model_with_library_state(x):
    w = mg.parameter(x, "w", (3, 4), mg.initializers.Constant(1.0))
    ones = mg.initializers.Constant(1.0)
    total = x.builder.state("total", "float32[3,4]", Role.STATISTIC, ones)
    (checked,) = x.builder.emit(RefuseNegative(), x * 1.0)
    (copied,) = x.builder.emit(LibraryCopy(), checked + total)
    x.builder.update(total, copied)
    return {"loss": mg.reduce_sum(checked * w)}


def test_a_library_writes_no_state_after_a_refusal():
    backend = LibraryBackend(device=EmulatedDevice())
    specs = {"x": "float32[3,4]"}
    step = mg.compile(model_with_library_state, specs, optimizer=mg.SGD(0.1), backend=backend)
    good = RNG.uniform(1, 2, (3, 4)).astype(np.float32)
    expected = np.ones((3, 4), np.float32)
    for x in (good, -good, good, -good):
        if x is good:
            step(x=x)
            expected = expected + good
        else:
            with pytest.raises(IllegalIndexError):
                step(x=x)
        np.testing.assert_array_equal(step.state["total"], expected)


class ListingDevice(EmulatedDevice):
    """Remembers the kernels of the last module."""

    kernels: Mapping[str, str]

    def compile(self, prelude, kernels):
        self.kernels = kernels
        return super().compile(prelude, kernels)


def test_a_kernel_may_stand_in_one_module_with_its_guarded_self():
    """Copies of one bias to the results, and of another to the state that it becomes."""

    def loss(x):
        w = mg.parameter(x, "w", (4,), mg.initializers.Constant(1.0))
        (checked,) = x.builder.emit(RefuseNegative(), x * w)
        old = x.builder.state("old", "float32[4]", Role.STATISTIC, mg.initializers.Constant(0.0))
        x.builder.update(old, w)
        return {"loss": mg.reduce_sum(checked), "w": w}

    device = ListingDevice()
    step = mg.compile(
        loss, {"x": "float32[4]"}, optimizer=mg.SGD(0.5), backend=RefusingBackend(device=device)
    )
    both = [name for name in device.kernels if f"{name}_guarded" in device.kernels]
    assert both and all(f"{name}_body" in device.kernels[name] for name in both)
    x = np.ones(4, np.float32)
    for _ in range(2):
        before = step.state["w"]
        step(x=x)
        np.testing.assert_array_equal(step.state["old"], before)
        np.testing.assert_array_equal(step.state["w"], before - 0.5)


# ---- without a GPU


def test_no_gpu_is_a_reason_and_not_an_error():
    found = find_backend("cupy")
    assert found is CupyBackend or (isinstance(found, Refused) and found.reason)
