"""Saved models on new images: padding, tiles, and what comes out."""

from minigraph.prediction.padding import pad_labels_to_multiple, pad_to_multiple, size_multiple
from minigraph.prediction.predictor import Classification, Predictor, Segmentation
from minigraph.prediction.tiles import plan_tiles, predict_tiled

__all__ = [
    "Classification",
    "Predictor",
    "Segmentation",
    "pad_labels_to_multiple",
    "pad_to_multiple",
    "plan_tiles",
    "predict_tiled",
    "size_multiple",
]
