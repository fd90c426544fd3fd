"""How long it takes to import minigraph and to compile: a U-Net, and chains of growing length.

    python benchmarks/compile_time.py

Nothing is run but the compiler; chains show whether its time grows with the number of nodes alone.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import minigraph as mg
from minigraph.models.unet import unet

PROCESSES = 7
CHAINS = (100, 1_000, 10_000)


def process_seconds(code: str) -> float:
    """Median wall-clock time of interpreters that run ``code``."""
    times = []
    for _ in range(PROCESSES):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def compile_seconds(build: Callable[[], mg.Executable], repeats: int) -> tuple[float, int]:
    """Best of several compilations, and the number of nodes before any pass."""
    best, nodes = float("inf"), 0
    for _ in range(repeats):
        start = time.perf_counter()
        executable = build()
        best = min(best, time.perf_counter() - start)
        nodes = len(executable.compiled.built.nodes)
    return best, nodes


def unet_step() -> mg.Executable:
    """The training step of a U-Net of depth 4 on four images of 128x128."""

    def model(image: mg.Tensor, label: mg.Tensor) -> dict[str, mg.Tensor]:
        return {"loss": mg.softmax_cross_entropy(unet(image, 2, base=32, depth=4), label)}

    inputs = {"image": "float32[4,3,128,128]", "label": "uint8[4,128,128]"}
    return mg.compile(model, inputs, optimizer=mg.Momentum(0.01), backend="numpy")


def elementwise_chain(length: int) -> mg.Executable:
    """``length`` elementwise nodes, one after the other, each with a gradient."""

    def model(x: mg.Tensor) -> dict[str, mg.Tensor]:
        y = x * mg.parameter(x, "w", (8,), mg.initializers.Constant(1.0))
        for i in range(length // 2):
            y = mg.tanh(y) if i % 2 else mg.sigmoid(y)
            y = y + x
        return {"loss": mg.reduce_mean(y)}

    return mg.compile(model, {"x": "float32[4,8]"}, optimizer=mg.SGD(0.1), backend="numpy")


def convolution_chain(length: int) -> mg.Executable:
    """Small convolutions with bias and ReLU, a fourth of ``length`` each."""

    def model(x: mg.Tensor) -> dict[str, mg.Tensor]:
        y = x
        for _ in range(length // 4):
            y = mg.relu(mg.conv2d(y, 2, 3, padding=1))
        return {"loss": mg.reduce_mean(y)}

    return mg.compile(model, {"x": "float32[1,2,4,4]"}, optimizer=mg.SGD(0.1), backend="numpy")


def epilogue_chain(length: int) -> mg.Executable:
    """One convolution followed by ``length`` elementwise nodes that could all be fused."""

    def model(x: mg.Tensor) -> dict[str, mg.Tensor]:
        y = mg.conv2d(x, 2, 3, padding=1)
        for _ in range(length // 2):
            y = mg.relu(y * 0.5)
        return {"y": y}

    return mg.compile(model, {"x": "float32[1,2,4,4]"}, backend="numpy")


def main() -> None:
    bare = process_seconds("pass")
    whole = process_seconds("import minigraph")
    print(f"import minigraph: {whole - bare:.3f} s above a bare interpreter ({bare:.3f} s)\n")
    print(f"{'graph':24} {'nodes':>7} {'seconds':>9} {'us/node':>9}")
    seconds, nodes = compile_seconds(unet_step, 3)
    print(f"{'U-Net, base 32, depth 4':24} {nodes:7} {seconds:9.3f} {seconds / nodes * 1e6:9.1f}")
    for kind in (elementwise_chain, convolution_chain, epilogue_chain):
        for length in CHAINS:
            seconds, nodes = compile_seconds(
                lambda k=kind, n=length: k(n), 1 if length > 1000 else 3
            )
            label = f"{kind.__name__.replace('_', ' ')} {length}"
            print(f"{label:24} {nodes:7} {seconds:9.3f} {seconds / nodes * 1e6:9.1f}", flush=True)


if __name__ == "__main__":
    main()
