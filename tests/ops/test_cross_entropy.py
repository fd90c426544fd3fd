"""Cross-entropy at its edges: void, illegal labels, extreme logits. Values are in the op table."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minigraph as mg
from minigraph import Tensor
from minigraph.initializers import Constant

PIXELS = {"x": "float64[2,3,4,5]", "t": "int32[2,4,5]"}


def with_gradient(reduction: str = "mean", **options: Any) -> Any:
    def model(x: Tensor, t: Tensor) -> dict[str, Tensor]:
        loss = mg.softmax_cross_entropy(x, t, reduction=reduction, **options)
        return {"loss": loss, "gx": mg.gradients(loss, [x])[0]}

    return model


def pixels(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((2, 3, 4, 5)), rng.integers(0, 3, (2, 4, 5)).astype(np.int32)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_all_void_gives_zero_and_no_gradient(reduction: str) -> None:
    exe = mg.compile(with_gradient(reduction), PIXELS, backend="numpy")
    result = exe(x=pixels()[0], t=np.full((2, 4, 5), 255))
    assert result["loss"] == 0.0
    assert not result["gx"].any()


def test_void_pixels_count_nowhere_whatever_their_logits() -> None:
    x, t = pixels()
    exe = mg.compile(with_gradient(), PIXELS, backend="numpy")
    t[0, 1], t[1, 3, 2] = 255, 255
    void = np.broadcast_to((t == 255)[:, None], x.shape)
    clean = exe(x=x, t=t)
    dirty = exe(x=np.where(void, np.inf, x), t=t)
    assert dirty["loss"] == clean["loss"]
    np.testing.assert_array_equal(dirty["gx"], clean["gx"])
    assert not clean["gx"][void].any()
    assert clean["gx"][~void].all()


def test_mean_divides_by_the_valid_positions() -> None:
    x, t = pixels()
    t[0] = 255
    total = mg.compile(with_gradient("sum"), PIXELS, backend="numpy")(x=x, t=t)
    mean = mg.compile(with_gradient("mean"), PIXELS, backend="numpy")(x=x, t=t)
    np.testing.assert_allclose(mean["loss"], total["loss"] / 20, rtol=1e-14)
    np.testing.assert_allclose(mean["gx"], total["gx"] / 20, rtol=1e-13)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_huge_logits_stay_finite(dtype: str) -> None:
    specs = {"x": f"{dtype}[2,3]", "t": "int32[2]"}
    x = np.array([[6e4, -6e4, 0.0], [-6e4, 6e4, 6e4]], dtype)
    exe = mg.compile(with_gradient("sum"), specs, backend="numpy")
    right, wrong = exe(x=x, t=np.array([0, 2])), exe(x=x, t=np.array([1, 2]))
    np.testing.assert_allclose(right["loss"], np.log(2), rtol=1e-6)
    np.testing.assert_allclose(right["gx"], [[0, 0, 0], [0, 0.5, -0.5]], atol=1e-6)
    np.testing.assert_allclose(wrong["loss"], 2 * float(x[0, 0]) + np.log(2), rtol=1e-6)
    np.testing.assert_allclose(wrong["gx"][0], [1, -1, 0], atol=1e-6)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_16_bit_loss_is_a_float32(dtype: str) -> None:
    exe = mg.compile(with_gradient(), {"x": f"{dtype}[2,3]", "t": "int32[2]"}, backend="numpy")
    assert exe.outputs["loss"].dtype is mg.DType.FLOAT32
    assert exe.outputs["gx"].dtype is mg.DType.of(dtype)


# ---- illegal labels


@pytest.mark.parametrize(
    ("options", "label", "says"),
    [
        ({}, 3, "or void 255, got 3"),
        ({}, -1, "or void 255, got -1"),
        ({}, 2**31 - 1, "got 2147483647"),
        ({"void_label": -1}, 255, "or void -1, got 255"),
        ({"void_label": None}, 255, "there is no void label, got 255"),
    ],
)
def test_an_illegal_label_is_named_with_its_place(options: Any, label: int, says: str) -> None:
    x, t = pixels()
    t[1, 2, 3] = label
    exe = mg.compile(with_gradient(**options), PIXELS, backend="numpy")
    with pytest.raises(mg.IllegalLabelError) as caught:
        exe(x=x, t=t)
    first = str(caught.value).splitlines()[0]
    assert first.startswith("Expected a label in [0, 3), ")
    assert f"{says} in image 1 at [2, 3] of the batch" in first
    assert __file__ in str(caught.value)


def test_the_first_of_several_is_named_and_of_classes_the_image_alone() -> None:
    specs = {"x": "float64[4,3]", "t": "uint8[4]"}
    exe = mg.compile(with_gradient(), specs, backend="numpy")
    with pytest.raises(mg.IllegalLabelError, match=r"got 9 in image 2 of the batch"):
        exe(x=np.zeros((4, 3)), t=np.array([0, 255, 9, 8], np.uint8))


def test_in_a_later_chunk_of_images_too() -> None:
    specs = {"x": "float32[6,2,200,200]", "t": "int32[6,200,200]"}
    t = np.zeros((6, 200, 200), np.int32)
    t[5, 199, 0] = 7
    exe = mg.compile(with_gradient(), specs, backend="numpy")
    with pytest.raises(mg.IllegalLabelError, match=r"got 7 in image 5 at \[199, 0\]"):
        exe(x=np.zeros((6, 2, 200, 200), np.float32), t=t)


def test_a_refused_step_changes_no_state() -> None:
    def model(x: Tensor, t: Tensor) -> dict[str, Tensor]:
        y = mg.dropout(mg.batch_norm(mg.dense(x, 3, name="dense"), name="norm"))
        return {"loss": mg.softmax_cross_entropy(y, t)}

    specs = {"x": "float32[4,2]", "t": "int32[4]"}
    step = mg.compile(model, specs, optimizer=mg.Adam(0.1), backend="numpy")
    x = np.random.default_rng(0).standard_normal((4, 2)).astype(np.float32)
    step(x=x, t=np.array([0, 1, 2, 255]))
    before = {name: step.state[name] for name in step.state}
    with pytest.raises(mg.IllegalLabelError, match="no state was changed"):
        step(x=x, t=np.array([0, 1, 2, 3]))
    for name, array in before.items():
        np.testing.assert_array_equal(step.state[name], array)


def test_255_is_a_class_where_void_is_another() -> None:
    for void in (None, 256, -1):
        specs = {"x": "float64[2,256]", "t": "uint8[2]"}
        exe = mg.compile(with_gradient(void_label=void), specs, backend="numpy")
        result = exe(x=np.zeros((2, 256)), t=np.array([255, 0], np.uint8))
        np.testing.assert_allclose(result["loss"], np.log(256), rtol=1e-14)


def test_class_weights_get_no_gradient() -> None:
    def model(x: Tensor, t: Tensor) -> dict[str, Tensor]:
        w = mg.parameter(x, "w", (3,), Constant(2.0))
        loss = mg.softmax_cross_entropy(x, t, class_weights=w, reduction="sum")
        return {"loss": loss, "gw": mg.gradients(loss, [w])[0]}

    specs = {"x": "float64[2,3]", "t": "int32[2]"}
    result = mg.compile(model, specs, backend="numpy")(x=np.zeros((2, 3)), t=np.array([0, 1]))
    np.testing.assert_allclose(result["loss"], 4 * np.log(3), rtol=1e-14)
    assert not result["gw"].any()
