"""Pictures that appear on the disk whole or not at all."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from minigraph.whole_file import write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def write_picture(picture: Image.Image, output: str | Path) -> None:
    """Write a Pillow picture; the ending chooses the format (`.png`, `.jpg`, ...).

    Raises:
        ValueError: an ending that is no format of Pillow's.
        WriteError: the file cannot be written; the one that was there stays.
    """
    output = Path(output)
    form = Image.registered_extensions().get(output.suffix.lower())
    if form not in Image.SAVE:
        raise ValueError(f"Expected a picture's ending such as .png, got {output.name}")
    file = io.BytesIO()
    picture.save(file, form)
    write_whole(output, file.getvalue())


def write_figure(figure: Figure, output: str | Path, **options: Any) -> None:
    """Write a figure of matplotlib at 144 dots an inch; the ending chooses the format.

    Raises:
        ValueError: an ending that is no format of matplotlib's.
        WriteError: the file cannot be written; the one that was there stays.
    """
    output = Path(output)
    known = figure.canvas.get_supported_filetypes()
    form = output.suffix.lower().removeprefix(".")
    if form not in known:
        raise ValueError(
            f"Expected a file name that ends in .{', .'.join(sorted(known))}, got {output.name}"
        )
    file = io.BytesIO()
    figure.savefig(file, format=form, dpi=144, **options)
    write_whole(output, file.getvalue())
