"""Gradients as graph nodes: reverse-mode differentiation of one scalar (or seeded) tensor.

The result is ordinary nodes, so gradients of gradients need nothing more. Only nodes on a path
from ``wrt`` to the loss are visited, and a cotangent that does not exist stays None.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from minigraph.ir.builder import Builder
from minigraph.ir.errors import GradientError
from minigraph.ir.graph import Graph, Node, Role, Value
from minigraph.ir.tensor import Tensor
from minigraph.ops import new_builder
from minigraph.ops.elementwise import cast
from minigraph.ops.shape import zeros_like


def gradients(
    loss: Tensor, wrt: Sequence[Tensor], seed: Tensor | None = None
) -> tuple[Tensor, ...]:
    """Gradients of ``loss`` with respect to each tensor of ``wrt``, as tensors of the same graph.

    ``loss`` is a floating scalar, or any floating tensor with a cotangent ``seed`` of its spec.
    A tensor that the loss does not depend on gets zeros. Raises GradientError.
    """
    found = _cotangents(loss, [tensor.value for tensor in wrt], seed)
    builder = loss.builder
    return tuple(
        zeros_like(tensor) if grad is None else builder.wrap(grad.value)
        for tensor, grad in zip(wrt, found, strict=True)
    )


def gradient_name(name: str) -> str:
    """The output under which ``add_gradients`` gives the gradient of a state variable."""
    return f"gradient({name})"


def add_gradients(
    graph: Graph, loss: str, scale: Callable[[Builder], Tensor] | None = None
) -> Graph:
    """Add the gradient of the output ``loss`` for every parameter that training may change.

    Each becomes an output called ``gradient(<parameter>)``; a parameter that the loss does not
    depend on has none. ``scale`` makes a scalar by which the loss is multiplied on the way: the
    cotangents of all values in between are as many times as large (those of 16-bit values would
    vanish otherwise), and each gradient is divided by it in float32 at least. Raises GradientError
    where there is no such loss, or nothing to train.
    """
    if loss not in graph.outputs:
        raise GradientError(
            f"Expected an output called {loss!r} to minimise, got {', '.join(graph.outputs)}: "
            "return it from the model function, or name another with loss=..."
        )
    parameters = [state for state in graph.state if state.role is Role.PARAMETER]
    builder = new_builder(graph)
    tensors = [builder.wrap(state.value) for state in parameters]
    target = builder.wrap(graph.outputs[loss])
    factor = None if scale is None else scale(builder)
    seed = None if factor is None else cast(factor, target.dtype)
    found = _cotangents(target, [t.value for t in tensors], seed)
    for parameter, grad in zip(parameters, found, strict=True):
        if grad is None:
            continue
        if factor is not None:
            with builder.absolute_scope("unscaled", parameter.name):
                wide = grad.dtype.accumulator
                grad = cast(grad, wide) / cast(factor, wide)
        builder.output(gradient_name(parameter.name), grad)
    if all(grad is None for grad in found):
        raise GradientError(
            f"Expected {loss!r} to depend on a trainable parameter, got none among "
            f"{len(parameters)} parameters"
        )
    return builder.build()


def _cotangents(loss: Tensor, wrt: Sequence[Value], seed: Tensor | None) -> list[Tensor | None]:
    builder = loss.builder
    if not loss.dtype.is_floating:
        raise GradientError(f"Expected a floating loss, got {loss!r}")
    if seed is None:
        if loss.shape != ():
            raise GradientError(
                f"Expected a scalar loss, got {loss!r}: reduce it (mg.reduce_mean), or give a seed"
            )
        seed = builder.full((), 1.0, loss.dtype)
    if seed.spec != loss.spec:
        raise GradientError(f"Expected a seed {loss.spec}, got {seed.spec}")
    path = _path(builder.nodes, set(wrt), loss.value)
    cotangents: dict[Value, Tensor] = {loss.value: seed}
    for node in reversed(path):
        _propagate(node, cotangents)
    return [cotangents.get(value) for value in wrt]


def _propagate(node: Node, cotangents: dict[Value, Tensor]) -> None:
    grads = tuple(cotangents.get(value) for value in node.outputs)
    if all(grad is None for grad in grads):
        return
    builder = next(grad for grad in grads if grad is not None).builder
    inputs = [builder.wrap(value) for value in node.inputs]
    outputs = [builder.wrap(value) for value in node.outputs]
    with builder.at(builder.locations_of(node)), builder.absolute_scope(f"grad.{node.name}"):
        found = node.op.vjp(inputs, outputs, grads)
        for value, grad in zip(node.inputs, found, strict=True):
            if grad is None or not value.spec.dtype.is_floating:
                continue
            if grad.spec != value.spec:
                raise GradientError(
                    f"Expected a cotangent {value.spec} for %{value.name} from {node.op.name}, "
                    f"got {grad.spec}: its vjp is wrong"
                )
            before = cotangents.get(value)
            cotangents[value] = grad if before is None else before + grad


def _path(nodes: Sequence[Node], sources: set[Value], target: Value) -> list[Node]:
    """Nodes through which the target depends on the sources, in order."""
    reached = set(sources)
    forward = []
    for node in nodes:
        if any(value in reached for value in node.inputs):
            reached.update(node.outputs)
            forward.append(node)
    needed = {target}
    path = []
    for node in reversed(forward):
        if any(value in needed for value in node.outputs):
            needed.update(node.inputs)
            path.append(node)
    return path[::-1]
