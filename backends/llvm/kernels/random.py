"""Dropout, with masks from Philox-4x32-10.

Salmon, Moraes, Dror and Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3", section 3.3. Ten
rounds on a counter of four 32-bit words with a key of two::

    (c0, c1, c2, c3) <- (hi(M1 c2) ^ c1 ^ k0, lo(M1 c2), hi(M0 c0) ^ c3 ^ k1, lo(M0 c0))
    (k0, k1) <- (k0 + W0, k1 + W1)

Key: the 64 bits of the seed. Counter: block number (64 bits), step, stream. Element i in logical
order has word ``i % 4`` of block ``i // 4``. Neighbours in memory are seldom of one block (images
lie channels last), so each element computes its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from minigraph.backends.llvm.call import Binding, Call, Lowering, simple
from minigraph.backends.llvm.kernels.iteration import decode, product
from minigraph.backends.llvm.kernels.vectors import load_vector, offset, store_vector
from minigraph.backends.llvm.language.code import KernelCode
from minigraph.backends.llvm.language.kernel import Kernel
from minigraph.backends.llvm.language.types import UINT64
from minigraph.backends.llvm.language.value import Value
from minigraph.backends.llvm.language.view import View
from minigraph.ir.spec import DType
from minigraph.iteration import collapse, row_major_strides
from minigraph.ops.random import Dropout

_M0, _M1 = 0xD2511F53, 0xCD9E8D57
_W0, _W1 = 0x9E3779B9, 0xBB67AE85
_LOW = 0xFFFFFFFF
_ROUNDS = 10
_VECTORS = 4  # a piece of work has so many, where a row has


@dataclass(frozen=True)
class Philox:
    """Random words of one key, step and stream; words are the low halves of 64-bit lanes."""

    keys: tuple[tuple[Value, Value], ...]  # of each round
    step: Value
    stream: Value

    @classmethod
    def of(cls, seed: Value, step: Value, stream: Value) -> Philox:
        """From scalar indices, of which step and stream count modulo 2^32."""
        low, high = (half.to(UINT64) & _LOW for half in (seed, seed.to(UINT64) >> 32))
        keys = [(low, high)]
        for _ in range(_ROUNDS - 1):
            low, high = (low + _W0) & _LOW, (high + _W1) & _LOW
            keys.append((low, high))
        return cls(tuple(keys), step.to(UINT64) & _LOW, stream.to(UINT64) & _LOW)

    def words(self, elements: Value) -> Value:
        """The word of each element, by its number in logical order."""
        number = elements.to(UINT64)
        block = number >> 2
        counter = [
            block & _LOW,
            block >> 32,
            *(w.spread(block.lanes) for w in (self.step, self.stream)),
        ]
        for key in self.keys:
            counter = _round(counter, key)
        word = number & 3
        last = word.equals(2).select(counter[2], counter[3])
        return word.equals(0).select(counter[0], word.equals(1).select(counter[1], last))


def _round(counter: list[Value], key: tuple[Value, Value]) -> list[Value]:
    c0, c1, c2, c3 = counter
    product0, product1 = c0 * _M0, c2 * _M1
    first = (product1 >> 32) ^ c1 ^ key[0]
    third = (product0 >> 32) ^ c3 ^ key[1]
    return [first, product1 & _LOW, third, product0 & _LOW]


@dataclass(frozen=True)
class DropoutElements(KernelCode):
    """``x / (1 - rate)`` where the element's word reaches the threshold, else 0.

    Arguments: source, key (seed, step); target; threshold, stream; sizes of the axes; strides of
    source, target and logical order along each.
    """

    dtype: DType
    rate: float
    axes: int
    adjacent: tuple[bool, bool]  # source, target: along the last axis

    pointers = 3

    @property
    def sizes(self) -> int:
        return 2 + 4 * self.axes

    def emit(self, k: Kernel) -> None:
        n = self.axes
        threshold, stream = k.sizes[:2]
        sizes = k.sizes[2 : 2 + n]
        strides = [k.sizes[2 + n * i : 2 + n * (i + 1)] for i in (1, 2, 3)]
        source, target = (k.view(k.pointers[i], self.dtype, 1) for i in (0, 2))
        key = k.view(k.pointers[1], DType.INT64, 1)
        philox = Philox.of(key.load(0), key.load(1), stream)
        lanes = k.lanes(self.dtype)
        width = lanes * _VECTORS
        pieces = (sizes[-1] + (width - 1)) // width
        rows = product(sizes[:-1]) if n > 1 else k.index(1)
        with k.parallel(rows * pieces) as item:
            outer = decode(item // pieces, sizes[:-1])
            first = item % pieces * width
            starts = [offset([*outer, first], steps) for steps in strides]
            lines = [
                view.at(start).strided(1 if adjacent else steps[-1])
                for view, start, adjacent, steps in zip(
                    (source, target), starts, self.adjacent, strides, strict=False
                )
            ]
            numbers = k.lane_numbers(lanes) * strides[2][-1] + starts[2]

            def body(i: Value, mask: Value | None) -> None:
                words = philox.words(numbers + i * strides[2][-1])
                self._drop(lines, i, mask, words >= threshold.to(UINT64))

            k.vectors(k.minimum(sizes[-1] - first, width), lanes, body)

    def _drop(self, lines: list[View], i: Value, mask: Value | None, kept: Value) -> None:
        source, target = lines
        x = load_vector(source, i, kept.lanes, mask)
        scaled = x * (1.0 / (1.0 - self.rate))
        store_vector(target, i, kept.select(scaled, scaled.like(0)), mask)


def _dropout(binding: Binding) -> list[Call]:
    (x, key), y, op = binding.inputs, binding.output, binding.op
    shape = x.spec.shape
    if x.spec.size == 0:
        return []
    space = collapse(shape, [row_major_strides(shape), x.strides, y.strides])
    logical, source, target = space.strides
    code = DropoutElements(
        x.spec.dtype, op.rate, len(space.sizes), (source[-1] == 1, target[-1] == 1)
    )
    sizes = (op.threshold, op.stream, *space.sizes, *source, *target, *logical)
    return [Call(code, (x, key), (y,), sizes)]


LOWERINGS: Mapping[type, Lowering] = {Dropout: simple(_dropout, overwrites=(0,))}
