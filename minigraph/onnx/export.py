"""From an executable, or a graph and its state, to an ONNX model of inference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from minigraph.executable import Executable
from minigraph.ir.errors import InputError, UnsupportedError
from minigraph.ir.graph import Graph
from minigraph.ir.op import Op
from minigraph.ir.spec import DType, TensorSpec
from minigraph.onnx.dtypes import code_of
from minigraph.onnx.library import onnx_library
from minigraph.onnx.writers.elementwise import ELEMENTWISE
from minigraph.onnx.writers.shape import SHAPE
from minigraph.onnx.writers.spatial import SPATIAL
from minigraph.onnx.writers.writer import Rule, Writer
from minigraph.passes import keep_outputs, to_inference
from minigraph.whole_file import write_whole

OPSET = 20
"""The opset of exported models: that of ONNX 1.15, which onnxruntime runs from 1.17 on."""

_IR_VERSION = 9  # the file format of that time
_MAX_BYTES = 2**31 - 1  # protobuf's limit on a file

RULES: Mapping[type[Op], Rule] = {**ELEMENTWISE, **SHAPE, **SPATIAL}


def save(
    executable: Executable,
    path: str | Path,
    *,
    outputs: Sequence[str] | None = None,
    batch: str | None = None,
) -> None:
    """Write the executable's model, for inference, as an ONNX file.

    ``outputs`` are the names of those to write: all by default, so leave out the loss of a training
    step. ``batch`` names the first axis of every input and output, whose size may then be any;
    without it the file has the executable's shapes. Parameters and statistics are initialisers
    under their own names. The file appears whole or not at all.

    Raises UnsupportedError that lists all nodes without an ONNX form, or those that hold the batch
    size where it is to be any; InputError for inputs without a batch axis.
    """
    model = to_onnx(executable, outputs=outputs, batch=batch)
    write_whole(Path(path), model.SerializeToString())


def to_onnx(
    executable: Executable,
    *,
    outputs: Sequence[str] | None = None,
    batch: str | None = None,
) -> Any:
    """The ModelProto that ``save`` writes."""
    names = list(executable.outputs) if outputs is None else list(outputs)
    graph = keep_outputs(to_inference(executable.graph_for({})), names)
    model = _model(graph, executable.state)
    if batch is not None:
        _free_batch(model, graph, _other_batch(executable, names), executable.state, batch)
    onnx_library().checker.check_model(model)
    return model


def _model(graph: Graph, state: Mapping[str, np.ndarray]) -> Any:
    """Raises UnsupportedError that lists all nodes that cannot be written."""
    helper = onnx_library().helper
    missing = [
        f"{node.op.name} '{node.name}'" for node in graph.nodes if type(node.op) not in RULES
    ]
    if missing:
        raise UnsupportedError(
            f"Expected nodes with an ONNX form, got {', '.join(missing)}: export predictions, not "
            "losses, with outputs=[...]"
        )
    arrays = {variable.name: state[variable.name] for variable in graph.state}
    size = sum(array.nbytes for array in arrays.values())
    if size > _MAX_BYTES:
        raise UnsupportedError(f"Expected at most {_MAX_BYTES:,} bytes of state, got {size:,}")
    interface = [value.name for value in graph.inputs] + list(arrays) + list(graph.outputs)
    writer = Writer(graph, interface)
    names = {value: value.name for value in graph.inputs}
    names |= {variable.value: variable.name for variable in graph.state}
    for node in graph.nodes:
        writer.begin(node.name)
        try:
            results = RULES[type(node.op)](writer, node, [names[v] for v in node.inputs])
        except UnsupportedError as error:
            raise UnsupportedError(f"{error}\n  in {node.op.name} '{node.name}'") from None
        names |= dict(zip(node.outputs, results, strict=True))
    for name, value in graph.outputs.items():
        writer.nodes.append(helper.make_node("Identity", [names[value]], [name], name=f"{name}/"))
    made = helper.make_graph(
        writer.nodes,
        "minigraph",
        [_info(value.name, value.spec) for value in graph.inputs],
        [_info(name, value.spec) for name, value in graph.outputs.items()],
        [_tensor(name, array) for name, array in {**arrays, **writer.initializers}.items()],
    )
    model = helper.make_model(
        made, producer_name="minigraph", opset_imports=[helper.make_opsetid("", OPSET)]
    )
    model.ir_version = _IR_VERSION
    return model


def _info(name: str, spec: TensorSpec) -> Any:
    return onnx_library().helper.make_tensor_value_info(name, code_of(spec.dtype), spec.shape)


def _tensor(name: str, array: np.ndarray) -> Any:
    tensor = onnx_library().TensorProto()
    tensor.name = name
    tensor.data_type = code_of(DType.of(array.dtype))
    tensor.dims.extend(array.shape)
    tensor.raw_data = np.asarray(array, order="C").tobytes()
    return tensor


# ---- a batch of any size


def _other_batch(executable: Executable, outputs: Sequence[str]) -> Graph:
    """The same model for one image more: what differs holds the batch size."""
    specs = {}
    for name, spec in executable.inputs.items():
        if not spec.shape:
            raise InputError(f"Expected inputs with a batch axis, got {name}: {spec}")
        specs[name] = spec.with_shape((spec.shape[0] + 1, *spec.shape[1:]))
    return keep_outputs(to_inference(executable.graph_for(specs)), outputs)


def _free_batch(
    model: Any, graph: Graph, other: Graph, state: Mapping[str, np.ndarray], batch: str
) -> None:
    """Give the first axes a name, after a comparison of the model at two batch sizes."""
    larger = _model(other, state)
    known, grown = (
        {tensor.name: tensor.SerializeToString() for tensor in m.graph.initializer}
        for m in (model, larger)
    )
    bound = [
        node.name
        for node, twin in zip(model.graph.node, larger.graph.node, strict=False)
        if node.SerializeToString() != twin.SerializeToString()
        or any(known.get(name) != grown.get(name) for name in node.input)
    ]
    if bound or len(model.graph.node) != len(larger.graph.node):
        raise UnsupportedError(
            f"Expected a model that is the same for any batch size, got nodes that hold it: "
            f"{', '.join(bound) or 'another number of them'}: export without batch="
        )
    inputs = [(a.name, a, b) for a, b in zip(graph.inputs, other.inputs, strict=True)]
    outputs = [(name, value, other.outputs[name]) for name, value in graph.outputs.items()]
    changed = {name for name, a, b in (*inputs, *outputs) if a.spec != b.spec}
    for info in (*model.graph.input, *model.graph.output):
        if info.name in changed:
            info.type.tensor_type.shape.dim[0].dim_param = batch
