"""What imported models are, and what is refused."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import minigraph as mg
from minigraph.ir.errors import InputError, LoadError, SpecError, UnsupportedError
from minigraph.ir.graph import Role

onnx = pytest.importorskip("onnx", reason="needs onnx: pip install 'minigraph[onnx]'")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

import minigraph.onnx  # noqa: E402
from minigraph.onnx.node import ConstantNeeded  # noqa: E402

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


def model(nodes, inputs, outputs=("y",), weights=None, opset=20, functions=()):
    infos = [helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in inputs]
    results = [helper.make_tensor_value_info(name, FLOAT, None) for name in outputs]
    tensors = [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()]
    graph = helper.make_graph(nodes, "g", infos, results, tensors)
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("local", 1)]
    return helper.make_model(graph, opset_imports=imports, functions=functions)


def node(op, inputs, outputs="y", **attributes):
    return helper.make_node(op, inputs.split(), outputs.split(), **attributes)


X = ("x", FLOAT, [2, 3, 8, 8])


def test_everything_unsupported_is_listed_at_once():
    made = model(
        [
            helper.make_node("TopK", ["x", "k"], ["a", "b"], name="best"),
            node("Resize", "x", "c", name="grow", mode="cubic"),
            node("Conv", "x w", "y", name="conv", fancy=1),
        ],
        [X, ("k", TensorProto.INT8, [1])],
        opset=99,
    )
    with pytest.raises(UnsupportedError) as error:
        minigraph.onnx.load(made)
    for text in ("opset 99", "best: the op TopK", "grow: Resize with mode='cubic'", "int8",
                 "conv: Conv with the attribute 'fancy'"):  # fmt: skip
        assert text in str(error.value)


def test_weights_are_parameters_and_statistics_run():
    weights = {
        "conv::w 1": np.ones((4, 3, 3, 3), np.float32), "half": np.float32(0.5),
        **{name: np.ones(4, np.float32) for name in ("s", "b", "m", "v")},
    }  # fmt: skip
    made = model(
        [
            helper.make_node("Conv", ["x", "conv::w 1"], ["c"], pads=[1] * 4),
            node("BatchNormalization", "c s b m v", "n", momentum=0.8),
            node("Mul", "n half", "y"),
        ],
        [X],
        weights=weights,
    )
    loaded = minigraph.onnx.load(made)
    assert set(loaded.parameters) == {"conv__w_1", "s", "b", "m", "v"}
    step = mg.compile(
        lambda x: {"loss": mg.reduce_mean(loaded(x=x)["y"])}, loaded.specs(), optimizer=mg.SGD(0.1)
    )
    roles = step.state.roles
    assert [roles[n] for n in ("conv__w_1", "s", "m", "v")] == [
        Role.PARAMETER, Role.PARAMETER, Role.STATISTIC, Role.STATISTIC,
    ]  # fmt: skip
    assert "half" not in step.state
    image = np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype(np.float32)
    padded = np.pad(image, [(0, 0), (0, 0), (1, 1), (1, 1)]).sum(1)
    sums = sum(padded[:, i : i + 8, j : j + 8] for i in range(3) for j in range(3))
    step(x=image)
    np.testing.assert_allclose(step.state["m"], np.full(4, 0.8 + 0.2 * sums.mean()), rtol=1e-4)


def test_sizes_with_names():
    made = model([node("Relu", "x")], [("x", FLOAT, ["N", 3, "H", None])])
    loaded = minigraph.onnx.load(made)
    with pytest.raises(InputError, match=r"sizes N, H, x_3.*specs\(N=\.\.\., H"):
        loaded.compile()
    executable = loaded.compile(loaded.specs(N=1, H=2, x_3=4))
    assert executable(x=np.zeros((1, 3, 2, 4), np.float32))["y"].shape == (1, 3, 2, 4)
    with pytest.raises(InputError, match="as the file declares"):
        loaded.compile({"x": "float32[1,4,2,2]"})
    with pytest.raises(InputError, match="as the file declares"):
        loaded.compile({"x": "float64[1,3,2,2]"})
    assert "Relu 1" in loaded.summary() and "x: float32[N,3,H,x_3]" in loaded.summary()


def test_an_input_that_decides_a_shape_must_be_constant():
    made = model([node("Reshape", "x s")], [X, ("s", INT64, [2])])
    with pytest.raises(ConstantNeeded, match=r"constants=\{'s': \.\.\.\}"):
        minigraph.onnx.load(made).compile()
    loaded = minigraph.onnx.load(made, constants={"s": np.array([6, -1])})
    assert list(loaded.inputs) == ["x"]
    got = loaded.compile()(x=np.zeros(X[2], np.float32))["y"]
    assert got.shape == (6, 64)
    with pytest.raises(InputError, match="constants for inputs of x, s, got t"):
        minigraph.onnx.load(made, constants={"t": np.array([6, -1])})


def test_shape_arithmetic_is_computed_while_the_graph_is_built():
    """The way in which torch writes x.reshape(x.shape[0] * 3, -1)."""
    weights = {"zero": np.array(0), "three": np.array(3), "rest": np.array([-1]),
               "axis": np.array([0])}  # fmt: skip
    made = model(
        [
            node("Shape", "x", "shape"), node("Gather", "shape zero", "n"),
            node("Mul", "n three", "m"), node("Unsqueeze", "m axis", "u"),
            node("Concat", "u rest", "target", axis=0), node("Reshape", "x target"),
        ],
        [("x", FLOAT, ["N", 3, 4])], weights=weights,
    )  # fmt: skip
    loaded = minigraph.onnx.load(made)
    executable = loaded.compile(loaded.specs(N=2))
    assert executable(x=np.zeros((2, 3, 4), np.float32))["y"].shape == (6, 4)
    assert executable(x=np.zeros((5, 3, 4), np.float32))["y"].shape == (15, 4)
    assert [n.op.name for n in executable.compiled.built.nodes] == ["Reshape"]


def test_functions_of_the_file_are_expanded():
    body = [helper.make_node("Mul", ["a", "a"], ["s"]), node("Add", "s a", "b")]
    function = helper.make_function("local", "F", ["a"], ["b"], body, [helper.make_opsetid("", 20)])
    made = model([helper.make_node("F", ["x"], ["y"], domain="local")], [X], functions=[function])
    x = np.random.default_rng(0).normal(size=X[2]).astype(np.float32)
    np.testing.assert_allclose(minigraph.onnx.load(made).compile()(x=x)["y"], x * x + x, rtol=1e-6)


SIZE = numpy_helper.from_array(np.array([5, 12]), "s")


def test_what_the_standard_defines_for_given_shapes_is_expanded():
    """CenterCropPad in a function of the file, whose attribute says the axes."""
    crop = node("CenterCropPad", "a s", "b")
    crop.attribute.add(name="axes", ref_attr_name="over", type=onnx.AttributeProto.INTS)
    body = [node("Constant", "", "s", value=SIZE), crop]
    imports = [helper.make_opsetid("", 20)]
    function = helper.make_function("local", "F", ["a"], ["b"], body, imports, attributes=["over"])
    call = helper.make_node("F", ["x"], ["y"], domain="local", over=[2, 3])
    x = np.random.default_rng(0).normal(size=X[2]).astype(np.float32)
    got = minigraph.onnx.load(model([call], [X], functions=[function])).compile()(x=x)["y"]
    expected = np.zeros((2, 3, 5, 12), np.float32)
    expected[..., 2:10] = x[:, :, 1:6]
    np.testing.assert_array_equal(got, expected)


def test_a_definition_of_the_standard_uses_no_functions_of_the_file():
    """Else this one would call itself for ever."""
    body = [node("Constant", "", "s", value=SIZE), node("CenterCropPad", "a s", "b", axes=[2, 3])]
    function = helper.make_function("", "Slice", ["a"], ["b"], body, [helper.make_opsetid("", 20)])
    made = model([node("Slice", "x")], [X], functions=[function])
    x = np.ones(X[2], np.float32)
    assert minigraph.onnx.load(made).compile()(x=x)["y"].sum() == 2 * 3 * 5 * 8


def test_functions_that_call_themselves_are_refused():
    call = [helper.make_node("F", ["a"], ["b"], domain="local")]
    function = helper.make_function("local", "F", ["a"], ["b"], call, [helper.make_opsetid("", 20)])
    made = model([helper.make_node("F", ["x"], ["y"], domain="local")], [X], functions=[function])
    with pytest.raises(LoadError, match="nested at most"):
        minigraph.onnx.load(made)


@pytest.mark.parametrize(
    ("nodes", "weights", "error", "text"),
    [
        ([node("Add", "x z")], {}, LoadError, "made before, got 'z'"),
        ([node("Relu", "x", "z")], {}, LoadError, "makes the output 'y'"),
        ([node("Relu", "x"), node("Tanh", "x")], {}, LoadError, "got 'y' again"),
        ([node("Conv", "x w", name="c")], {"w": np.ones((4, 5, 3, 3), np.float32)}, SpecError,
         "Expected 5 input channels.*ONNX node 'c'"),
        ([node("Reshape", "x s")], {"s": np.array([5, -1])}, SpecError, "384 elements"),
        ([node("Expand", "x s")], {"s": np.array([2**40, 1, 1, 1, 1])}, LoadError, "memory"),
        ([node("Pad", "x s")], {"s": np.array([0] * 7 + [2**62])}, LoadError, "memory"),
        ([node("Add", "x i")], {"i": np.array([1, 2])}, SpecError, "one dtype"),
        ([node("CenterCropPad", "x s", axes=[9])], {"s": np.array([2])}, LoadError, "that fit"),
        ([node("Constant", "", value_ints=[1.5])], {}, LoadError, "integers as 'value_ints'"),
        ([node("Constant", "", value=3)], {}, LoadError, "dense tensor as 'value'"),
        ([node("Concat", "x x", axis="one")], {}, LoadError, "integer as 'axis'"),
    ],
)  # fmt: skip
def test_wrong_models_give_one_error_with_the_node(nodes, weights, error, text):
    with pytest.raises(error, match=f"(?s){text}"):
        minigraph.onnx.load(model(nodes, [X], weights=weights)).compile()


def test_a_huge_tensor_is_refused_before_memory_is_taken():
    made = model([node("Add", "x w")], [X], weights={"w": np.ones(4, np.float32)})
    made.graph.initializer[0].dims[0] = 2**50
    with pytest.raises(LoadError, match="bytes for tensor 'w'"):
        minigraph.onnx.load(made)


# ---- files


def external(tmp_path, location, **entries):
    made = model([node("Add", "x w")], [("x", FLOAT, [4])], weights={"w": np.ones(4, np.float32)})
    tensor = made.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **entries}.items():
        tensor.external_data.add(key=key, value=str(value))
    folder = tmp_path / "model"
    folder.mkdir(exist_ok=True)
    (folder / "m.onnx").write_bytes(made.SerializeToString())
    return folder / "m.onnx"


def test_weights_beside_the_model_are_read(tmp_path):
    path = external(tmp_path, "w.bin", offset=8, length=16)
    (path.parent / "w.bin").write_bytes(bytes(8) + np.arange(4, dtype="<f4").tobytes())
    got = minigraph.onnx.load(path).compile()(x=np.zeros(4, np.float32))["y"]
    np.testing.assert_array_equal(got, np.arange(4))
    with pytest.raises(UnsupportedError, match="load the model by path"):
        minigraph.onnx.load(path.read_bytes())


@pytest.mark.parametrize("location", ["../secret", "{absolute}", "link", "", "missing", "a\0b"])
def test_weights_outside_of_the_folder_are_refused(location, tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(16))
    path = external(tmp_path, location.replace("{absolute}", str(secret)))
    (path.parent / "link").symlink_to(secret)
    with pytest.raises(LoadError, match="external data of 'w'"):
        minigraph.onnx.load(path)


@pytest.mark.parametrize("entries", [{"offset": -8}, {"length": 2**60}, {"offset": 1}])
def test_wrong_places_of_weights_are_refused(entries, tmp_path):
    path = external(tmp_path, "w.bin", **entries)
    (path.parent / "w.bin").write_bytes(bytes(16))
    with pytest.raises(LoadError, match="external data"):
        minigraph.onnx.load(path)


def test_files_that_are_no_models(tmp_path):
    for name, content in (("text", b"hello"), ("empty", b""), ("noise", bytes(range(256)))):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(LoadError, match=name):
            minigraph.onnx.load(tmp_path / name)
    with pytest.raises(LoadError, match="got none"):
        minigraph.onnx.load(tmp_path / "missing")


def test_without_the_library_the_error_says_how_to_get_it():
    code = (
        "import sys; sys.modules['onnx'] = None\n"
        "import minigraph.onnx\n"
        "try: minigraph.onnx.load('m.onnx')\n"
        "except ImportError as error: print(error)"
    )
    got = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 'pip install "minigraph[onnx]"' in got.stdout
