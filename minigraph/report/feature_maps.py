"""Feature maps: what the layers of a model make of one image. Pillow alone is needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import minigraph as mg
from minigraph.inputs import follow
from minigraph.ir.graph import Graph, Node
from minigraph.ir.spec import TensorSpec
from minigraph.ops.conv import Conv2d, ConvTranspose2d
from minigraph.ops.elementwise import Elementwise, LeakyRelu, Relu

Array = np.ndarray

MOST_LAYERS = 8
MOST_CHANNELS = 16
CELL = 84  # pixels: maps are enlarged by a whole factor, or shrunk, to about this size
GAP, LINE, COLUMNS = 8, 24, 8
INK, FAINT, UNUSED = (45, 45, 50), (130, 130, 136), (214, 227, 245)


def block_outputs(executable: mg.Executable) -> list[str]:
    """Names of the values worth showing: what a convolution gives after its ReLU, in order.

    Between the two may stand elementwise operations: a bias, batch norm, a residual.
    """
    graph = executable.compiled.built
    return [
        node.name
        for node in graph.nodes
        if isinstance(node.op, Relu | LeakyRelu) and _follows_convolution(graph, node)
    ]


def _follows_convolution(graph: Graph, node: Node) -> bool:
    """Whether elementwise operations alone lie between a convolution and the node."""
    spec, waiting, seen = node.outputs[0].spec, [node], {node}
    while waiting:
        for value in waiting.pop().inputs:
            maker = graph.producer.get(value)
            if maker is None or maker in seen or value.spec != spec:
                continue
            if isinstance(maker.op, Conv2d | ConvTranspose2d):
                return True
            if isinstance(maker.op, Elementwise) and not isinstance(maker.op, Relu | LeakyRelu):
                seen.add(maker)
                waiting.append(maker)
    return False


def feature_maps(
    executable: mg.Executable,
    image: Array,
    names: Sequence[str] | None = None,
    *,
    input_name: str = "image",
) -> dict[str, Array]:
    """The values of some layers for one image, by name, float ``(C,H,W)``.

    Other inputs of the executable (a label) are fed zeros, and no map may depend on them.

    Args:
        executable: compiled for inference.
        image: ``(C,H,W)`` or ``(1,C,H,W)``, as the model takes it.
        names: values of the graph ``(N,C,H,W)``; by default up to eight of `block_outputs`, from
            the first to the last.
        input_name: the input that takes the image.

    Raises:
        ValueError: the executable trains (a call would change its state), has no such input, or a
            value has no channels or depends on another input as well.
    """
    if executable.graph.updates:
        raise ValueError(
            "Expected an executable for inference, got a training step, whose call changes its "
            "state: compile the model without an optimizer, with state=step.state"
        )
    if input_name not in executable.inputs:
        raise ValueError(
            f"Expected an input {input_name!r}, got {', '.join(executable.inputs)}: give input_name"
        )
    names = _evenly(block_outputs(executable), MOST_LAYERS) if names is None else list(names)
    if not names:
        raise ValueError("Expected layers to show, got none: no ReLU follows a convolution")
    _check_sources(executable.compiled.built, names, input_name)
    image = np.asarray(image)
    batch = image[None] if image.ndim == 3 else image[:1]
    specs = follow(
        executable.inputs, {input_name: executable.inputs[input_name].with_shape(batch.shape)}
    )
    inputs = {name: _zeros(spec) for name, spec in specs.items() if name != input_name}
    values = executable({**inputs, input_name: batch}, fetch=names)
    for name in names:
        if values[name].ndim != 4:
            raise ValueError(f"Expected a value (N,C,H,W), got {name!r} {values[name].shape}")
    return {name: values[name][0].astype(np.float32) for name in names}


def _check_sources(graph: Graph, names: Sequence[str], input_name: str) -> None:
    """Raise ValueError for a name whose value depends on an input besides the image."""
    reached = {value for value in graph.inputs if value.name != input_name}
    for node in graph.nodes:
        if not reached.isdisjoint(node.inputs):
            reached.update(node.outputs)
    for name in names:
        if graph.outputs.get(name, graph.by_name.get(name)) in reached:
            raise ValueError(
                f"Expected values that depend on {input_name!r} alone, got {name!r}: call the "
                "executable with all of its inputs and fetch=[...]"
            )


def feature_map_picture(
    maps: Mapping[str, Array], *, channels: int = MOST_CHANNELS, image: Array | None = None
) -> Image.Image:
    """Maps ``(C,H,W)`` by name: under each name its first channels as grey tiles.

    Each channel is drawn from its least value, black, to its greatest, white; one that is the same
    everywhere is pale blue: it says nothing about this image, and is counted beside the name.

    Args:
        maps: as `feature_maps` gives them.
        channels: how many of each at the most.
        image: the image itself, uint8 ``(1 or 3, H, W)``, drawn on top.

    Returns:
        An RGB picture, for ``write_picture(picture, "feature-maps.png")``.

    Raises:
        ValueError: a map is not ``(C,H,W)``, or holds NaN or infinity.
    """
    rows = [] if image is None else [("image", "", [_resized(_rgb(image), CELL)])]
    for name, values in maps.items():
        values = np.asarray(values, np.float64)
        if values.ndim != 3 or 0 in values.shape or not np.isfinite(values).all():
            raise ValueError(
                f"Expected finite maps (C,H,W) for {name!r}, got an array {values.shape}"
            )
        tiles = [_resized(_shade(channel), CELL) for channel in values[:channels]]
        rows.append((name, _in_words(values, len(tiles)), tiles))
    return _draw(rows)


def _in_words(values: Array, shown: int) -> str:
    total, height, width = values.shape
    silent = int((np.ptp(values, axis=(1, 2)) == 0).sum())
    text = f"{total} channels of {height}x{width}"
    text += f", the first {shown} shown" if shown < total else ""
    return text + (f", {silent} silent" if silent else "")


def _shade(channel: Array) -> Array:
    """Uint8 RGB ``(H,W,3)``."""
    low, high = channel.min(), channel.max()
    if low == high:
        return np.full((*channel.shape, 3), UNUSED, np.uint8)
    grey = np.round(255 * (channel - low) / (high - low)).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def _rgb(image: Array) -> Array:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[0] not in (1, 3):
        raise ValueError(
            f"Expected the image as uint8 (1 or 3, H, W), got {image.dtype} {image.shape}"
        )
    return np.broadcast_to(image, (3, *image.shape[1:])).transpose(1, 2, 0)


def _resized(pixels: Array, cell: int) -> Image.Image:
    """Enlarged by a whole factor so that pixels stay squares, or shrunk by averaging."""
    height, width = pixels.shape[:2]
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    if max(height, width) <= cell:
        factor = max(1, round(cell / max(height, width)))
        return picture.resize((width * factor, height * factor), Image.Resampling.NEAREST)
    factor = cell / max(height, width)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return picture.resize(size, Image.Resampling.BOX)


def _draw(rows: Sequence[tuple[str, str, list[Image.Image]]]) -> Image.Image:
    """Every row a line of text and its tiles, at most `COLUMNS` beside each other."""
    width, height = 0, GAP
    for _, _, tiles in rows:
        tile_width, tile_height = tiles[0].size
        width = max(width, min(len(tiles), COLUMNS) * (tile_width + GAP) + GAP)
        height += LINE + -(-len(tiles) // COLUMNS) * (tile_height + GAP) + GAP
    font = ImageFont.load_default(15)
    texts = max(font.getlength(f"{name}   {words}") for name, words, _ in rows)
    sheet = Image.new("RGB", (max(width, round(texts) + 2 * GAP), height), (255, 255, 255))
    draw, top = ImageDraw.Draw(sheet), GAP
    for name, words, tiles in rows:
        draw.text((GAP, top), name, INK, font)
        draw.text((GAP + font.getlength(f"{name}   "), top), words, FAINT, font)
        tile_width, tile_height = tiles[0].size
        for index, tile in enumerate(tiles):
            row, column = divmod(index, COLUMNS)
            corner = (GAP + column * (tile_width + GAP), top + LINE + row * (tile_height + GAP))
            sheet.paste(tile, corner)
        top += LINE + -(-len(tiles) // COLUMNS) * (tile_height + GAP) + GAP
    return sheet


def _evenly(names: Sequence[str], most: int) -> list[str]:
    """At most so many of the names, the first and the last among them."""
    if len(names) <= most:
        return list(names)
    return [names[round(i * (len(names) - 1) / (most - 1))] for i in range(most)]


def _zeros(spec: TensorSpec) -> Array:
    return np.zeros(spec.shape, spec.dtype.numpy)
