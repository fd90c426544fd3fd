"""Arrays that lie on the device: taken and filled without the host's memory, or refused."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from cupy_cases import needs_compiler
from emulated_device import EmulatedDevice

import minigraph as mg
from minigraph.backends.cupy import CupyBackend
from minigraph.ir.errors import IllegalIndexError, InputError

RNG = np.random.default_rng(0)
SPECS = {"x": "float32[2,3,4,5]", "n": "int32[3]"}


class OnDevice:
    """What CuPy's arrays say of themselves; the emulated device's memory is the host's."""

    def __init__(self, array: np.ndarray, stream: int | None = 1, read_only: bool = False) -> None:
        self.array = array
        self.__cuda_array_interface__ = {
            "version": 3,
            "shape": array.shape,
            "typestr": array.dtype.str,
            "data": (array.ctypes.data, read_only),
            "strides": None if array.flags.c_contiguous else array.strides,
            "stream": stream,
        }

    def __array__(self, *args: object, **kwargs: object) -> np.ndarray:
        raise AssertionError("a device array must not be read by the host")


def model(x: mg.Tensor, n: mg.Tensor) -> dict[str, mg.Tensor]:
    return {"y": x * 2.0, "m": n + 1, "picked": mg.gather(x, n, 1)}


def arrays() -> tuple[np.ndarray, np.ndarray]:
    return RNG.standard_normal((2, 3, 4, 5)).astype(np.float32), np.array([2, 0, 1], np.int32)


@pytest.fixture
def backend() -> CupyBackend:
    return CupyBackend(device=EmulatedDevice())


@pytest.fixture
def exe(backend: CupyBackend) -> mg.Executable:
    return mg.compile(model, SPECS, backend=backend)


@needs_compiler
def test_inputs_and_outputs_on_the_device(exe, backend) -> None:
    for _ in range(2):  # launched one by one, then replayed
        x, n = arrays()
        room = OnDevice(np.zeros_like(x), stream=7)
        got = exe(x=OnDevice(x, stream=5), n=n, out={"y": room})
        assert list(got) == ["y", "m", "picked"]
        assert got["y"] is room
        np.testing.assert_array_equal(room.array, 2 * x)
        np.testing.assert_array_equal(got["m"], n + 1)
        np.testing.assert_array_equal(got["picked"], x[:, n])
    assert backend.device.waited_for == [5, 7] * 2
    mixed = exe(x=x, n=OnDevice(n, stream=None), out={"m": np.zeros(3, np.int32)})
    np.testing.assert_array_equal(mixed["y"], 2 * x)
    assert exe.profile(x=OnDevice(x), n=n, runs=1).rows


@needs_compiler
def test_another_shape_and_no_elements(exe) -> None:
    x, n = arrays()
    wide = np.concatenate([x, x])
    np.testing.assert_array_equal(exe(x=OnDevice(wide), n=n)["y"], 2 * wide)
    assert exe(x=OnDevice(x[:0]), n=n)["y"].shape == (0, 3, 4, 5)


@needs_compiler
def test_bfloat16(backend) -> None:
    x = RNG.standard_normal((3, 4)).astype(ml_dtypes.bfloat16)
    exe = mg.compile(lambda x: {"y": mg.relu(x)}, {"x": "bfloat16[3,4]"}, backend=backend)
    room = OnDevice(np.zeros_like(x))
    exe(x=OnDevice(x), out={"y": room})
    np.testing.assert_array_equal(room.array, np.maximum(x, 0))


@needs_compiler
def test_a_refused_call_fills_nothing(exe) -> None:
    x, n = arrays()
    room = OnDevice(np.full_like(x, 7))
    with pytest.raises(IllegalIndexError, match="got 5 at"):
        exe(x=x, n=OnDevice(n + 3), out={"y": room})
    assert (room.array == 7).all()


@needs_compiler
def test_what_does_not_fit_is_refused(exe) -> None:
    x, n = arrays()
    for wrong, text in (
        (OnDevice(x.astype(np.float64)), r"Expected float32.* for 'x', got float64.* on the GPU"),
        (OnDevice(x[..., ::2]), "row by row in the GPU's memory, got strides"),
        (OnDevice(x.transpose(0, 1, 3, 2)), "cupy.ascontiguousarray"),
        (OnDevice(x[0]), "Expected 4 axes"),
    ):
        with pytest.raises(InputError, match=text):
            exe(x=wrong, n=n)
    for wrong, text in (
        (OnDevice(x[:1].copy()), r"for out\['y'\], got float32\[1, 3, 4, 5\] on the GPU"),
        (OnDevice(x.astype(np.int32)), "got int32"),
        (OnDevice(x, read_only=True), "read-only"),
    ):
        with pytest.raises(InputError, match=text):
            exe(x=x, n=n, out={"y": wrong})
    with pytest.raises(InputError, match="Expected an output of y, m, picked"):
        exe(x=x, n=n, out={"z": OnDevice(x)})


@pytest.mark.parametrize("backend", ["numpy", "llvm"])
def test_backends_of_the_cpu_refuse_them(backend: str) -> None:
    if backend == "llvm":
        pytest.importorskip("llvmlite")
    x, n = arrays()
    exe = mg.compile(model, SPECS, backend=backend)
    with pytest.raises(InputError, match="'x' in the CPU's memory, got a OnDevice in a GPU's"):
        exe(x=OnDevice(x), n=n)
    with pytest.raises(InputError, match=rf"for out\['y'\].*: the {backend} backend"):
        exe(x=x, n=n, out={"y": OnDevice(x)})
