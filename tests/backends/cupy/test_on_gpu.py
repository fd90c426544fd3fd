"""The backend on a real GPU: every row of the op table, gradients, and training.

``python -m benchmarks.gpu_check`` runs these and keeps a record.
"""

from __future__ import annotations

import functools
from functools import cache

import numpy as np
import pytest
from op_table import Differentiated, Row, compile_forward, feed, run
from test_ops import assert_close, rows

import minigraph as mg
from minigraph.backend import Backend, Refused, load_backend
from minigraph.backends.cupy import CupyBackend
from minigraph.models.unet import unet

pytestmark = pytest.mark.gpu
_AVAILABLE = CupyBackend.available()
if isinstance(_AVAILABLE, Refused):  # one skip for thousands of tests
    pytest.skip(_AVAILABLE.reason, allow_module_level=True)

STEPS, SEEDS = 50, range(3)
BOUNDS = {"float64": 2e-13, "float16": 2.0**-11, "bfloat16": 2.0**-8}


@cache
def gpu() -> Backend:
    return load_backend("cupy", float32="strict")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@rows()
def test_op_row(row: Row, dtype: str) -> None:
    bound = row.tolerance32 if dtype == "float32" else BOUNDS[dtype]
    check(row, dtype, 0.0 if row.exact and (row.floating or dtype == "float64") else bound)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@rows("half", "floating")
def test_op_row_16_bit(row: Row, dtype: str) -> None:
    check(row, dtype, row.half_steps * BOUNDS[dtype])


def check(row: Row, dtype: str, bound: float) -> None:
    """The first call, and the second, which replays the graph: the same bits, near the expected."""
    executable = compile_forward(row, dtype, backend=gpu())
    arrays = feed(row.draw(dtype))
    first, second = run(executable, arrays), run(executable, arrays)
    references = row.expected(row.draw(dtype))
    for got, again, reference in zip(first.values(), second.values(), references, strict=True):
        np.testing.assert_array_equal(got, again)
        if reference.dtype.kind == "f":
            assert_close(got, reference, bound)
        else:
            np.testing.assert_array_equal(got, reference)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@rows("gradient", "floating")
def test_op_gradient(row: Row, dtype: str) -> None:
    found = Differentiated(row, dtype)
    expected = run(found.first(), found.arrays)
    got = run(found.first(gpu()), found.arrays)
    bound = 10 * row.tolerance32 if dtype == "float32" else BOUNDS[dtype]
    for name, reference in expected.items():
        assert_close(got[name], reference, bound)


def classifier(image):
    x = mg.max_pool2d(mg.relu(mg.conv2d(image, 32, 3, padding="same", name="conv1")), 2)
    x = mg.max_pool2d(mg.relu(mg.conv2d(x, 64, 3, padding="same", name="conv2")), 2)
    x = mg.relu(mg.conv2d(x, 64, 3, padding="same", name="conv3"))
    return mg.dense(mg.relu(mg.dense(mg.flatten(x), 128, name="dense1")), 10, name="dense2")


NETWORKS = {
    "unet": (functools.partial(unet, classes=3, base=16, depth=2), (2, 3, 32, 36), (2, 32, 36), 3),
    "classifier": (classifier, (8, 1, 12, 12), (8,), 10),
}


def losses(network: str, backend: str | Backend, dtype: str, seed: int) -> np.ndarray:
    """Of training steps from the same weights on the same batches; some pixels are void."""
    model, image_shape, label_shape, classes = NETWORKS[network]

    def loss(image, label):
        return {"loss": mg.softmax_cross_entropy(model(image), label)}

    def step_on(backend, dtype):
        specs = {"image": (image_shape, dtype), "label": (label_shape, "int32")}
        return mg.compile(loss, specs, optimizer=mg.SGD(0.05), backend=backend, seed=seed)

    step, start = step_on(backend, dtype), step_on("numpy", "float32")
    for name in start.state:
        step.state[name] = start.state[name]
    rng, found = np.random.default_rng(seed), []
    for _ in range(STEPS):
        label = rng.integers(0, classes, label_shape)
        image = rng.standard_normal(image_shape).astype(np.float32)
        image[:, 0] += label if label.ndim == 3 else label[:, None, None] / classes
        if label.ndim == 3:
            label[rng.random(label_shape) < 0.1] = 255
        found.append(step(image=image, label=label.astype(np.int32))["loss"])
    return np.array(found)


@pytest.mark.parametrize("network", NETWORKS)
def test_training_drifts_at_most_three_times_as_far_as_on_numpy(network: str) -> None:
    """From float64, in the median and the mean over seeds: as on the other backends."""
    drifts: dict[str, list[float]] = {"numpy": [], "cupy": []}
    for seed in SEEDS:
        exact = losses(network, "numpy", "float64", seed)
        for name, backend in (("numpy", "numpy"), ("cupy", gpu())):
            drifts[name].append(np.abs(losses(network, backend, "float32", seed) - exact).max())
    assert np.median(drifts["cupy"]) <= 3 * np.median(drifts["numpy"]), drifts
    assert np.mean(drifts["cupy"]) <= 3 * np.mean(drifts["numpy"]), drifts


@pytest.mark.parametrize("network", NETWORKS)
def test_training_gives_the_same_bits_again(network: str) -> None:
    first, second = (losses(network, gpu(), "float32", 0) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_steps_are_replayed_as_a_graph(caplog: pytest.LogCaptureFixture) -> None:
    """Else they are launched one by one, which a warning says."""
    model, image_shape, _, _ = NETWORKS["classifier"]
    specs = {"image": (image_shape, "float32")}
    step = mg.compile(lambda image: {"scores": model(image)}, specs, backend=gpu())
    image = np.ones(image_shape, np.float32)
    with caplog.at_level("WARNING", "minigraph"):
        for _ in range(2):
            step(image=image)
    assert "one by one" not in caplog.text


def test_plans_of_cudnn_that_were_kept_give_the_same_bits(tmp_path, monkeypatch) -> None:
    """As another process has them: restored from their bytes, not built."""
    monkeypatch.setenv("MINIGRAPH_CACHE", str(tmp_path))
    if load_backend("cupy").cudnn is None:  # type: ignore[attr-defined]
        pytest.skip("no cuDNN")
    first, second = (losses("unet", load_backend("cupy"), "float32", 0) for _ in range(2))
    assert list(tmp_path.glob("tuning/*/*.plan"))
    np.testing.assert_array_equal(first, second)


def residual(image):
    """Convolutions that are fused with what follows them, and so are their gradients."""
    x = mg.relu(mg.conv2d(image, 32, 3, padding="same", name="first"))
    x = mg.relu(mg.conv2d(x, 32, 1, name="second") + x)
    x = mg.relu(mg.conv2d(x, 32, 3, padding="same", name="third") + x)
    x = mg.relu(mg.conv_transpose2d(x, 16, 2, stride=2, name="up"))
    return mg.conv2d(x, 4, 1, name="head")


def test_training_of_fused_convolutions_in_16_bit() -> None:
    rng = np.random.default_rng(0)
    label = rng.integers(0, 4, (4, 32, 32)).astype(np.int32)
    image = rng.standard_normal((4, 8, 16, 16)).astype(np.float32)
    image[:, :4] += 3 * np.eye(4)[label[:, ::2, ::2]].transpose(0, 3, 1, 2)
    label[:, 1::2] = label[:, ::2]
    label[:, :, 1::2] = label[:, :, ::2]

    def model(image, label):
        return {"loss": mg.softmax_cross_entropy(residual(image), label)}

    specs = {"image": "float32[4,8,16,16]", "label": "int32[4,32,32]"}
    starts = []
    for precision in ("float32", "bfloat16", "float16"):
        optimizer = mg.Momentum(0.02, 0.9)
        step = mg.compile(model, specs, optimizer=optimizer, backend=gpu(), precision=precision)
        taken = [float(step(image=image, label=label)["loss"]) for _ in range(40)]
        assert np.isfinite(taken).all() and taken[-1] < 0.4 * taken[0], (precision, taken)
        starts.append(taken[0])
    assert max(starts) - min(starts) < 0.02 * max(starts)


def test_device_runs_out_of_memory_with_an_error_that_says_how_much_there_is() -> None:
    device = gpu().device  # type: ignore[attr-defined]
    with pytest.raises(mg.MemoryLimitError, match="bytes of memory on"):
        device.allocate(2 * device.info.total_bytes)
