"""JAX: one jitted function a step, its state updated in place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.cases import Case
from benchmarks.contenders.jax_networks import Arrays, Layers, Network, network_for
from benchmarks.contenders.steps import LEARNING_RATE, MOMENTUM, Steps

State = tuple[Arrays, Arrays, Arrays, jax.Array]
"""Parameters, their velocities, running statistics, the key of dropout."""


def training(case: Case, variant: str, threads: int) -> Steps:
    return replace(training_steps(case), queue=None)


def inference(case: Case, variant: str, threads: int) -> Steps:
    network, layers, images = prepare(case)
    values = jax.device_put((layers.parameters, layers.statistics))
    predict = jax.jit(lambda values, images: network(Layers(*values), images))
    return Steps(lambda: np.asarray(predict(values, images)), size(layers))


def training_steps(
    case: Case, wrap: Callable[[Network], Network] = lambda network: network
) -> Steps:
    """Steps of what ``wrap`` makes of the network; they can be queued."""
    network, layers, images = prepare(case)
    labels = jnp.asarray(case.batch()[1].astype(np.int32))
    velocities = [jnp.zeros_like(value) for value in layers.parameters]
    state: State = (
        jax.device_put(layers.parameters), velocities,
        jax.device_put(layers.statistics), jax.random.key(0),
    )  # fmt: skip
    update = jax.jit(partial(_update, wrap(network)), donate_argnums=0)

    def queue() -> jax.Array:
        nonlocal state
        state, loss = update(state, images, labels)
        return loss

    def step() -> float:
        loss = queue()
        jax.block_until_ready(state)
        return float(loss)

    return Steps(step, size(layers), queue)


def _update(
    network: Network, state: State, images: jax.Array, labels: jax.Array
) -> tuple[State, jax.Array]:
    parameters, velocities, statistics, key = state
    key, dropout = jax.random.split(key)

    def loss_of(parameters: Arrays) -> tuple[jax.Array, Arrays]:
        layers = Layers(parameters, statistics, dropout)
        logs = jax.nn.log_softmax(network(layers, images))
        return -jnp.take_along_axis(logs, labels[..., None], -1).mean(), layers.statistics

    (loss, statistics), gradients = jax.value_and_grad(loss_of, has_aux=True)(parameters)
    velocities = [MOMENTUM * v + g for v, g in zip(velocities, gradients, strict=True)]
    parameters = [p - LEARNING_RATE * v for p, v in zip(parameters, velocities, strict=True)]
    return (parameters, velocities, statistics, key), loss


def prepare(case: Case) -> tuple[Network, Layers, jax.Array]:
    """The network, its first parameters (drawn while shapes alone are computed), the images."""
    network = network_for(case)
    images = case.batch()[0].transpose(0, 2, 3, 1)
    layers = Layers()
    jax.eval_shape(lambda x: network(layers, x), images)
    return network, layers, jnp.asarray(images)


def size(layers: Layers) -> int:
    return sum(value.size for value in layers.parameters)
