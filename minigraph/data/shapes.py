"""A generated segmentation set that needs no files: textured shapes on a textured background.

Every colour and every texture is drawn from one distribution, for the background and for all the
shapes, so the colour of a pixel says nothing about its class: a model has to look at the outline,
which is drawn as a dark line. Picture ``i`` of a seed is the same whatever the number of pictures.
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np

from minigraph.data.dataset import ArrayDataset
from minigraph.data.labels import VOID_LABEL

Array = np.ndarray
Place = tuple[float, float, float]  # row and column of the centre, and the radius, in pixels
Outline = Callable[[Array, Array, float], Array]

VOID_HALF_WIDTH = 0.75  # pixels either side of an outline that belong to nobody
SMALLEST_SIZE = 32
MOST_SHAPES = 7
SMALLEST_RADIUS, LARGEST_RADIUS = 0.13, 0.20  # in units of the smaller side of the picture
LARGEST_TURN = 0.25  # radians either way
OUTLINE_DARKNESS = 0.7  # of the line round every shape, most of which is void
LARGEST_REACH = 1.3  # of a shape from its centre, in units of its radius


# --- outlines: signed distance to the outline in pixels, negative inside --------------------------
#
# x and y are coordinates about the centre, turned with the shape; r is its radius. The factors give
# the shapes areas that overlap when r varies, so that size does not give the class away either.


def _disc(x: Array, y: Array, r: float) -> Array:
    return np.hypot(x, y) - r


def _square(x: Array, y: Array, r: float) -> Array:
    return np.maximum(np.abs(x), np.abs(y)) - 0.9 * r


def _triangle(x: Array, y: Array, r: float) -> Array:
    # Three half-planes at distance `inradius`; the corners are at twice that from the centre.
    inradius = 0.65 * r
    slanted = np.abs(x) * (3**0.5 / 2) - y / 2
    return np.maximum(y, slanted) - inradius


def _ring(x: Array, y: Array, r: float) -> Array:
    return np.abs(np.hypot(x, y) - 0.9 * r) - 0.25 * r


def _cross(x: Array, y: Array, r: float) -> Array:
    long, short = 1.2 * r, 0.42 * r
    across = np.maximum(np.abs(x) - long, np.abs(y) - short)
    upright = np.maximum(np.abs(x) - short, np.abs(y) - long)
    return np.minimum(across, upright)


OUTLINES: Mapping[str, Outline] = MappingProxyType(
    {"disc": _disc, "square": _square, "triangle": _triangle, "ring": _ring, "cross": _cross}
)
"""Every shape there is, by name: ``(x, y, radius) -> signed distance``."""


# --- textures: a pattern in [-1, 1] over coordinates in pixels -----------------------------------


def _plain(x: Array, y: Array, period: float) -> Array:
    return np.zeros(np.broadcast_shapes(x.shape, y.shape))


def _stripes(x: Array, y: Array, period: float) -> Array:
    return np.clip(2.5 * np.sin(2 * np.pi / period * x), -1, 1) + 0 * y


def _checks(x: Array, y: Array, period: float) -> Array:
    step = 2 * np.pi / (1.4 * period)
    return np.clip(4 * np.sin(step * x) * np.sin(step * y), -1, 1)


def _dots(x: Array, y: Array, period: float) -> Array:
    step = 2 * np.pi / period
    return np.clip(2 * (np.cos(step * x) + np.cos(step * y)) - 1, -1, 1)


def _waves(x: Array, y: Array, period: float) -> Array:
    bent = x + 0.35 * period * np.sin(np.pi / period * y)
    return np.sin(2 * np.pi / period * bent)


TEXTURES = (_plain, _stripes, _checks, _dots, _waves)


# --- pictures -------------------------------------------------------------------------------------


def generate_shapes(
    count: int,
    size: tuple[int, int] = (64, 64),
    seed: int = 0,
    shapes: Sequence[str] = tuple(OUTLINES),
) -> ArrayDataset:
    """Pictures of one to seven textured shapes, and what is where.

    Take another seed for a held-out set: the pictures of different seeds have nothing in common.

    Args:
        count: number of pictures.
        size: (height, width) in pixels, 32 or more each; the shapes grow with the smaller one.
        seed: chooses the pictures; picture ``i`` of a seed does not depend on ``count``.
        shapes: which shapes to draw, from ``OUTLINES``; their order is that of the classes.

    Returns:
        A data set of images uint8 ``(count, 3, H, W)`` and labels uint8 ``(count, H, W)``: class 0
        is the background, class ``k`` is ``shapes[k - 1]``, and 255 is void: a rim of about one
        pixel round every shape, where the pixels are mixed.

    Raises:
        ValueError: pictures too small, or no such shape.
    """
    if count < 1:
        raise ValueError(f"Expected count of at least 1, got {count}")
    if min(size) < SMALLEST_SIZE:
        raise ValueError(
            f"Expected pictures of at least {SMALLEST_SIZE}x{SMALLEST_SIZE} pixels, got "
            f"{size[0]}x{size[1]}: smaller shapes cannot be told apart"
        )
    unknown = [name for name in shapes if name not in OUTLINES]
    if unknown or not shapes:
        raise ValueError(f"Expected shapes among {', '.join(OUTLINES)}, got {unknown or 'none'}")

    images = np.empty((count, 3, *size), np.uint8)
    labels = np.empty((count, *size), np.uint8)
    for index in range(count):
        generator = np.random.default_rng((seed, index))
        images[index], labels[index] = _draw_picture(size, shapes, generator)
    return ArrayDataset(images, labels, ("background", *shapes), VOID_LABEL, f"shapes-{seed}")


def _draw_picture(
    size: tuple[int, int], shapes: Sequence[str], generator: np.random.Generator
) -> tuple[Array, Array]:
    """One picture uint8 ``(3, H, W)`` and its labels uint8 ``(H, W)``."""
    height, width = size
    rows, columns = np.arange(height)[:, None], np.arange(width)[None, :]
    background = _random_colour(generator)
    picture = _fill(rows, columns, background, generator)
    labels = np.zeros(size, np.uint8)

    for place in _place(size, generator):
        label = int(generator.integers(1, len(shapes) + 1))
        colour = _random_colour(generator, unlike=background)
        _draw_shape(picture, labels, place, OUTLINES[shapes[label - 1]], label, colour, generator)

    picture *= _light(rows / height, columns / width, generator)
    picture += generator.normal(0, 0.02, picture.shape)
    return (np.clip(picture, 0, 1) * 255).round().astype(np.uint8), labels


def _draw_shape(
    picture: Array,
    labels: Array,
    place: Place,
    outline: Outline,
    label: int,
    colour: Array,
    generator: np.random.Generator,
) -> None:
    """Paint one shape over ``picture`` and ``labels``, in a window just about it."""
    row, column, radius = place
    reach = LARGEST_REACH * radius + 2
    rows = np.arange(max(0, int(row - reach)), min(labels.shape[0], int(row + reach) + 1))
    columns = np.arange(max(0, int(column - reach)), min(labels.shape[1], int(column + reach) + 1))
    window = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    near, near_labels = picture[:, *window], labels[window]

    turn = generator.uniform(-LARGEST_TURN, LARGEST_TURN)
    cosine, sine = math.cos(turn), math.sin(turn)
    y, x = rows[:, None] - row, columns[None, :] - column
    distance = outline(cosine * x - sine * y, sine * x + cosine * y, radius)
    inside = np.clip(0.5 - distance, 0, 1)  # the share of each pixel that is covered
    near += inside * (_fill(rows[:, None], columns[None, :], colour, generator) - near)
    near *= 1 - OUTLINE_DARKNESS * np.clip(1 - np.abs(distance), 0, 1)
    near_labels[distance < 0] = label
    near_labels[np.abs(distance) < VOID_HALF_WIDTH] = VOID_LABEL


def _place(size: tuple[int, int], generator: np.random.Generator) -> list[Place]:
    """Up to MOST_SHAPES places for shapes that hardly touch and hardly leave the picture.

    Random places are tried, and those too near to an earlier one are given up.
    """
    placed: list[Place] = []
    for a, b, c in generator.random((60, 3)).tolist():
        radius = min(size) * (SMALLEST_RADIUS + a * (LARGEST_RADIUS - SMALLEST_RADIUS))
        reach = 1.15 * radius
        row = reach + b * (size[0] - 2 * reach)
        column = reach + c * (size[1] - 2 * reach)
        if all(math.hypot(row - r, column - c) > 1.15 * (radius + s) for r, c, s in placed):
            placed.append((row, column, radius))
        if len(placed) == MOST_SHAPES:
            break
    return placed


def _random_colour(generator: np.random.Generator, unlike: Array | None = None) -> Array:
    """A colour ``(3,)`` in [0, 1], far enough from `unlike` for an outline to be seen."""
    while True:
        a, b, c = generator.random(3).tolist()
        colour = np.array(colorsys.hsv_to_rgb(h=a, s=0.25 + 0.55 * b, v=0.45 + 0.5 * c))
        if unlike is None or math.dist(colour, unlike) > 0.4:
            return colour


def _fill(rows: Array, columns: Array, colour: Array, generator: np.random.Generator) -> Array:
    """A textured surface ``(3, H, W)`` about `colour`."""
    texture = TEXTURES[generator.integers(len(TEXTURES))]
    turn, period = generator.uniform(0, np.pi), generator.uniform(5, 10)
    shift_x, shift_y = generator.uniform(0, period, 2)
    x = math.cos(turn) * columns + math.sin(turn) * rows + shift_x
    y = math.cos(turn) * rows - math.sin(turn) * columns + shift_y
    strength = generator.uniform(0.05, 0.14) * generator.uniform(0.6, 1.0, 3)
    return colour[:, None, None] + strength[:, None, None] * texture(x, y, period)


def _light(v: Array, u: Array, generator: np.random.Generator) -> Array:
    """Brightness that falls off across the picture: a factor ``(H, W)`` between 0.8 and 1."""
    turn = generator.uniform(0, 2 * np.pi)
    slope = np.cos(turn) * (u - 0.5) + np.sin(turn) * (v - 0.5)
    return 0.9 + 0.14 * slope
