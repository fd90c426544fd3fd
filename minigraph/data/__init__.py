"""Data sets in memory: readers, a generated set, and batches. NumPy and Pillow alone are needed."""

from minigraph.data.augment import (
    ColourJitter,
    Compose,
    RandomCrop,
    RandomScale,
    random_horizontal_flip,
)
from minigraph.data.batches import ArrayDataset, batches
from minigraph.data.class_folders import load_class_folders
from minigraph.data.folder import (
    CAMVID_CLASSES,
    CAMVID_VOID_LABEL,
    load_segmentation_folders,
    load_segmentation_split,
)
from minigraph.data.idx import (
    FASHION_MNIST_CLASSES,
    MNIST_CLASSES,
    load_idx_classification,
    read_idx,
)
from minigraph.data.prefetch import prefetch
from minigraph.data.shapes import generate_shapes
from minigraph.data.voc import VOC_CLASSES, VOC_VOID_LABEL, load_voc_segmentation
from minigraph.data.weights import (
    ClassWeights,
    inverse_frequency_weights,
    median_frequency_weights,
)

__all__ = [
    "CAMVID_CLASSES",
    "CAMVID_VOID_LABEL",
    "FASHION_MNIST_CLASSES",
    "MNIST_CLASSES",
    "VOC_CLASSES",
    "VOC_VOID_LABEL",
    "ArrayDataset",
    "ClassWeights",
    "ColourJitter",
    "Compose",
    "RandomCrop",
    "RandomScale",
    "batches",
    "generate_shapes",
    "inverse_frequency_weights",
    "load_class_folders",
    "load_idx_classification",
    "load_segmentation_folders",
    "load_segmentation_split",
    "load_voc_segmentation",
    "median_frequency_weights",
    "prefetch",
    "random_horizontal_flip",
    "read_idx",
]
