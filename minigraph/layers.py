"""Layers: they make their parameters, then emit the op.

Weights have torch's layouts: a convolution's is (outputs, inputs / groups, height, width), a
transposed convolution's (inputs, outputs / groups, height, width), a dense layer's (units,
features). A layer without a name gets its kind and a number.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from minigraph import initializers
from minigraph.initializers import Initializer
from minigraph.ir.errors import SpecError
from minigraph.ir.graph import Role
from minigraph.ir.spec import TensorSpec
from minigraph.ir.tensor import Tensor
from minigraph.ops import activation, conv, norm, one_dimensional, random, unfold
from minigraph.ops.arguments import integer
from minigraph.ops.broadcast import normalise_axes, reshape
from minigraph.ops.control import when_training
from minigraph.ops.geometry import pair
from minigraph.ops.matmul import MatMul
from minigraph.ops.norm import channel_moments, channel_shape, normalise, unbiased
from minigraph.ops.pool import window_of

_ZEROS = initializers.Constant(0.0)
_ONES = initializers.Constant(1.0)


@contextmanager
def scope(x: Tensor, name: str) -> Iterator[None]:
    """Prefix the names of all that is built inside with ``name.`` (on the builder of ``x``)."""
    with x.builder.scope(name):
        yield


def parameter(
    x: Tensor,
    name: str,
    shape: Sequence[int],
    initializer: Initializer,
    *,
    trainable: bool = True,
) -> Tensor:
    """A parameter of the dtype of ``x``, in the current scope.

    Use the same tensor in several operations to share it. Raises BuilderError for a name that is
    in use.
    """
    role = Role.PARAMETER if trainable else Role.FROZEN
    return x.builder.state(name, TensorSpec(tuple(shape), x.dtype), role, initializer)


def conv2d(
    x: Tensor,
    channels: int,
    kernel: int | Sequence[int],
    *,
    stride: int | Sequence[int] = 1,
    padding: Any = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    bias: bool = True,
    weight_initializer: Initializer | None = None,
    trainable: bool = True,
    name: str | None = None,
) -> Tensor:
    """2-D convolution of (N,C,H,W) to ``channels`` maps, with a bias.

    ``padding`` as in ``mg.ops.conv.conv2d``: a number, pairs, "same" or "valid". Parameters:
    ``weight`` (channels, C / groups, *kernel), He normal by default, and ``bias`` (channels,),
    zero.
    """
    with _layer(x, name, "conv2d"):
        _check_groups(x, channels, groups)
        shape = (_positive("channels", channels), x.shape[1] // groups, *pair(kernel))
        start = weight_initializer or initializers.HeNormal()
        weight = parameter(x, "weight", shape, start, trainable=trainable)
        y = conv.conv2d(x, weight, stride, padding, dilation, groups)
        return _add_bias(y, bias, trainable)


def conv_transpose2d(
    x: Tensor,
    channels: int,
    kernel: int | Sequence[int],
    *,
    stride: int | Sequence[int] = 1,
    padding: Any = 0,
    output_padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    bias: bool = True,
    weight_initializer: Initializer | None = None,
    trainable: bool = True,
    name: str | None = None,
) -> Tensor:
    """Transposed convolution of (N,C,H,W) to ``channels`` maps: learned upsampling by ``stride``.

    Parameters: ``weight`` (C, channels / groups, *kernel), He normal by default with the fan-in
    that reaches one output pixel, and ``bias`` (channels,), zero.
    """
    with _layer(x, name, "conv_transpose2d"):
        _check_groups(x, channels, groups)
        (kernel_h, kernel_w), (stride_h, stride_w) = pair(kernel), pair(stride)
        shape = (x.shape[1], _positive("channels", channels) // groups, kernel_h, kernel_w)
        # Each output pixel sees kernel / stride positions along each axis.
        fan_in = x.shape[1] / groups * kernel_h * kernel_w / (stride_h * stride_w)
        start = weight_initializer or initializers.HeNormal(fan_in)
        weight = parameter(x, "weight", shape, start, trainable=trainable)
        y = conv.conv_transpose2d(x, weight, stride, padding, output_padding, dilation, groups)
        return _add_bias(y, bias, trainable)


def locally_connected2d(
    x: Tensor,
    channels: int,
    kernel: int | Sequence[int],
    *,
    stride: int | Sequence[int] = 1,
    padding: Any = 0,
    dilation: int | Sequence[int] = 1,
    bias: bool = True,
    weight_initializer: Initializer | None = None,
    trainable: bool = True,
    name: str | None = None,
) -> Tensor:
    """Unshared convolution of (N,C,H,W) to ``channels`` maps: each output unit has its own weights.

    As Keras's LocallyConnected2D. Parameters: ``weight`` (H',W',channels,C,*kernel), He normal by
    default with a fan-in of ``C * kernel``, and ``bias`` (channels,H',W'), zero. They fix the
    image's size. Padding as in ``max_pool2d``.
    """
    with _layer(x, name, "locally_connected2d"):
        window = unfold.Unfold2d(*window_of(kernel, stride, padding, dilation, False))
        positions = window.pooled_shape(x.spec)[2:]
        patch = (x.shape[1], *window.kernel)
        shape = (*positions, _positive("channels", channels), *patch)
        start = weight_initializer or initializers.HeNormal(math.prod(patch))
        weight = parameter(x, "weight", shape, start, trainable=trainable)
        y = unfold.locally_connected2d(x, weight, stride, padding, dilation)
        if not bias:
            return y
        return y + parameter(x, "bias", y.shape[1:], _ZEROS, trainable=trainable)


def conv1d(
    x: Tensor,
    channels: int,
    kernel: int,
    *,
    stride: int = 1,
    padding: Any = 0,
    dilation: int = 1,
    groups: int = 1,
    bias: bool = True,
    weight_initializer: Initializer | None = None,
    trainable: bool = True,
    name: str | None = None,
) -> Tensor:
    """1-D convolution of (N,C,L) to ``channels`` sequences: ``conv2d`` on images one pixel high.

    ``padding`` is a number, ``(low, high)``, "same" or "valid". Parameters: ``weight``
    (channels, C / groups, kernel), He normal by default, and ``bias`` (channels,), zero.
    """
    with _layer(x, name, "conv1d"):
        image = one_dimensional.as_image(x)
        _check_groups(image, channels, groups)
        shape = (_positive("channels", channels), x.shape[1] // groups, integer(kernel, "a kernel"))
        start = weight_initializer or initializers.HeNormal()
        weight = parameter(x, "weight", shape, start, trainable=trainable)
        y = one_dimensional.conv1d(x, weight, stride, padding, dilation, groups)
        return _add_bias(y, bias, trainable)


def conv_transpose1d(
    x: Tensor,
    channels: int,
    kernel: int,
    *,
    stride: int = 1,
    padding: Any = 0,
    output_padding: int = 0,
    dilation: int = 1,
    groups: int = 1,
    bias: bool = True,
    weight_initializer: Initializer | None = None,
    trainable: bool = True,
    name: str | None = None,
) -> Tensor:
    """1-D transposed convolution of (N,C,L) to ``channels`` sequences: upsampling by ``stride``.

    Parameters: ``weight`` (C, channels / groups, kernel), He normal by default with the fan-in
    that reaches one output element, and ``bias`` (channels,), zero.
    """
    with _layer(x, name, "conv_transpose1d"):
        image = one_dimensional.as_image(x)
        _check_groups(image, channels, groups)
        size = integer(kernel, "a kernel")
        shape = (x.shape[1], _positive("channels", channels) // groups, size)
        fan_in = x.shape[1] / groups * size / integer(stride, "a stride")
        start = weight_initializer or initializers.HeNormal(fan_in)
        weight = parameter(x, "weight", shape, start, trainable=trainable)
        y = one_dimensional.conv_transpose1d(
            x, weight, stride, padding, output_padding, dilation, groups
        )
        return _add_bias(y, bias, trainable)


def dense(
    x: Tensor,
    units: int,
    *,
    bias: bool = True,
    weight_initializer: Initializer | None = None,
    trainable: bool = True,
    name: str | None = None,
) -> Tensor:
    """Fully connected layer: (N,features) gives (N,units). Flatten images first."""
    with _layer(x, name, "dense"):
        if x.ndim != 2:
            raise SpecError(f"Expected features (N,F), got {x.spec}: mg.flatten it")
        shape = (_positive("units", units), x.shape[1])
        start = weight_initializer or initializers.HeNormal()
        weight = parameter(x, "weight", shape, start, trainable=trainable)
        (y,) = x.builder.emit(MatMul(transpose_b=True), x, weight)
        return _add_bias(y, bias, trainable)


def batch_norm(
    x: Tensor,
    *,
    momentum: float = 0.1,
    epsilon: float = 1e-5,
    frozen_statistics: bool = False,
    trainable: bool = True,
    name: str | None = None,
) -> Tensor:
    """Batch normalisation of each channel of (N,C,...) (Ioffe and Szegedy 2015, arXiv:1502.03167).

    In training it uses the batch's moments and moves the running ones as torch does:
    ``running = (1 - momentum) * running + momentum * batch``, with the unbiased variance. In
    inference, and with ``frozen_statistics`` in training too, it uses the running ones.
    Parameters ``weight`` and ``bias``, statistics ``running_mean`` and ``running_var``: (C,).
    """
    with _layer(x, name, "batch_norm"):
        if x.ndim < 2:
            raise SpecError(f"Expected a tensor (N,C,...), got {x.spec}")
        if not 0.0 <= momentum <= 1.0 or epsilon <= 0.0:
            raise SpecError(
                f"Expected a momentum in [0, 1] and a positive epsilon, got {momentum} and "
                f"{epsilon}"
            )
        builder, spec = x.builder, TensorSpec((x.shape[1],), x.dtype.accumulator)
        role = Role.PARAMETER if trainable else Role.FROZEN
        scale = builder.state("weight", spec, role, _ONES)
        shift = builder.state("bias", spec, role, _ZEROS)
        running_mean = builder.state("running_mean", spec, Role.STATISTIC, _ZEROS)
        running_var = builder.state("running_var", spec, Role.STATISTIC, _ONES)
        if frozen_statistics:
            return normalise(x, running_mean, running_var, scale, shift, epsilon)
        mean, variance = channel_moments(x)
        for state, batch in ((running_mean, mean), (running_var, unbiased(variance, x))):
            builder.update(state, state * (1.0 - momentum) + batch * momentum)
        mean = when_training(mean, running_mean)
        variance = when_training(variance, running_var)
        return normalise(x, mean, variance, scale, shift, epsilon)


def group_norm(
    x: Tensor,
    groups: int,
    *,
    epsilon: float = 1e-5,
    trainable: bool = True,
    name: str | None = None,
) -> Tensor:
    """Group normalisation of (N,C,...) (Wu and He 2018, arXiv:1803.08494).

    Each image's channels are taken in ``groups``, which divide C; each group gets mean 0 and
    variance 1 over its channels and positions, in training and inference alike. Parameters
    ``weight`` (ones) and ``bias`` (zeros): (C,).
    """
    with _layer(x, name, "group_norm"):
        scale, shift = _scale_and_shift(x, (1,), epsilon, trainable)
        return norm.group_norm(x, groups, scale, shift, epsilon)


def instance_norm(
    x: Tensor, *, epsilon: float = 1e-5, trainable: bool = True, name: str | None = None
) -> Tensor:
    """Instance normalisation of (N,C,...): each channel of each image by itself.

    Ulyanov, Vedaldi and Lempitsky 2016, arXiv:1607.08022. No running statistics. Parameters
    ``weight`` (ones) and ``bias`` (zeros): (C,), as torch's with ``affine=True``.
    """
    with _layer(x, name, "instance_norm"):
        scale, shift = _scale_and_shift(x, (1,), epsilon, trainable)
        return norm.group_norm(x, x.shape[1], scale, shift, epsilon)


def layer_norm(
    x: Tensor,
    axes: int | Sequence[int],
    *,
    epsilon: float = 1e-5,
    trainable: bool = True,
    name: str | None = None,
) -> Tensor:
    """Layer normalisation over some axes (Ba, Kiros and Hinton 2016, arXiv:1607.06450).

    ``axes=(1, 2, 3)`` is torch's ``LayerNorm((C, H, W))`` on images, ``axes=1`` each pixel's
    channels (as in ConvNeXt). Parameters ``weight`` (ones) and ``bias`` (zeros) have the sizes of
    these axes.
    """
    with _layer(x, name, "layer_norm"):
        normalised = normalise_axes(axes, x.ndim)
        scale, shift = _scale_and_shift(x, normalised, epsilon, trainable)
        return norm.layer_norm(x, normalised, scale, shift, epsilon)


def prelu(
    x: Tensor,
    *,
    per_channel: bool = True,
    start: float = 0.25,
    trainable: bool = True,
    name: str | None = None,
) -> Tensor:
    """``x`` where positive, else a learned ``slope x`` (He et al. 2015, arXiv:1502.01852).

    Parameter ``slope``: (C,) for (N,C,...), or a scalar. It starts at 0.25; do not decay it.
    """
    with _layer(x, name, "prelu"):
        if x.ndim < 2 and per_channel:
            raise SpecError(f"Expected a tensor (N,C,...), got {x.spec}")
        shape = (x.shape[1],) if per_channel else ()
        initial = initializers.Constant(start)
        slope = parameter(x, "slope", shape, initial, trainable=trainable)
        return activation.prelu(x, reshape(slope, channel_shape(x)) if per_channel else slope)


def dropout(x: Tensor, rate: float = 0.5, *, name: str | None = None) -> Tensor:
    """Zero each element with probability ``rate`` in training and scale the rest; else nothing.

    Srivastava et al. 2014. The mask follows from the state ``random.key`` (seed and step), the
    layer's name and the element's position: the same on every backend.
    """
    with _layer(x, name, "dropout"):
        stream = random.stream_of(x.builder.scope_name)
        return when_training(random.dropout(x, rate, random_key(x), stream), x)


def random_key(x: Tensor) -> Tensor:
    """The graph's key; the first use makes it and counts its step up with every training step."""
    builder = x.builder
    key = builder.existing_state("random.key")
    if key is None:
        with builder.absolute_scope("random"):
            key = builder.state("key", random.KEY_SPEC, Role.RANDOM, initializers.RandomKey())
            builder.update(key, key + builder.constant([0, 1], "one_step"))
    return key


@contextmanager
def _layer(x: Tensor, name: str | None, kind: str) -> Iterator[None]:
    """The layer's scope; an error that no node explains gets the layer's name."""
    builder = x.builder
    with builder.layer_scope(name, kind):
        try:
            yield
        except SpecError as error:
            if "\n  in " in str(error):
                raise
            place = f"in {kind} '{builder.scope_name}' on {x.name}: {x.spec}"
            raise SpecError(f"{error}\n  {place}") from None


def _scale_and_shift(
    x: Tensor, axes: Sequence[int], epsilon: float, trainable: bool
) -> tuple[Tensor, Tensor]:
    """``weight`` and ``bias`` of the sizes of some axes, in float32 at least."""
    if x.ndim < 2 or not x.dtype.is_floating:
        raise SpecError(f"Expected a floating tensor (N,C,...), got {x.spec}")
    if not axes or epsilon <= 0.0:
        raise SpecError(
            f"Expected axes to normalise and a positive epsilon, got {list(axes)} and {epsilon}"
        )
    spec = TensorSpec(tuple(x.shape[axis] for axis in axes), x.dtype.accumulator)
    role = Role.PARAMETER if trainable else Role.FROZEN
    scale = x.builder.state("weight", spec, role, _ONES)
    return scale, x.builder.state("bias", spec, role, _ZEROS)


def _add_bias(y: Tensor, bias: bool, trainable: bool) -> Tensor:
    if not bias:
        return y
    vector = parameter(y, "bias", (y.shape[1],), _ZEROS, trainable=trainable)
    return y + reshape(vector, channel_shape(y))


def _check_groups(x: Tensor, channels: int, groups: int) -> None:
    if x.ndim != 4:
        raise SpecError(f"Expected images (N,C,H,W), got {x.spec}")
    if groups < 1 or x.shape[1] % groups or channels % groups:
        raise SpecError(
            f"Expected groups that divide {x.shape[1]} input and {channels} output channels, "
            f"got {groups}"
        )


def _positive(what: str, value: int) -> int:
    if value < 1:
        raise SpecError(f"Expected {what} of one or more, got {value}")
    return value
