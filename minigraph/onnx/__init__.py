"""ONNX: import (``load``) and export (``save``) of models. Needs ``pip install "minigraph[onnx]"``."""

from minigraph.onnx.model import OnnxModel, load

__all__ = ["OnnxModel", "load"]
