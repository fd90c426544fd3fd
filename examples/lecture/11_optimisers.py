"""Optimisers step by step: theta^2 / 2 from theta = 1, so the gradient g is theta itself."""

import numpy as np

import minigraph as mg
from minigraph.initializers import Constant


def model(x):
    theta = mg.parameter(x, "theta", (1,), Constant(1.0))
    return {"loss": mg.reduce_sum(theta * theta * 0.5) + mg.reduce_sum(x * 0.0)}


def show(title, optimizer, slot=None, letter=""):
    step = mg.compile(model, {"x": "float64[1]"}, optimizer=optimizer)
    print(title)
    for number in range(1, 5):
        step(x=np.zeros(1))
        line = f"  step {number}: theta {step.state['theta'][0]:.6f}"
        if slot:
            line += f", {letter} {step.state[f'optimizer.{slot}.theta'][0]:.6f}"
        print(line)


eps, alpha = 0.1, 0.9
show(f"SGD: theta <- theta - eps g, eps = {eps}", mg.SGD(eps))
show(
    f"Momentum: v <- alpha v - eps g; theta <- theta + v, alpha = {alpha}",
    mg.Momentum(eps, alpha),
    slot="velocity",
    letter="v",
)
show(
    "AdaGrad: r <- r + g g; theta <- theta - eps / (delta + sqrt(r)) g, delta = 1e-7",
    mg.AdaGrad(eps, delta=1e-7),
    slot="squares",
    letter="r",
)
