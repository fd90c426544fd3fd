"""Group, instance and layer normalisation as layers: parameters, training, other shapes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import op_table
import pytest

import minigraph as mg

LAYERS: dict[str, Any] = {
    "group_norm": lambda x: mg.group_norm(x, 2),
    "instance_norm": mg.instance_norm,
    "layer_norm": lambda x: mg.layer_norm(x, 1),
}


def model(layer: str) -> Any:
    def function(x: mg.Tensor) -> dict[str, mg.Tensor]:
        y = LAYERS[layer](mg.conv2d(x, 4, 3, padding="same", name="conv"))
        return {"loss": mg.reduce_mean(y * y * y), "y": y}

    return function


@pytest.mark.parametrize("layer", LAYERS)
def test_parameters_are_made_and_trained(layer: str) -> None:
    step = mg.compile(
        model(layer), {"x": "float32[2,3,5,5]"}, optimizer=mg.SGD(0.1), outputs=["loss"]
    )
    assert step.state[f"{layer}.weight"].tolist() == [1.0] * 4
    assert step.state[f"{layer}.bias"].tolist() == [0.0] * 4
    before = step(x=np.random.default_rng(0).normal(size=(2, 3, 5, 5)))["loss"]
    assert step.state[f"{layer}.weight"].tolist() != [1.0] * 4
    after = step(x=np.random.default_rng(0).normal(size=(2, 3, 5, 5)))["loss"]
    assert after < before


@pytest.mark.skipif(op_table.torch is None, reason="torch is not installed")
def test_the_conventions_are_those_of_torch() -> None:
    torch = op_table.torch
    x = np.random.default_rng(1).normal(3.0, 2.0, (2, 6, 4, 5))

    def all_three(x: mg.Tensor) -> dict[str, mg.Tensor]:
        return {
            "group": mg.group_norm(x, 3),
            "instance": mg.instance_norm(x),
            "layer": mg.layer_norm(x, (1, 2, 3)),
        }

    got = mg.compile(all_three, {"x": "float64[2,6,4,5]"}, backend="numpy")(x=x)
    theirs = {
        "group": torch.nn.GroupNorm(3, 6),
        "instance": torch.nn.InstanceNorm2d(6, affine=True),
        "layer": torch.nn.LayerNorm((6, 4, 5)),
    }
    for name, module in theirs.items():
        expected = module.double()(torch.from_numpy(x)).detach().numpy()
        np.testing.assert_allclose(got[name], expected, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("layer", LAYERS)
def test_a_saved_model_serves_other_shapes(layer: str, tmp_path: Path) -> None:
    first = mg.compile(model(layer), {"x": "float64[2,3,5,5]"}, outputs=["y"])
    first.save(tmp_path / "model")
    x = np.random.default_rng(0).normal(size=(3, 3, 4, 7))
    again = mg.load(tmp_path / "model", outputs=["y"])
    np.testing.assert_array_equal(again(x=x)["y"], first(x=x)["y"])


@pytest.mark.parametrize("shape", [(3, 4, 150, 131), (300, 8, 3, 3)])
def test_moments_of_a_large_mean_do_not_cancel(shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).normal(1000.0, 1.0, shape).astype(np.float32)
    exe = mg.compile(lambda x: mg.group_norm(x, 2), {"x": mg.TensorSpec(shape)}, backend="numpy")
    rows = x.astype(np.float64).reshape(shape[0], 2, -1)
    expected = (rows - rows.mean(-1, keepdims=True)) / rows.std(-1, keepdims=True)
    np.testing.assert_allclose(exe(x=x)["output"].reshape(rows.shape), expected, atol=2e-3)
