"""Spatial ops keep the framework's promises: bits, memory, saved models, refusals."""

from __future__ import annotations

import gc
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minigraph as mg
from minigraph.testing import check_memory

IMAGE = (4, 3, 48, 64)


def everything(image: mg.Tensor) -> dict[str, mg.Tensor]:
    """One training model with every spatial op in it."""
    x = mg.pad(mg.median_filter2d(image, 3), [(0, 0), (0, 0), (2, 2), (1, 3)], mode="reflect")
    x = mg.conv2d(x, 8, 3, padding="same", name="a")
    pooled, positions = mg.max_pool2d_with_positions(x, 2, ceil_mode=True)
    y = mg.max_unpool2d(mg.lp_pool2d(pooled, 2, 3, 1, 1), positions, x.shape[2:])
    y = y + mg.resize(
        mg.avg_pool2d(x, 3, 2, "same", count_include_pad=False), x.shape[2:], mode="bilinear"
    )
    y = y + mg.resize(mg.max_pool2d(x, 2, dilation=2), x.shape[2:])[:, :, ::1]
    y = mg.flip(mg.adaptive_avg_pool2d(mg.bed_of_nails2d(y, 2), 7), 3)
    y = mg.locally_connected2d(y, 5, 3, name="b")
    return {"loss": mg.reduce_mean(mg.unfold2d(y, 3, padding=1) ** 2)}


def step_of(threads: int, dtype: str = "float32") -> Any:
    return mg.compile(
        everything, {"image": (IMAGE, dtype)}, optimizer=mg.Momentum(0.01), threads=threads,
        backend="numpy", seed=1,
    )  # fmt: skip


def images(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(IMAGE).astype(np.float32)


def test_bits_do_not_depend_on_threads() -> None:
    results = []
    for threads in (1, 2, 5):
        step = step_of(threads)
        losses = [step(image=images(seed))["loss"].tobytes() for seed in range(3)]
        results.append((losses, {n: a.tobytes() for n, a in step.state.parameters().items()}))
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_the_memory_plan_is_right(dtype: str) -> None:
    step = step_of(2, dtype)
    check_memory(step.graph, step.compiled.program)


def test_steps_allocate_nothing() -> None:
    step, batch, out = step_of(2), images(), {"loss": np.empty((), np.float32)}
    for _ in range(10):
        step(image=batch, out=out)
    gc.collect()
    tracemalloc.start()
    try:
        step(image=batch, out=out)
        tracemalloc.reset_peak()
        start, _ = tracemalloc.get_traced_memory()
        for _ in range(30):
            step(image=batch, out=out)
        now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak - start < 64 * 1024
    assert now - start < 16 * 1024


def test_a_saved_model_trains_on_with_the_same_bits(tmp_path: Path) -> None:
    step = step_of(2)
    step(image=images())
    step.save(tmp_path / "model.safetensors")
    again = mg.load(tmp_path / "model.safetensors", optimizer=mg.Momentum(0.01), backend="numpy")
    expected, got = step(image=images(1))["loss"], again(image=images(1))["loss"]
    assert expected.tobytes() == got.tobytes()


def saved(path: Path, model: Any) -> Path:
    mg.compile(model, {"x": "float32[2,3,8,8]"}, backend="numpy").save(path / "model")
    return path / "model"


@pytest.mark.parametrize(
    "model",
    [
        lambda x: mg.resize(x, scale=2.5, mode="bilinear"),
        lambda x: mg.adaptive_avg_pool2d(x, 3),
        lambda x: mg.max_pool2d(x, 3, 2, "same_lower", ceil_mode=True),
        lambda x: mg.median_filter2d(x),
        lambda x: mg.bed_of_nails2d(mg.max_pool2d_with_positions(x, 2)[0], 2),
    ],
)
def test_relative_ops_replay_at_any_shape(tmp_path: Path, model: Any) -> None:
    loaded = mg.load(saved(tmp_path, model), backend="numpy")
    for shape in ((1, 3, 13, 9), (3, 3, 8, 20)):
        x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
        fresh = mg.compile(model, {"x": (shape, "float32")}, backend="numpy")
        np.testing.assert_array_equal(loaded(x=x)["output"], fresh(x=x)["output"])


def enlarged(x: mg.Tensor) -> mg.Tensor:
    y, positions = mg.max_pool2d_with_positions(x, 2)
    return mg.max_unpool2d(y, positions, (9, 9))  # not the size of what was pooled


@pytest.mark.parametrize("model", [enlarged, lambda x: mg.resize(x, (5, 12))])
def test_sizes_hold_for_any_batch_but_for_no_other_image(tmp_path: Path, model: Any) -> None:
    loaded = mg.load(saved(tmp_path, model), backend="numpy")
    x = np.random.default_rng(0).standard_normal((5, 3, 8, 8)).astype(np.float32)
    fresh = mg.compile(model, {"x": "float32[5,3,8,8]"}, backend="numpy")
    np.testing.assert_array_equal(loaded(x=x)["output"], fresh(x=x)["output"])
    with pytest.raises(mg.MinigraphError, match=r"to work at any shape, got .*size="):
        loaded(x=x[:, :, :6, :6])


def test_an_illegal_position_is_refused_and_changes_nothing() -> None:
    def model(x: mg.Tensor, positions: mg.Tensor) -> dict[str, mg.Tensor]:
        y = mg.max_unpool2d(mg.conv2d(x, 1, 1, name="a"), positions, (4, 4))
        return {"loss": mg.reduce_sum(y * y)}

    step = mg.compile(
        model, {"x": "float32[1,1,2,2]", "positions": "int64[1,1,2,2]"}, optimizer=mg.SGD(0.1),
        backend="numpy",
    )  # fmt: skip
    before = step.state["a.weight"]
    x = np.ones((1, 1, 2, 2), np.float32)
    for wrong in (-1, 16):
        with pytest.raises(mg.InputError, match=rf"4x4 image, got {wrong}\n.*Unpool"):
            step(x=x, positions=np.array([[[[0, 1], [2, wrong]]]]))
        np.testing.assert_array_equal(step.state["a.weight"], before)
    step(x=x, positions=np.array([[[[0, 1], [2, 15]]]]))
    assert step.state["a.weight"] != before


def test_not_a_number_wins_and_stays_where_it_is() -> None:
    x = np.zeros((1, 1, 4, 4), np.float32)
    x[0, 0, 0, 1] = np.nan

    def model(x: mg.Tensor) -> dict[str, mg.Tensor]:
        y, positions = mg.max_pool2d_with_positions(x, 2, padding=1)
        return {"y": y, "positions": positions, "median": mg.median_filter2d(x)}

    results = mg.compile(model, {"x": (x.shape, "float32")}, backend="numpy")(x=x)
    expected = np.zeros((3, 3), bool)
    expected[0, 1] = True
    np.testing.assert_array_equal(np.isnan(results["y"][0, 0]), expected)
    assert 0 <= results["positions"].min() <= results["positions"].max() < 16
    assert np.isnan(results["median"][0, 0, :2, :3]).all()
    assert not np.isnan(results["median"][0, 0, 2:]).any()


@pytest.mark.parametrize("power", [1, 2, 3])
def test_lp_pooling_keeps_not_a_number(power: int) -> None:
    x = np.zeros((1, 1, 2, 4))
    x[0, 0, 1, 1] = np.nan
    y = mg.compile(lambda x: mg.lp_pool2d(x, power, 2), {"x": ((1, 1, 2, 4), "float64")})(x=x)
    np.testing.assert_array_equal(y["output"], [[[[np.nan, 0.0]]]])


def test_positions_of_wide_windows() -> None:
    """Against a plain loop; four windows a row: NumPy's in-place negation fails at that stride."""
    x = np.random.default_rng(0).permutation(4 * 20 * 20).reshape(1, 4, 20, 20).astype(np.float32)

    def model(x: Any) -> Any:
        pooled = mg.max_pool2d_with_positions(x, 17, 5, padding=8)
        return dict(zip(("y", "p"), pooled, strict=True))

    got = mg.compile(model, {"x": "float32[1,4,20,20]"}, backend="numpy")(x=x)
    assert got["y"].shape == (1, 4, 4, 4)
    for channel, row, column in np.ndindex(4, 4, 4):
        top, left = max(row * 5 - 8, 0), max(column * 5 - 8, 0)
        window = x[0, channel, top : row * 5 + 9, left : column * 5 + 9]
        i, j = np.unravel_index(window.argmax(), window.shape)
        assert got["y"][0, channel, row, column] == window.max()
        assert got["p"][0, channel, row, column] == (top + i) * 20 + left + j
