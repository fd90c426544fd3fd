"""JAX on a GPU: the jitted steps of ``jax_steps``, products in TF32 or bfloat16.

In bfloat16 the operands of products are rounded to it; values in memory stay float32.
"""

from __future__ import annotations

import jax

from benchmarks.cases import Case
from benchmarks.contenders import jax_steps
from benchmarks.contenders.steps import Steps

_PRECISIONS = {"tf32": "tensorfloat32", "bfloat16": "bfloat16"}


def training(case: Case, variant: str, precision: str) -> Steps:
    _prepare(precision)
    return jax_steps.training(case, variant, 1)


def inference(case: Case, variant: str, precision: str) -> Steps:
    _prepare(precision)
    return jax_steps.inference(case, variant, 1)


def _prepare(precision: str) -> None:
    if jax.default_backend() != "gpu":
        raise RuntimeError("this JAX has no GPU")
    jax.config.update("jax_default_matmul_precision", _PRECISIONS[precision])
