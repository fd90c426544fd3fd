"""What kernels over images share: a thread takes a pack of channels of one pixel.

Images (N,C,H,W) lie with their channels side by side (the backend's axis order). Threads follow
that order, so neighbours read and write neighbours, 16 bytes each where channels fill such packs.
"""

from __future__ import annotations

from collections.abc import Sequence

from minigraph.backend import Slot
from minigraph.backends.cupy.code import STORED, stored
from minigraph.ir.spec import DType

_WIDEST = 16  # bytes of one access

EACH = "for (int k = 0; k < pack; ++k)"
"""For every channel of a thread."""


def channel_pack(*images: Slot) -> int:
    """How many channels a thread takes: a power of two that every pixel of all images is cut into.

    The elements of the widest dtype are then read, or written, 16 bytes at a time.
    """
    width = _WIDEST // max(image.spec.dtype.itemsize for image in images)
    while width > 1 and not all(_is_cut(image, width) for image in images):
        width //= 2
    return width


def _is_cut(image: Slot, width: int) -> bool:
    numbers = (image.spec.shape[1], *steps(image))
    return all(number % width == 0 for number in numbers) and (
        image.offset % (width * image.spec.dtype.itemsize) == 0
    )


def steps(image: Slot) -> tuple[int, int, int]:
    """An image's strides: from image to image, from row to row, from pixel to pixel."""
    return (image.strides[0], image.strides[2], image.strides[3])


def step_names(name: str) -> list[str]:
    """The arguments for ``steps``."""
    return [f"{name}_image", f"{name}_row", f"{name}_pixel"]


def pixel_of_thread(index: str, width: int, row: str, column: str, size: Sequence[str]) -> str:
    """Statements that find this thread's image ``n``, row, column and first channel ``c``.

    It has ``pack`` channels. ``size`` names the numbers of rows and of columns; "images" and
    "channels" are arguments, too.
    """
    rows, columns = size
    packs, scale = ("channels", "") if width == 1 else ("(channels / pack)", " * pack")
    return block(
        f"constexpr int pack = {width};",
        f"{index} rest = global_thread<{index}>();",
        f"const {index} c = rest % {packs}{scale};",
        f"rest /= {packs};",
        f"const {index} {column} = rest % {columns};",
        f"rest /= {columns};",
        f"const {index} {row} = rest % {rows}, n = rest / {rows};",
        "if (n >= images) return;",
    )


def store_pixel(name: str, dtype: DType, row: str, column: str, value: str) -> str:
    """Statements that store ``value``, an expression of k, for each channel k of the pack."""
    kind = STORED[dtype]
    element = f"({kind}){value}" if dtype.is_integer else stored(value, dtype)
    at = f"{name} + n * {name}_image + {row} * {name}_row + {column} * {name}_pixel + c"
    return block(
        f"Pack<{kind}, pack> {name}_pack;",
        f"{EACH} {name}_pack.at[k] = {element};",
        f"store_pack({at}, {name}_pack);",
    )


def block(*statements: str) -> str:
    """Statements one after the other; "" is none."""
    return "\n".join(statement for statement in statements if statement)
