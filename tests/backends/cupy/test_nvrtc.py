"""NVIDIA's compiler takes every kernel that the op table needs, for two generations of GPUs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import nvrtc
import pytest
from emulated_compiler import Compiler
from emulated_device import EmulatedDevice
from op_table import Differentiated, compile_forward
from test_ops import ROWS

import minigraph as mg
from minigraph.backends.cupy import CupyBackend
from minigraph.backends.cupy.code import prelude
from minigraph.backends.cupy.cuda_device import DELAY

pytestmark = pytest.mark.skipif(
    nvrtc.library() is None, reason="needs the wheel nvidia-cuda-nvrtc-cu12, or -cu13's"
)

TOGETHER = 50  # kernels of one module


@pytest.fixture(scope="module")
def kernels() -> Mapping[str, str]:
    """Sources by name of all that the rows' programs launch. Nothing is run."""
    compiler = Compiler()

    def backend() -> CupyBackend:
        return CupyBackend(device=EmulatedDevice(compiler=compiler))

    for row in ROWS:
        for dtype in ("float32", "bfloat16") if row.half and row.floating else ("float32",):
            compile_forward(row, dtype, backend=backend())
        if row.gradient and row.floating:
            Differentiated(row, "float32").first(backend())
    return {function.name: function.source for function in compiler.functions.values()}


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
def test_every_kernel_compiles(kernels: Mapping[str, str], architecture: str) -> None:
    sources = [kernels[name] for name in sorted(kernels)]
    modules = [
        "\n".join([prelude(), *sources[start : start + TOGETHER]])
        for start in range(0, len(sources), TOGETHER)
    ]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for error in pool.map(partial(nvrtc.compile_error, architecture=architecture), modules):
            assert not error, error[:4000]
    print(f"{len(sources)} kernels compile for {architecture}")


class OneModule(EmulatedDevice):
    """Has each program's kernels as the device's compiler gets them."""

    def __init__(self) -> None:
        super().__init__()
        self.modules: list[str] = []

    def compile(self, prelude: str, kernels: Mapping[str, str]) -> Mapping[str, Any]:
        self.modules.append("\n".join([prelude, *kernels.values()]))
        return super().compile(prelude, kernels)


def test_a_training_step_compiles_as_one_module() -> None:
    """Labels may be refused: kernels that write state stand beside those that do not."""

    def loss(image: mg.Tensor, label: mg.Tensor) -> dict[str, mg.Tensor]:
        x = mg.max_pool2d(mg.relu(mg.conv2d(image, 8, 3, padding="same", name="conv")), 2)
        return {"loss": mg.softmax_cross_entropy(mg.dense(mg.flatten(x), 10, name="dense"), label)}

    device = OneModule()
    specs = {"image": "float32[8,1,12,12]", "label": "int32[8]"}
    mg.compile(loss, specs, optimizer=mg.SGD(0.05), backend=CupyBackend(device=device))
    (module,) = device.modules
    assert "_guarded(" in module
    error = nvrtc.compile_error(module, "sm_90")
    assert not error, error[:4000]


def test_the_delay_before_what_is_timed_compiles() -> None:
    assert not nvrtc.compile_error(DELAY, "sm_90")


def test_an_error_is_seen() -> None:
    wrong = 'extern "C" __global__ void wrong(float* x) { x[0] = nowhere; }'
    assert "nowhere" in nvrtc.compile_error(prelude() + wrong, "sm_90")
