"""Philox-4x32-10 in NumPy, and the dropout that uses it.

Salmon, Moraes, Dror and Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3", section 3.3. Ten
rounds on a counter of four 32-bit words with a key of two::

    (c0, c1, c2, c3) <- (hi(M1 c2) ^ c1 ^ k0, lo(M1 c2), hi(M0 c0) ^ c3 ^ k1, lo(M0 c0))
    (k0, k1) <- (k0 + W0, k1 + W1)

Key: the 64 bits of the seed. Counter: block number (64 bits), step, stream.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from minigraph.backends.numpy.kernel import (
    Binding,
    Call,
    Kernel,
    carve,
    carved_bytes,
    in_sequence,
    simple,
)
from minigraph.ir.spec import TensorSpec
from minigraph.ops.random import Dropout

_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = 0x9E3779B9, 0xBB67AE85
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
_ROUNDS = 10
_BLOCKS = 4096  # of four lanes each, computed at a time

_PARTS = (((6, _BLOCKS), np.uint64), ((_BLOCKS, 4), np.uint32), ((_BLOCKS * 4,), bool))


class Philox:
    """Random words for a run of block numbers, in given scratch memory."""

    def __init__(self, scratch: np.ndarray, words: np.ndarray) -> None:
        self._lanes = scratch[:4]
        self._products = scratch[4:]
        self._words = words

    def fill(self, seed: int, step: int, stream: int, first_block: int) -> np.ndarray:
        """The words (blocks, 4) of consecutive blocks, as uint32."""
        c0, c1, c2, c3 = self._lanes
        c0.fill(1)
        np.add.accumulate(c0, out=c0)
        c0 += np.uint64((first_block - 1) % 2**64)
        np.right_shift(c0, _HALF, out=c1)
        np.bitwise_and(c0, _LOW, out=c0)
        c2.fill(step & 0xFFFFFFFF)
        c3.fill(stream & 0xFFFFFFFF)
        key0, key1 = seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF
        for _ in range(_ROUNDS):
            self._round(np.uint64(key0), np.uint64(key1))
            key0, key1 = (key0 + _W0) & 0xFFFFFFFF, (key1 + _W1) & 0xFFFFFFFF
        for lane, counter in enumerate(self._lanes):
            np.copyto(self._words[:, lane], counter, casting="unsafe")
        return self._words

    def _round(self, key0: np.uint64, key1: np.uint64) -> None:
        c0, c1, c2, c3 = self._lanes
        product0, product1 = self._products
        np.multiply(c0, _M0, out=product0)
        np.multiply(c2, _M1, out=product1)
        np.right_shift(product1, _HALF, out=c0)
        np.bitwise_xor(c0, c1, out=c0)
        np.bitwise_xor(c0, key0, out=c0)
        np.bitwise_and(product1, _LOW, out=c1)
        np.right_shift(product0, _HALF, out=c2)
        np.bitwise_xor(c2, c3, out=c2)
        np.bitwise_xor(c2, key1, out=c2)
        np.bitwise_and(product0, _LOW, out=c3)


def _bind(binding: Binding) -> Call:
    (x, key), out, op = binding.inputs, binding.output, binding.op
    scratch, words, kept = carve(binding.workspace, *_PARTS)
    philox = Philox(scratch, words)
    scale = np.array(1.0 / (1.0 - op.rate), out.dtype)
    threshold = np.uint32(op.threshold)
    source, target, lanes = x.reshape(-1), out.reshape(-1), words.reshape(-1)
    size = _BLOCKS * 4

    def run(start: int) -> None:
        part = slice(start, min(start + size, target.size))
        mask = kept[: part.stop - part.start]
        philox.fill(int(key[0]), int(key[1]), op.stream, start // 4)
        np.greater_equal(lanes[: mask.size], threshold, out=mask)
        np.copyto(target[part], mask)
        np.multiply(target[part], scale, out=target[part])
        np.multiply(target[part], source[part], out=target[part])

    if target.size == 0:
        return lambda: None
    return in_sequence([partial(run, start) for start in range(0, target.size, size)])


def _workspace(op: Any, inputs: tuple[TensorSpec, ...]) -> int:
    return carved_bytes(*_PARTS)


KERNELS: dict[type, Kernel] = {Dropout: simple(_bind, workspace=_workspace)}
