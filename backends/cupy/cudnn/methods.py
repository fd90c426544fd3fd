"""The ways to run a convolution through cuDNN, in any of its directions, fused or not."""

from __future__ import annotations

from collections.abc import Sequence

from minigraph.backend import Algorithm, Slot
from minigraph.backends.cupy.call import (
    BYTES_PER_SECOND,
    LAUNCH_SECONDS,
    AnyCall,
    Binding,
    Context,
    LibraryCall,
)
from minigraph.backends.cupy.cudnn.plans import Cudnn
from minigraph.backends.cupy.cudnn.signature import (
    Signature,
    epilogue,
    signature_of,
    without_epilogue,
)
from minigraph.backends.cupy.device import Device
from minigraph.backends.cupy.kernels.method import Method, Problem
from minigraph.backends.cupy.kernels.pointwise import pointwise_calls
from minigraph.ir.spec import TensorSpec
from minigraph.ops.fused import Fused


def _whole(problem: Problem, context: Context) -> Algorithm | None:
    """The node as one graph of cuDNN's."""
    return _algorithm("cudnn", context, signature_of(problem.node, problem.inputs))


def _whole_calls(binding: Binding) -> Sequence[AnyCall]:
    signature = signature_of(binding.op, [slot.spec for slot in binding.inputs])
    return [_call(binding, signature, binding.inputs)]


def _split(problem: Problem, context: Context) -> Algorithm | None:
    """The convolution by cuDNN, then one kernel of ours for what follows, in place."""
    op, inputs = problem.node, problem.inputs
    if not isinstance(op, Fused) or op.infer(*inputs)[0] != _convolution_spec(op, inputs):
        return None
    result, read = op.infer(*inputs)[0], epilogue(op.body)[1]
    moved = 2 * result.nbytes + sum(inputs[number].nbytes for number in read)
    following = LAUNCH_SECONDS + moved / BYTES_PER_SECOND
    return _algorithm("cudnn-split", context, without_epilogue(op, inputs), following)


def _split_calls(binding: Binding) -> Sequence[AnyCall]:
    op, inputs = binding.op, binding.inputs
    operands = [inputs[number] for number in op.body.anchor.operands]
    signature = without_epilogue(op, [slot.spec for slot in inputs])
    body, read = epilogue(op.body)
    places = [*(inputs[number] for number in read), binding.output]
    return [
        _call(binding, signature, operands),
        *pointwise_calls(body, places, [binding.output]),
    ]


METHODS = (
    Method("cudnn", _whole, _whole_calls),
    Method("cudnn-split", _split, _split_calls),
)


def _convolution_spec(op: Fused, inputs: Sequence[TensorSpec]) -> TensorSpec:
    return op.body.specs(*inputs)[op.body.inputs]


def _algorithm(
    name: str, context: Context, signature: Signature | None, following: float = 0.0
) -> Algorithm | None:
    if context.cudnn is None or signature is None:
        return None
    plan = context.cudnn.plan(signature)
    if plan is None:
        return None
    return Algorithm(name, plan.workspace, plan.seconds + following)


def _call(binding: Binding, signature: Signature | None, operands: Sequence[Slot]) -> LibraryCall:
    """The queued graph, on the binding's output and workspace."""
    cudnn: Cudnn | None = binding.cudnn
    assert cudnn is not None and signature is not None
    run, places = cudnn.runnable(signature), [*operands]
    written = [binding.output]
    if binding.workspace is not None:
        written.append(binding.workspace)

    def queue(device: Device, addresses: Sequence[int]) -> None:
        values = list(addresses[: len(places) + 1])
        run(values, addresses[-1] if binding.workspace is not None else 0)

    return LibraryCall(queue, tuple(places), tuple(written))
