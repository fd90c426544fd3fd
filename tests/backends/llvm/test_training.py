"""Training on the LLVM backend stays as close to float64 as training on NumPy does."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import pytest

pytest.importorskip("llvmlite")

import minigraph as mg
from minigraph.models.unet import unet

STEPS, SEEDS = 20, range(5)


def classifier(image):
    """The small classifier, without dropout."""
    x = mg.max_pool2d(mg.relu(mg.conv2d(image, 32, 3, padding="same", name="conv1")), 2)
    x = mg.max_pool2d(mg.relu(mg.conv2d(x, 64, 3, padding="same", name="conv2")), 2)
    x = mg.relu(mg.conv2d(x, 64, 3, padding="same", name="conv3"))
    x = mg.relu(mg.dense(mg.flatten(x), 128, name="dense1"))
    return mg.dense(x, 10, name="dense2")


def u_net(base, **options):
    return functools.partial(unet, classes=3, base=base, depth=2, **options)


SMALL, WIDE = ((2, 3, 16, 20), (2, 16, 20), 3), ((2, 3, 32, 36), (2, 32, 36), 3)
NETWORKS: dict[str, tuple[Callable, tuple[int, ...], tuple[int, ...], int]] = {
    "unet": (u_net(4), *SMALL),
    "unet-batch-norm": (u_net(4, batch_norm=True), *SMALL),
    "classifier": (classifier, (8, 1, 12, 12), (8,), 10),
    "wide-unet": (u_net(16), *WIDE),  # channels enough for Winograd's algorithm everywhere
}


def batches(network: str, seed: int) -> list[dict[str, np.ndarray]]:
    """Random images with a pattern that can be learned; of pixel labels, some are void."""
    _, image_shape, label_shape, classes = NETWORKS[network]
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(STEPS):
        label = rng.integers(0, classes, label_shape)
        image = rng.standard_normal(image_shape).astype(np.float32)
        image[:, 0] += label if label.ndim == 3 else label[:, None, None] / classes
        if label.ndim == 3:
            label[rng.random(label_shape) < 0.1] = 255
        found.append({"image": image, "label": label.astype(np.int32)})
    return found


@functools.cache
def compiled(network: str, backend: str, dtype: str) -> mg.Executable:
    """A training step that many runs share."""
    model, image, label, _ = NETWORKS[network]

    def loss(image, label):
        return {"loss": mg.softmax_cross_entropy(model(image), label)}

    specs = {"image": (image, dtype), "label": (label, "int32")}
    return mg.compile(loss, specs, optimizer=mg.SGD(0.05), backend=backend, threads=2, seed=0)


@functools.cache
def initial(network: str) -> dict[str, np.ndarray]:
    """The first state, in float32, which all runs can hold."""
    state = compiled(network, "numpy", "float32").state
    return {name: state[name] for name in state}


def losses(network: str, backend: str, dtype: str, seed: int) -> np.ndarray:
    """Of a run from the initial weights in an order of the seed's: as if drawn anew."""
    first = initial(network)
    step, rng = compiled(network, backend, dtype), np.random.default_rng(seed)
    for name, array in first.items():
        step.state[name] = rng.permuted(array.ravel()).reshape(array.shape)
    return np.array([step(**batch)["loss"] for batch in batches(network, seed)])


@pytest.mark.parametrize("network", ["unet", "unet-batch-norm", "classifier"])
def test_drift_is_at_most_three_times_that_of_numpy(network):
    """As NumPy's against torch's in tests/test_training_parity.py: median and mean over seeds."""
    drifts = {"numpy": [], "llvm": []}
    for seed in SEEDS:
        exact = losses(network, "numpy", "float64", seed)
        for backend, found in drifts.items():
            found.append(np.abs(losses(network, backend, "float32", seed) - exact).max())
    assert np.median(drifts["llvm"]) <= 3 * np.median(drifts["numpy"]), drifts
    assert np.mean(drifts["llvm"]) <= 3 * np.mean(drifts["numpy"]), drifts
    assert max(drifts["llvm"]) > 0


@pytest.mark.parametrize("network", NETWORKS)
def test_float64_training_equals_numpys(network):
    expected = losses(network, "numpy", "float64", 0)
    np.testing.assert_allclose(losses(network, "llvm", "float64", 0), expected, rtol=1e-8)


@pytest.mark.parametrize("network", NETWORKS)
def test_the_same_bits_at_any_number_of_threads(network):
    model, image, label, _ = NETWORKS[network]

    def loss(image, label):
        return {"loss": mg.softmax_cross_entropy(model(image), label)}

    states = []
    for threads in (1, 2, 5):
        specs = {"image": (image, "float32"), "label": (label, "int32")}
        step = mg.compile(
            loss, specs, optimizer=mg.Adam(1e-3), backend="llvm", threads=threads, seed=0
        )
        for batch in batches(network, 0)[:4]:
            step(**batch)
        states.append({name: step.state[name] for name in step.state})
    for other in states[1:]:
        for name, array in states[0].items():
            np.testing.assert_array_equal(other[name], array)


@pytest.mark.parametrize("batch_norm", [False, True])
def test_a_short_last_batch_compiles_nothing(batch_norm):
    """Sizes are arguments of kernels, and it takes the algorithms of the whole batches."""

    def loss(image, label):
        return {"loss": mg.softmax_cross_entropy(u_net(16, batch_norm=batch_norm)(image), label)}

    specs = {"image": "float32[8,3,32,36]", "label": "int32[8,32,36]"}
    step = mg.compile(loss, specs, optimizer=mg.Momentum(0.1), backend="llvm")
    library = step.backend.library
    known = len(library)
    for size in (7, 5):
        step(
            image=np.zeros((size, 3, 32, 36), np.float32), label=np.zeros((size, 32, 36), np.int32)
        )
        assert len(library) == known
