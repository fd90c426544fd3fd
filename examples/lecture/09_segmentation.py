"""Segmentation: a class for every pixel, drawn over the picture; void belongs to none."""

import numpy as np
from PIL import Image

from minigraph.data import generate_shapes
from minigraph.metrics import ConfusionMatrix
from minigraph.report import colour_labels

shapes = generate_shapes(3, (160, 160), seed=10)
names, void = shapes.class_names, shapes.void_label
print("classes:", ", ".join(f"{number} {name}" for number, name in enumerate(names)))
print(f"void {void}: the shapes' rims, {np.mean(shapes.labels == void):.1%} of all pixels")

# A poor prediction: the truth, four pixels to the right and down. Void is predicted as background.
predicted = np.roll(np.where(shapes.labels == void, 0, shapes.labels), (4, 4), axis=(1, 2))
scores = ConfusionMatrix(len(names), void, names)
scores.update(predicted, shapes.labels)
print(f"moved by 4 pixels: pixel accuracy {scores.accuracy:.3f}, mean IoU {scores.mean_iou:.3f}")
print(f"pixels counted: {scores.counts.sum()} of {shapes.labels.size}")


def overlay(image, labels):
    """The picture in grey under the colours of its classes, void hatched."""
    grey = np.repeat(image.mean(axis=0)[..., None], 3, axis=2)
    return (0.4 * grey + 0.6 * colour_labels(labels, len(names), void)).astype(np.uint8)


rows = [
    np.hstack([image.transpose(1, 2, 0), overlay(image, truth), overlay(image, labels)])
    for image, truth, labels in zip(shapes.images, shapes.labels, predicted, strict=True)
]
Image.fromarray(np.vstack(rows)).save("overlays.png")
