"""Mixed precision from outside: against torch.autocast, in training, in files, in memory."""

from __future__ import annotations

import numpy as np
import pytest

import minigraph as mg
from minigraph.compiler import Options, compile_training
from minigraph.data import batches, generate_shapes
from minigraph.models.unet import unet
from minigraph.passes import MixedPrecision, to_training
from minigraph.testing import graph_of
from minigraph.training import LabelTask

BFLOAT16 = MixedPrecision("bfloat16")


# ---- against torch.autocast


FOLLOWERS = {
    "relu": (mg.relu, lambda F, y: F.relu(y)),
    "leaky_relu": (mg.leaky_relu, lambda F, y: F.leaky_relu(y)),
    "sigmoid": (mg.sigmoid, lambda F, y: F.sigmoid(y)),
    "tanh": (mg.tanh, lambda F, y: F.tanh(y)),
    "gelu": (mg.gelu, lambda F, y: F.gelu(y)),
    "silu": (mg.silu, lambda F, y: F.silu(y)),
    "elu": (mg.elu, lambda F, y: F.elu(y)),
    "max_pool": (lambda y: mg.max_pool2d(y, 2), lambda F, y: F.max_pool2d(y, 2)),
    "avg_pool": (lambda y: mg.avg_pool2d(y, 2), lambda F, y: F.avg_pool2d(y, 2)),
    "adaptive": (
        lambda y: mg.adaptive_avg_pool2d(y, (2, 2)),
        lambda F, y: F.adaptive_avg_pool2d(y, 2),
    ),
    "nearest": (
        lambda y: mg.resize(y, scale=2, mode="nearest"),
        lambda F, y: F.interpolate(y, scale_factor=2),
    ),
    "bilinear": (
        lambda y: mg.resize(y, scale=2, mode="bilinear"),
        lambda F, y: F.interpolate(y, scale_factor=2, mode="bilinear"),
    ),
    "concat": (lambda y: mg.concat([y, y]), lambda F, y: F.pad(y, (0, 0, 0, 0, 0, 8))),
    "residual": (lambda y: y + y, lambda F, y: y + y),
    "half": (lambda y: y * 0.5, lambda F, y: y * 0.5),
    "max": (lambda y: mg.reduce_max(y, (2, 3)), lambda F, y: y.amax((2, 3))),
    "batch_norm": (
        lambda y: mg.relu(mg.batch_norm(y, name="n")),  # where it is rounded: by its reader
        lambda F, y: F.relu(F.batch_norm(y, None, None, training=True)),
    ),
    # promoted to float32
    "beside float32": (
        lambda y: y + mg.cast(mg.cast(y, "float64"), "float32"),
        lambda F, y: y + y.float(),
    ),
    "concat with float32": (
        lambda y: mg.concat([y, mg.cast(mg.cast(y, "float64"), "float32")]),
        lambda F, y: y.new_zeros(1).float() + y,
    ),
    "loss": (lambda y: mg.mse_loss(y, 0.0 * y), lambda F, y: F.mse_loss(y, 0.0 * y)),
}


@pytest.mark.parametrize("name", FOLLOWERS)
def test_results_have_the_dtypes_of_torch_autocast(name):
    torch = pytest.importorskip("torch")
    ours, theirs = FOLLOWERS[name]
    y = torch.zeros(2, 3, 8, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = torch.nn.functional.conv2d(y, torch.zeros(4, 3, 3, 3))
        expected = str(theirs(torch.nn.functional, y).dtype).removeprefix("torch.")

    def model(x):
        return {"y": ours(mg.conv2d(x, 4, 3, bias=False, name="c"))}

    graph = BFLOAT16(to_training(graph_of(model, x="float32[2,3,8,8]")))
    node = graph.producer[graph.outputs["y"]]
    result = node.inputs[0] if node.op.name == "Cast" else node.outputs[0]
    assert str(result.spec.dtype) == expected


SPECS = {"image": "float32[8,3,12,12]", "label": "int32[8,12,12]"}


def small_net(image, label):
    x = mg.batch_norm(mg.conv2d(image, 8, 3, padding="same", name="a"), name="n")
    skip = mg.relu(x)
    x = mg.relu(mg.conv2d(mg.max_pool2d(skip, 2), 16, 3, padding="same", name="b"))
    x = mg.conv_transpose2d(x, 8, 2, stride=2, name="up")
    logits = mg.conv2d(mg.concat([skip, x]), 5, 1, name="head")
    return {"loss": mg.softmax_cross_entropy(logits, label), "logits": logits}


def torch_small_net(torch, w, image, label):
    F = torch.nn.functional
    x = F.conv2d(image, w["a.weight"], w["a.bias"], padding=1)
    skip = F.relu(F.batch_norm(x, None, None, w["n.weight"], w["n.bias"], training=True))
    x = F.relu(F.conv2d(F.max_pool2d(skip, 2), w["b.weight"], w["b.bias"], padding=1))
    x = F.conv_transpose2d(x, w["up.weight"], w["up.bias"], stride=2)
    logits = F.conv2d(torch.cat([skip, x], 1), w["head.weight"], w["head.bias"])
    return F.cross_entropy(logits, label.long())


def small_batch(seed=0):
    generator = np.random.default_rng(seed)
    return {
        "image": generator.standard_normal((8, 3, 12, 12)).astype(np.float32),
        "label": generator.integers(0, 5, (8, 12, 12)).astype(np.int32),
    }


def relative_error(found, reference):
    """Of all gradients together, in the 2-norm."""
    error = sum(((found[name] - reference[name]) ** 2).sum() for name in reference)
    return np.sqrt(error / sum((value**2).sum() for value in reference.values()))


@pytest.mark.parametrize("backend", ["numpy", "llvm"])
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_gradients_are_as_good_as_those_of_torch_autocast(backend, precision):
    """Both against torch in float64: ours may be twice as far away."""
    torch = pytest.importorskip("torch")
    if backend == "llvm":
        pytest.importorskip("llvmlite")
    step = mg.compile(
        small_net, SPECS, optimizer=mg.SGD(0.0), precision=precision, loss_scale=1024.0,
        backend=backend,
    )  # fmt: skip
    batch, parameters = small_batch(), step.state.parameters()
    ours = step(batch, fetch=[f"gradient({name})" for name in parameters])
    assert all(array.dtype == np.float32 for array in ours.values())

    def by_torch(dtype, autocast):
        w = {n: torch.tensor(a, dtype=dtype, requires_grad=True) for n, a in parameters.items()}
        image, label = (torch.tensor(batch[name]) for name in ("image", "label"))
        with torch.autocast("cpu", dtype=getattr(torch, precision), enabled=autocast):
            loss = torch_small_net(torch, w, image.to(dtype), label)
        (loss * 1024).backward()
        return loss.item(), {n: t.grad.double().numpy() / 1024 for n, t in w.items()}

    exact_loss, exact = by_torch(torch.float64, False)
    torch_loss, theirs = by_torch(torch.float32, True)
    unit = 2.0**-8 if precision == "bfloat16" else 2.0**-11
    found = {name: ours[f"gradient({name})"].astype(np.float64) for name in parameters}
    allowed = max(relative_error(theirs, exact), unit)
    assert relative_error(found, exact) < 2 * allowed < 0.05
    assert abs(ours["loss"] - exact_loss) < 2 * max(abs(torch_loss - exact_loss), unit)
    # and it is no float32 run
    assert relative_error(found, exact) > unit / 16


# ---- training


PICTURES = generate_shapes(32, (32, 32), seed=3)


@pytest.mark.parametrize(("precision", "batch_norm"), [("bfloat16", True), ("float16", False)])
def test_a_unet_trains_as_in_float32(precision, batch_norm):
    def network(image):
        return unet(image, classes=PICTURES.classes, base=4, depth=1, batch_norm=batch_norm)

    task, found = LabelTask.for_dataset(network, PICTURES), {}
    for name in ("float32", precision):
        step, _ = task.compile(
            PICTURES, batch_size=8, optimizer=mg.Adam(3e-3), precision=name, loss_scale=1024.0,
            backend="numpy",
        )  # fmt: skip
        found[name] = np.array(
            [
                step(batch)["loss"]
                for epoch in range(8)
                for batch in batches(PICTURES, 8, epoch=epoch, shuffle=True)
            ]
        )
        assert step.state["optimizer.skipped_steps"] == 0
    exact = found["float32"]
    assert exact[-4:].mean() < 0.7 * exact[:4].mean()
    np.testing.assert_allclose(found[precision], exact, atol=0.05)


@pytest.mark.parametrize(("precision", "backend"), [("bfloat16", "llvm"), ("float16", "numpy")])
def test_a_classifier_trains_as_in_float32(precision, backend):
    if backend == "llvm":
        pytest.importorskip("llvmlite")

    def model(image, label):
        x = mg.relu(mg.batch_norm(mg.conv2d(image, 8, 3, name="a"), name="n"))
        x = mg.gelu(mg.conv2d(mg.max_pool2d(x, 2), 16, 3, name="b"))
        logits = mg.dense(mg.flatten(x), 4, name="head")
        return {"loss": mg.softmax_cross_entropy(logits, label)}

    generator = np.random.default_rng(5)
    label = generator.integers(0, 4, (40, 16)).astype(np.int32)
    image = generator.standard_normal((40, 16, 1, 8, 8)).astype(np.float32)
    for quarter in range(4):
        row, column = divmod(quarter, 2)
        bright = (label == quarter)[:, :, None, None, None]
        image[..., 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] += bright
    specs = {"image": "float32[16,1,8,8]", "label": "int32[16]"}
    found = {}
    for name in ("float32", precision):
        step = mg.compile(
            model, specs, optimizer=mg.ClipGlobalNorm(mg.AdamW(3e-3), 1.0), precision=name,
            loss_scale=256.0, backend=backend,
        )  # fmt: skip
        found[name] = np.array(
            [step(image=x, label=t)["loss"] for x, t in zip(image, label, strict=True)]
        )
        assert step.state["optimizer.skipped_steps"] == 0
    assert found["float32"][-5:].mean() < 0.6 * found["float32"][:5].mean()
    np.testing.assert_allclose(found[precision], found["float32"], atol=0.05)


def test_same_bits_whatever_the_number_of_threads():
    pytest.importorskip("llvmlite")
    states = []
    for threads in (1, 2):
        step = mg.compile(
            small_net, SPECS, optimizer=mg.Adam(1e-2), precision="bfloat16", backend="llvm",
            threads=threads,
        )  # fmt: skip
        for seed in range(3):
            step(small_batch(seed))
        states.append({name: step.state[name].tobytes() for name in step.state})
    assert states[0] == states[1]


# ---- state, names, memory


def test_parameters_statistics_and_slots_are_float32():
    """A change of 1e-4 of a parameter is below bfloat16's resolution, and is kept."""
    step = mg.compile(
        small_net, SPECS, optimizer=mg.Adam(1e-4), precision="bfloat16", backend="numpy"
    )
    assert {step.state.spec(name).dtype for name in step.state} <= {
        mg.DType.FLOAT32, mg.DType.FLOAT64,
    }  # fmt: skip
    step.state["n.weight"] = np.ones(8)
    step(small_batch())
    moved = step.state["n.weight"] - 1.0
    np.testing.assert_allclose(np.abs(moved), 1e-4, rtol=1e-2)


def test_values_are_fetched_in_float32():
    step = mg.compile(
        small_net, SPECS, optimizer=mg.SGD(0.0), precision="bfloat16", backend="numpy",
        outputs=["loss"],
    )  # fmt: skip
    predict = mg.compile(
        small_net, SPECS, outputs=["logits"], precision="bfloat16", state=step.state
    )
    names = ["a.add", "logits", "gradient(b.weight)"]
    fetched = step(small_batch(), fetch=names)
    assert {fetched[name].dtype for name in names} == {np.dtype(np.float32)}
    value = fetched["a.add"]
    np.testing.assert_array_equal(value, value.astype(mg.DType.BFLOAT16.numpy).astype(np.float32))
    image = small_batch()["image"]
    assert predict(image=image, fetch=["a.conv2d"])["a.conv2d"].dtype == np.float32


@pytest.mark.parametrize(("batch_norm", "share"), [(False, 0.55), (True, 0.65)])
def test_activations_take_half_the_memory(batch_norm, share):
    pytest.importorskip("llvmlite")

    def model(image, label):
        logits = unet(image, classes=4, base=8, depth=2, batch_norm=batch_norm)
        return {"loss": mg.softmax_cross_entropy(logits, label)}

    graph = graph_of(model, image="float32[4,3,64,64]", label="int32[4,64,64]")
    plans = [
        compile_training(
            graph, ["loss"], optimizer=mg.SGD(0.1), loss="loss", backend=mg.load_backend("llvm"),
            options=Options(precision=precision),
        ).plan
        for precision in (None, BFLOAT16)
    ]  # fmt: skip
    assert plans[1].work_bytes < share * plans[0].work_bytes


def test_what_was_done_is_told():
    step = mg.compile(
        small_net, SPECS, optimizer=mg.SGD(0.1), precision="bfloat16", backend="numpy"
    )
    assert step.compiled.reports[0].name == "MixedPrecision"
    assert step.compiled.reports[0].added["Cast"] > 10
    assert "MixedPrecision" in step.explain()


# ---- files


def test_a_saved_model_is_float32_and_runs_in_any_precision(tmp_path):
    step = mg.compile(
        small_net, SPECS, optimizer=mg.Adam(1e-2), precision="bfloat16", backend="numpy"
    )
    step(small_batch())
    step.save(tmp_path / "m.safetensors")
    image = small_batch()["image"]
    found = {}
    for precision in ("float32", "bfloat16"):
        loaded = mg.load(
            tmp_path / "m.safetensors", outputs=["logits"], precision=precision, backend="numpy"
        )
        found[precision] = loaded(image=image)["logits"]
    twin = mg.compile(small_net, SPECS, outputs=["logits"], state=step.state, precision="bfloat16")
    np.testing.assert_array_equal(found["bfloat16"], twin(image=image)["logits"])
    difference = np.abs(found["bfloat16"] - found["float32"]).max()
    assert 0 < difference < 0.03 * np.abs(found["float32"]).max()
    again = mg.load(
        tmp_path / "m.safetensors", optimizer=mg.Adam(1e-2), precision="bfloat16", backend="numpy"
    )
    step(small_batch(1))
    again(small_batch(1))
    for name in step.state:
        np.testing.assert_array_equal(again.state[name], step.state[name], err_msg=name)


def test_other_shapes_are_compiled_in_the_same_precision():
    predict = mg.compile(
        small_net, SPECS, outputs=["logits"], precision="bfloat16", backend="numpy"
    )
    exact = mg.compile(small_net, SPECS, outputs=["logits"], backend="numpy", state=predict.state)
    image = np.random.default_rng(0).standard_normal((2, 3, 20, 16)).astype(np.float32)
    low, high = predict(image=image)["logits"], exact(image=image)["logits"]
    assert low.dtype == np.float32
    assert 0 < np.abs(low - high).max() < 0.03 * np.abs(high).max()
