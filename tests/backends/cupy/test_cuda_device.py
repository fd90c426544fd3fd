"""``CudaDevice`` on a CuPy that is none: all but what CUDA itself does."""

from __future__ import annotations

import logging
import re
import sys
from itertools import pairwise

import numpy as np
import pytest
from cupy_cases import needs_compiler
from fake_cupy import LEGACY, TOTAL, FakeCupy, Queue
from test_device_arrays import OnDevice

import minigraph as mg
from minigraph.backend import Refused
from minigraph.backends.cupy import CupyBackend
from minigraph.backends.cupy.cuda_device import CudaDevice, available

RNG = np.random.default_rng(0)
IMAGES = [RNG.standard_normal((2, 3, 6, 5)).astype(np.float32) for _ in range(6)]
SPECS = {"image": "float32[2,3,6,5]", "label": "int32[2]"}
LABEL = np.array([1, 2], np.int32)


def loss(image: mg.Tensor, label: mg.Tensor) -> dict[str, mg.Tensor]:
    w = mg.parameter(image, "w", (3, 1, 1), mg.initializers.Constant(1.0))
    scores = mg.reduce_mean(image * w, axis=(2, 3))
    return {"loss": mg.softmax_cross_entropy(scores, label), "scores": scores}


def device(monkeypatch: pytest.MonkeyPatch, cupy: FakeCupy) -> CudaDevice:
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setattr(CudaDevice, "runs_libraries", False)
    return CudaDevice()


def compiled(monkeypatch: pytest.MonkeyPatch, cupy: FakeCupy) -> tuple[mg.Executable, ...]:
    """The step on the fake, and on NumPy."""
    backend = CupyBackend(device=device(monkeypatch, cupy))
    return tuple(
        mg.compile(loss, SPECS, optimizer=mg.SGD(0.1), backend=name, seed=0)
        for name in (backend, "numpy")
    )


def check(step: mg.Executable, expected: mg.Executable) -> None:
    """Several steps, each with the next one's batch announced."""
    for image, following in pairwise(IMAGES):
        step.prefetch(image=following, label=LABEL)
        got, wanted = (each(image=image, label=LABEL) for each in (step, expected))
        for name in wanted:
            np.testing.assert_allclose(got[name], wanted[name], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(step.state["w"], expected.state["w"], rtol=1e-5)


@needs_compiler
def test_training_is_as_on_numpy(monkeypatch) -> None:
    cupy = FakeCupy()
    step, expected = compiled(monkeypatch, cupy)
    check(step, expected)
    launched = cupy.launched
    step(image=IMAGES[0], label=LABEL)
    assert cupy.launched == launched  # replayed
    assert step.profile(image=IMAGES[0], label=LABEL, runs=1).rows
    with pytest.raises(mg.InputError, match="got 7"):
        step(image=IMAGES[0], label=LABEL + 6)


@needs_compiler
def test_a_step_that_cannot_be_recorded_is_launched(monkeypatch, caplog) -> None:
    step, expected = compiled(monkeypatch, FakeCupy(records=False))
    with caplog.at_level(logging.WARNING, "minigraph"):
        check(step, expected)
    assert caplog.text.count("every call launches its kernels one by one") == 1


@needs_compiler
def test_memory_that_cannot_be_pinned_is_done_without(monkeypatch, caplog) -> None:
    with caplog.at_level(logging.WARNING, "minigraph"):
        check(*compiled(monkeypatch, FakeCupy(pinned_bytes=100)))
    assert "cannot be pinned" in caplog.text


@needs_compiler
def test_announced_inputs_for_which_there_is_no_room_travel_later(monkeypatch) -> None:
    cupy = FakeCupy()
    step, expected = compiled(monkeypatch, cupy)
    cupy.used += TOTAL - cupy.used - 100
    check(step, expected)


@needs_compiler
@pytest.mark.parametrize("records", [True, False])
def test_memory_goes_with_the_last_reference(monkeypatch, records: bool) -> None:
    cupy = FakeCupy(records=records)
    step, expected = compiled(monkeypatch, cupy)
    check(step, expected)
    assert cupy.used > 0
    del step
    assert cupy.used == 0


@needs_compiler
@pytest.mark.parametrize("version", [2, 3])
def test_arrays_of_the_device_are_waited_for(monkeypatch, version: int) -> None:
    """Of version 2, torch's, the stream is not known: all of the device's are waited for."""
    cupy = FakeCupy()
    step, expected = compiled(monkeypatch, cupy)
    stream = LEGACY if version == 3 else 0x9000
    cupy.queues[stream] = Queue()
    for image in IMAGES[:3]:
        array = OnDevice(np.zeros_like(image), stream=LEGACY)
        array.__cuda_array_interface__["version"] = version
        if version == 2:
            del array.__cuda_array_interface__["stream"]
        cupy.queues[stream].put(lambda target=array.array, image=image: np.copyto(target, image))
        got, wanted = (each(image=x, label=LABEL) for each, x in ((step, array), (expected, image)))
        np.testing.assert_allclose(got["scores"], wanted["scores"], rtol=1e-5, atol=1e-6)


def test_too_much_memory_is_refused_with_what_is_free(monkeypatch) -> None:
    with pytest.raises(mg.MemoryLimitError, match=r"got 1,073,741,824 free"):
        device(monkeypatch, FakeCupy()).allocate(1 << 31)


def fails(*args: object) -> None:
    raise OSError("libsomething.so is\nmissing")


@pytest.mark.parametrize(
    ("method", "does", "reason"),
    [
        ("driverGetVersion", lambda: 0, "no NVIDIA driver"),
        ("driverGetVersion", lambda: 11080, "driver is for CUDA 11.8, this CuPy for 12.9"),
        ("getDeviceCount", lambda: 0, "no GPU is visible"),
        ("getDeviceCount", fails, "CUDA does not start: libsomething.so is"),
        ("getVersion", fails, r"compiler cannot be loaded \(libsomething.so is missing\): pip"),
    ],
)
def test_what_is_missing_is_named(monkeypatch, method, does, reason) -> None:
    cupy = FakeCupy()
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    assert available()
    monkeypatch.setattr(cupy, method, does)
    found = available()
    assert isinstance(found, Refused) and re.search(reason, found.reason)
