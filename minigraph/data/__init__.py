"""Data sets in memory or in files: readers, a generated set, downloads, and batches."""

from minigraph.data.augment import (
    ColourJitter,
    Compose,
    RandomCrop,
    RandomScale,
    random_horizontal_flip,
)
from minigraph.data.batches import batches
from minigraph.data.class_folders import load_class_folders, open_class_folders
from minigraph.data.dataset import ArrayDataset, Dataset
from minigraph.data.files import FileDataset
from minigraph.data.folder import (
    CAMVID_CLASSES,
    CAMVID_VOID_LABEL,
    load_segmentation_folders,
    load_segmentation_split,
    open_segmentation_folders,
)
from minigraph.data.idx import (
    FASHION_MNIST_CLASSES,
    MNIST_CLASSES,
    load_idx_classification,
    read_idx,
)
from minigraph.data.labels import VOID_LABEL
from minigraph.data.open import check_dataset, open_dataset
from minigraph.data.prefetch import prefetch
from minigraph.data.shapes import generate_shapes
from minigraph.data.voc import (
    VOC_CLASSES,
    VOC_VOID_LABEL,
    load_voc_segmentation,
    open_voc_segmentation,
)
from minigraph.data.weights import (
    ClassWeights,
    LabelCounts,
    count_labels,
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
    "VOID_LABEL",
    "ArrayDataset",
    "ClassWeights",
    "ColourJitter",
    "Compose",
    "Dataset",
    "FileDataset",
    "LabelCounts",
    "RandomCrop",
    "RandomScale",
    "batches",
    "check_dataset",
    "count_labels",
    "generate_shapes",
    "inverse_frequency_weights",
    "load_class_folders",
    "load_idx_classification",
    "load_segmentation_folders",
    "load_segmentation_split",
    "load_voc_segmentation",
    "median_frequency_weights",
    "open_class_folders",
    "open_dataset",
    "open_segmentation_folders",
    "open_voc_segmentation",
    "prefetch",
    "random_horizontal_flip",
    "read_idx",
]
