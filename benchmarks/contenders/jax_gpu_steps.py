"""JAX on a GPU: the jitted steps of ``jax_steps``, with products in TF32, or all in bfloat16.

In bfloat16 values and weights in use are rounded to it; parameters, batch norm and the loss are
float32, as the others have it. Logits stay on the device. Steps are queued.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from benchmarks.cases import Case
from benchmarks.contenders.jax_networks import Layers, Network
from benchmarks.contenders.jax_steps import prepare, size, training_steps
from benchmarks.contenders.steps import Steps


def training(case: Case, variant: str, precision: str) -> Steps:
    _check()
    return training_steps(case, _in_bfloat16 if precision == "bfloat16" else _in_tf32)


def inference(case: Case, variant: str, precision: str) -> Steps:
    _check()
    network, layers, images = prepare(case)
    network = (_in_bfloat16 if precision == "bfloat16" else _in_tf32)(network)
    values = jax.device_put((layers.parameters, layers.statistics))
    predict = jax.jit(lambda values, images: network(Layers(*values), images))

    def step() -> float:
        return float(predict(values, images).reshape(-1)[0])

    return Steps(step, size(layers), lambda: predict(values, images))


def _in_tf32(network: Network) -> Network:
    jax.config.update("jax_default_matmul_precision", "tensorfloat32")
    return network


def _in_bfloat16(network: Network) -> Network:
    def run(layers: Layers, images: jax.Array) -> jax.Array:
        layers.dtype = jnp.bfloat16
        return network(layers, images.astype(jnp.bfloat16)).astype(jnp.float32)

    return run


def _check() -> None:
    if jax.default_backend() != "gpu":
        raise RuntimeError("this JAX has no GPU")
