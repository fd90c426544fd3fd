"""Pictures of what a model sees, what it should say and what it says. Pillow alone is needed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from minigraph.data.pictures import resize_image
from minigraph.report.palette import check_labels, class_colours, colour_labels, void_hatch

Array = np.ndarray
Colour = tuple[int, int, int]

WHITE: Colour = (255, 255, 255)
INK: Colour = (45, 45, 50)
FAINT: Colour = (150, 150, 155)
HAIRLINE: Colour = (222, 222, 226)
RIGHT: Colour = (38, 130, 70)
WRONG: Colour = (205, 30, 50)
GAP = 10  # pixels between neighbours and round the whole
FONT_SIZE = 15
LINE = 22  # pixels from one line of text to the next
SWATCH = 15

SEGMENTATION_CELL = 192  # pictures are enlarged, by a whole factor, to about this many pixels
CLASSIFICATION_CELL = 112
LARGEST_CELL = 400  # larger pictures are shrunk to this many pixels


def segmentation_picture(
    images: Array,
    truth: Array,
    predicted: Array,
    class_names: Sequence[str],
    *,
    void_label: int | None = 255,
    errors: bool = False,
) -> Image.Image:
    """One row for each picture: image, truth, prediction; below them what the colours mean.

    Small pictures are enlarged by a whole factor; of those with a side of more than 400 pixels,
    that side is shrunk to 400 (images bilinearly, labels by taking the nearest).

    Args:
        images: uint8 ``(N, 1 or 3, H, W)``.
        truth: class indices or void, ``(N, H, W)``.
        predicted: class indices, ``(N, H, W)``.
        class_names: one name per class, 256 at the most.
        void_label: the label drawn as a grey hatch; None if there is none.
        errors: add a column that shows wrong pixels in red over the darkened image (void is never
            wrong).

    Returns:
        An RGB picture, for ``write_picture(picture, "predictions.png")``.

    Raises:
        ValueError: the arrays do not belong together, or a label is neither a class nor void.
    """
    _check_images(images)
    expected = (len(images), *images.shape[2:])
    if truth.shape != expected or predicted.shape != expected:
        raise ValueError(
            f"Expected truth and predicted of shape {expected} for images {images.shape}, got "
            f"{truth.shape} and {predicted.shape}"
        )
    for labels in (*truth, *predicted):  # before they are shrunk
        check_labels(labels, len(class_names), void_label)
    void_shown = void_label is not None and bool((truth == void_label).any())
    images, truth, predicted = _shrink(images), _shrink_labels(truth), _shrink_labels(predicted)
    scale = _scale(images, SEGMENTATION_CELL)
    height, width = scale * images.shape[2], scale * images.shape[3]
    titles = ("image", "truth", "prediction", "errors")[: 4 if errors else 3]
    sheet_width = len(titles) * (width + GAP) + GAP
    legend = _lay_out_legend([*class_names, *(["void"] if void_shown else [])], sheet_width)
    legend_top = LINE + GAP + len(images) * (height + GAP)
    sheet = Image.new("RGB", (sheet_width, legend_top + legend[-1][1] + LINE + GAP), WHITE)
    draw = ImageDraw.Draw(sheet)

    for column, title in enumerate(titles):
        centre = GAP + column * (width + GAP) + width // 2
        draw.text((centre, GAP // 2), title, INK, _font(), anchor="ma")
    for row in range(len(images)):
        cells = [
            _enlarge(images[row], scale),
            colour_labels(truth[row], len(class_names), void_label, scale),
            colour_labels(predicted[row], len(class_names), void_label, scale),
        ]
        if errors:
            cells.append(_show_errors(images[row], truth[row], predicted[row], void_label, scale))
        for column, cell in enumerate(cells):
            corner = (GAP + column * (width + GAP), LINE + GAP + row * (height + GAP))
            sheet.paste(Image.fromarray(cell), corner)
    _draw_legend(sheet, legend, legend_top, len(class_names))
    return sheet


def classification_picture(
    images: Array,
    truth: Array,
    predicted: Array,
    class_names: Sequence[str],
    *,
    columns: int = 8,
) -> Image.Image:
    """A grid of pictures with the class that each was taken for; wrong ones framed in red.

    Under a wrong one stand the prediction, in red, and the truth below it. Pictures with a side of
    more than 400 pixels are shrunk.

    Args:
        images: uint8 ``(N, 1 or 3, H, W)``.
        truth: class indices ``(N,)``.
        predicted: class indices ``(N,)``.
        class_names: one name per class.
        columns: pictures in a row.

    Returns:
        An RGB picture, for ``write_picture(picture, "predictions.png")``.

    Raises:
        ValueError: the arrays do not belong together, or an index is not a class.
    """
    _check_images(images)
    if truth.shape != (len(images),) or predicted.shape != (len(images),):
        raise ValueError(
            f"Expected truth and predicted of shape {(len(images),)} for images {images.shape}, "
            f"got {truth.shape} and {predicted.shape}"
        )
    for name, indices in (("truth", truth), ("predicted", predicted)):
        if indices.min() < 0 or indices.max() >= len(class_names):
            raise ValueError(
                f"Expected {name} in 0..{len(class_names) - 1}, got {indices.min()} to "
                f"{indices.max()}: give a name for every class"
            )
    images = _shrink(images)
    scale = _scale(images, CLASSIFICATION_CELL)
    height, width = scale * images.shape[2], scale * images.shape[3]
    columns = max(1, min(columns, len(images)))
    step_x, step_y = width + 2 * GAP, height + 2 * LINE + GAP
    rows = -(-len(images) // columns)
    sheet = Image.new("RGB", (columns * step_x + GAP, rows * step_y + GAP), WHITE)
    for index in range(len(images)):
        left = GAP + GAP // 2 + index % columns * step_x
        top = GAP + GAP // 2 + index // columns * step_y
        is_right = bool(truth[index] == predicted[index])
        _draw_frame(sheet, (left, top, left + width, top + height), is_right)
        sheet.paste(Image.fromarray(_enlarge(images[index], scale)), (left, top))
        said, meant = class_names[predicted[index]], class_names[truth[index]]
        _draw_caption(sheet, (left + width // 2, top + height + 8), said, meant, step_x - 4)
    return sheet


def _check_images(images: Array) -> None:
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3):
        raise ValueError(
            f"Expected images as uint8 (N, 1 or 3, H, W), got {images.dtype} {images.shape}: give "
            f"the pictures of the data set, not normalised batches"
        )
    if not len(images):
        raise ValueError("Expected at least one picture, got none")


def _scale(images: Array, cell: int) -> int:
    return max(1, round(cell / max(images.shape[2:])))


def _shrunk_size(height: int, width: int) -> tuple[int, int]:
    part = LARGEST_CELL / max(height, width)
    return max(1, round(height * part)), max(1, round(width * part))


def _shrink(images: Array) -> Array:
    """Images ``(N, 1 or 3, H, W)`` of which no side is longer than the largest cell."""
    if max(images.shape[2:]) <= LARGEST_CELL:
        return images
    size = _shrunk_size(*images.shape[2:])
    return np.stack([resize_image(image, *size) for image in images])


def _shrink_labels(labels: Array) -> Array:
    """Labels ``(N, H, W)``, likewise: those in the middle of what becomes one pixel."""
    height, width = labels.shape[1:]
    if max(height, width) <= LARGEST_CELL:
        return labels
    rows, columns = (
        (2 * np.arange(new) + 1) * old // (2 * new)
        for new, old in zip(_shrunk_size(height, width), (height, width), strict=True)
    )
    return labels[:, rows[:, None], columns]


def _enlarge(image: Array, scale: int) -> Array:
    """``(1 or 3, H, W)`` as RGB ``(H * scale, W * scale, 3)``, every pixel a square."""
    rgb = np.broadcast_to(image, (3, *image.shape[1:])).transpose(1, 2, 0)
    return np.repeat(np.repeat(rgb, scale, axis=0), scale, axis=1)


def _show_errors(
    image: Array, truth: Array, predicted: Array, void_label: int | None, scale: int
) -> Array:
    """RGB ``(H * scale, W * scale, 3)``: the grey, darkened image with the wrong pixels in red."""
    void = np.zeros(truth.shape, bool) if void_label is None else truth == void_label
    wrong = (truth != predicted) & ~void
    shown = np.broadcast_to(image.mean(axis=0)[..., None] * 0.55, (*truth.shape, 3)).copy()
    shown[wrong] = (255, 70, 80)
    return _enlarge(shown.astype(np.uint8).transpose(2, 0, 1), scale)


def _draw_frame(sheet: Image.Image, box: tuple[int, int, int, int], is_right: bool) -> None:
    left, top, right, bottom = box
    outline, thickness = (HAIRLINE, 1) if is_right else (WRONG, 4)
    outer = (left - thickness, top - thickness, right + thickness - 1, bottom + thickness - 1)
    ImageDraw.Draw(sheet).rectangle(outer, outline=outline, width=thickness)


def _draw_caption(
    sheet: Image.Image, top: tuple[int, int], said: str, meant: str, width: int
) -> None:
    """The predicted name, centred below `top`; if it is wrong, the true name under it."""
    draw = ImageDraw.Draw(sheet)
    colour = RIGHT if said == meant else WRONG
    draw.text(top, _shorten(said, width), colour, _font(), anchor="ma")
    if said != meant:
        below = (top[0], top[1] + LINE - 4)
        draw.text(below, _shorten(f"truth: {meant}", width), INK, _font(), anchor="ma")


def _lay_out_legend(names: Sequence[str], width: int) -> list[tuple[int, int, str]]:
    """(left, top, name) of every entry, in as many lines as the width asks for."""
    places = []
    left, top = GAP, 0
    for name in names:
        entry = SWATCH + 6 + int(_font().getlength(name)) + 18
        if left + entry > width and left > GAP:
            left, top = GAP, top + LINE
        places.append((left, top, name))
        left += entry
    return places


def _draw_legend(
    sheet: Image.Image, legend: Sequence[tuple[int, int, str]], top: int, classes: int
) -> None:
    """The classes in their colours; an entry after the last class is void."""
    draw = ImageDraw.Draw(sheet)
    colours = class_colours(classes)
    for index, (left, down, name) in enumerate(legend):
        box = (left, top + down + 2, left + SWATCH, top + down + 2 + SWATCH)
        if index < classes:
            draw.rectangle(box, fill="#" + bytes(colours[index]).hex())
        else:
            sheet.paste(Image.fromarray(void_hatch(SWATCH + 1, SWATCH + 1)), box[:2])
            draw.rectangle(box, outline=FAINT)
        centre = top + down + 2 + SWATCH // 2
        draw.text((left + SWATCH + 6, centre), name, INK, _font(), anchor="lm")


def _shorten(text: str, width: int) -> str:
    """`text`, cut where it gets wider than `width` pixels."""
    if _font().getlength(text) <= width:
        return text
    while text and _font().getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"


def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(FONT_SIZE)
