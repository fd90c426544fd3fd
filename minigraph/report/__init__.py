"""Pictures for people: predictions beside the truth, and curves of a run."""

from minigraph.report.curves import plot_curves, read_records
from minigraph.report.palette import PALETTE, class_colours, colour_labels
from minigraph.report.predictions import classification_picture, segmentation_picture

__all__ = [
    "PALETTE",
    "class_colours",
    "classification_picture",
    "colour_labels",
    "plot_curves",
    "read_records",
    "segmentation_picture",
]
