"""How state variables start: a function of one seed and the variable's own name.

Adding a layer therefore changes no other layer's start. An initialiser is a frozen dataclass
called with the variable's spec and a random generator.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from minigraph.ir.errors import SpecError
from minigraph.ir.spec import TensorSpec


class Initializer(Protocol):
    """Makes the first value of a state variable."""

    def __call__(self, spec: TensorSpec, generator: np.random.Generator) -> np.ndarray: ...


def generator_for(seed: int, name: str) -> np.random.Generator:
    """The generator of one variable: Philox, keyed by a hash of seed and name."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))


@dataclass(frozen=True)
class Constant:
    """Every element the same."""

    value: float = 0.0

    def __call__(self, spec: TensorSpec, generator: np.random.Generator) -> np.ndarray:
        return np.full(spec.shape, self.value, spec.dtype.numpy)


@dataclass(frozen=True)
class Array:
    """A given array of the variable's shape."""

    array: Any

    def __call__(self, spec: TensorSpec, generator: np.random.Generator) -> np.ndarray:
        given = np.asarray(self.array)
        if given.shape != spec.shape:
            raise SpecError(
                f"Expected an initial value of shape {list(spec.shape)}, got {list(given.shape)}"
            )
        return given.astype(spec.dtype.numpy)


def fans(spec: TensorSpec) -> tuple[int, int]:
    """Fan-in and fan-out of a weight (outputs, inputs, *kernel)."""
    if spec.ndim < 2:
        raise SpecError(f"Expected a weight of at least 2 axes to scale by its fan, got {spec}")
    kernel = math.prod(spec.shape[2:])
    return spec.shape[1] * kernel, spec.shape[0] * kernel


@dataclass(frozen=True)
class HeNormal:
    """Normal with variance ``2 / fan_in``, for ReLU (He et al. 2015, arXiv:1502.01852, eq. 10).

    ``fan_in`` overrides what the shape says (a transposed convolution needs that).
    """

    fan_in: float | None = None

    def __call__(self, spec: TensorSpec, generator: np.random.Generator) -> np.ndarray:
        fan_in = fans(spec)[0] if self.fan_in is None else self.fan_in
        return _normal(spec, generator, math.sqrt(2.0 / fan_in))


@dataclass(frozen=True)
class HeUniform:
    """Uniform in +-sqrt(6 / fan_in): the same variance as HeNormal."""

    fan_in: float | None = None

    def __call__(self, spec: TensorSpec, generator: np.random.Generator) -> np.ndarray:
        fan_in = fans(spec)[0] if self.fan_in is None else self.fan_in
        return _uniform(spec, generator, math.sqrt(6.0 / fan_in))


@dataclass(frozen=True)
class XavierNormal:
    """Normal with variance ``2 / (fan_in + fan_out)`` (Glorot and Bengio 2010, eq. 12)."""

    def __call__(self, spec: TensorSpec, generator: np.random.Generator) -> np.ndarray:
        return _normal(spec, generator, math.sqrt(2.0 / sum(fans(spec))))


@dataclass(frozen=True)
class XavierUniform:
    """Uniform in +-sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio 2010, eq. 16)."""

    def __call__(self, spec: TensorSpec, generator: np.random.Generator) -> np.ndarray:
        return _uniform(spec, generator, math.sqrt(6.0 / sum(fans(spec))))


@dataclass(frozen=True)
class Bilinear:
    """Bilinear upsampling as the weight (channels, channels, R, S) of a transposed convolution.

    For stride ``s`` the kernel of size ``2 s - s % 2`` with padding ``(R - s + 1) // 2``
    interpolates (Long, Shelhamer and Darrell 2015, arXiv:1411.4038, section 3.3). Channels stay
    apart: each input channel reaches the output channel of its number within its group.
    """

    def __call__(self, spec: TensorSpec, generator: np.random.Generator) -> np.ndarray:
        if spec.ndim != 4:
            raise SpecError(f"Expected a weight (K,C,R,S), got {spec}")
        inputs, outputs = spec.shape[:2]
        if inputs % outputs:
            raise SpecError(
                f"Expected as many input as output channels in each group, got {inputs} inputs "
                f"and {outputs} outputs a group"
            )
        kernel = np.outer(_tent(spec.shape[2]), _tent(spec.shape[3]))
        weight = np.zeros(spec.shape)
        for channel in range(inputs):
            weight[channel, channel % outputs] = kernel
        return weight.astype(spec.dtype.numpy)


@dataclass(frozen=True)
class Identity:
    """A convolution's weight (K,C,R,S) that passes map ``i`` on as map ``i``; torch's ``dirac_``.

    One at the centre of an odd kernel for the first ``min(K, C)`` maps, else zero (Yu and Koltun
    2016, arXiv:1511.07122, eq. 4). Raises SpecError for an even kernel, which has no centre.
    """

    def __call__(self, spec: TensorSpec, generator: np.random.Generator) -> np.ndarray:
        if spec.ndim != 4 or not (spec.shape[2] % 2 and spec.shape[3] % 2):
            raise SpecError(f"Expected a weight (K,C,R,S) with odd R and S, got {spec}")
        weight = np.zeros(spec.shape, spec.dtype.numpy)
        maps = np.arange(min(spec.shape[:2]))
        weight[maps, maps, spec.shape[2] // 2, spec.shape[3] // 2] = 1.0
        return weight


@dataclass(frozen=True)
class RandomKey:
    """(seed, step) of the counter-based generator: a seed of its own, and step 0."""

    def __call__(self, spec: TensorSpec, generator: np.random.Generator) -> np.ndarray:
        return np.array([generator.integers(2**62), 0], np.int64)


def _tent(size: int) -> np.ndarray:
    """A triangle that sums to the stride it belongs to: ``1 - |i - centre| / factor``."""
    factor = (size + 1) // 2
    centre = factor - 1.0 if size % 2 else factor - 0.5
    return 1.0 - np.abs(np.arange(size) - centre) / factor


def _normal(spec: TensorSpec, generator: np.random.Generator, deviation: float) -> np.ndarray:
    return (generator.standard_normal(spec.shape) * deviation).astype(spec.dtype.numpy)


def _uniform(spec: TensorSpec, generator: np.random.Generator, bound: float) -> np.ndarray:
    return generator.uniform(-bound, bound, spec.shape).astype(spec.dtype.numpy)
