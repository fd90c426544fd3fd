"""The compared networks as plain functions of JAX, channels last (its CPU convolutions' order).

A network is a function of ``Layers`` and images. ``Layers`` hands out parameters in the order of
use: a first walk draws them, later ones read them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks.cases import Case

Arrays = list[jax.Array]
IMAGES = ("NHWC", "HWIO", "NHWC")


class Layers:
    """The parameters and running statistics of one walk through a network."""

    def __init__(
        self,
        parameters: Arrays | None = None,
        statistics: Arrays | None = None,
        dropout: jax.Array | None = None,
    ) -> None:
        """Without parameters they are drawn; with a key for ``dropout`` it is a training step."""
        self.parameters: Arrays = []
        self.statistics: Arrays = []
        self.dtype: type = jnp.float32  # of values; parameters and statistics are float32
        self._given = None if parameters is None else iter(parameters)
        self._given_statistics = iter(statistics or ())
        self._dropout = dropout
        self._generator = np.random.default_rng(0)

    def conv(
        self, x: jax.Array, width: int, kernel: int = 3, stride: int = 1, *, bias: bool = True,
        padding: int | None = None,
    ) -> jax.Array:  # fmt: skip
        weight = self._weight(kernel, kernel, x.shape[-1], width)
        border = (kernel // 2,) * 2 if padding is None else (padding,) * 2
        y = lax.conv_general_dilated(x, weight, (stride,) * 2, (border,) * 2, None, None, IMAGES)
        return y + self._vector(width, 0.0) if bias else y

    def double_size(self, x: jax.Array, width: int) -> jax.Array:
        """A 2x2 transposed convolution of stride 2."""
        weight = self._weight(2, 2, x.shape[-1], width)
        return lax.conv_transpose(x, weight, (2, 2), "VALID") + self._vector(width, 0.0)

    def double_size_4(self, x: jax.Array, width: int) -> jax.Array:
        """A 4x4 transposed convolution of stride 2 without bias, which doubles the size."""
        weight = self._weight(4, 4, x.shape[-1], width)
        return lax.conv_transpose(x, weight, (2, 2), "SAME")

    def dense(self, x: jax.Array, width: int) -> jax.Array:
        return x @ self._weight(x.shape[-1], width) + self._vector(width, 0.0)

    def norm(self, x: jax.Array) -> jax.Array:
        """Batch normalisation, in float32; in a training step by the batch's statistics."""
        x = x.astype(jnp.float32)
        scale, shift = self._vector(x.shape[-1], 1.0), self._vector(x.shape[-1], 0.0)
        if self._given is None:
            mean, variance = np.zeros(x.shape[-1], np.float32), np.ones(x.shape[-1], np.float32)
            self.statistics += [mean, variance]
        else:
            mean, variance = next(self._given_statistics), next(self._given_statistics)
        if self._dropout is not None:
            running = mean, variance
            mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
            pairs = zip(running, (mean, variance), strict=True)
            self.statistics += [0.9 * old + 0.1 * lax.stop_gradient(new) for old, new in pairs]
        return ((x - mean) * (lax.rsqrt(variance + 1e-5) * scale) + shift).astype(self.dtype)

    def dropout(self, x: jax.Array) -> jax.Array:
        if self._dropout is None:
            return x
        self._dropout, key = jax.random.split(self._dropout)
        return jnp.where(jax.random.bernoulli(key, 0.5, x.shape), 2 * x, 0)

    def _weight(self, *shape: int) -> jax.Array:
        """He's normal distribution."""
        deviation = (2 / np.prod(shape[:-1])) ** 0.5
        return self._next(lambda: deviation * self._generator.standard_normal(shape, np.float32))

    def _vector(self, size: int, value: float) -> jax.Array:
        return self._next(lambda: np.full(size, value, np.float32))

    def _next(self, draw: Callable[[], np.ndarray]) -> jax.Array:
        if self._given is None:
            self.parameters.append(draw().astype(np.float32))
            return self.parameters[-1]
        return next(self._given).astype(self.dtype)


def max_pool(x: jax.Array) -> jax.Array:
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")


def unet(layers: Layers, x: jax.Array, classes: int, base: int = 32, depth: int = 4) -> jax.Array:
    def double_conv(x: jax.Array, width: int) -> jax.Array:
        return jax.nn.relu(layers.conv(jax.nn.relu(layers.conv(x, width)), width))

    skips = []
    for level in range(depth):
        x = double_conv(x, base << level)
        skips.append(x)
        x = max_pool(x)
    x = double_conv(x, base << depth)
    for level in reversed(range(depth)):
        x = layers.double_size(x, base << level)
        x = double_conv(jnp.concatenate([skips[level], x], -1), base << level)
    return layers.conv(x, classes, 1)


STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Widths of VGG-16's convolutions."""


def vgg_features(layers: Layers, x: jax.Array) -> jax.Array:
    for widths in STAGES:
        for width in widths:
            x = jax.nn.relu(layers.conv(x, width))
        x = max_pool(x)
    return x


def vgg16(layers: Layers, x: jax.Array, classes: int) -> jax.Array:
    x = vgg_features(layers, x)
    # Adaptive average pooling of 3x3 maps to 7x7 takes the pixels from i*3//7 to ceil((i+1)*3/7).
    x = _adaptive_mean(_adaptive_mean(x, 1, 7), 2, 7)
    x = x.reshape(x.shape[0], -1)
    for _ in range(2):
        x = layers.dropout(jax.nn.relu(layers.dense(x, 4096)))
    return layers.dense(x, classes)


def _adaptive_mean(x: jax.Array, axis: int, size: int) -> jax.Array:
    ends = [(i * x.shape[axis] // size, -(-(i + 1) * x.shape[axis] // size)) for i in range(size)]
    parts = [lax.slice_in_dim(x, start, stop, axis=axis) for start, stop in ends]
    return jnp.concatenate([part.mean(axis, keepdims=True) for part in parts], axis)


def fcn32s(layers: Layers, x: jax.Array, classes: int) -> jax.Array:
    """Enlarged by resizing: XLA's grouped transposed convolution takes far longer.

    The two differ within 16 pixels of the border alone.
    """
    images = x
    x = vgg_features(layers, x)
    x = layers.dropout(jax.nn.relu(layers.conv(x, 4096, 7)))
    x = layers.dropout(jax.nn.relu(layers.conv(x, 4096, 1)))
    x = layers.conv(x, classes, 1)
    return jax.image.resize(x, (*images.shape[:3], classes), "bilinear")


def fcn8s(layers: Layers, x: jax.Array, classes: int) -> jax.Array:
    """Scores of three stages; the last sum is enlarged by resizing, as in ``fcn32s``."""
    images, pools = x, []
    for widths in STAGES:
        for width in widths:
            x = jax.nn.relu(layers.conv(x, width))
        x = max_pool(x)
        pools.append(x)
    x = layers.dropout(jax.nn.relu(layers.conv(x, 4096, 7)))
    x = layers.dropout(jax.nn.relu(layers.conv(x, 4096, 1)))
    score = layers.conv(x, classes, 1)
    for pool in (pools[3], pools[2]):
        score = layers.double_size_4(score, classes) + layers.conv(pool, classes, 1)
    return jax.image.resize(score, (*images.shape[:3], classes), "bilinear")


def segnet(layers: Layers, x: jax.Array, classes: int) -> jax.Array:
    def conv(x: jax.Array, width: int) -> jax.Array:
        return jax.nn.relu(layers.norm(layers.conv(x, width)))

    pooled = []
    for widths in STAGES:
        for width in widths:
            x = conv(x, width)
        windows = _windows(x)
        chosen = jax.nn.one_hot(windows.argmax(-1), 4, dtype=x.dtype)
        pooled.append(chosen)
        x = windows.max(-1)
    outputs = (classes, 64, 128, 256, 512)
    for widths, last in zip(reversed(STAGES), reversed(outputs), strict=True):
        x = _from_windows(x[..., None] * pooled.pop())
        for _ in widths[1:]:
            x = conv(x, widths[0])
        x = conv(x, last) if pooled else layers.conv(x, last)
    return x


def _windows(x: jax.Array) -> jax.Array:
    """2x2 windows as a last axis of four."""
    n, height, width, channels = x.shape
    split = x.reshape(n, height // 2, 2, width // 2, 2, channels)
    return split.transpose(0, 1, 3, 5, 2, 4).reshape(n, height // 2, width // 2, channels, 4)


def _from_windows(windows: jax.Array) -> jax.Array:
    n, height, width, channels, _ = windows.shape
    split = windows.reshape(n, height, width, channels, 2, 2).transpose(0, 1, 4, 2, 5, 3)
    return split.reshape(n, 2 * height, 2 * width, channels)


def resnet18(layers: Layers, x: jax.Array, classes: int) -> jax.Array:
    def conv_norm(x: jax.Array, width: int, kernel: int = 3, stride: int = 1) -> jax.Array:
        return layers.norm(layers.conv(x, width, kernel, stride, bias=False))

    x = jax.nn.relu(conv_norm(x, 64))
    for width in (64, 128, 256, 512):
        for stride in (1 if width == 64 else 2, 1):
            y = conv_norm(jax.nn.relu(conv_norm(x, width, 3, stride)), width)
            x = jax.nn.relu(y + (x if stride == 1 else conv_norm(x, width, 1, 2)))
    return layers.dense(x.mean((1, 2)), classes)


def resnet50(layers: Layers, x: jax.Array, classes: int) -> jax.Array:
    def conv_norm(x: jax.Array, width: int, kernel: int = 1, stride: int = 1) -> jax.Array:
        return layers.norm(layers.conv(x, width, kernel, stride, bias=False))

    x = jax.nn.relu(conv_norm(x, 64, 7, 2))
    border = ((0, 0), (1, 1), (1, 1), (0, 0))
    x = lax.reduce_window(x, -jnp.inf, lax.max, (1, 3, 3, 1), (1, 2, 2, 1), border)
    for stage, count in enumerate((3, 4, 6, 3)):
        width = 64 << stage
        for number in range(count):
            stride = 2 if stage and not number else 1
            y = jax.nn.relu(conv_norm(x, width))
            y = conv_norm(jax.nn.relu(conv_norm(y, width, 3, stride)), 4 * width)
            x = jax.nn.relu(y + (x if number else conv_norm(x, 4 * width, 1, stride)))
    return layers.dense(x.mean((1, 2)), classes)


def lenet(layers: Layers, x: jax.Array, classes: int) -> jax.Array:
    x = max_pool(jax.nn.relu(layers.conv(x, 6, 5)))
    x = max_pool(jax.nn.relu(layers.conv(x, 16, 5, padding=0)))
    x = x.reshape(x.shape[0], -1)
    x = jax.nn.relu(layers.dense(x, 120))
    x = jax.nn.relu(layers.dense(x, 84))
    return layers.dense(x, classes)


Network = Callable[[Layers, jax.Array], jax.Array]


def network_for(case: Case) -> Network:
    """The network of a case: logits, channels last, of images."""
    network = NETWORKS[case.name]
    return lambda layers, x: network(layers, x, case.classes)


NETWORKS: dict[str, Callable[[Layers, jax.Array, int], jax.Array]] = {
    "unet": unet,
    "fcn32s": fcn32s,
    "segnet": segnet,
    "resnet18": resnet18,
    "vgg16": vgg16,
    "lenet": lenet,
    "unet64": partial(unet, base=64),
    "resnet50": resnet50,
    "fcn8s": fcn8s,
}
