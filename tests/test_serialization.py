"""Saved models: whole, exact, readable without the model's code, and hostile files refused."""

from __future__ import annotations

import json
import pickle
import random
import struct

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

import minigraph as mg
from minigraph.ir.errors import LoadError
from minigraph.serialization import FORMAT
from minigraph.testing import check_memory

SPECS = {"image": "float32[4,2,8,8]", "label": "int32[4]"}


def network(image, label):
    x = mg.relu(mg.batch_norm(mg.conv2d(image, 4, 3, padding="same", name="conv"), name="norm"))
    x = mg.dropout(mg.max_pool2d(x, 2), 0.25, name="drop")
    x = mg.conv_transpose2d(x, 3, 2, stride=2, name="up")
    x = mg.concat([x, image])
    x = mg.global_avg_pool2d(mg.leaky_relu(mg.conv2d(x, 6, 3, name="c2"), 0.1))
    logits = mg.dense(mg.flatten(x), 3, name="head") + np.array([0.5, 0.0, -0.5], np.float32)
    return {"loss": mg.softmax_cross_entropy(logits, label), "logits": logits}


def batch(seed=0, n=4, size=8):
    rng = np.random.default_rng(seed)
    return {
        "image": rng.standard_normal((n, 2, size, size)).astype(np.float32),
        "label": rng.integers(0, 3, n).astype(np.int32),
    }


def bits(state):
    return {
        name: (state[name].shape, str(state[name].dtype), state[name].tobytes()) for name in state
    }


def trained(optimizer=None, steps=3):
    step = mg.compile(
        network, SPECS, optimizer=optimizer or mg.Momentum(0.1), backend="numpy", threads=1
    )
    for seed in range(steps):
        step(**batch(seed))
    return step


@pytest.fixture
def saved(tmp_path):
    step = trained()
    path = tmp_path / "model.safetensors"
    step.save(path)
    return step, path


# ---- whole and exact


def test_inference_bit_for_bit(saved):
    step, path = saved
    here = mg.compile(
        network, SPECS, outputs=["logits"], backend="numpy", threads=1, state=step.state
    )
    there = mg.load(path, outputs=["logits"], backend="numpy", threads=1)
    assert list(there.inputs) == ["image"]
    image = batch(9)["image"]
    np.testing.assert_array_equal(here(image=image)["logits"], there(image=image)["logits"])


@pytest.mark.parametrize(
    "optimizer", [mg.SGD(0.1), mg.Momentum(0.1), mg.AdaGrad(0.1), mg.Adam(0.01)], ids=str
)
def test_training_goes_on_bit_for_bit(optimizer, tmp_path):
    step = trained(optimizer)
    step.state["optimizer.learning_rate"] = 0.0625
    path = tmp_path / "model"
    step.save(path)
    again = mg.load(path, optimizer=optimizer, backend="numpy", threads=1)
    assert again.state["optimizer.learning_rate"] == optimizer.learning_rate  # the one given now
    again.state["optimizer.learning_rate"] = 0.0625
    assert bits(again.state) == bits(step.state)
    assert again.state["random.key"][1] == 3
    assert again.state.roles == step.state.roles
    for seed in range(3, 6):
        a, b = step(**batch(seed)), again(**batch(seed))
        np.testing.assert_array_equal(a["logits"], b["logits"])
    assert bits(again.state) == bits(step.state)
    check_memory(again.graph, again.compiled.program)


def test_inference_from_a_file_keeps_the_slots_for_training_on(tmp_path):
    step = trained(mg.Momentum(0.1))
    step.save(tmp_path / "first")
    mg.load(tmp_path / "first", outputs=["logits"], backend="numpy").save(tmp_path / "second")
    again = mg.load(tmp_path / "second", optimizer=mg.Momentum(0.1), backend="numpy")
    assert bits(again.state) == bits(step.state)


def test_training_and_evaluation_from_one_file_share_their_state(tmp_path):
    trained(mg.Momentum(0.1)).save(tmp_path / "model")
    step = mg.load(tmp_path / "model", optimizer=mg.Momentum(0.1), backend="numpy")
    predict = mg.load(tmp_path / "model", outputs=["logits"], state=step.state)
    image = {"image": batch(9)["image"]}
    before = predict(image)["logits"]
    step(**batch(3))
    assert not np.array_equal(predict(image)["logits"], before)
    assert predict.state is step.state


def test_a_saved_file_may_be_read_by_others(tmp_path):
    (tmp_path / "plain").touch()
    trained(mg.SGD(0.1)).save(tmp_path / "model")
    assert (tmp_path / "model").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_saving_again_gives_the_same_file(saved, tmp_path):
    _, path = saved
    again = mg.load(path, optimizer=mg.Momentum(0.1), backend="numpy")
    again.save(tmp_path / "again")
    with safe_open(path, "np") as a, safe_open(tmp_path / "again", "np") as b:
        assert sorted(a.keys()) == sorted(b.keys())
        for name in a.keys():  # noqa: SIM118
            np.testing.assert_array_equal(a.get_tensor(name), b.get_tensor(name))
        assert a.metadata() == b.metadata()


def test_a_model_saved_from_inference_is_whole(tmp_path):
    """Of one output alone: what only training needs is saved too."""
    exe = mg.compile(network, SPECS, outputs=["logits"], backend="numpy", seed=5)
    exe.save(tmp_path / "m")
    again = mg.load(tmp_path / "m", optimizer=mg.Momentum(0.1), backend="numpy", threads=1)
    there = mg.compile(
        network, SPECS, optimizer=mg.Momentum(0.1), backend="numpy", threads=1, seed=5
    )
    for seed in range(2):
        again(**batch(seed))
        there(**batch(seed))
    assert bits(again.state) == bits(there.state)


def test_other_tools_can_read_the_weights(saved):
    step, path = saved
    with safe_open(path, "np") as file:
        np.testing.assert_array_equal(file.get_tensor("conv.weight"), step.state["conv.weight"])
        assert file.metadata()["graph"].startswith("graph {")


def test_a_file_that_exists_is_replaced_whole(saved, tmp_path):
    step, path = saved
    step(**batch(7))
    step.save(path)
    assert bits(mg.load(path, optimizer=mg.Momentum(0.1)).state) == bits(step.state)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]  # nothing is left beside it
    step.save(str(tmp_path / "new" / "folder" / "model"))
    assert (tmp_path / "new" / "folder" / "model").is_file()


# ---- arrays that trip formats


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_state_of_other_dtypes(dtype, tmp_path):
    def model(x):
        y = mg.dense(x, 4, name="d", weight_initializer=mg.initializers.HeUniform())
        scale = mg.parameter(y, "scale", (), mg.initializers.Constant(1.5))
        return {"loss": mg.reduce_mean(mg.cast(y * scale, "float32") * 2.0), "y": y}

    step = mg.compile(model, {"x": f"{dtype}[2,3]"}, optimizer=mg.Momentum(0.1), backend="numpy")
    x = np.arange(6).reshape(2, 3).astype(mg.DType.of(dtype).numpy)
    step(x=x)
    assert step.state.spec("scale").shape == ()
    step.save(tmp_path / "m")
    again = mg.load(tmp_path / "m", optimizer=mg.Momentum(0.1), backend="numpy")
    assert bits(again.state) == bits(step.state)
    assert again.state["d.weight"].dtype == mg.DType.of(dtype).numpy
    np.testing.assert_array_equal(again(x=x)["y"], step(x=x)["y"])


@pytest.mark.parametrize(
    "view",
    [
        lambda a: np.ascontiguousarray(a.T).T,
        lambda a: np.repeat(a, 2, axis=1)[:, ::2],
        lambda a: np.asfortranarray(a),
        lambda a: a[::-1, ::-1].copy()[::-1, ::-1],
        lambda a: np.broadcast_to(a[:1], a.shape),
    ],
)
def test_strided_arrays_in_state(view, tmp_path):
    exe = mg.compile(
        lambda x: {"y": mg.dense(x, 3, name="d")}, {"x": "float32[1,4]"}, backend="numpy"
    )
    wanted = view(np.arange(12, dtype=np.float32).reshape(3, 4))
    exe.state["d.weight"] = wanted
    exe.save(tmp_path / "m")
    np.testing.assert_array_equal(mg.load(tmp_path / "m").state["d.weight"], wanted)


def test_strided_constants(tmp_path):
    table = np.arange(12, dtype=np.float32).reshape(3, 4)
    exe = mg.compile(lambda x: {"y": x + table.T}, {"x": "float32[4,3]"}, backend="numpy")
    exe.save(tmp_path / "m")
    zeros = np.zeros((4, 3), np.float32)
    np.testing.assert_array_equal(mg.load(tmp_path / "m")(x=zeros)["y"], table.T)


def test_empty_and_scalar_constants_and_no_state(tmp_path):
    empty = np.zeros((0, 3), np.float32)
    exe = mg.compile(
        lambda x: {"y": mg.concat([x, x.builder.constant(empty)], axis=0) * 2.5},
        {"x": "float32[2,3]"}, backend="numpy",
    )  # fmt: skip
    exe.save(tmp_path / "m")
    got = mg.load(tmp_path / "m")(x=np.ones((2, 3), np.float32))["y"]
    np.testing.assert_array_equal(got, np.full((2, 3), 2.5))


# ---- replay


@pytest.mark.parametrize(("n", "size"), [(1, 8), (7, 8), (4, 12), (2, 10)])
def test_a_loaded_graph_at_other_shapes(saved, n, size):
    step, path = saved
    inputs = batch(3, n, size)
    here = mg.compile(network, SPECS, backend="numpy", threads=1, state=step.state)(**inputs)
    there = mg.load(path, backend="numpy", threads=1)
    np.testing.assert_array_equal(there(**inputs)["logits"], here["logits"])
    fixed = mg.load(
        path, backend="numpy", threads=1,
        inputs={"image": f"float32[{n},2,{size},{size}]", "label": f"int32[{n}]"},
    )  # fmt: skip
    np.testing.assert_array_equal(fixed(**inputs)["logits"], here["logits"])


def test_training_a_loaded_graph_at_another_batch(saved):
    step, path = saved
    again = mg.load(path, optimizer=mg.Momentum(0.1), backend="numpy", threads=1)
    a, b = step(**batch(5, 2)), again(**batch(5, 2))
    np.testing.assert_array_equal(a["logits"], b["logits"])
    assert bits(again.state) == bits(step.state)


def absolute_reshape(x):
    return {"y": mg.ops.broadcast.reshape(x, (8, 3))}


def absolute_zeros(x):
    return {"y": mg.reduce_sum(x, axis=1) + mg.ops.shape.zeros_like(x)[:, 0]}


def absolute_gradient(x):
    y = mg.reduce_mean(x)
    (g,) = mg.gradients(y, [x])
    return {"y": x * g}


def absolute_split(x):
    return {"y": mg.split(x, [1, 3], axis=0)[1]}


@pytest.mark.parametrize(
    ("model", "op"),
    [(absolute_reshape, "Reshape"), (absolute_zeros, "Full"), (absolute_gradient, "Expand"),
     (absolute_split, "Split")],
)  # fmt: skip
def test_absolute_sizes_are_refused_by_name(model, op, tmp_path):
    exe = mg.compile(model, {"x": "float32[4,6]"}, backend="numpy")
    exe.save(tmp_path / "m")
    again = mg.load(tmp_path / "m", backend="numpy")
    x = np.ones((4, 6), np.float32)
    np.testing.assert_array_equal(again(x=x)["y"], exe(x=x)["y"])
    for n in (1, 8):
        with pytest.raises(mg.InputError) as caught:
            again(x=np.ones((n, 6), np.float32))
        text = str(caught.value)
        assert f"Expected {op} '" in text and "to work at any shape" in text
        assert "use the model function" in text


def test_inputs_of_a_loaded_model_are_checked(saved):
    _, path = saved
    with pytest.raises(mg.InputError, match="Expected inputs of image, label, got img"):
        mg.load(path, inputs={"img": "float32[1,2,8,8]"})


# ---- hostile files


def rewritten(path, target, tensors=None, **changes):
    """The saved file with other metadata or tensors."""
    with safe_open(path, "np") as file:
        metadata = dict(file.metadata())
        known = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    for key, value in changes.items():
        if value is None:
            metadata.pop(key)
        else:
            metadata[key] = value
    known.update(tensors or {})
    save_file({k: v for k, v in known.items() if v is not None}, target, metadata)
    return target


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "minigraph-0"}, r"Expected a model saved by minigraph \(minigraph-1\)"),
        ({"format": None}, "has no graph"),
        ({"graph": None}, "has no graph"),
        ({"graph": "graph {\n}"}, "Expected a graph"),
        ({"graph": "graph {\n  %y: float32[1] = Evil()\n}"}, "Expected a known operation"),
        ({"graph": "import os"}, "Expected a graph"),
        ({"graph": ""}, "Expected a graph"),
        ({"bfloat16": "conv.weight"}, "Expected the bits of 'conv.weight' as uint16"),
        ({"bfloat16": "nothing"}, "Expected the bits of 'nothing'"),
        ({"tensors": {"conv.weight": None}}, "for the state 'conv.weight', got nothing"),
        ({"tensors": {"conv.weight": np.zeros((4, 2, 3), np.float32)}}, r"got float32\[4, 2, 3\]"),
        ({"tensors": {"conv.weight": np.zeros((4, 2, 3, 3), np.int8)}}, r"got int8\[4, 2, 3, 3\]"),
        ({"tensors": {"random.key": np.zeros(2, np.float32)}}, "for the state 'random.key'"),
    ],
    ids=str,
)
def test_foreign_metadata_and_tensors(saved, tmp_path, changes, message):
    _, path = saved
    if changes == {"graph": "graph {\n}"}:
        changes = {"graph": "graph {\n  output y = %x\n}"}
    with pytest.raises(LoadError, match=message) as caught:
        mg.load(rewritten(path, tmp_path / "bad", **changes))
    assert str(tmp_path / "bad") in str(caught.value)


def test_constants_that_were_changed(saved, tmp_path):
    _, path = saved
    with safe_open(path, "np") as file:
        digests = [name for name in file.keys() if name.startswith("constant/")]  # noqa: SIM118
        arrays = {name: file.get_tensor(name) for name in digests}
    assert digests
    for name in digests:
        for wrong in (arrays[name] + 1, arrays[name][:1], arrays[name].astype(np.float64)):
            with pytest.raises(LoadError):
                mg.load(rewritten(path, tmp_path / "bad", {name: wrong}))


def test_files_that_are_none(tmp_path):
    for name, content in {
        "empty": b"",
        "short": b"\x01\x02",
        "text": b"hello, this is no model at all" * 10,
        "zeros": bytes(1000),
        "ones": b"\xff" * 1000,
        "pickle": pickle.dumps({"state": np.zeros(3)}),
        "zip": b"PK\x03\x04" + bytes(100),
        "huge header": struct.pack("<Q", 2**60) + b"{}",
        "long header": struct.pack("<Q", 200) + b"{}",
        "bad json": struct.pack("<Q", 8) + b"{{{{{{{{",
        "list": struct.pack("<Q", 8) + b"[      ]",
        "no tensors": struct.pack("<Q", 8) + b"{      }",
    }.items():
        path = tmp_path / name.replace(" ", "_")
        path.write_bytes(content)
        with pytest.raises(LoadError) as caught:
            mg.load(path)
        assert str(path) in str(caught.value), name
    with pytest.raises(LoadError, match="got none"):
        mg.load(tmp_path / "missing")
    with pytest.raises(LoadError, match="got a folder"):
        mg.load(tmp_path)


def test_plain_weights_of_another_tool(tmp_path):
    save_file({"w": np.zeros(3, np.float32)}, tmp_path / "plain")
    with pytest.raises(LoadError, match="a file of plain weights has no graph"):
        mg.load(tmp_path / "plain")


def test_a_tensor_that_numpy_cannot_read(saved, tmp_path):
    """A BF16 tensor, as torch saves it: safetensors' NumPy side fails on it in its own way."""
    _, path = saved
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    header["conv.bias"]["dtype"], header["conv.bias"]["shape"] = "BF16", [8]
    text = json.dumps(header).encode()
    (tmp_path / "bad").write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])
    with pytest.raises(LoadError):
        mg.load(tmp_path / "bad")


def test_truncated_files(saved, tmp_path):
    _, path = saved
    data = path.read_bytes()
    for cut in [*range(16), *range(16, len(data), max(len(data) // 60, 1)), len(data) - 1]:
        (tmp_path / "cut").write_bytes(data[:cut])
        with pytest.raises(LoadError):
            mg.load(tmp_path / "cut")


def test_damaged_files(saved, tmp_path):
    """Bytes changed in the header: LoadError, or a model that runs. Nothing else, ever."""
    _, path = saved
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    rng = random.Random(0)
    refused = 0
    for _ in range(150):
        damaged = bytearray(data)
        for _ in range(rng.randint(1, 3)):
            damaged[rng.randrange(8 + length)] = rng.randrange(256)
        (tmp_path / "bad").write_bytes(damaged)
        try:
            mg.load(tmp_path / "bad", backend="numpy", threads=1)
        except LoadError:
            refused += 1
    assert refused > 100


def test_no_code_is_run(tmp_path):
    marker = tmp_path / "ran"
    path = tmp_path / "evil"
    for line in (
        f"__import__('os').system('touch {marker}')",
        f"%y: float32[2] = Exp(%x) {{a=__import__('os').system('touch {marker}')}}",
        f"%y: float32[2] = Exp(%x) {{a=open('{marker}', 'w')}}",
    ):
        graph = f"graph {{\n  input %x: float32[2]\n  {line}\n}}"
        save_file({"w": np.zeros(1)}, path, {"format": FORMAT, "graph": graph})
        with pytest.raises(LoadError):
            mg.load(path)
    assert not marker.exists()


def test_metadata_of_the_user_comes_back_and_is_kept_when_saved_again(tmp_path):
    path, again = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    trained().save(path, metadata={"classes": "sky, road", "format": "mine, not the file's"})
    loaded = mg.load(path, outputs=["logits"])
    assert loaded.metadata == {"classes": "sky, road", "format": "mine, not the file's"}
    loaded.save(again, metadata={"epoch": "3"})
    assert mg.load(again).metadata == {**loaded.metadata, "epoch": "3"}


def test_metadata_is_text(tmp_path):
    with pytest.raises(mg.StateError, match=r"Expected metadata as texts.*'epoch'"):
        trained(steps=0).save(tmp_path / "model.safetensors", metadata={"epoch": 3})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["{", "[]", '{"epoch": 3}'])
def test_damaged_user_metadata(saved, text):
    _, path = saved
    with safe_open(str(path), "numpy") as file:
        metadata, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    save_file(tensors, str(path), {**metadata, "user": text})
    with pytest.raises(LoadError, match="Expected user metadata"):
        mg.load(path)
