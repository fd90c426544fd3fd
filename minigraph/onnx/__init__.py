"""ONNX: import (``load``) and export (``save``) of models.

Needs the onnx library: ``pip install "minigraph[onnx]"``.
"""

from minigraph.onnx.export import save, to_onnx
from minigraph.onnx.model import OnnxModel, load

__all__ = ["OnnxModel", "load", "save", "to_onnx"]
