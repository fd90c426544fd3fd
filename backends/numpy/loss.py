"""Cross-entropy over (N,K,P): images, classes, positions, a few images at a time.

Every position's label is first clipped into the classes (void positions get weight 0), so that
gathers stay inside; a label that is neither a class nor void is refused before anything else.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from math import prod
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
from minigraph.ir.errors import IllegalLabelError
from minigraph.ir.spec import TensorSpec
from minigraph.ops import loss

_CHUNK_ELEMENTS = 1 << 16  # logits of this many elements stay in cache between the passes


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Some images (n of them): what is read, and scratch that all chunks share."""

    first: int  # number of the first image
    logits: np.ndarray  # (n,K,P)
    raw: np.ndarray  # (n,P), labels as given
    clipped: np.ndarray  # (n,P) intp
    flat: np.ndarray  # (n,P) intp: index into the flattened (n,K,P)
    valid: np.ndarray  # (n,P) bool
    weight: np.ndarray  # (n,P)
    group: np.ndarray  # (n,P): maximum over the classes, later the sum
    picked: np.ndarray  # (n,P): the true class's element
    powers: np.ndarray  # (n,K,P)
    batch: TensorSpec  # of all logits
    op: loss.OnLabels
    class_weights: np.ndarray | None

    @property
    def classes(self) -> int:
        return self.logits.shape[1]

    def prepare(self) -> None:
        """Check and clip the labels, weigh the positions. Raises IllegalLabelError."""
        np.copyto(self.clipped, self.raw)
        if self.op.void_label is None:
            self.valid.fill(True)
        else:
            np.not_equal(self.clipped, self.op.void_label, out=self.valid)
        np.copyto(self.flat, self.valid)
        np.multiply(self.clipped, self.flat, out=self.clipped)
        if self.clipped.size and not 0 <= self.clipped.min() <= self.clipped.max() < self.classes:
            raise self.illegal_label()
        if self.class_weights is None:
            np.copyto(self.weight, self.valid)
        else:
            np.copyto(self.group, self.valid)
            np.take(self.class_weights, self.clipped, out=self.weight, mode="clip")
            np.multiply(self.weight, self.group, out=self.weight)

    def illegal_label(self) -> IllegalLabelError:
        wrong = (self.clipped < 0) | (self.clipped >= self.classes)
        image, place = (int(i) for i in np.argwhere(wrong)[0])
        position = (self.first + image) * wrong.shape[1] + place
        return self.op.illegal_label(self.batch, position, int(self.raw[image, place]))

    def locate(self) -> None:
        """flat = (image * K + label) * P + position"""
        positions = self.flat.shape[1]
        self.flat.fill(1)
        np.add.accumulate(self.flat, axis=1, out=self.flat)
        np.subtract(self.flat, 1, out=self.flat)
        np.multiply(self.clipped, positions, out=self.clipped)
        np.add(self.flat, self.clipped, out=self.flat)
        for image, row in enumerate(self.flat):
            np.add(row, image * self.classes * positions, out=row)

    def exponentiate(self, out: np.ndarray) -> None:
        """out = exp(x - max), group = max."""
        np.maximum.reduce(self.logits, axis=1, out=self.group)
        np.subtract(self.logits, self.group[:, None], out=out)
        np.exp(out, out=out)

    def losses(self, total: np.ndarray, weight: np.ndarray) -> None:
        """Sum of w * (log(sum(exp(x - max))) - (x_t - max)) over the valid positions."""
        self.prepare()
        self.locate()
        self.exponentiate(self.powers)
        np.take(self.logits.reshape(-1), self.flat, out=self.picked, mode="clip")
        np.subtract(self.picked, self.group, out=self.picked)
        np.add.reduce(self.powers, axis=1, out=self.group)
        np.log(self.group, out=self.group)
        np.subtract(self.group, self.picked, out=self.group)
        np.multiply(self.group, self.weight, out=self.group)
        self.silence_void(self.group)
        np.add.reduce(self.group.reshape(-1), out=total)
        np.add.reduce(self.weight.reshape(-1), out=weight)

    def gradient(self, g: np.ndarray, out: np.ndarray) -> None:
        """out = g * w * (softmax - onehot)"""
        self.prepare()
        self.locate()
        self.exponentiate(out)
        np.add.reduce(out, axis=1, out=self.group)
        np.divide(out, self.group[:, None], out=out)
        flat = out.reshape(-1)
        np.take(flat, self.flat, out=self.picked, mode="clip")
        np.subtract(self.picked, 1, out=self.picked)
        np.put(flat, self.flat, self.picked)
        np.multiply(self.weight, g, out=self.weight)
        np.multiply(out, self.weight[:, None], out=out)
        self.silence_void(out)

    def silence_void(self, values: np.ndarray) -> None:
        """Void counts nowhere, even where its logits are not finite (0 * inf is not 0)."""
        if not np.isfinite(self.group.sum()):
            void = ~self.valid
            np.copyto(values, 0, where=void if values.ndim == 2 else void[:, None])


def _chunk_images(shape: tuple[int, ...]) -> int:
    n = shape[0]
    per_image = max(int(np.prod(shape[1:], dtype=np.int64)), 1)
    return min(max(_CHUNK_ELEMENTS // per_image, 1), max(n, 1))


def _parts(shape: tuple[int, ...], dtype: Any) -> tuple[tuple[tuple[int, ...], Any], ...]:
    n, k, p = _chunk_images(shape), shape[1], int(np.prod(shape[2:], dtype=np.int64))
    chunks = -(-shape[0] // n)
    return (
        ((n, p), np.intp),  # clipped
        ((n, p), np.intp),  # flat
        ((n, p), bool),  # valid
        ((n, p), dtype),  # weight
        ((n, p), dtype),  # group
        ((n, p), dtype),  # picked
        ((n, k, p), dtype),  # powers
        ((2, chunks), dtype),  # loss and weight of each chunk
    )


def _workspace(op: Any, inputs: tuple[TensorSpec, ...]) -> int:
    return carved_bytes(*_parts(inputs[0].shape, inputs[0].dtype.numpy))


def _chunks(binding: Binding, *weights: np.ndarray) -> tuple[list[_Chunk], np.ndarray]:
    logits, raw = binding.inputs[:2]
    n, k, *rest = logits.shape
    *scratch, sums = carve(binding.workspace, *_parts(logits.shape, logits.dtype))
    positions = prod(rest)
    planes, labels = logits.reshape(n, k, positions), raw.reshape(n, positions)
    size = _chunk_images(logits.shape)
    chunks = []
    for first in range(0, n, size):
        part = slice(first, min(first + size, n))
        clipped, flat, valid, weight, group, picked, powers = (
            array[: part.stop - first] for array in scratch
        )
        chunks.append(
            _Chunk(
                first=first,
                logits=planes[part],
                raw=labels[part],
                clipped=clipped,
                flat=flat,
                valid=valid,
                weight=weight,
                group=group,
                picked=picked,
                powers=powers,
                batch=TensorSpec(logits.shape),
                op=binding.op,
                class_weights=weights[0] if weights else None,
            )
        )
    return chunks, sums


def _bind_cross_entropy(binding: Binding) -> Call:
    chunks, sums = _chunks(binding, *binding.inputs[2:])
    calls: list[Call] = [
        partial(chunk.losses, sums[0, index, ...], sums[1, index, ...])
        for index, chunk in enumerate(chunks)
    ]
    for result, partials in zip(binding.outputs, sums, strict=True):
        if result is not None:
            calls.append(partial(np.add.reduce, partials, out=result))
    return in_sequence(calls)


def _bind_gradient(binding: Binding) -> Call:
    chunks, _ = _chunks(binding, *binding.inputs[3:])
    n, k, *rest = binding.output.shape
    out = binding.output.reshape(n, k, prod(rest))
    g = binding.inputs[2]
    return in_sequence(
        [partial(c.gradient, g, out[c.first : c.first + len(c.logits)]) for c in chunks]
    )


def _bind_label_weights(binding: Binding) -> Call:
    chunks, _ = _chunks(binding, *binding.inputs[2:])
    n, _, *rest = binding.output.shape
    weights = binding.output.reshape(n, prod(rest))

    def run(chunk: _Chunk) -> None:
        chunk.prepare()
        np.copyto(weights[chunk.first : chunk.first + len(chunk.raw)], chunk.weight)

    return in_sequence([partial(run, chunk) for chunk in chunks])


KERNELS: dict[type, Kernel] = {
    loss.CrossEntropy: simple(_bind_cross_entropy, workspace=_workspace),
    loss.CrossEntropyGrad: simple(_bind_gradient, workspace=_workspace),
    loss.LabelWeights: simple(_bind_label_weights, workspace=_workspace),
}
