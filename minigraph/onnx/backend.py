"""minigraph under ONNX's backend protocol: for its test suite, and for tools that know it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx.backend.base import Backend, BackendRep

from minigraph.api import compile as compile_model
from minigraph.executable import Executable
from minigraph.ir.errors import InputError
from minigraph.ir.spec import TensorSpec
from minigraph.ir.tensor import Tensor
from minigraph.onnx.model import OnnxModel
from minigraph.onnx.node import ConstantNeeded


class PreparedModel(BackendRep):
    """A model to run on arrays, compiled when the first of their shapes come.

    Inputs that turn out to decide shapes are bound as constants, with the values that came.
    """

    def __init__(self, proto: Any, threads: int | None = None) -> None:
        self._proto = proto
        self._threads = threads
        self._model = OnnxModel(proto)

    def run(self, inputs: Any, **kwargs: Any) -> tuple[np.ndarray, ...]:
        """Outputs in the model's order, for inputs in its order or by name."""
        named = self._by_name(inputs)
        executable, model = self._compiled(named)
        fed = {name: named[name] for name in executable.inputs}
        results = executable(fed)
        return tuple(results[name] for name in model.outputs)

    def _by_name(self, inputs: Any) -> dict[str, np.ndarray]:
        names = list(self._model.inputs)
        if isinstance(inputs, Mapping):
            return {name: np.asarray(value) for name, value in inputs.items()}
        listed = inputs if isinstance(inputs, Sequence) else [inputs]
        if len(listed) != len(names):
            raise InputError(f"Expected {len(names)} inputs, got {len(listed)}")
        return {name: np.asarray(value) for name, value in zip(names, listed, strict=True)}

    def _compiled(self, arrays: Mapping[str, np.ndarray]) -> tuple[Executable, OnnxModel]:
        bound: dict[str, np.ndarray] = {}
        while True:
            model = OnnxModel(self._proto, None, bound)
            specs = {
                name: TensorSpec.of((array.shape, array.dtype))
                for name, array in arrays.items()
                if name not in bound
            }
            try:
                return self._compile(model, specs), model
            except ConstantNeeded as error:
                if not error.inputs:
                    raise
                bound |= {name: arrays[name] for name in error.inputs}

    def _compile(self, model: OnnxModel, specs: Mapping[str, TensorSpec]) -> Executable:
        anchor = "minigraph_anchor"  # gives the builder to a model all of whose inputs are bound

        def function(**tensors: Tensor) -> dict[str, Tensor]:
            builder = tensors.pop(anchor).builder
            return model.build(builder, tensors)

        specs = {**specs, anchor: TensorSpec((1,))}
        return compile_model(function, specs, backend="numpy", threads=self._threads)


class MinigraphBackend(Backend):
    """ONNX's backend protocol on our NumPy backend: the device is the CPU."""

    @classmethod
    def prepare(cls, model: Any, device: str = "CPU", **kwargs: Any) -> PreparedModel:
        """A model to run. Raises UnsupportedError, LoadError."""
        if not cls.supports_device(device):
            raise InputError(f"Expected the device CPU, got {device!r}")
        return PreparedModel(model, kwargs.get("threads"))

    @classmethod
    def run_node(
        cls, node: Any, inputs: Any, device: str = "CPU", outputs_info: Any = None, **kwargs: Any
    ) -> tuple[np.ndarray, ...]:
        """Run one node on arrays; ``opset_version`` is the newest by default."""
        arrays = [np.asarray(array) for array in inputs]
        names = [name for name in node.input if name]
        make = onnx.helper.make_tensor_value_info
        infos = [
            make(name, onnx.helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
            for name, array in zip(names, arrays, strict=True)
        ]
        outputs = [onnx.helper.make_empty_tensor_value_info(name) for name in node.output if name]
        graph = onnx.helper.make_graph([node], "node", infos, outputs)
        version = kwargs.get("opset_version", onnx.defs.onnx_opset_version())
        opset = onnx.helper.make_opsetid(node.domain, version)
        model = onnx.helper.make_model(graph, opset_imports=[opset])
        return cls.prepare(model, device).run(arrays)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """The CPU alone."""
        return device == "CPU"
