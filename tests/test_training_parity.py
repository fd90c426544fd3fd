"""Twenty training steps from the same weights as torch give the same losses.

In float64 the two differ by rounding alone, so the losses agree to 1e-8 relative. In float32 each
side drifts from its own float64 run; ours may drift at most three times as far as torch's.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import minigraph as mg
from minigraph import Tensor
from minigraph.models import small_classifier as models_classifier
from minigraph.models.unet import unet
from minigraph.optimizers import Optimizer

torch = pytest.importorskip("torch", reason="parity is with torch, which is not installed")
F = torch.nn.functional

STEPS = 20
SEEDS = range(5)

Weights = dict[str, Any]  # torch tensors by minigraph's names


# ---- the networks: ours, and torch's with the weights under our names


def small_classifier(image: Tensor) -> Tensor:
    """``minigraph.models.small_classifier`` without its dropout, whose mask torch does not know."""
    x = mg.relu(mg.conv2d(image, 32, 3, padding="same", name="conv1"))
    x = mg.max_pool2d(x, 2)
    x = mg.relu(mg.conv2d(x, 64, 3, padding="same", name="conv2"))
    x = mg.max_pool2d(x, 2)
    x = mg.relu(mg.conv2d(x, 64, 3, padding="same", name="conv3"))
    x = mg.flatten(x)
    x = mg.relu(mg.dense(x, 128, name="dense1"))
    return mg.dense(x, 10, name="dense2")


def torch_conv(x: Any, w: Weights, name: str) -> Any:
    weight = w[f"{name}.weight"]
    return F.conv2d(x, weight, w.get(f"{name}.bias"), padding=weight.shape[2] // 2)


def torch_classifier(x: Any, w: Weights) -> Any:
    x = F.max_pool2d(F.relu(torch_conv(x, w, "conv1")), 2)
    x = F.max_pool2d(F.relu(torch_conv(x, w, "conv2")), 2)
    x = F.relu(torch_conv(x, w, "conv3")).flatten(1)
    x = F.relu(F.linear(x, w["dense1.weight"], w["dense1.bias"]))
    return F.linear(x, w["dense2.weight"], w["dense2.bias"])


def torch_unet(x: Any, w: Weights) -> Any:
    """U-Net of depth 2; batch norm where there are weights for it."""

    def double(x: Any, name: str) -> Any:
        for number in (1, 2):
            x = torch_conv(x, w, f"{name}.conv{number}")
            norm = f"{name}.norm{number}"
            if f"{norm}.weight" in w:
                mean, var = w[f"{norm}.running_mean"], w[f"{norm}.running_var"]
                x = F.batch_norm(x, mean, var, w[f"{norm}.weight"], w[f"{norm}.bias"], True)
            x = F.relu(x)
        return x

    skip1 = double(x, "encoder1")
    skip2 = double(F.max_pool2d(skip1, 2), "encoder2")
    x = double(F.max_pool2d(skip2, 2), "bottom")
    for name, skip in (("2", skip2), ("1", skip1)):
        x = F.conv_transpose2d(x, w[f"up{name}.weight"], w[f"up{name}.bias"], stride=2)
        x = double(torch.cat([skip, x], 1), f"decoder{name}")
    return torch_conv(x, w, "head")


@dataclass(frozen=True)
class Network:
    """One network on both sides, and the batches that it is trained on."""

    model: Callable[[Tensor], Tensor]
    counterpart: Callable[[Any, Weights], Any]
    image: tuple[int, ...]
    classes: int
    pixels: bool

    def batches(self, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """Random images of patterns that can be learned; of pixel labels, some are void."""
        rng = np.random.default_rng(seed)
        shape = (self.image[0], *self.image[2:]) if self.pixels else self.image[:1]
        found = []
        for _ in range(STEPS):
            target = rng.integers(0, self.classes, shape)
            image = rng.standard_normal(self.image)
            image[:, 0] += target if self.pixels else target[:, None, None] / self.classes
            if self.pixels:
                target[rng.random(shape) < 0.1] = 255
            found.append((image.astype(np.float32), target.astype(np.int32)))
        return found


NETWORKS = {
    "unet": Network(
        functools.partial(unet, classes=3, base=4, depth=2), torch_unet, (2, 3, 16, 20), 3, True
    ),
    "unet-batch-norm": Network(
        functools.partial(unet, classes=3, base=4, depth=2, batch_norm=True),
        torch_unet,
        (2, 3, 16, 20),
        3,
        True,
    ),
    "classifier": Network(small_classifier, torch_classifier, (8, 1, 12, 12), 10, False),
}


# ---- the optimisers: ours, and the same formulas on torch's gradients

Update = Callable[[Any, Any, dict[str, Any], int], None]
"""(parameter, gradient, slots of that parameter, step from 1 on): changes the parameter."""


def sgd(p: Any, g: Any, slots: dict[str, Any], step: int) -> None:
    p -= 0.05 * g


def momentum(p: Any, g: Any, slots: dict[str, Any], step: int) -> None:
    slots["v"] = 0.9 * slots.get("v", torch.zeros_like(p)) - 0.02 * g
    p += slots["v"]


def adagrad(p: Any, g: Any, slots: dict[str, Any], step: int) -> None:
    slots["r"] = slots.get("r", torch.zeros_like(p)) + g * g
    p -= 0.02 / (1e-7 + slots["r"].sqrt()) * g


def adam(p: Any, g: Any, slots: dict[str, Any], step: int) -> None:
    """As in torch.optim.Adam, which test_adam_is_torchs_adam compares it with."""
    slots["m"] = 0.9 * slots.get("m", torch.zeros_like(p)) + 0.1 * g
    slots["v"] = 0.999 * slots.get("v", torch.zeros_like(p)) + 0.001 * g * g
    m, v = slots["m"] / (1 - 0.9**step), slots["v"] / (1 - 0.999**step)
    p -= 0.002 * m / (v.sqrt() + 1e-8)


OPTIMIZERS: dict[str, tuple[Optimizer, Update]] = {
    "sgd": (mg.SGD(0.05), sgd),
    "momentum": (mg.Momentum(0.02, 0.9), momentum),
    "adagrad": (mg.AdaGrad(0.02), adagrad),
    "adam": (mg.Adam(0.002), adam),
}


# ---- runs


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    """On a busy machine torch's threads wait for each other far longer than they work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@functools.cache
def initial(network: str) -> dict[str, np.ndarray]:
    """The first state of the network, in float32."""
    step = compiled(network, mg.SGD(0.1), "float32")
    return {n: step.state[n] for n in step.state if not n.startswith("optimizer.")}


def start(network: str, seed: int) -> dict[str, np.ndarray]:
    """Weights that float32 holds, so that every run starts from the same.

    The initial ones in an order of the seed's: as if drawn anew, and nothing is compiled again.
    """
    rng, state = np.random.default_rng(seed), initial(network)
    return {name: rng.permuted(array.ravel()).reshape(array.shape) for name, array in state.items()}


def compiled(network: str, optimizer: Optimizer, dtype: str) -> mg.Executable:
    net = NETWORKS[network]
    labels = (net.image[0], *net.image[2:]) if net.pixels else net.image[:1]

    def model(image: Tensor, label: Tensor) -> dict[str, Tensor]:
        return {"loss": mg.softmax_cross_entropy(net.model(image), label)}

    specs = {"image": (net.image, dtype), "label": (labels, "int32")}
    return mg.compile(model, specs, optimizer=optimizer, backend="numpy", threads=2, seed=0)


@functools.cache
def step_and_state(
    network: str, optimizer: str, dtype: str
) -> tuple[mg.Executable, dict[str, np.ndarray]]:
    """A training step that many runs share, and its state before the first."""
    step = compiled(network, OPTIMIZERS[optimizer][0], dtype)
    return step, {name: step.state[name] for name in step.state}


def our_losses(network: str, optimizer: str, dtype: str, seed: int) -> np.ndarray:
    step, before = step_and_state(network, optimizer, dtype)
    for name, array in {**before, **start(network, seed)}.items():
        step.state[name] = array
    batches = NETWORKS[network].batches(seed)
    return np.array([step(image=image, label=label)["loss"] for image, label in batches])


def torch_losses(network: str, optimizer: str, dtype: str, seed: int) -> np.ndarray:
    net, update = NETWORKS[network], OPTIMIZERS[optimizer][1]
    kind = getattr(torch, dtype)
    weights = {n: torch.tensor(a, dtype=kind) for n, a in start(network, seed).items()}
    trained = {n: p.requires_grad_() for n, p in weights.items() if "running" not in n}
    slots: dict[str, dict[str, Any]] = {name: {} for name in trained}
    losses = []
    for number, (image, label) in enumerate(net.batches(seed), start=1):
        logits = net.counterpart(torch.tensor(image, dtype=kind), weights)
        loss = F.cross_entropy(logits, torch.tensor(label).long(), ignore_index=255)
        grads = torch.autograd.grad(loss, list(trained.values()))
        with torch.no_grad():
            for (name, parameter), grad in zip(trained.items(), grads, strict=True):
                update(parameter, grad, slots[name], number)
        losses.append(loss.item())
    return np.array(losses)


# ---- tests


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("network", NETWORKS)
def test_float64_losses_equal_torchs(network: str, optimizer: str) -> None:
    ours = our_losses(network, optimizer, "float64", 0)
    theirs = torch_losses(network, optimizer, "float64", 0)
    assert len(set(ours)) == STEPS  # it moves
    np.testing.assert_allclose(ours, theirs, rtol=1e-8, atol=0)


@pytest.mark.parametrize("network", NETWORKS)
def test_float32_drifts_no_further_than_torchs(network: str) -> None:
    """The largest |float32 loss - float64 loss| of 20 steps, over five seeds, ours against theirs.

    A drift is the growth of random rounding: on either side it varies tenfold from seed to seed,
    so that the ratio of one seed says little. The median over the seeds is compared, which no
    single seed decides, and the mean, in which one that strays far cannot hide.
    """
    ours, theirs = (drifts(network, losses) for losses in (our_losses, torch_losses))
    assert np.median(ours) <= 3 * np.median(theirs), f"ours {ours}, torch's {theirs}"
    assert np.mean(ours) <= 3 * np.mean(theirs), f"ours {ours}, torch's {theirs}"


def drifts(network: str, losses: Callable[..., np.ndarray]) -> np.ndarray:
    """For each seed, how far the float32 run strays from the float64 one."""
    found = []
    for seed in SEEDS:
        narrow, wide = (losses(network, "sgd", dtype, seed) for dtype in ("float32", "float64"))
        found.append(np.abs(narrow - wide).max())
    return np.array(found)


def test_the_classifier_is_the_models_without_dropout() -> None:
    inputs = {"image": "float32[2,1,12,12]"}
    image = np.random.default_rng(0).standard_normal((2, 1, 12, 12)).astype(np.float32)
    results = [
        mg.compile(model, inputs, backend="numpy", seed=3)(image=image)["output"]
        for model in (small_classifier, models_classifier.small_classifier)
    ]
    np.testing.assert_array_equal(*results)


def test_adam_is_torchs_adam() -> None:
    parameter = torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64)
    other, slots = parameter.clone().requires_grad_(), {}
    theirs = torch.optim.Adam([other], lr=0.002)
    for step in range(1, 6):
        gradient = torch.tensor([0.1 * step, -0.2, 0.3 / step], dtype=torch.float64)
        other.grad = gradient
        theirs.step()
        adam(parameter, gradient, slots, step)
    torch.testing.assert_close(parameter, other.detach(), rtol=1e-12, atol=0)


@pytest.mark.parametrize("network", ["unet-batch-norm"])
def test_running_statistics_equal_torchs(network: str) -> None:
    net = NETWORKS[network]
    step = compiled(network, mg.SGD(0.0), "float64")
    weights = {n: torch.tensor(step.state[n]) for n in step.state if "optimizer" not in n}
    for image, label in net.batches(0)[:4]:
        step(image=image, label=label)
        net.counterpart(torch.tensor(image, dtype=torch.float64), weights)
    names = [name for name in weights if "running" in name]
    assert len(names) == 20  # two for each of ten norms
    for name in names:
        np.testing.assert_allclose(step.state[name], weights[name].numpy(), rtol=1e-11, atol=1e-13)
