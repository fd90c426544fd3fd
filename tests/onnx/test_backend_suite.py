"""ONNX's own backend test suite; all of it with ``pytest -m slow``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="needs onnx: pip install 'minigraph[onnx]'")

from onnx import numpy_helper  # noqa: E402
from onnx.backend.test.loader import load_model_tests  # noqa: E402
from onnx.backend.test.runner import Runner  # noqa: E402

from minigraph.ir.errors import MinigraphError  # noqa: E402
from minigraph.onnx.backend import MinigraphBackend  # noqa: E402
from minigraph.onnx.coverage import LEFT_OUT_OPS, left_out  # noqa: E402
from minigraph.onnx.operators.table import CONVERTERS  # noqa: E402
from minigraph.onnx.suite import cases, run  # noqa: E402

REQUIRED = """
    Conv ConvTranspose MaxPool AveragePool GlobalAveragePool GlobalMaxPool LpPool MaxUnpool
    BatchNormalization InstanceNormalization GroupNormalization LRN Softmax LogSoftmax
    SoftmaxCrossEntropyLoss NegativeLogLikelihoodLoss Dropout Relu LeakyRelu PRelu Elu Selu Gelu
    Sigmoid Tanh Softplus HardSwish Add Sub Mul Div Pow Sqrt Exp Log Abs Erf Sign Clip Where Equal
    Less Greater Resize Pad Concat Split Slice Gather Reshape Flatten Transpose Expand Squeeze
    Unsqueeze Gemm MatMul ReduceSum ReduceMean ReduceMax ReduceMin ArgMax Cast
"""


def files(folder: str, kind: str) -> list[np.ndarray]:
    tensors = []
    for number in range(len(list(Path(folder).glob(f"{kind}_*.pb")))):
        data = (Path(folder) / f"{kind}_{number}.pb").read_bytes()
        tensors.append(numpy_helper.to_array(onnx.TensorProto.FromString(data)))
    return tensors


SMALL = [
    pytest.param(case, id=f"{kind}-{case.name}")
    for kind in ("simple", "pytorch-converted", "pytorch-operator")
    for case in load_model_tests(kind=kind)
]


@pytest.mark.parametrize("case", SMALL)
def test_models_of_the_suite(case):
    """Whole models, most of them exported by early versions of torch (opset 6)."""
    model = onnx.load(f"{case.model_dir}/model.onnx")
    reason = left_out(case.name, model)
    if reason is not None:
        with pytest.raises(MinigraphError):
            MinigraphBackend.prepare(model)
        return
    folder = f"{case.model_dir}/test_data_set_0"
    got = MinigraphBackend.prepare(model, threads=1).run(files(folder, "input"))
    Runner.assert_similar_outputs(files(folder, "output"), got, case.rtol, case.atol)


@pytest.mark.slow
def test_the_whole_suite():
    """Under onnx.backend.test.BackendTest; what is left out must be refused, too."""
    report = run()
    assert not report.failed, report
    assert len(report.passed) > 1350, report


@pytest.mark.slow
def test_why_cases_of_the_required_ops_are_left_out():
    """Dtypes that we lack, strings, random numbers, disputes, and parts of Resize: no others."""
    required = {*REQUIRED.split(), "Adagrad", "Momentum", "Adam"}
    reasons = {}
    for name, model in cases(kinds=("node",)):
        ops = {node.op_type for node in model.graph.node}
        reason = left_out(name, model)
        if ops <= required and reason is not None:
            reasons[name] = reason
    other = {name for name, why in reasons.items() if not why.startswith(("no dtype", "disputed"))}
    assert {name for name in other if "resize" not in name} == {
        "test_training_dropout", "test_training_dropout_mask", "test_training_dropout_default",
        "test_training_dropout_default_mask",
    }  # fmt: skip
    assert {reasons[name] for name in other if "resize" in name} == {
        "no cubic interpolation", "no antialiasing", "no crop with a resize: Slice before Resize"
    }  # fmt: skip
    disputed = {name for name, why in reasons.items() if why.startswith("disputed")}
    assert disputed == {
        "test_maxunpool_export_with_output_shape",
        "test_resize_downsample_scales_linear_align_corners",
    }


def test_no_op_is_both_supported_and_left_out():
    supported = {name for table in CONVERTERS.values() for name in table}
    named = [name for names in LEFT_OUT_OPS.values() for name in names]
    assert not supported & {*named}
    assert len(named) == len({*named})
    assert supported >= {*REQUIRED.split(), "Adagrad", "Momentum", "Adam"}


def test_a_single_node():
    node = onnx.helper.make_node("Clip", ["x", "", "high"], ["y"])
    x, high = np.array([-1.0, 2.0, np.nan], np.float32), np.array(1.5, np.float32)
    (y,) = MinigraphBackend.run_node(node, [x, high])
    np.testing.assert_array_equal(y, np.array([-1.0, 1.5, np.nan], np.float32))
    assert MinigraphBackend.supports_device("CPU")
    assert not MinigraphBackend.supports_device("CUDA")


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_integers_are_divided_exactly(dtype):
    generator, limits = np.random.default_rng(0), np.iinfo(dtype)
    a = generator.integers(limits.min, limits.max, 4000, dtype)
    b = np.where(np.arange(4000) % 2, generator.integers(-40, 40, 4000), a[::-1]).astype(dtype)
    a[:4], b[:4] = [limits.max, limits.max, limits.min + 1, limits.max - 1], [1, -1, 3, limits.max]
    b[b == 0] = 7
    signs = np.where((a < 0) == (b < 0), 1, -1)
    quotient = [
        abs(int(x)) // abs(int(y)) * s for x, y, s in zip(a, b, signs.tolist(), strict=True)
    ]
    make = onnx.helper.make_node
    for node, expected in (
        (make("Div", ["a", "b"], ["y"]), np.array(quotient, dtype)),
        (make("Mod", ["a", "b"], ["y"]), np.mod(a, b)),
        (make("Mod", ["a", "b"], ["y"], fmod=1), np.fmod(a, b)),
    ):
        np.testing.assert_array_equal(MinigraphBackend.run_node(node, [a, b])[0], expected)


def test_volumes_are_convolved_as_by_torch():
    torch = pytest.importorskip("torch", reason="needs torch to compare with")
    generator = np.random.default_rng(0)
    x = generator.normal(size=(2, 4, 6, 7, 5)).astype(np.float32)
    options = {"strides": [2, 1, 3], "dilations": [1, 2, 1], "group": 2}
    plain = {"stride": (2, 1, 3), "dilation": (1, 2, 1), "groups": 2}
    w = generator.normal(size=(6, 2, 3, 2, 3)).astype(np.float32)
    node = onnx.helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 0, 2, 1, 0, 2], **options)
    expected = torch.nn.functional.conv3d(
        torch.tensor(x), torch.tensor(w), padding=(1, 0, 2), **plain
    )
    got = MinigraphBackend.run_node(node, [x, w])[0]
    np.testing.assert_allclose(got, expected.numpy(), rtol=1e-4, atol=1e-4)
    w = generator.normal(size=(4, 3, 3, 2, 3)).astype(np.float32)
    node = onnx.helper.make_node(
        "ConvTranspose", ["x", "w"], ["y"], pads=[1, 0, 2, 1, 0, 2], output_padding=[1, 0, 2],
        **options,
    )  # fmt: skip
    expected = torch.nn.functional.conv_transpose3d(
        torch.tensor(x), torch.tensor(w), padding=(1, 0, 2), output_padding=(1, 0, 2), **plain
    )
    got = MinigraphBackend.run_node(node, [x, w])[0]
    np.testing.assert_allclose(got, expected.numpy(), rtol=1e-4, atol=1e-4)


def test_an_odd_image_comes_back_from_pooling_and_unpooling():
    """The disputed meaning of MaxUnpool's output_shape: positions count over that shape."""
    make = onnx.helper.make_node
    nodes = [
        make("MaxPool", ["x"], ["p", "i"], kernel_shape=[2, 2], strides=[2, 2]),
        make("MaxUnpool", ["p", "i", "s"], ["y"], kernel_shape=[2, 2], strides=[2, 2]),
    ]
    info = onnx.helper.make_tensor_value_info
    x = np.random.default_rng(0).permutation(50).reshape(1, 2, 5, 5).astype(np.float32)
    graph = onnx.helper.make_graph(
        nodes, "g", [info("x", 1, x.shape)], [info("y", 1, None)],
        [numpy_helper.from_array(np.array(x.shape), "s")],
    )  # fmt: skip
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)])
    (y,) = MinigraphBackend.run_model(model, [x])
    kept = y != 0
    assert kept.sum() == 8
    np.testing.assert_array_equal(y[kept], x[kept])
