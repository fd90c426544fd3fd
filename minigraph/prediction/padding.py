"""Images of any size for networks that halve them: padded at the bottom and the right.

The one rule, for prediction and evaluation alike: up to the next multiple of the network's total
stride, by mirroring without repeating the border pixel (NumPy's ``reflect``; a single row or column
is repeated). What is predicted there is cut off again; labels are padded with void.
"""

from __future__ import annotations

import numpy as np

import minigraph as mg
from minigraph.passes import keep_outputs, to_inference
from minigraph.receptive_field import trace_axis

Array = np.ndarray
Size = tuple[int, int]  # (height, width) in pixels


def size_multiple(model: mg.Executable, image: str = "image") -> Size:
    """What the height and the width of the input ``image`` (N,C,H,W) should be multiples of.

    The total stride: 16 for a U-Net with four poolings, 1 where nothing changes the size.
    """
    graph = keep_outputs(to_inference(model.graph_for({})), model.outputs)
    return trace_axis(graph, image, 2).period, trace_axis(graph, image, 3).period


def pad_to_multiple(images: Array, multiple: int | Size) -> Array:
    """Images (N,C,H,W), of any dtype, mirrored at the bottom and right to the next multiples.

    The same array where nothing is to be padded. Raises ValueError for images of no pixels.
    """
    bottom, right = _missing(images.shape, 4, multiple)
    if not bottom and not right:
        return images
    return np.pad(images, ((0, 0), (0, 0), (0, bottom), (0, right)), mode="reflect")


def pad_labels_to_multiple(labels: Array, multiple: int | Size, void_label: int) -> Array:
    """Labels (N,H,W), void at the bottom and right up to the next multiples: they count nowhere."""
    bottom, right = _missing(labels.shape, 3, multiple)
    if not bottom and not right:
        return labels
    padding = ((0, 0), (0, bottom), (0, right))
    return np.pad(labels, padding, mode="constant", constant_values=void_label)


def _missing(shape: tuple[int, ...], ndim: int, multiple: int | Size) -> Size:
    """Rows and columns up to the next multiples."""
    rows, columns = (multiple, multiple) if isinstance(multiple, int) else multiple
    if rows < 1 or columns < 1:
        raise ValueError(f"Expected multiples of one or more, got {multiple}")
    if len(shape) != ndim or min(shape[-2:]) < 1:
        raise ValueError(f"Expected {ndim} axes, height and width last, got shape {list(shape)}")
    return -shape[-2] % rows, -shape[-1] % columns
