"""One training step of a U-Net: minigraph's NumPy backend against torch eager.

    python -m benchmarks.unet_training            # needs torch: pip install "minigraph[bench]"
    python -m benchmarks.unet_training --self     # minigraph against itself: what the noise is

Forward, loss, backward and SGD with momentum; base 32, depth 4, images 4x3x128x128, float32.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable

import numpy as np

from benchmarks.turns import Contender, report, serve, take_turns

BATCH, SIZE, CLASSES, BASE, DEPTH = 4, 128, 11, 32, 4


def example() -> tuple[np.ndarray, np.ndarray]:
    """One batch of noise: images and labels."""
    generator = np.random.default_rng(0)
    images = generator.normal(size=(BATCH, 3, SIZE, SIZE)).astype(np.float32)
    labels = generator.integers(0, CLASSES, (BATCH, SIZE, SIZE)).astype(np.int64)
    return images, labels


def minigraph_step() -> Callable[[], object]:
    import minigraph as mg
    from minigraph.models.unet import unet

    def model(image: mg.Tensor, label: mg.Tensor) -> dict[str, mg.Tensor]:
        logits = unet(image, CLASSES, base=BASE, depth=DEPTH)
        return {"loss": mg.softmax_cross_entropy(logits, label)}

    images, labels = example()
    specs = {"image": (images.shape, "float32"), "label": (labels.shape, "int64")}
    step = mg.compile(
        model, specs, optimizer=mg.Momentum(1e-3), backend="numpy", threads=_threads()
    )
    out = {"loss": np.empty((), np.float32)}
    return lambda: step(image=images, label=labels, out=out)


def torch_step() -> Callable[[], object]:
    import torch

    from benchmarks.torch_unet import TorchUNet

    torch.set_num_threads(_threads())
    images, labels = map(torch.from_numpy, example())
    model = TorchUNet(3, CLASSES, BASE, DEPTH)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)

    def step() -> float:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def _threads() -> int:
    return int(os.environ["OMP_NUM_THREADS"])


CONTENDERS = {"minigraph numpy": minigraph_step, "torch eager": torch_step}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--serve", choices=CONTENDERS, help=argparse.SUPPRESS)
    parser.add_argument("--self", action="store_true", help="minigraph against itself")
    parser.add_argument("--turns", type=int, default=21)
    parser.add_argument("--steps", type=int, default=2, help="steps a turn")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    if options.serve:
        serve(CONTENDERS[options.serve](), time.perf_counter)
        return
    names = {"A": "minigraph numpy", "B": "minigraph numpy"} if options.self else {
        name: name for name in CONTENDERS
    }  # fmt: skip
    contenders = [
        Contender(label, [sys.executable, "-m", "benchmarks.unet_training", "--serve", name])
        for label, name in names.items()
    ]
    medians = take_turns(
        contenders, turns=options.turns, steps=options.steps, threads=options.threads
    )
    title = f"U-Net training step, {BATCH}x3x{SIZE}x{SIZE}, base {BASE}, {options.threads} threads"
    print(report(medians, contenders[-1].name, title))


if __name__ == "__main__":
    main()
