"""An ONNX model as a model function, traced into our graph for the specs it is compiled for."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from minigraph.api import compile as compile_model
from minigraph.executable import Executable
from minigraph.inputs import as_array
from minigraph.ir.builder import Builder
from minigraph.ir.errors import BuilderError, InputError, LoadError
from minigraph.ir.graph import NAME
from minigraph.ir.spec import DType, SpecLike, TensorSpec
from minigraph.ir.tensor import Tensor
from minigraph.onnx.check import check_supported
from minigraph.onnx.dtypes import dtype_of
from minigraph.onnx.functions import domain_of, local_functions
from minigraph.onnx.library import onnx_library
from minigraph.onnx.node import Value, Variables, Weight
from minigraph.onnx.read import array_of, parse_model, read_model
from minigraph.onnx.trace import Trace

_ARGUMENTS = ("out", "fetch", "runs", "batch", "self")
"""Names that a call of an executable gives another meaning."""


class OnnxModel:
    """An ONNX model to compile, as a model function of its inputs by name.

    Initialisers that are floating and no scalars become parameters under their names, so that
    training can go on; the running statistics of batch normalisation become statistics. Names that
    minigraph cannot have are changed: ``conv::weight (1)`` to ``conv__weight_1_``.
    """

    def __init__(
        self,
        proto: Any,
        folder: Path | None = None,
        constants: Mapping[str, Any] | None = None,
    ) -> None:
        self._functions = local_functions(proto)
        check_supported(proto, self._functions)
        self._proto = proto
        self._opsets = {domain_of(e.domain): e.version for e in proto.opset_import}
        graph = proto.graph
        self._weights = {
            tensor.name: Weight(tensor.name, array_of(tensor, folder))
            for tensor in graph.initializer
        }
        infos = {info.name: info for info in graph.input if info.name not in self._weights}
        self._names = _plain_names([*infos, *self._weights])
        known = {name: as_array(name, array) for name, array in (constants or {}).items()}
        by_plain = {plain: name for name, plain in self._names.items()}
        self._constants = {by_plain.get(name, name): array for name, array in known.items()}
        unknown = [name for name in self._constants if name not in infos]
        if unknown:
            raise InputError(
                f"Expected constants for inputs of {', '.join(infos) or 'none'}, got "
                f"{', '.join(unknown)}"
            )
        self._infos = {n: info for n, info in infos.items() if n not in self._constants}
        output_names = [info.name for info in graph.output if info.name]
        if len(set(output_names)) != len(output_names) or not output_names:
            raise LoadError(f"Expected outputs with different names, got {output_names}")
        self._outputs = _plain_names(output_names, reserved=())

    # ---- what it takes and gives

    @property
    def inputs(self) -> dict[str, tuple[tuple[int | str, ...] | None, DType]]:
        """Shape and dtype of each input as declared; a size may be a name, None is any shape."""
        return {self._names[name]: _declared(info) for name, info in self._infos.items()}

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the outputs, in the file's order."""
        return tuple(self._outputs.values())

    @property
    def parameters(self) -> dict[str, np.ndarray]:
        """The initialisers that become parameters or statistics, by name."""
        return {
            self._names[name]: weight.array
            for name, weight in self._weights.items()
            if weight.is_parameter
        }

    def specs(self, **sizes: int) -> dict[str, TensorSpec]:
        """Specs of the inputs, with numbers for sizes that have names: ``model.specs(N=8)``.

        Raises InputError that lists the names without a number.
        """
        specs, missing = {}, []
        for name, (shape, dtype) in self.inputs.items():
            if shape is None:
                raise InputError(
                    f"Expected a shape for {name!r}, which the file leaves open: give "
                    f"inputs={{{name!r}: '{dtype}[...]'}}"
                )
            numbers = [sizes.get(size, size) if isinstance(size, str) else size for size in shape]
            missing += [size for size in numbers if isinstance(size, str)]
            known = tuple(size for size in numbers if isinstance(size, int))
            specs[name] = TensorSpec(known, dtype)
        if missing:
            names = ", ".join(f"{name}=..." for name in dict.fromkeys(missing))
            raise InputError(
                f"Expected numbers for the sizes {', '.join(dict.fromkeys(missing))}: "
                f"compile(inputs=model.specs({names}))"
            )
        return specs

    def compile(self, inputs: Mapping[str, SpecLike] | None = None, **options: Any) -> Executable:
        """``mg.compile`` of this model: for inference, or with an optimiser and a loss to train.

        Without ``inputs`` the declared shapes are used, which must then all be numbers.
        """
        return compile_model(self, self.specs() if inputs is None else inputs, **options)

    # ---- the model function

    def __call__(self, **tensors: Tensor) -> dict[str, Tensor]:
        """Build the model on symbolic inputs by name; its outputs by name."""
        if set(tensors) != set(self.inputs):
            raise BuilderError(
                f"Expected the inputs {', '.join(self.inputs) or 'none'}, got {', '.join(tensors)}"
            )
        if not tensors:
            raise BuilderError("Expected a model with an input: all of this one is constant")
        builder = next(iter(tensors.values())).builder
        return self.build(builder, tensors)

    def build(self, builder: Builder, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """As a call, with the builder for a model without inputs."""
        variables = Variables(builder, self._names)
        values: dict[str, Value] = {**self._weights, **self._constants}
        for name, info in self._infos.items():
            tensor = tensors[self._names[name]]
            _check_declared(tensor, *_declared(info))
            values[name] = tensor
        trace = Trace(variables, self._functions)
        trace.run(self._proto.graph.node, values, self._opsets)
        results = {}
        for name, plain in self._outputs.items():
            if name not in values:
                raise LoadError(f"Expected a node that makes the output {name!r}, got none")
            results[plain] = variables.tensor(values[name])
        return results

    def __repr__(self) -> str:
        inputs = ", ".join(
            f"{n}: {_text(shape, dtype)}" for n, (shape, dtype) in self.inputs.items()
        )
        return (
            f"<OnnxModel: {len(self._proto.graph.node)} nodes, opset {self._opsets.get('', '-')}; "
            f"{inputs} -> {', '.join(self.outputs)}>"
        )

    def summary(self) -> str:
        """Producer, opset, inputs, outputs, ops with their numbers, and parameters, as text."""
        proto = self._proto
        counts: dict[str, int] = {}
        for node in proto.graph.node:
            counts[node.op_type] = counts.get(node.op_type, 0) + 1
        parameters = self.parameters
        lines = [
            f"ONNX model of {proto.producer_name or 'an unnamed producer'} "
            f"{proto.producer_version}".rstrip(),
            *(f"  opset {version} of {domain or 'ai.onnx'}"
              for domain, version in self._opsets.items()),
            *(f"  input  {n}: {_text(*declared)}" for n, declared in self.inputs.items()),
            *(f"  output {name}" for name in self.outputs),
            "  nodes  " + ", ".join(f"{name} {n}" for name, n in sorted(counts.items())),
            f"  parameters and statistics: {len(parameters)} tensors, "
            f"{sum(array.size for array in parameters.values()):,} elements",
        ]  # fmt: skip
        return "\n".join(lines)


def load(model: str | Path | bytes | Any, constants: Mapping[str, Any] | None = None) -> OnnxModel:
    """Load an ONNX model: a path, the bytes of a file, or a ModelProto.

    The result is a model function: ``mg.onnx.load("m.onnx").compile()``, or ``mg.compile(model,
    model.specs(N=8))``, or called within a model function of yours, with a loss after it.
    ``constants`` gives values to inputs that decide shapes. Weights in files beside the model are
    read from within its folder alone. Raises LoadError for a damaged file and UnsupportedError,
    which lists all that is not supported.
    """
    if isinstance(model, str | Path):
        return _named(Path(model), constants)
    if isinstance(model, bytes):
        return OnnxModel(parse_model(onnx_library(), model, "bytes"), None, constants)
    if type(model).__name__ != "ModelProto":
        raise LoadError(f"Expected a path, bytes or a ModelProto, got {type(model).__name__}")
    return OnnxModel(model, None, constants)


def _named(path: Path, constants: Mapping[str, Any] | None) -> OnnxModel:
    """Load by path, and name it in the errors."""
    proto = read_model(path)
    try:
        return OnnxModel(proto, path.resolve().parent, constants)
    except (LoadError, InputError) as error:
        raise type(error)(f"{path}: {error}") from None


# ---- names and declared shapes


def _plain_names(names: Sequence[str], reserved: Sequence[str] = _ARGUMENTS) -> dict[str, str]:
    """Each name as minigraph can have it; those that would coincide get a number."""
    plain: dict[str, str] = {}
    taken = set(reserved)
    for name in names:
        base = re.sub(r"[^\w./\-]", "_", name) or "_"
        candidate, number = base if re.fullmatch(NAME, base) else "_", 0
        while candidate in taken:
            number += 1
            candidate = f"{base}_{number}"
        taken.add(candidate)
        plain[name] = candidate
    return plain


def _declared(info: Any) -> tuple[tuple[int | str, ...] | None, DType]:
    tensor = info.type.tensor_type
    dtype = dtype_of(tensor.elem_type)
    if not tensor.HasField("shape"):
        return None, dtype
    sizes: list[int | str] = []
    for axis, dim in enumerate(tensor.shape.dim):
        named = dim.dim_param or f"{info.name}_{axis}"
        sizes.append(dim.dim_value if dim.HasField("dim_value") and dim.dim_value >= 0 else named)
    return tuple(sizes), dtype


def _check_declared(tensor: Tensor, shape: tuple[int | str, ...] | None, dtype: DType) -> None:
    fits = shape is None or (
        len(shape) == tensor.ndim
        and all(isinstance(a, str) or a == b for a, b in zip(shape, tensor.shape, strict=True))
    )
    if not fits or tensor.dtype is not dtype:
        raise InputError(
            f"Expected {_text(shape, dtype)} for the input {tensor.name!r}, as the file declares, "
            f"got {tensor.spec}"
        )


def _text(shape: tuple[int | str, ...] | None, dtype: DType) -> str:
    return f"{dtype}[{'...' if shape is None else ','.join(map(str, shape))}]"
