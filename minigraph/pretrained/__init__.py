"""Weights from elsewhere: torchvision-style state dicts into the networks of ``minigraph.models``.

report = apply_weights(step.state, "vgg16.safetensors", "fcn8s")
print(report)
"""

from minigraph.pretrained.apply import WeightsReport, apply_weights
from minigraph.pretrained.families import IMAGENET_MEAN, IMAGENET_STD

__all__ = ["IMAGENET_MEAN", "IMAGENET_STD", "WeightsReport", "apply_weights"]
