"""What of ONNX's backend test suite runs here, and why the rest does not.

The ops that are supported are the keys of ``operators.table.CONVERTERS``, and all that the standard
defines as functions of them. A case of the suite is left out for one of the reasons here or for a
dtype that we lack; ``python -m minigraph.onnx.suite`` counts them, and fails where a case that is
left out for its ops or dtypes would run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from minigraph.ir.errors import UnsupportedError
from minigraph.onnx.dtypes import dtype_of
from minigraph.onnx.functions import domain_of, standard_function
from minigraph.onnx.operators.table import CONVERTERS

LEFT_OUT_OPS: Mapping[str, tuple[str, ...]] = {
    "control flow: a graph here runs the same nodes every time": (
        "If", "LinearAttention", "Loop", "Scan",
    ),
    "sequences, optional values and maps: values here are tensors": (
        "SequenceAt", "SequenceConstruct", "SequenceEmpty", "SequenceErase", "SequenceInsert",
        "SequenceLength", "SequenceMap", "SplitToSequence", "ConcatFromSequence",
        "OptionalHasElement", "OptionalGetElement",
    ),
    "strings and text": (
        "LabelEncoder", "RegexFullMatch", "StringConcat", "StringNormalizer", "StringSplit",
        "TfIdfVectorizer",
    ),
    "quantised arithmetic": (
        "ConvInteger", "DequantizeLinear", "DynamicQuantizeLinear", "MatMulInteger", "QLinearConv",
        "QLinearMatMul", "QuantizeLinear",
    ),
    "classical machine learning, the domain ai.onnx.ml": (
        "ArrayFeatureExtractor", "Binarizer", "TreeEnsemble",
    ),
    "recurrent networks": ("GRU", "LSTM", "RNN"),
    "an op of the preview domain with graphs in its attributes; its *_expanded cases run": (
        "FlexAttention",
    ),
    "outputs whose shape depends on values: shapes here are known before a run": (
        "Compress", "NonMaxSuppression", "NonZero", "Unique",
    ),
    "random numbers that follow from no state: they could not be checked": (
        "Bernoulli", "RandomUniformLike",
    ),
    "no op that sorts": ("TopK",),
    "no op on bits": (
        "BitCast", "BitShift", "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor",
    ),
    "no inverse trigonometric or hyperbolic functions": (
        "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh",
    ),
    "no running product": ("CumProd",),
    "no determinant": ("Det",),
    "no op that samples images at computed places": (
        "AffineGrid", "DeformConv", "GridSample", "RoiAlign",
    ),
    "a cache that is written in circles, which only language models have": (
        "TensorScatter",
    ),
    "could be made of our gather, reshape and matrix product, and is not": (
        "Einsum", "GatherND", "ReverseSequence",
    ),
    "signal processing": ("DFT", "MelWeightMatrix", "STFT"),
    "files inside of a graph": ("ImageDecoder",),
    "gradients as a node: mg.gradients makes them of our graph": ("Gradient",),
}  # fmt: skip

LEFT_OUT_CASES: Mapping[str, str] = {
    r"test_resize_.*_cubic.*": "no cubic interpolation",
    r"test_resize_.*_antialias": "no antialiasing",
    r"test_resize_tf_crop_and_resize.*": "no crop with a resize: Slice before Resize",
    r"test_scatter(_elements|nd)_.*(max|min|mul|multiply).*":
        "no op that multiplies or compares at computed places; putting and adding are supported",
    r"test_col2im_5d": "columns of images alone are folded",
    r"test_mod_mixed_sign_float.*|test_mod_float.*": "no exact remainder of floating numbers",
    r"test_training_dropout(_default)?(_mask)?":
        "expects the numbers of NumPy's Mersenne Twister, which the standard does not ask for; "
        "onnx-tensorflow leaves these cases out for that reason, too",
    r"test_identity_(sequence|opt)": "sequences and optional values: values here are tensors",
}  # fmt: skip
"""Patterns of names of cases that are not supported, and why."""

_ROUNDING = (
    "is off by one unit of float16 in two of 192 elements: the reference rounds to 16 bits where "
    "our products of float16 are summed in float32"
)

DISPUTED: Mapping[str, str] = {
    "test_maxunpool_export_with_output_shape": (
        "counts positions over the smallest image that the kernel gives, where MaxPool, torch and "
        "onnxruntime count over output_shape, the image that was pooled: with the reference an odd "
        "image does not come back from MaxPool and MaxUnpool (onnx issue 2398, onnxruntime pull "
        "request 2193)"
    ),
    "test_resize_downsample_scales_linear_align_corners": (
        "divides by scale * size - 1 = 1.4 where the output has two elements, so that the last one "
        "does not meet the last input, which is what aligned corners mean (onnx issue 2462; torch, "
        "TensorFlow and onnxruntime give 4, the reference 3.14)"
    ),
    "test_attention_4d_causal_fp16": _ROUNDING,
    "test_attention_4d_causal_fp16_expanded": _ROUNDING,
}
"""Cases that run and give another result, and why that one is kept."""


def left_out(name: str, model: Any) -> str | None:
    """Why a case is left out; None where it must pass."""
    if name in DISPUTED:
        return f"disputed: {DISPUTED[name]}"
    for pattern, reason in LEFT_OUT_CASES.items():
        if re.fullmatch(pattern, name):
            return reason
    types = next(_lacking_types(model), None)
    if types is not None:
        return types
    opsets = {domain_of(entry.domain): entry.version for entry in model.opset_import}
    ops = _ops(model.graph.node, opsets.get("", 1))
    return next((reason for reason, names in LEFT_OUT_OPS.items() if ops & {*names}), None)


def _ops(nodes: Any, opset: int) -> set[str]:
    """All op types, and for those without a converter what the standard makes them of."""
    found = {node.op_type for node in nodes}
    for node in nodes:
        if domain_of(node.domain) == "" and node.op_type not in CONVERTERS[""]:
            function = standard_function(node.op_type, opset)
            found |= set() if function is None else _ops(function.nodes, opset)
    return found


def _lacking_types(model: Any) -> Iterator[str]:
    """Reasons in inputs, outputs and casts."""
    for info in (*model.graph.input, *model.graph.output):
        if info.type.WhichOneof("value") != "tensor_type":
            yield "sequences, optional values and maps: values here are tensors"
        else:
            yield from _lacking(info.type.tensor_type.elem_type)
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name in ("to", "dtype") and node.op_type in ("Cast", "EyeLike"):
                yield from _lacking(attribute.i)


def _lacking(code: int) -> Iterator[str]:
    try:
        dtype_of(code)
    except UnsupportedError as error:
        yield f"no dtype {str(error).rpartition('got ')[2]}"
