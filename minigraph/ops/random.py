"""Randomness: counter-based, so that a mask is a function of key, place and position.

Philox-4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"). The key is the
user's seed; the counter is (block, step, stream): element ``i``, counted row by row through the
logical shape (N,C,H,W for images), takes lane ``i % 4`` of block ``i // 4``. A mask is therefore
the same on every backend and in every memory order, and the backward pass computes it again
instead of keeping it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from minigraph.ir.errors import SpecError
from minigraph.ir.op import Cost, Cotangents, Op, Tensors, memory_cost
from minigraph.ir.spec import DType, TensorSpec
from minigraph.ir.tensor import Tensor

KEY_SPEC = TensorSpec((2,), DType.INT64)
"""The random key: (seed, step)."""


@dataclass(frozen=True)
class Dropout(Op):
    """(x, key) gives ``x / (1 - rate)`` where kept and 0 where dropped; linear in x."""

    rate: float
    stream: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "rate", float(self.rate))
        if not 0.0 <= self.rate < 1.0:
            raise SpecError(f"Expected a dropout rate in [0, 1), got {self.rate}")

    @property
    def threshold(self) -> int:
        """An element is dropped where its 32 random bits are below this."""
        return min(round(self.rate * 2**32), 2**32 - 1)

    def infer(self, x: TensorSpec, key: TensorSpec) -> tuple[TensorSpec, ...]:
        if not x.dtype.is_floating:
            raise SpecError(f"Expected a floating dtype, got {x.dtype}: use mg.cast first")
        if key != KEY_SPEC:
            raise SpecError(f"Expected a key {KEY_SPEC}, got {key}")
        return (x,)

    def vjp(self, inputs: Tensors, outputs: Tensors, grads: Cotangents) -> Cotangents:
        return grads[0].builder.emit(self, grads[0], inputs[1])[0], None

    def cost(self, x: TensorSpec, key: TensorSpec) -> Cost:
        return memory_cost(20 * x.size, (x, key), (x,))


def stream_of(name: str) -> int:
    """The random stream of a node's scoped name: 32 bits of its hash."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "little")


def dropout(x: Tensor, rate: float, key: Tensor, stream: int) -> Tensor:
    """Dropout with an explicit key and stream; ``mg.dropout`` supplies both."""
    return x.builder.emit(Dropout(rate, stream), x, key)[0]
