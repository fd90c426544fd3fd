"""Ten thousand steps: does memory or the number of threads grow? And who disturbs whom?

    python -m benchmarks.endurance

Trains LeNet on the LLVM backend and prints resident memory and threads along the way; then the time
of a step alone, of two executables in two Python threads at once, and beside processes that keep
every processor busy.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import minigraph as mg
from minigraph.models.lenet import lenet

BATCH = 128


def training_step(threads: int) -> Callable[[], object]:
    """One step on a batch of noise, with its result written to memory that is there."""

    def model(image: mg.Tensor, label: mg.Tensor) -> dict[str, mg.Tensor]:
        return {"loss": mg.softmax_cross_entropy(lenet(image), label)}

    specs = {"image": f"float32[{BATCH},1,28,28]", "label": f"int64[{BATCH}]"}
    step = mg.compile(model, specs, optimizer=mg.Momentum(1e-3), backend="llvm", threads=threads)
    rng = np.random.default_rng(0)
    images = rng.standard_normal((BATCH, 1, 28, 28), np.float32)
    labels = rng.integers(0, 10, BATCH)
    out = {"loss": np.empty((), np.float32)}
    return lambda: step(image=images, label=labels, out=out)


def resident_megabytes() -> float:
    """Memory of this process that is in use now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


def seconds_of(step: Callable[[], object], steps: int) -> float:
    """The median step."""
    times = []
    for _ in range(steps):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def endure(step: Callable[[], object], steps: int) -> None:
    for _ in range(100):
        step()
    print(f"{'steps':>7} {'MB':>8} {'threads':>8} {'ms':>7}")
    for done in range(0, steps, steps // 5):
        middle = seconds_of(step, steps // 5)
        threads = len(list(Path("/proc/self/task").iterdir()))
        print(f"{done + steps // 5:7} {resident_megabytes():8.1f} {threads:8} {middle * 1e3:7.2f}")


def together(threads: int, steps: int) -> float:
    """The slower of two executables in two Python threads."""
    found: list[float] = []
    pair = [training_step(threads), training_step(threads)]
    workers = [
        threading.Thread(target=lambda step=step: found.append(seconds_of(step, steps)))
        for step in pair
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return max(found)


def beside_others(step: Callable[[], object], others: int, steps: int) -> float:
    """A step's time while other processes spin."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(others)]
    try:
        return seconds_of(step, steps)
    finally:
        for process in busy:
            process.kill()
            process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    step = training_step(options.threads)
    endure(step, options.steps)
    alone = seconds_of(step, 200)
    print(f"alone {alone * 1e3:.2f} ms")
    both = together(options.threads, 200)
    print(f"two at once {both * 1e3:.2f} ms, {both / alone:.2f} times")
    for others in (1, options.threads):
        loaded = beside_others(step, others, 200)
        print(f"beside {others} busy processes {loaded * 1e3:.2f} ms, {loaded / alone:.2f} times")


if __name__ == "__main__":
    main()
