"""Loss scaling: what is too small for float16 comes through, what is too large changes nothing."""

from __future__ import annotations

import numpy as np
import pytest

import minigraph as mg

SPECS = {"x": "float32[4,8]", "t": "float32[4,3]"}
SMALL, LARGE = 1.0, 1000.0  # the second overflows float16: 1000 * 8 * 1000


def model(x, t):
    """A dense layer, batch norm and dropout: all kinds of state."""
    y = mg.dense(x * mg.reduce_max(x), 16, name="one")
    y = mg.dropout(mg.relu(mg.batch_norm(y, name="norm")), 0.25, name="drop")
    return {"loss": mg.mse_loss(mg.dense(y, 3, name="two"), t)}


def batch(scale, seed=0):
    generator = np.random.default_rng(seed)
    x = generator.uniform(0.5, 1.0, (4, 8))
    return {
        "x": (scale * x).astype(np.float32),
        "t": generator.standard_normal((4, 3)).astype(np.float32),
    }


def compiled(optimizer=None, loss_scale=None, function=model, specs=SPECS, **options):
    return mg.compile(
        function, specs, optimizer=optimizer or mg.Adam(1e-2), precision="float16",
        loss_scale=loss_scale, backend="numpy", **options,
    )  # fmt: skip


def bits(state):
    return {name: state[name].tobytes() for name in state}


BOOKKEEPING = {
    "optimizer.loss_scale", "optimizer.good_steps", "optimizer.skipped_steps", "random.key",
}  # fmt: skip


DYNAMIC = mg.DynamicLossScale(256.0)


@pytest.mark.parametrize("backend", ["numpy", "llvm"])
@pytest.mark.parametrize(
    ("loss_scale", "moves"),
    [(DYNAMIC, BOOKKEEPING), (256.0, {"optimizer.skipped_steps", "random.key"})],
)
def test_an_overflow_changes_nothing_but_the_scale(backend, loss_scale, moves):
    if backend == "llvm":
        pytest.importorskip("llvmlite")
    step = mg.compile(
        model, SPECS, optimizer=mg.Adam(1e-2), precision="float16", loss_scale=loss_scale,
        backend=backend,
    )  # fmt: skip
    step(batch(SMALL))
    before = bits(step.state)
    step(batch(LARGE))
    assert {name for name, now in bits(step.state).items() if now != before[name]} == moves
    assert step.state["optimizer.skipped_steps"] == 1
    if loss_scale is DYNAMIC:
        assert step.state["optimizer.loss_scale"] == 128
    step(batch(SMALL))
    after = bits(step.state)
    for name in ("one.weight", "norm.running_mean", "optimizer.first_moment.two.bias"):
        assert after[name] != before[name]
    assert all(np.isfinite(step.state[name]).all() for name in step.state)


def test_an_overflow_can_be_seen():
    step = compiled(loss_scale=DYNAMIC)
    assert step(batch(SMALL), fetch=["optimizer.finite"])["optimizer.finite"]
    assert not step(batch(LARGE), fetch=["optimizer.finite"])["optimizer.finite"]


def faint(x, t):
    """Gradients of about 1e-9: far below float16's smallest number, 6e-8."""
    return {"loss": mg.mse_loss(mg.dense(x, 3, name="one"), t) * 1e-8}


def test_gradients_too_small_for_float16_come_through():
    x = np.random.default_rng(1).standard_normal((4, 8)).astype(np.float32)
    t = np.random.default_rng(2).standard_normal((4, 3)).astype(np.float32)
    name = "gradient(one.weight)"
    found = {}
    for scale in (1.0, "dynamic"):
        step = compiled(mg.SGD(0.0), scale, faint)
        w = step.state["one.weight"].astype(np.float64)
        found[scale] = step(x=x, t=t, fetch=[name])[name]
    assert found["dynamic"].dtype == np.float32
    # d/dw of mean (x w^T - t)^2
    error = x.astype(np.float64) @ w.T - t
    expected = 1e-8 * 2 / error.size * error.T @ x
    np.testing.assert_allclose(found["dynamic"], expected, atol=3e-3 * np.abs(expected).max())
    assert not found[1.0].any()


def slope(x):
    """A parameter whose gradient is the mean of x."""
    weight = mg.parameter(x, "w", (1, 1), mg.initializers.Constant(0.0))
    return {"loss": mg.reduce_mean(mg.matmul(x, weight))}


@pytest.mark.parametrize("interval", [1, 2, 3])
def test_the_scale_moves_as_torchs_grad_scaler_moves_its_own(interval):
    torch = pytest.importorskip("torch")
    overflows = [0, 0, 0, 1, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0]
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], 0.5)
    scaler = torch.amp.GradScaler("cpu", init_scale=64.0, growth_interval=interval)
    ours = mg.DynamicLossScale(64.0, growth_interval=interval)
    step = mg.compile(
        slope, {"x": "float32[1,1]"}, optimizer=mg.SGD(0.5), loss_scale=ours, backend="numpy"
    )
    for overflow in overflows:
        value = np.inf if overflow else 1.0
        scaler.scale((parameter * value).sum()).backward()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        step(x=np.full((1, 1), value, np.float32))
        assert step.state["optimizer.loss_scale"] == scaler.get_scale()
        assert step.state["w"].item() == parameter.item()
    assert step.state["optimizer.skipped_steps"] == sum(overflows)


def test_the_scale_does_not_fall_below_1():
    step = compiled(loss_scale=mg.DynamicLossScale(init_scale=4.0))
    for _ in range(5):
        step(batch(LARGE))
    assert step.state["optimizer.loss_scale"] == 1.0


def test_clipping_sees_gradients_without_the_scale():
    """SGD with a clipped norm: the parameters move by rate times limit, whatever the scale."""
    for scale in (1.0, 4096.0, "dynamic"):
        step = compiled(mg.ClipGlobalNorm(mg.SGD(1.0), 1e-3), scale, faint_but_100)
        before = step.state.parameters()
        norm = step(batch(SMALL), fetch=["optimizer.gradient_norm"])["optimizer.gradient_norm"]
        moved = [step.state[name] - before[name] for name in before]
        assert norm > 1e-2
        total = np.sqrt(sum((m.astype(np.float64) ** 2).sum() for m in moved))
        np.testing.assert_allclose(total, 1e-3, rtol=1e-3)


def faint_but_100(x, t):
    return {"loss": mg.mse_loss(mg.dense(x, 3, name="one"), t)}


def test_accumulation_leaves_an_overflow_out():
    """Two calls and one that overflows between them: the bits of the two alone."""

    def plain(x, t):
        return {"loss": mg.mse_loss(mg.dense(mg.relu(mg.dense(x, 5, name="a")), 3, name="b"), t)}

    steps = []
    for middle in ([], [batch(1e30)]):
        step = compiled(mg.Accumulate(mg.Adam(1e-2), 2), 256.0, plain)
        for data in [batch(SMALL, 1), *middle, batch(SMALL, 2), *middle]:
            step(data)
        steps.append(step)
    first, second = steps
    assert second.state["optimizer.skipped_steps"] == 2
    assert first.state["optimizer.accumulated_calls"] == 0
    counts = {"optimizer.skipped_steps"}
    kept = [{n: b for n, b in bits(s.state).items() if n not in counts} for s in steps]
    assert kept[0] == kept[1]


def test_groups_and_frozen_parameters():
    step = compiled(mg.Groups(mg.Adam(1e-2), {"one.*": None, "two.*": mg.SGD(1e-3)}), DYNAMIC)
    before = bits(step.state)
    step(batch(SMALL))
    now = bits(step.state)
    assert now["one.weight"] == before["one.weight"]
    assert now["two.weight"] != before["two.weight"]
    before = now
    step(batch(LARGE))
    changed = {name for name, value in bits(step.state).items() if value != before[name]}
    assert changed <= BOOKKEEPING


def test_a_saved_scale_goes_on(tmp_path):
    """Six calls, and three, a file, three more: the same bits."""
    loss_scale = mg.DynamicLossScale(256.0, growth_interval=2)
    data = [batch(SMALL, 1), batch(LARGE, 2), *(batch(SMALL, seed) for seed in (3, 4, 5, 6))]
    whole, first = compiled(loss_scale=loss_scale), compiled(loss_scale=loss_scale)
    for item in data:
        whole(item)
    for item in data[:3]:
        first(item)
    first.save(tmp_path / "m.safetensors")
    second = mg.load(
        tmp_path / "m.safetensors", optimizer=mg.Adam(1e-2), precision="float16",
        loss_scale=loss_scale, backend="numpy",
    )  # fmt: skip
    assert second.state["optimizer.loss_scale"] == first.state["optimizer.loss_scale"]
    for item in data[3:]:
        second(item)
    assert bits(second.state) == bits(whole.state)
    assert whole.state["optimizer.loss_scale"] == 512.0  # 256, halved, doubled twice


def test_who_gets_a_scale():
    def states(**options):
        step = mg.compile(model, SPECS, optimizer=mg.SGD(0.1), backend="numpy", **options)
        return {name for name in step.state if "scale" in name or "skipped" in name}

    assert states(precision="bfloat16") == states() == set()
    assert states(precision="float16", loss_scale=1.0) == {"optimizer.skipped_steps"}
    both = {"optimizer.loss_scale", "optimizer.skipped_steps"}
    assert states(precision="float16") == states(loss_scale="dynamic") == both


def test_parameters_that_are_float16_themselves():
    """A scale of 65,536 is beyond float16: it is divided by in float32."""
    step = mg.compile(
        lambda x: {"loss": mg.reduce_mean(mg.cast(mg.dense(x, 2, name="d"), "float32"))},
        {"x": "float16[4,8]"}, optimizer=mg.SGD(0.1), loss_scale=65536.0, backend="numpy",
    )  # fmt: skip
    x = np.full((4, 8), 0.25, np.float16)
    name = "gradient(d.weight)"
    gradient = step(x=x, fetch=[name])[name]
    assert gradient.dtype == np.float32
    np.testing.assert_allclose(gradient, np.full((2, 8), 0.25 / 2), rtol=1e-3)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"loss_scale": "static"}, "Expected a loss scale of 'dynamic', a number"),
        ({"loss_scale": True}, "Expected a loss scale of 'dynamic', a number"),
        ({"loss_scale": 0}, "Expected a positive scale, got 0"),
        ({"loss_scale": float("inf")}, "Expected a positive scale, got inf"),
        ({"optimizer": None, "loss_scale": 2.0}, "beside an optimiser only, got 2.0"),
    ],
)
def test_scales_that_are_none(options, said):
    with pytest.raises(mg.MinigraphError, match=said):
        mg.compile(model, SPECS, backend="numpy", **{"optimizer": mg.SGD(0.1), **options})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"init_scale": -1.0}, "positive init_scale"),
        ({"growth_factor": 1.0}, "growth factor above 1"),
        ({"backoff_factor": 1.0}, "backoff factor between 0 and 1"),
        ({"growth_interval": 0}, "growth interval of 1 or more"),
    ],
)
def test_wrong_options_of_the_dynamic_scale(options, said):
    with pytest.raises(mg.SpecError, match=said):
        mg.DynamicLossScale(**options)
