"""The onnx library, imported when it is first needed."""

from __future__ import annotations

from typing import Any


def onnx_library() -> Any:
    """The module ``onnx``. Raises ImportError that says how to install it."""
    try:
        import onnx
    except ImportError:
        raise ImportError(
            'ONNX files need the onnx library: pip install "minigraph[onnx]"'
        ) from None
    return onnx
