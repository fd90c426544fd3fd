"""Exported models against onnxruntime, and what comes back through import."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import minigraph as mg
from minigraph.ir.errors import UnsupportedError
from minigraph.models.fcn import fcn8s
from minigraph.models.lenet import lenet
from minigraph.models.resnet import resnet
from minigraph.models.segnet import segnet
from minigraph.models.small_classifier import small_classifier
from minigraph.models.unet import unet

onnx = pytest.importorskip("onnx", reason="needs onnx: pip install 'minigraph[onnx]'")
runtime = pytest.importorskip("onnxruntime", reason="needs onnxruntime to compare with")

import minigraph.onnx  # noqa: E402

NETWORKS: dict[str, tuple[Callable, str]] = {
    "lenet": (lenet, "float32[3,1,28,28]"),
    "small_classifier": (small_classifier, "float32[3,1,28,28]"),
    "unet": (lambda image: unet(image, 5, base=4, depth=2), "float32[2,3,32,48]"),
    "unet_batch_norm": (
        lambda image: unet(image, 5, base=4, depth=2, batch_norm=True), "float32[2,3,32,48]",
    ),
    "fcn8s": (lambda image: fcn8s(image, 5, base=4), "float32[2,3,64,96]"),
    "segnet": (lambda image: segnet(image, 5, base=4), "float32[2,3,32,64]"),
    "resnet18": (lambda image: resnet(image, 5, 18, base=4), "float32[2,3,64,64]"),
}  # fmt: skip
"""Networks of images to logits, by name, and what they take."""


def compiled(function: Callable, spec: str) -> mg.Executable:
    executable = mg.compile(lambda x: {"y": function(x)}, {"x": spec}, threads=1)
    generator = np.random.default_rng(0)
    for name in executable.state:  # statistics and biases that are neither 0 nor 1
        values = executable.state[name]
        if values.ndim == 1 and values.dtype.kind == "f":
            executable.state[name] = generator.uniform(0.5, 1.5, values.shape)
    return executable


def noise(spec: str, seed: int = 0) -> np.ndarray:
    parsed = mg.TensorSpec.of(spec)
    return np.random.default_rng(seed).normal(size=parsed.shape).astype(parsed.dtype.numpy)


def run_elsewhere(path: Path, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, inputs)


def assert_close(got: np.ndarray, expected: np.ndarray, tolerance: float = 1e-4) -> None:
    assert got.shape == expected.shape and got.dtype == expected.dtype
    scale = np.abs(expected).max(initial=1e-6)
    np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance * scale)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_gives_the_same_elsewhere_and_after_import(name, tmp_path):
    function, spec = NETWORKS[name]
    executable, image = compiled(function, spec), noise(spec)
    expected = executable(x=image)["y"]
    path = tmp_path / "model.onnx"
    minigraph.onnx.save(executable, path)
    assert_close(run_elsewhere(path, {"x": image})[0], expected)
    back = minigraph.onnx.load(path).compile(threads=1)
    np.testing.assert_array_equal(back(x=image)["y"], expected)
    for parameter, values in executable.state.parameters().items():
        np.testing.assert_array_equal(back.state[parameter], values)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_batch_size_may_be_any(name, tmp_path):
    function, spec = NETWORKS[name]
    executable = compiled(function, spec)
    path = tmp_path / "model.onnx"
    minigraph.onnx.save(executable, path, batch="N")
    shape = (5, *mg.TensorSpec.of(spec).shape[1:])
    image = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    expected = executable(x=image)["y"]
    assert_close(run_elsewhere(path, {"x": image})[0], expected)
    model = minigraph.onnx.load(path)
    assert model.inputs["x"][0] == ("N", *shape[1:])
    assert_close(model.compile(model.specs(N=5), threads=1)(x=image)["y"], expected, 1e-6)


def image_ops() -> dict[str, Callable]:
    """Functions of one image tensor, each of an op's own way into ONNX."""
    return {
        "activations": lambda x: mg.elu(x) + mg.selu(x) + mg.gelu(x) + mg.gelu(x, "tanh")
        + mg.softplus(x, 2.0) + mg.silu(x) + mg.hard_swish(x) + mg.mish(x) + mg.relu6(x),
        "elementary": lambda x: mg.erf(x) + mg.sin(x) * mg.cos(x) + mg.floor(x) - mg.ceil(x)
        + mg.round(x) + mg.power(mg.absolute(x) + 1.0, 1.7) + mg.clip(x, -0.5) + mg.sign(x),
        "choice": lambda x: mg.where(mg.not_equal(mg.round(x), 0.0), x, mg.maximum(x, 0.1)),
        "logic": lambda x: mg.cast(
            mg.logical_or(x > 0.5, mg.logical_and(x < 0.0, mg.logical_not(x <= -0.5))), "float32"
        ),
        "max_pool": lambda x: mg.max_pool2d(x, 3, 2, "same"),
        "max_pool_lower": lambda x: mg.max_pool2d(x, (3, 2), 2, "same_lower"),
        "max_pool_ceil": lambda x: mg.max_pool2d(x, 3, 2, 1, ceil_mode=True),
        "avg_pool": lambda x: mg.avg_pool2d(x, 3, 2, 1),
        "avg_pool_inside": lambda x: mg.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
        "sum_pool": lambda x: mg.avg_pool2d(x, 3, 2, 1, divisor_override=1),
        "lp_pool": lambda x: mg.lp_pool2d(x, 2, 2),
        "unpool": lambda x: mg.max_unpool2d(*mg.max_pool2d_with_positions(x, 2), x.shape[2:]),
        "nails": lambda x: mg.bed_of_nails2d(x, (2, 3)),
        "nearest": lambda x: mg.resize(x, (5, 17)),
        "bilinear": lambda x: mg.resize(x, scale=2, mode="bilinear"),
        "corners": lambda x: mg.resize(x, (13, 7), mode="bilinear", coordinates="align_corners"),
        "adaptive": lambda x: mg.adaptive_avg_pool2d(x, (3, 4)),
        "reflect": lambda x: mg.pad(x, [(0, 0), (0, 0), (1, 2), (3, 0)], mode="reflect"),
        "replicate": lambda x: mg.pad(x, [(0, 0), (0, 0), (1, 2), (3, 0)], mode="replicate"),
        "circular": lambda x: mg.pad(x, [(0, 0), (0, 0), (1, 2), (3, 0)], mode="circular"),
        "constant_pad": lambda x: mg.pad(x, [(0, 0), (0, 1), (1, 2), (-1, 0)], 2.0),
        "slices": lambda x: x[:, ::2, 1:-1, 3],
        "flip": lambda x: mg.flip(x, (2, 3)),
        "shapes": lambda x: mg.transpose(mg.expand_dims(mg.reshape(x, (0 or -1, 4, 99)), 1)),
        "split": lambda x: mg.concat(mg.split(x, [1, 3])[::-1]),
        "gather": lambda x: mg.gather(x, np.array([2, 0, 2]), 1),
        "one_hot": lambda x: mg.one_hot(mg.argmax(x), 3),
        "take": lambda x: mg.take_along_axis(x, mg.argmin(x, 1, keepdims=True), 1),
        "reductions": lambda x: mg.reduce_max(x, 1) + mg.reduce_min(x, 1) * mg.reduce_mean(x)
        + mg.reduce_sum(x, (1,)) + mg.variance(x, 1),
        "cumsum": lambda x: mg.cumsum(x, 2, reverse=True),
        "softmax": lambda x: mg.softmax(x) + mg.log_softmax(x, 3),
        "norms": lambda x: mg.group_norm(x, 2, name="g") + mg.instance_norm(x, name="i")
        + mg.layer_norm(x, (1, 2, 3), name="l") + mg.local_response_norm(x, 3),
        "conv": lambda x: mg.conv2d(x, 6, (3, 2), stride=2, padding="same", groups=2),
        "transposed": lambda x: mg.conv_transpose2d(x, 6, 3, stride=2, padding=1, output_padding=1),
        "conv1d": lambda x: mg.conv1d(mg.reshape(x, (-1, 4, 99)), 3, 5, padding=2, dilation=2),
        "matmul": lambda x: mg.matmul(x, mg.transpose(x, (0, 1, 3, 2))),
        "prelu": lambda x: mg.prelu(x) + mg.leaky_relu(x, 0.2),
        "dropout": lambda x: mg.dropout(x, 0.5),
    }  # fmt: skip


@pytest.mark.parametrize("name", image_ops())
def test_an_op_gives_the_same_elsewhere_and_after_import(name, tmp_path):
    spec = "float32[2,4,9,11]"
    executable, image = compiled(image_ops()[name], spec), noise(spec)
    expected = executable(x=image)["y"]
    path = tmp_path / "model.onnx"
    minigraph.onnx.save(executable, path)
    assert_close(run_elsewhere(path, {"x": image})[0], expected)
    assert_close(minigraph.onnx.load(path).compile(threads=1)(x=image)["y"], expected, 1e-5)


def test_a_training_step_is_exported_for_inference(tmp_path):
    def model(image, label):
        logits = small_classifier(image)
        return {"loss": mg.softmax_cross_entropy(logits, label), "class": mg.argmax(logits)}

    specs = {"image": "float32[4,1,28,28]", "label": "int32[4]"}
    step = mg.compile(model, specs, optimizer=mg.SGD(0.1), threads=1)
    image = noise("float32[4,1,28,28]")
    step(image=image, label=np.arange(4, dtype=np.int32))
    path = tmp_path / "model.onnx"
    minigraph.onnx.save(step, path, outputs=["class"])
    expected = mg.compile(model, specs, state=step.state, outputs=["class"])(image=image)["class"]
    np.testing.assert_array_equal(run_elsewhere(path, {"image": image})[0], expected)
    with pytest.raises(UnsupportedError, match=r"CrossEntropy 'cross_entropy'.*outputs=\["):
        minigraph.onnx.save(step, tmp_path / "other.onnx")
    assert not (tmp_path / "other.onnx").exists()


def test_a_batch_size_that_is_part_of_the_model_is_named(tmp_path):
    executable = mg.compile(
        lambda x: {"y": mg.reshape(x, (2 * x.shape[0], 3))}, {"x": "float32[4,6]"}
    )
    minigraph.onnx.save(executable, tmp_path / "model.onnx")
    with pytest.raises(UnsupportedError, match="reshape/Reshape"):
        minigraph.onnx.save(executable, tmp_path / "model.onnx", batch="N")


@pytest.mark.parametrize("dtype", ["float16", "float64", "int32", "int64", "uint8", "bool"])
def test_dtypes_survive(dtype, tmp_path):
    executable = mg.compile(
        lambda x: {"y": mg.transpose(x), "f": mg.cast(x, "float32")}, {"x": f"{dtype}[2,3]"}
    )
    x = np.array([[0, 1, 2], [3, 4, 5]]).astype(dtype)
    path = tmp_path / "model.onnx"
    minigraph.onnx.save(executable, path)
    for got in (
        run_elsewhere(path, {"x": x}),
        list(minigraph.onnx.load(path).compile()(x=x).values()),
    ):
        assert got[0].dtype == np.dtype(dtype)
        np.testing.assert_array_equal(got[0], x.T)
        np.testing.assert_array_equal(got[1], x.astype(np.float32))
